package ingest

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"offerstream/config"
)

// Limits of events per second: of a key that has one, and of what keys of role browser
// send from one address and about one user.
//
// What a sender has sent must be paid off, at so much time for each event, and it may owe
// up to rateSpan. So a minute's worth may come at once, and a request is taken whole or
// not at all: it is refused if its sender owes rateSpan or more when it comes.
const (
	rateSpan   = time.Minute
	maxDebtors = 100_000 // of each kind; those beyond it are not limited, and counted
	sweepEvery = int64(time.Second)
)

// A rate limits the events of each of many senders.
type rate[K comparable] struct {
	reason string
	of     string // who is limited, for the client

	mu    sync.Mutex
	debts map[K]int64 // when each will have paid off what it owes, nanoseconds since 1970; who owes nothing may be missing
	swept int64       // when those that owe nothing were removed
}

// check returns why a sender may not send now, nil if it may.
func (r *rate[K]) check(k K, perSecond int, now int64) error {
	if perSecond == 0 {
		return nil
	}
	r.mu.Lock()
	over := r.debts[k] - now - int64(rateSpan)
	r.mu.Unlock()
	if over < 0 {
		return nil
	}
	return &problem{http.StatusTooManyRequests, r.reason, fmt.Sprintf("%s sends more than %d events per second", r.of, perSecond), 1 + int(over/int64(time.Second))}
}

// charge adds events to what a sender owes. It returns false if there are so many
// debtors that this one is not limited.
func (r *rate[K]) charge(k K, perSecond, events int, now int64) bool {
	if perSecond == 0 || events == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	debt, known := r.debts[k]
	if !known && len(r.debts) >= maxDebtors {
		if now-r.swept < sweepEvery {
			return false
		}
		r.swept = now
		for k, debt := range r.debts {
			if debt <= now {
				delete(r.debts, k)
			}
		}
		if len(r.debts) >= maxDebtors {
			return false
		}
	}
	if r.debts == nil {
		r.debts = map[K]int64{}
	}
	r.debts[k] = max(debt, now) + int64(events)*int64(time.Second)/int64(perSecond)
	return true
}

// rates are all limits of a gateway.
type rates struct {
	keys      rate[[32]byte] // by the key's hash
	addresses rate[netip.Addr]
	users     rate[uint64] // by the hash of the entity's key
	seed      maphash.Seed
}

func newRates() *rates {
	return &rates{
		keys:      rate[[32]byte]{reason: "key_rate", of: "this key"},
		addresses: rate[netip.Addr]{reason: "address_rate", of: "this address"},
		users:     rate[uint64]{reason: "user_rate", of: "this user"},
		seed:      maphash.MakeSeed(),
	}
}

// A share is how many of a request's events are about one user.
type share struct {
	user   uint64
	events int
}

// admitSender returns why a request's sender may not send now.
func (g *Gateway) admitSender(key *config.Key, from netip.Addr, now int64) error {
	if err := g.rates.keys.check(key.Hash, key.Rate, now); err != nil {
		return err
	}
	return g.rates.addresses.check(from, g.addressRate(key, from), now)
}

// addressRate is the limit of what the key sends from an address, 0: any number. A proxy's
// own address stands for many.
func (g *Gateway) addressRate(key *config.Key, from netip.Addr) int {
	if trusted(key.Roles) || g.proxies.has(from) {
		return 0
	}
	return g.opt.AddressRate
}

// chargeSender is for a request that has been read.
func (g *Gateway) chargeSender(req *request, from netip.Addr, now int64) error {
	events := req.events + req.facts + req.clocks + len(req.refused) + len(req.denied) + req.bots
	of := &g.rates.users
	for _, s := range req.shares {
		if err := of.check(s.user, g.opt.UserRate, now); err != nil {
			return err
		}
	}
	limited := g.rates.keys.charge(req.key.Hash, req.key.Rate, max(events, 1), now)
	limited = g.rates.addresses.charge(from, g.addressRate(req.key, from), max(events, 1), now) && limited
	for _, s := range req.shares {
		limited = of.charge(s.user, g.opt.UserRate, s.events, now) && limited
	}
	if !limited {
		g.met.limits.WithLabelValues("debtors").Inc()
	}
	return nil
}

// share counts an event of a user. Most events of a request are about the same one.
func (r *request) share(user uint64) {
	if n := len(r.shares); n > 0 && r.shares[n-1].user == user {
		r.shares[n-1].events++
		return
	}
	r.shares = append(r.shares, share{user, 1})
}

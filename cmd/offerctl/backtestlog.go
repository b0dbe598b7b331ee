package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/explain"
	"offerstream/pipeline/zone"
)

// given reports whether a flag was given.
func (fs *flags) given(name string) (found bool) {
	fs.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// overLog is `backtest --nats`.
func (b *backtestRun) overLog(ctx context.Context, n natsFlags, events, from, to string, readCoupons func() (*coupon.Keys, error)) error {
	if events != "" {
		return usagef("--events and --nats are two sources of events: give one of them")
	}
	conn, err := n.connect(ctx, b.std)
	if err != nil {
		return err
	}
	defer conn.Close()
	live, err := liveDefinition(ctx, conn)
	if err != nil {
		return err
	}
	asLive := b.campaigns == ""
	if asLive && live == nil {
		return usagef("no campaigns are live: give others with --campaigns")
	}
	b.def, b.live = live, live // for the zone
	if err := b.load(from, to); err != nil {
		return err
	}
	if b.coupons, err = readCoupons(); err != nil {
		return err
	}
	if asLive {
		b.def, b.campaigns = nil, "those that were live"
	}
	return b.run(ctx, "the log of "+*n.url, func(ctx context.Context, def *campaign.Definition, opt backtest.Options) (*backtested, error) {
		var set *pipeline.Set
		if def != nil {
			if set, err = setFor(def, live); err != nil {
				return nil, err
			}
		}
		res, err := backtestLog(ctx, conn, set, opt, b.std)
		if err == nil && set != nil && res.Result.Mails > 0 && (live == nil || set.Hash() != live.Hash()) {
			res.inputWarnings = append(res.inputWarnings, "users, items and budgets received what the live campaigns sent them: what these campaigns alone ask of items, budgets or pools stays pending, and what visitors did before they became users counts only in features that were live; over a file of the events (--events) all of it counts")
		}
		return res, err
	}, func(ctx context.Context, def *campaign.Definition, keys []string, more int) ([]*explain.Story, error) {
		var set *pipeline.Set
		if def != nil {
			var err error
			if set, err = setFor(def, live); err != nil {
				return nil, err
			}
		}
		others, err := newestUsers(ctx, conn, more)
		if err != nil {
			return nil, err
		}
		return logStories(ctx, conn, set, joined(keys, others), explain.Query{Evaluated: true, Zone: zone.OrUTC(cmp.Or(def, live).Zone)}, 0, b.std)
	})
}

// liveDefinition is the live set; nil if there is none.
func liveDefinition(ctx context.Context, conn *broker.Conn) (*campaign.Definition, error) {
	live, _, err := conn.Live(ctx)
	if err != nil || live.Set == "" {
		return nil, err
	}
	return conn.Set(ctx, live.Set)
}

// setFor compiles a set for the clock of the log, which is that of the live set.
func setFor(def, live *campaign.Definition) (*pipeline.Set, error) {
	if live == nil {
		return compiled(def, def.Clock)
	}
	return compiled(def, live.Clock)
}

// backtestLog runs a set over the live log of a deployment; nil: the sets that were
// live.
func backtestLog(ctx context.Context, conn *broker.Conn, set *pipeline.Set, opt backtest.Options, std stdio) (*backtested, error) {
	res := &backtested{}
	shown := newProgress(std.err)
	var expired []int
	var err error
	res.Result, err = backtest.Log(ctx, conn, set, backtest.LogOptions{
		Options: opt,
		Read:    func(n, of uint64) { shown.show("message %d of %d", n, of) },
		Replayed: func(p int, r audit.Replayed) {
			if r.From > 0 {
				expired = append(expired, p)
			}
		},
	})
	shown.done()
	if err == nil && len(expired) > 0 {
		res.inputWarnings = []string{fmt.Sprintf("the beginning of the log has expired: what came before is taken from the oldest snapshot in partitions %s", ranges(expired))}
	}
	return res, err
}

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/broker"
)

// groupEvery is the time between two events, each of which causes an offer.
const groupEvery = 2 * time.Millisecond

// A groupLoad sends orders on schedule through a gateway in this process, and
// records when the offer of each was stored.
type groupLoad struct {
	stop func()

	mu     sync.Mutex
	due    []time.Time // by number
	offers []groupOffer
	err    error
}

type groupOffer struct {
	due, stored time.Time
}

func startGroupLoad(ctx context.Context, conn *broker.Conn, users int) (*groupLoad, error) {
	g, err := openGateway(ctx, conn, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &groupLoad{}
	reading, err := l.record(ctx, conn)
	if err != nil {
		cancel()
		return nil, err
	}
	bodies := make(chan []byte, 4096)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for body := range bodies {
				if why := post(ctx, g, body); why != "" && ctx.Err() == nil {
					l.mu.Lock()
					l.err = errors.New("bench: the gateway refuses: " + why)
					l.mu.Unlock()
				}
			}
		})
	}
	all.Go(func() { l.schedule(ctx, users, bodies) })
	l.stop = func() {
		cancel()
		all.Wait()
		reading.Stop()
	}
	return l, nil
}

// record records when the offers of the load are stored, until it is stopped.
func (l *groupLoad) record(ctx context.Context, conn *broker.Conn) (jetstream.ConsumeContext, error) {
	con, err := conn.JS.CreateConsumer(ctx, conn.Names.OffersStream(), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy,
		DeliverPolicy: jetstream.DeliverNewPolicy, MemoryStorage: true})
	if err != nil {
		return nil, err
	}
	ownEvent := []byte(`"event":"` + liveID)
	return con.Consume(func(m jetstream.Msg) {
		_, rest, ours := bytes.Cut(m.Data(), ownEvent)
		id, _, _ := bytes.Cut(rest, []byte{'"'})
		n, err := strconv.Atoi(string(id))
		meta, noMeta := m.Metadata()
		l.mu.Lock()
		defer l.mu.Unlock()
		if ours && err == nil && noMeta == nil && n < len(l.due) {
			l.offers = append(l.offers, groupOffer{l.due[n], meta.Timestamp})
		}
	})
}

// schedule makes an order every groupEvery, until ctx is done.
func (l *groupLoad) schedule(ctx context.Context, users int, bodies chan<- []byte) {
	defer close(bodies)
	gen := newGenerator(5, users)
	for due := time.Now(); pauseFor(ctx, time.Until(due)) == nil; due = due.Add(groupEvery) {
		l.mu.Lock()
		n := len(l.due)
		l.due = append(l.due, due)
		l.mu.Unlock()
		body := append(gen.order([]byte(`{"batch":[`), liveID+strconv.Itoa(n)), ']', '}')
		select {
		case bodies <- body:
		case <-ctx.Done():
		}
	}
}

func (l *groupLoad) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// after waits for an offer that was stored after a moment, and returns when the
// first such offer was stored.
func (l *groupLoad) after(ctx context.Context, moment time.Time) (time.Time, error) {
	for from := time.Now(); time.Since(from) < groupWithin; {
		l.mu.Lock()
		for i := len(l.offers) - 1; i >= 0 && l.offers[i].stored.After(moment); i-- {
			if i == 0 || !l.offers[i-1].stored.After(moment) {
				defer l.mu.Unlock()
				return l.offers[i].stored, l.err
			}
		}
		err := l.err
		l.mu.Unlock()
		if err := errors.Join(err, pauseFor(ctx, time.Millisecond)); err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, fmt.Errorf("bench: no offer within %s", groupWithin)
}

// gap returns the longest time between two offers in a period or across its ends.
func (l *groupLoad) gap(from, to time.Time) (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := 1; i < len(l.offers); i++ {
		if a, b := l.offers[i-1].stored, l.offers[i].stored; b.After(from) && a.Before(to) {
			longest = max(longest, b.Sub(a))
		}
	}
	return longest
}

// latencies returns the latencies of the offers whose events were scheduled in a
// period.
func (l *groupLoad) latencies(from, to time.Time) (all []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.offers {
		if o.due.After(from) && o.due.Before(to) {
			all = append(all, o.stored.Sub(o.due))
		}
	}
	return all
}

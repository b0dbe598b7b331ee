package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/pipeline/broker"
)

// A lane publishes parcels to one partition's log, in order, with group commit:
//
//	One publish is under way at a time. Events that come meanwhile form the
//	next pack. So an idle lane adds no delay, and a busy lane sends large packs.
//
// A publish that fails or times out is repeated, with the same pack under the same
// id, until the last deadline of the requests in it. Then those requests fail and
// the lane goes on with the next pack. The lane sends nothing more of a request
// that has failed: its client resends the whole request, and the entities'
// duplicate rings know the ids of the events that were stored.
//
//	what happens to a pack               outcome
//	it is acknowledged                   its parcels are settled
//	its acknowledgement is lost          it is sent again; the stream drops it by id
//	no acknowledgement by the deadline   503; stored or not, the client resends
//	the process dies                     the client has no answer and resends
type lane struct {
	attempts
	lim  limits
	send func(ctx context.Context, p *pack) error
	name string // prefix of pack ids, unique to this lane and process
	met  *metrics
	log  *slog.Logger

	queued atomic.Int64 // bytes reserved: waiting, or in the pack being published

	mu      sync.Mutex
	waiting []*parcel
	ended   bool // nothing more is sent
	wake    chan struct{}

	packs   uint64 // number of packs; for run alone
	failing bool   // the last publish failed; for run alone
}

// limits are the limits of a lane.
type limits struct {
	packBytes  int
	packEvents int
	queueBytes int64
}

// A pack is the content of one publish.
type pack struct {
	data     []byte
	id       string
	events   int
	parcels  []packed
	deadline time.Time
}

// packed is the part of a parcel that is in a pack.
type packed struct {
	*parcel
	bytes int
	last  bool // it is the last part of the parcel
}

func newLane(name string, lim limits, attempt time.Duration, met *metrics, log *slog.Logger, send func(context.Context, *pack) error) *lane {
	l := &lane{lim: lim, send: send, name: name, met: met, log: log, wake: make(chan struct{}, 1)}
	l.attempts = attempts{attempt, met, l.note}
	return l
}

// reserve reserves n bytes of the queue, or returns false. An empty lane accepts
// any number, so that no request is refused for ever.
func (l *lane) reserve(n int) bool {
	for {
		have := l.queued.Load()
		if have > 0 && have+int64(n) > l.lim.queueBytes {
			return false
		}
		if l.queued.CompareAndSwap(have, have+int64(n)) {
			return true
		}
	}
}

func (l *lane) unreserve(n int) { l.queued.Add(int64(-n)) }

// dispatch passes the request's parcels to their lanes. It returns false if one
// lane has no room; then no lane has got a parcel.
func dispatch(r *request) bool {
	for i := range r.parcels {
		if p := &r.parcels[i]; !p.lane.reserve(p.bytes) {
			for j := range i {
				q := &r.parcels[j]
				q.lane.unreserve(q.bytes)
			}
			return false
		}
	}
	r.open.Store(int32(len(r.parcels)))
	for i := range r.parcels {
		p := &r.parcels[i]
		p.lane.put(p)
	}
	return true
}

// put adds a parcel to those that wait.
func (l *lane) put(p *parcel) {
	l.mu.Lock()
	l.waiting = append(l.waiting, p)
	ended := l.ended
	l.mu.Unlock()
	if ended {
		l.end()
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// end fails the requests that wait, and from then on those that come.
func (l *lane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for _, p := range l.waiting {
		l.unreserve(p.bytes)
		p.req.fail(errStopped)
	}
	l.waiting = nil
}

// run publishes packs until ctx is done.
func (l *lane) run(ctx context.Context) {
	defer l.end()
	var p pack
	for {
		if !l.gather(&p) {
			select {
			case <-l.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		l.finish(&p, l.publish(ctx, &p))
	}
}

// gather fills the next pack, or returns false if nothing waits.
func (l *lane) gather(p *pack) bool {
	if cap(p.data) > 2*l.lim.packBytes {
		p.data = nil
	}
	clear(p.parcels)
	*p = pack{data: p.data[:0], parcels: p.parcels[:0]}
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := 0
	for _, w := range l.waiting {
		if w.req.state.Load() != live {
			l.unreserve(w.bytes)
			taken++
			continue
		}
		whole := l.take(p, w)
		if !whole {
			break
		}
		taken++
	}
	n := copy(l.waiting, l.waiting[taken:])
	clear(l.waiting[n:])
	l.waiting = l.waiting[:n]
	if p.events == 0 {
		return false
	}
	l.packs++
	p.id = fmt.Sprintf("%s-%d", l.name, l.packs)
	return true
}

// take adds as many events of a parcel to the pack as fit, and reports whether
// these are all. An empty pack takes an event of any size.
func (l *lane) take(p *pack, w *parcel) bool {
	text, entries := w.req.text, w.req.entries
	part := packed{parcel: w}
	for w.head >= 0 {
		e := entries[w.head]
		size := e.to - e.from + 1
		if p.events > 0 && (len(p.data)+size > l.lim.packBytes || p.events >= l.lim.packEvents) {
			break
		}
		if p.events > 0 {
			p.data = append(p.data, '\n')
		}
		p.data = append(p.data, e.of(text)...)
		p.events++
		part.bytes += size
		w.head = e.next
	}
	part.last = w.head < 0
	if part.bytes > 0 {
		p.parcels = append(p.parcels, part)
		if w.req.deadline.After(p.deadline) {
			p.deadline = w.req.deadline
		}
	}
	return part.last
}

// finish tells the requests the outcome of the pack.
func (l *lane) finish(p *pack, err error) {
	for _, part := range p.parcels {
		l.unreserve(part.bytes)
		part.parcel.bytes -= part.bytes
		switch {
		case err != nil:
			part.req.fail(err)
		case part.last:
			part.req.settle()
		}
	}
}

// publish sends the pack repeatedly until it is acknowledged or given up.
func (l *lane) publish(ctx context.Context, p *pack) error {
	l.met.packEvents.Observe(float64(p.events))
	l.met.packBytes.Observe(float64(len(p.data)))
	return l.repeat(ctx, p.deadline, func(ctx context.Context) error { return l.send(ctx, p) })
}

// attempts repeat a publish that fails.
type attempts struct {
	limit time.Duration // of one attempt
	met   *metrics
	note  func(error) // is called after each attempt
}

// repeat calls send until it returns nil, the deadline has passed, ctx is done, or
// the error is one that another attempt cannot change.
func (a *attempts) repeat(ctx context.Context, deadline time.Time, send func(context.Context) error) error {
	start := time.Now()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		now := time.Now()
		until := now.Add(a.limit)
		if until.After(deadline) {
			until = deadline
		}
		attempt, done := context.WithDeadline(ctx, until)
		err := send(attempt)
		done()
		a.note(err)
		if err == nil {
			a.met.publish.Observe(time.Since(start).Seconds())
			return nil
		}
		a.met.failures.Inc()
		pause := pause/2 + rand.N(pause/2)
		if errors.Is(err, broker.ErrLoud) || errors.Is(err, broker.ErrNoRoom) || time.Now().Add(pause).After(deadline) {
			a.met.givenUp.Inc()
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// note logs when publishing begins to fail and when it works again, but not each
// failure.
func (l *lane) note(err error) {
	switch {
	case err != nil && !l.failing:
		l.log.Warn("publish failed: trying again until the requests' deadlines", "lane", l.name, "error", err)
	case err == nil && l.failing:
		l.log.Info("publishing works again", "lane", l.name)
	}
	l.failing = err != nil
}

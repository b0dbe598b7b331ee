package ingest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/config"
	"offerstream/pipeline/event"
)

// A request holds the events of one HTTP request on their way into the log: the
// texts to store, one after the other, linked into one parcel for each lane.
//
// The handler fills it, dispatches it and waits for one outcome. Lanes read text
// and entries until their parcel is settled, so a request whose handler has left
// early (abandoned) is never reused; nor is one whose timer has gone off (late).
type request struct {
	text     []byte
	entries  []entry
	parcels  []parcel
	deadline time.Time

	events  int // number of events, without facts and clock events
	facts   int
	clocks  int
	key     *config.Key // the key that it was sent with; nil: none is known yet
	sender  string      // for its dead letters
	refused []refusal   // of a batch
	denied  []string    // of a batch: why its key may not send an event, for each
	bots    int         // events of bots, which are not stored
	shares  []share     // of users whose events are limited
	id      string      // for the log
	heard   hearing     // what it will tell who listens

	open  atomic.Int32 // number of parcels that are not settled
	state atomic.Int32 // live, and then one of the others for good
	err   error        // why it failed; read after done
	done  chan struct{}
	ctx   context.Context // of the HTTP request; set while it waits
	limit *time.Timer     // calls look while it waits
	late  atomic.Bool     // look was called, or may still be: it is never reused
}

const (
	live      = iota
	stored    // every event is acknowledged
	failed    // an event will not be acknowledged
	abandoned // the handler no longer waits
)

// An entry is one event's text, with a link to the next event for the same lane.
type entry struct {
	span
	next int // index into entries; -1: there is none
}

// A parcel is the list of one request's events for one lane, in order.
type parcel struct {
	req   *request
	lane  *lane
	head  int // the first entry that is not packed yet; -1: there is none
	tail  int // the last entry
	bytes int // bytes that are not settled yet, as reserved in the lane
}

var requests = sync.Pool{New: func() any {
	r := &request{done: make(chan struct{}, 1)}
	r.limit = time.AfterFunc(time.Hour, r.look)
	r.limit.Stop()
	return r
}}

// add adds the event text[from:] to the lane's parcel.
func (r *request) add(l *lane, from int) {
	at := len(r.entries)
	r.entries = append(r.entries, entry{span{from, len(r.text)}, -1})
	p := r.parcel(l)
	p.bytes += len(r.text) - from + 1
	if p.head < 0 {
		p.head = at
	} else {
		r.entries[p.tail].next = at
	}
	p.tail = at
}

// refuse adds a refused event of a batch.
func (r *request) refuse(why *event.Reject, raw []byte) {
	why.Detail = clip(why.Detail)
	from := len(r.text)
	r.text = appendLetter(r.text, raw)
	r.refused = append(r.refused, refusal{span{from, len(r.text)}, why})
}

// parcel returns the lane's parcel, and makes it if there is none. There are few
// lanes, so a search is cheaper than an index that must be cleared for every
// request.
func (r *request) parcel(l *lane) *parcel {
	for i := range r.parcels {
		if r.parcels[i].lane == l {
			return &r.parcels[i]
		}
	}
	r.parcels = append(r.parcels, parcel{req: r, lane: l, head: -1, tail: -1})
	return &r.parcels[len(r.parcels)-1]
}

// settle records that one parcel is acknowledged completely.
func (r *request) settle() {
	if r.open.Add(-1) == 0 && r.state.CompareAndSwap(live, stored) {
		r.done <- struct{}{}
	}
}

// fail records that an event will not be acknowledged. Only the first error is
// kept.
func (r *request) fail(err error) {
	if r.state.CompareAndSwap(live, failed) {
		r.err = err
		r.done <- struct{}{}
	}
}

var (
	errDeadline = errors.New("the log did not acknowledge in time")
	errGone     = errors.New("the client has left")
	errStopped  = errors.New("the gateway has stopped")
)

// wait returns when every event is acknowledged (nil), when one has failed, at the
// deadline, or when the client has left. After an error, lanes send nothing more of the
// request. Lanes that end fail the requests that they have.
//
// What all requests would wait for is not in the select: each would take its lock.
func (r *request) wait(ctx context.Context, most time.Duration) error {
	r.ctx = ctx
	r.limit.Reset(min(most, leftEvery))
	select {
	case <-r.done:
	case <-ctx.Done():
		if r.state.CompareAndSwap(live, abandoned) {
			r.limit.Stop()
			return errGone
		}
		<-r.done
	}
	if !r.limit.Stop() {
		r.late.Store(true)
	}
	return r.err
}

// look fails a request that waits if its client has left, or if its time is over.
func (r *request) look() {
	r.late.Store(true)
	if r.state.Load() != live {
		return
	}
	most := time.Until(r.deadline)
	switch {
	case most <= 0:
		r.fail(errDeadline)
	case left(r.ctx):
		r.fail(errGone)
	default:
		r.limit.Reset(min(most, leftEvery))
	}
}

// release returns the request to the pool, if no lane can still read it.
func (r *request) release() {
	if s := r.state.Load(); s == failed || s == abandoned || r.late.Load() {
		return
	}
	if cap(r.text) > pooledBytes {
		r.text = nil
	}
	clear(r.entries)
	clear(r.parcels)
	clear(r.refused)
	r.text, r.entries, r.parcels, r.refused = r.text[:0], r.entries[:0], r.parcels[:0], r.refused[:0]
	r.denied, r.shares, r.bots, r.id = r.denied[:0], r.shares[:0], 0, ""
	r.err, r.events, r.facts, r.clocks, r.key, r.sender, r.heard, r.ctx = nil, 0, 0, 0, nil, "", hearing{}, nil
	r.state.Store(live)
	requests.Put(r)
}

// Decoders and envelopes are needed only while a request is read, so they have
// their own pools.
var (
	decoders  = sync.Pool{New: func() any { return new(event.Decoder) }}
	envelopes = sync.Pool{New: func() any { return new(envelope) }}
)

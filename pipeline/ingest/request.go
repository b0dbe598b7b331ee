package ingest

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/pipeline/event"
)

// A request is one HTTP request's events on their way into the log: their
// stored text one after the other, threaded into one parcel per lane.
//
// The handler fills it, sends it and waits for one outcome. Lanes read text
// and entries until their parcel is settled, so that a request whose handler
// has left early (abandoned) is never used again.
type request struct {
	text     []byte
	entries  []entry
	parcels  []parcel
	deadline time.Time

	events  int // events, clock events not counted
	clocks  int
	letters []*event.Reject

	open  atomic.Int32 // parcels that are not settled
	state atomic.Int32 // live, then one of the others for ever
	err   error        // why it failed; read after done
	done  chan struct{}
}

const (
	live      = iota
	stored    // every event is acknowledged
	failed    // some event is not
	abandoned // the handler did not wait
)

// An entry is one event's text and the place of the next one for its lane.
type entry struct {
	span
	next int           // index into entries; -1: none
	why  *event.Reject // why it is a dead letter; nil: it is none
}

// A parcel is what one request has for one lane, in its order.
type parcel struct {
	req   *request
	lane  *lane
	head  int // the first entry not yet packed; -1: none
	tail  int
	bytes int // of what is not yet settled, as the lane counts them
}

var requests = sync.Pool{New: func() any { return &request{done: make(chan struct{}, 1)} }}

// add threads the event text[from:len(text)] into the lane's parcel.
func (r *request) add(l *lane, from int, why *event.Reject) {
	at := len(r.entries)
	r.entries = append(r.entries, entry{span{from, len(r.text)}, -1, why})
	p := r.parcel(l)
	p.bytes += len(r.text) - from + 1
	if p.head < 0 {
		p.head = at
	} else {
		r.entries[p.tail].next = at
	}
	p.tail = at
}

// parcel finds the lane's parcel, or makes it. Lanes are few: a search is
// cheaper than an index that has to be cleared for every request.
func (r *request) parcel(l *lane) *parcel {
	for i := range r.parcels {
		if r.parcels[i].lane == l {
			return &r.parcels[i]
		}
	}
	r.parcels = append(r.parcels, parcel{req: r, lane: l, head: -1, tail: -1})
	return &r.parcels[len(r.parcels)-1]
}

// settle says that all of one parcel is acknowledged.
func (r *request) settle() {
	if r.open.Add(-1) == 0 && r.state.CompareAndSwap(live, stored) {
		r.done <- struct{}{}
	}
}

// fail says that some event will not be acknowledged. The first one counts.
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

// wait returns when every event is acknowledged (nil), when one has failed,
// at the deadline, or when gone or stopped is closed. After an error nothing
// of the request that has not been sent will be.
func (r *request) wait(gone, stopped <-chan struct{}) error {
	timer := time.NewTimer(time.Until(r.deadline))
	defer timer.Stop()
	err := errDeadline
	select {
	case <-r.done:
		return r.err
	case <-timer.C:
	case <-gone:
		err = errGone
	case <-stopped:
		err = errStopped
	}
	if r.state.CompareAndSwap(live, abandoned) {
		return err
	}
	<-r.done
	return r.err
}

// release gives the request's memory back, if no lane can still read it.
func (r *request) release() {
	if s := r.state.Load(); s == failed || s == abandoned {
		return
	}
	if cap(r.text) > pooledBytes {
		r.text = nil
	}
	clear(r.entries)
	clear(r.parcels)
	clear(r.letters)
	r.text, r.entries, r.parcels, r.letters = r.text[:0], r.entries[:0], r.parcels[:0], r.letters[:0]
	r.err, r.events, r.clocks = nil, 0, 0
	r.state.Store(live)
	requests.Put(r)
}

// What is needed for the reading only is pooled apart from requests.
var (
	decoders  = sync.Pool{New: func() any { return new(event.Decoder) }}
	envelopes = sync.Pool{New: func() any { return new(envelope) }}
)

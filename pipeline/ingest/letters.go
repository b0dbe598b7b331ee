package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

// Limits of dead letters. A write key is known to everybody who can read a shop's
// pages, and what is refused costs its sender nothing.
const (
	letterBurst = 2 << 20  // bytes that a write key may have stored at once
	letterRate  = 32 << 10 // bytes per second that it may have stored in the long run
	letterCost  = 256      // what a letter counts in addition to the bytes of its event
	letterQueue = 4 << 20  // bytes that may wait for being stored
	letterWait  = 100 * time.Millisecond
)

// A letterbox stores refused events as dead letters, beside the lanes:
//
//	One message is being stored at a time. Letters that come meanwhile are the
//	next message, as events are in a lane.
//
// An accepted event never waits for a letter. A letter is stored, or counted as
// not stored with one of these reasons:
//
//	rate   its write key has sent too many; a part of them, spread evenly over
//	       each request, is stored
//	queue  letters come faster than they can be stored
//	room   the log has no room for letters
//	log    the log did not acknowledge it in time
//
// A request waits for its letters until its events are acknowledged, and letterWait
// from the beginning in any case, unless letters cannot be stored now. So usually a
// letter is in the log when the request is answered. If the process is killed before
// it is, it is lost; the answer has counted it as refused.
type letterbox struct {
	attempts
	name      string // prefix of the messages' ids
	packBytes int
	timeout   time.Duration
	store     func(ctx context.Context, id string, letters []pipeline.Dead) error
	met       *metrics
	log       *slog.Logger

	failing atomic.Bool // the last attempt to store a message failed

	mu      sync.Mutex
	keys    map[[sha256.Size]byte]*allowance // by the key's hash
	waiting []letter
	bytes   int // what waiting counts
	closed  bool
	end     time.Time // when to give up after close

	wake  chan struct{}
	ended chan struct{} // closed when run has returned
}

// A letter is a dead letter that waits.
type letter struct {
	pipeline.Dead
	of *delivery
}

func (l *letter) cost() int { return len(l.Raw) + letterCost }

// A delivery is the letters of one request that are to be stored.
type delivery struct {
	open int           // under the letterbox's mu
	done chan struct{} // closed when each is stored, or given up
}

// A refusal is a refused event of a request: text[from:to].
type refusal struct {
	span
	why *event.Reject
}

// An allowance is how many bytes a write key may have stored now. It grows by
// letterRate, up to letterBurst.
type allowance struct {
	bytes int64
	at    time.Time
}

// grow returns the allowance at now.
func (a *allowance) grow(now time.Time) int64 {
	if a.at.IsZero() {
		a.bytes, a.at = letterBurst, now
	}
	if more := int64(now.Sub(a.at).Seconds() * letterRate); more > 0 { // less than a byte is not lost: at stays
		a.bytes, a.at = min(a.bytes+more, letterBurst), now
	}
	return a.bytes
}

func (b *letterbox) queued() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(b.bytes)
}

// keep forgets the allowances of all but the given keys.
func (b *letterbox) keep(keys []config.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := map[[sha256.Size]byte]*allowance{}
	for i := range keys {
		if a := b.keys[keys[i].Hash]; a != nil {
			kept[keys[i].Hash] = a
		}
	}
	b.keys = kept
}

// appendLetter appends a refused event as it came, but without what is secret in it:
// the values of userToken, visitorToken and writeKey are empty. Who reads dead letters could
// otherwise act as the user, or as the server.
func appendLetter(dst, raw []byte) []byte {
	copied := 0
	for m := (members{b: raw}); ; {
		key, val, ok := m.next()
		if !ok {
			return append(dst, raw[copied:]...)
		}
		switch name(key.of(raw)) {
		case memberToken, memberVisitor, "writeKey":
			dst = append(append(dst, raw[copied:val.from]...), `""`...)
			copied = val.to
		}
	}
}

// put takes the refused events of a request with the given key and sender. It
// returns nil if none of them will be stored.
func (b *letterbox) put(key *config.Key, sender string, text []byte, refused []refusal) *delivery {
	if len(refused) == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	kept, overRate := b.sample(key, refused)
	d := &delivery{done: make(chan struct{})}
	overQueue := 0
	for _, r := range kept {
		l := letter{pipeline.Dead{Reason: r.why.Reason, Detail: r.why.Detail, Sender: sender}, d}
		if b.bytes+r.to-r.from+letterCost > letterQueue || b.closed {
			overQueue++
			continue
		}
		l.Raw = bytes.Clone(r.of(text))
		b.bytes += l.cost()
		b.waiting = append(b.waiting, l)
		d.open++
	}
	b.met.unstored.WithLabelValues("rate").Add(float64(overRate))
	b.met.unstored.WithLabelValues("queue").Add(float64(overQueue))
	if d.open == 0 {
		return nil
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return d
}

// sample returns those of a request's letters that its key may have stored, and the
// number of the others. If these are not all, they are spread evenly.
func (b *letterbox) sample(key *config.Key, refused []refusal) (kept []refusal, others int) {
	a := b.keys[key.Hash]
	if a == nil {
		a = &allowance{}
		b.keys[key.Hash] = a
	}
	may, all := a.grow(time.Now()), int64(0)
	for _, r := range refused {
		all += int64(r.to - r.from + letterCost)
	}
	if all <= may {
		a.bytes -= all
		return refused, 0
	}
	seen, used := int64(0), int64(0)
	for _, r := range refused {
		cost := int64(r.to - r.from + letterCost)
		seen += cost
		if used+cost <= seen*may/all {
			used += cost
			kept = append(kept, r)
		}
	}
	a.bytes -= used
	return kept, len(refused) - len(kept)
}

// await waits for a request's letters until the given time, unless letters cannot be
// stored now.
func (b *letterbox) await(d *delivery, until time.Time, gone, stopped <-chan struct{}) {
	if d == nil || b.failing.Load() {
		return
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-d.done:
	case <-timer.C:
	case <-gone:
	case <-stopped:
	}
}

// run stores letters until ctx is done, or until none waits after close.
func (b *letterbox) run(ctx context.Context) {
	defer close(b.ended)
	for n := 1; ctx.Err() == nil; n++ {
		letters, deadline, closed := b.take()
		if len(letters) == 0 {
			if closed {
				return
			}
			select {
			case <-b.wake:
			case <-ctx.Done():
			}
			continue
		}
		dead := make([]pipeline.Dead, len(letters))
		for i, l := range letters {
			dead[i] = l.Dead
		}
		id := fmt.Sprintf("%s-%d", b.name, n)
		err := b.attempts.repeat(ctx, deadline, func(ctx context.Context) error { return b.store(ctx, id, dead) })
		b.settle(letters, err)
	}
	b.close()
	for { // ctx is done: nothing more is stored
		letters, _, _ := b.take()
		if len(letters) == 0 {
			return
		}
		b.settle(letters, errStopped)
	}
}

// take returns the letters of the next message.
func (b *letterbox) take() (letters []letter, deadline time.Time, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, size := 0, 0
	for n < len(b.waiting) && (n == 0 || size+b.waiting[n].cost() <= b.packBytes) {
		size += b.waiting[n].cost()
		n++
	}
	letters = b.waiting[:n:n]
	if b.waiting = b.waiting[n:]; len(b.waiting) == 0 {
		b.waiting = nil
	}
	deadline = time.Now().Add(b.timeout)
	if b.closed && b.end.Before(deadline) {
		deadline = b.end
	}
	return letters, deadline, b.closed
}

// settle tells the requests of a message's letters that they are stored, or given
// up.
func (b *letterbox) settle(letters []letter, err error) {
	reason := ""
	switch {
	case err == nil:
		b.met.letters.Add(float64(len(letters)))
	case errors.Is(err, broker.ErrNoRoom):
		reason = "room"
	default:
		reason = "log"
	}
	if err != nil {
		b.met.unstored.WithLabelValues(reason).Add(float64(len(letters)))
		if reason == "log" {
			b.log.Error("dead letters are lost: the log did not acknowledge them", "letters", len(letters), "first_reason", letters[0].Reason, "error", err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range letters {
		l := &letters[i]
		b.bytes -= l.cost()
		if l.of.open--; l.of.open == 0 {
			close(l.of.done)
		}
	}
	clear(letters)
}

// note logs when storing letters begins to fail and when it works again.
func (b *letterbox) note(err error) {
	was := b.failing.Swap(err != nil)
	switch {
	case err != nil && !was:
		b.log.Warn("dead letters cannot be stored; events can be, and do not wait for them", "error", err)
	case err == nil && was:
		b.log.Info("dead letters are stored again")
	}
}

// close makes run return once every letter that waits is stored or given up, by
// the timeout of a request.
func (b *letterbox) close() {
	b.mu.Lock()
	b.closed, b.end = true, time.Now().Add(b.timeout)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

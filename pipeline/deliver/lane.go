package deliver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/value"
)

// held is an offer that was taken and is not acknowledged.
type held struct {
	seq       uint64 // in OFFERS
	stored    time.Time
	partition int
	s         uint64 // of the offer's position
	t         int64
	key       string // the lane's: of the user's entity
	offer     *pipeline.Offer
	raw       []byte // the offer's JSON
	damaged   error  // why it is not an offer

	attempts int // that have failed
	last     *failure

	msg   jetstream.Msg // the newest delivery; under holding.mu
	taken time.Time
}

// readOffer reads an offer.
func readOffer(raw []byte) (*pipeline.Offer, error) {
	o := new(pipeline.Offer)
	if err := json.Unmarshal(raw, o); err != nil {
		return nil, fmt.Errorf("it is not an offer: %w", err)
	}
	switch {
	case o.ID == "" || o.User == "":
		return nil, errors.New("it is not an offer: it has no id or no user")
	case len(o.ID) > 128 || strings.ContainsFunc(o.ID, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '.' }): // it is signed with dots around it
		return nil, errors.New("it is not an offer: its id is none")
	case o.Withheld || o.Test:
		return nil, errors.New("it is withheld, or a test")
	}
	return o, nil
}

// expires is when the offer expires, in nanoseconds since 1970; 0: never.
func (h *held) expires() int64 { return nanoseconds(h.offer.Expires) }

func nanoseconds(text string) int64 {
	if text == "" {
		return 0
	}
	ns, err := value.ParseTime(text)
	if err != nil {
		return 0
	}
	return ns
}

// remembered is how many acknowledged offers are remembered, in case an
// acknowledgement is lost and they come again.
const remembered = 8192

// A holding is what was taken and is not acknowledged: a lane for each user, on which
// one offer waits for the one before it.
type holding struct {
	mu    sync.Mutex
	all   map[uint64]*held // by sequence
	lanes map[string]*lane // by key
	bytes int
	free  *sync.Cond // there is more room

	done [remembered]uint64 // acknowledged, a ring
	next int
	is   map[uint64]bool // of done

	// What a process before this one had taken comes first, so that the order of a
	// user's offers is kept: until it has come, or must have, no lane runs. The server
	// gives it out again before anything new, but maybe only when due.
	closed bool
	back   int    // how much of it is still to come
	upto   uint64 // its highest sequence
	due    bool   // it is due: what has not come then was parked
	starts []func()

	lanesEnded sync.WaitGroup
}

// A lane is the offers of one user, by sequence. The first is being worked on.
type lane struct{ waits []*item }

type item struct {
	*held
	do func()
}

func (g *holding) init() {
	g.all, g.lanes, g.is = map[uint64]*held{}, map[string]*lane{}, map[uint64]bool{}
	g.free = sync.NewCond(&g.mu)
}

// returning tells that n offers up to a sequence were taken by a process before this
// one. What that has parked comes later; the rest within the time after which the server
// gives it out again.
func (g *holding) returning(n int, upto uint64, within time.Duration) {
	if n == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.back, g.upto = true, n, upto
	time.AfterFunc(within+within/8, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.due = true
		g.free.Broadcast()
	})
	time.AfterFunc(within+within/4, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.back = 0
		g.came()
	})
}

// came lets the lanes run when all that was to come has come.
func (g *holding) came() {
	if !g.closed || g.back > 0 {
		return
	}
	g.closed = false
	for _, start := range g.starts {
		start()
	}
	g.starts = nil
	g.free.Broadcast()
}

// room waits until there is room for offers, and returns for how many. Before what is to
// come is due, half of the room is kept for it.
func (g *holding) room(over func() bool) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		n, bytes := maxHeld, maxBytes
		if g.closed && !g.due {
			n, bytes = n/2, bytes/2
		}
		if over() || len(g.all) < n && g.bytes < bytes {
			return n - len(g.all)
		}
		g.free.Wait()
	}
}

func (g *holding) wakeUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free.Broadcast()
}

// put puts an offer on its lane. do works on it, in a goroutine of the lane's, when it
// is the first there.
func (g *holding) put(ctx context.Context, h *held, m jetstream.Msg, do func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if was := g.all[h.seq]; was != nil { // the server has heard nothing of it for too long
		was.msg, was.taken = m, time.Now()
		return
	}
	if g.is[h.seq] {
		_ = m.Ack() // the first acknowledgement was lost
		return
	}
	h.msg, h.taken = m, time.Now()
	g.all[h.seq] = h
	g.bytes += len(h.raw)
	if g.closed && h.seq <= g.upto {
		g.back--
		defer g.came()
	}
	l := g.lanes[h.key]
	if l == nil {
		l = &lane{}
		g.lanes[h.key] = l
		g.lanesEnded.Add(1)
		start := func() { go g.run(ctx, h.key, l) }
		if g.closed {
			g.starts = append(g.starts, start)
		} else {
			start()
		}
	}
	i := len(l.waits)
	if g.closed { // what comes again need not come in order
		i, _ = slices.BinarySearchFunc(l.waits, h.seq, func(a *item, seq uint64) int { return cmp.Compare(a.seq, seq) })
	}
	l.waits = slices.Insert(l.waits, i, &item{h, do})
}

// passed counts a message that is no offer.
func (g *holding) passed(seq uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed && seq <= g.upto {
		g.back--
		g.came()
	}
}

// run works on the offers of a lane, one after another, until there are none or ctx is
// done.
func (g *holding) run(ctx context.Context, key string, l *lane) {
	defer g.lanesEnded.Done()
	for {
		g.mu.Lock()
		if len(l.waits) == 0 || ctx.Err() != nil {
			delete(g.lanes, key)
			g.mu.Unlock()
			return
		}
		first := l.waits[0]
		g.mu.Unlock()
		first.do()
		g.mu.Lock()
		l.waits[0] = nil
		l.waits = l.waits[1:]
		g.mu.Unlock()
	}
}

// acknowledge ends the work on an offer.
func (g *holding) acknowledge(h *held) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = h.msg.Ack() // if it is lost, the offer comes again and is recognised
	if old := g.done[g.next]; old != 0 {
		delete(g.is, old)
	}
	g.done[g.next], g.is[h.seq] = h.seq, true
	g.next = (g.next + 1) % remembered
	g.release(h)
}

// park gives an offer back to the server, which gives it out again after a time.
func (g *holding) park(h *held, d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = h.msg.NakWithDelay(d)
	g.release(h)
}

func (g *holding) release(h *held) {
	delete(g.all, h.seq)
	g.bytes -= len(h.raw)
	g.free.Broadcast()
}

// messages are the newest deliveries of all offers that were taken before a time.
func (g *holding) messages(before time.Time) (all []jetstream.Msg) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.all {
		if h.taken.Before(before) {
			all = append(all, h.msg)
		}
	}
	return all
}

// count is how many offers are held.
func (g *holding) count() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return float64(len(g.all))
}

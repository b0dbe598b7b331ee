package ingest

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/pipeline/broker"
)

// Limits of listeners. What is sent to a gateway must not cost more because somebody
// looks at it.
const (
	mostListeners = 16
	listenRate    = 1000      // events a second that one listener is told of
	listenQueue   = 2 << 20   // bytes that may wait for being sent to one listener
	listenSend    = 256 << 10 // bytes of one message
	listenMemory  = 16 << 20  // bytes of notices of all requests that are not answered yet
	listenFor     = 3 * broker.WishEvery
)

// listeners are those who want to see what arrives now (broker.Wish). A request notes its
// events when it reads them (hearing), and tells of them when its answer is known: of
// those that were stored, after the log has acknowledged them. Each listener has a
// goroutine that sends; a request only adds to what that is to send. What is too much is
// counted, and the listener is told how much that was.
//
// While nobody listens, a request that succeeds loads one pointer.
type listeners struct {
	now  atomic.Pointer[audience] // nil: nobody listens
	held atomic.Int64             // bytes of notices that are not told yet

	mu     sync.Mutex // held to change now and the listeners' until
	closed bool
}

// An audience is a set of listeners. It does not change.
type audience []*listener

func (a *audience) wants(n *broker.Notice) bool {
	return slices.ContainsFunc(*a, func(l *listener) bool { return l.wish.Wants(n) })
}

// A listener is one of those who listen.
type listener struct {
	wish  broker.Wish
	send  func(lines []byte) error
	until time.Time     // when it is forgotten
	wake  chan struct{} // has an element when something is to be sent
	over  chan struct{} // closed when it has ended

	mu     sync.Mutex
	lines  []byte // to be sent
	second int64  // since 1970, to which told belongs
	told   int
	more   int // events that it was not told of
}

// gatewayName names this process for who listens to several.
var gatewayName = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		host = "gateway"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
})

// Listen takes a wish, or its renewal, as broker.GatewayLog.Listeners passes it on.
func (g *Gateway) Listen(w broker.Wish, send func(lines []byte) error) broker.Hearing {
	return g.listeners.take(w, send, g.opt.Logger)
}

func (l *listeners) take(w broker.Wish, send func([]byte) error, log *slog.Logger) broker.Hearing {
	l.mu.Lock()
	defer l.mu.Unlock()
	answer := broker.Hearing{Gateway: gatewayName()}
	var all audience
	if now := l.now.Load(); now != nil {
		all = *now
	}
	i := slices.IndexFunc(all, func(has *listener) bool { return has.wish.ID == w.ID })
	switch {
	case i >= 0 && w.Over:
		l.remove(all[i])
	case i >= 0:
		all[i].until = time.Now().Add(listenFor)
	case w.Over || l.closed:
	case len(all) >= mostListeners:
		answer.Full = true
	default:
		is := &listener{wish: w, send: send, until: time.Now().Add(listenFor), wake: make(chan struct{}, 1), over: make(chan struct{})}
		more := append(slices.Clip(all), is)
		l.now.Store(&more)
		log.Info("somebody listens to what arrives", "listener", w.ID)
		go func() {
			is.run(l)
			log.Info("a listener has gone", "listener", w.ID)
		}()
	}
	return answer
}

// remove ends a listener. l.mu is held.
func (l *listeners) remove(is *listener) {
	now := l.now.Load()
	if now == nil || !slices.Contains(*now, is) {
		return
	}
	close(is.over)
	if len(*now) == 1 {
		l.now.Store(nil)
		return
	}
	rest := slices.DeleteFunc(slices.Clone(*now), func(other *listener) bool { return other == is })
	l.now.Store(&rest)
}

// expire ends a listener whose wish was not renewed.
func (l *listeners) expire(is *listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !time.Now().Before(is.until) {
		l.remove(is)
	}
}

// close ends all listeners for good. They are sent what waits.
func (l *listeners) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for now := l.now.Load(); now != nil; now = l.now.Load() {
		l.remove((*now)[0])
	}
}

// run sends what the listener is told, until it has ended.
func (is *listener) run(of *listeners) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-is.wake:
			is.flush(false)
		case <-tick.C:
			is.flush(true)
			of.expire(is)
		case <-is.over:
			is.flush(true)
			return
		}
	}
}

// flush sends what waits, and if it is time how many events the listener was not told of.
func (is *listener) flush(count bool) {
	is.mu.Lock()
	lines, more := is.lines, 0
	is.lines = nil
	if count {
		more, is.more = is.more, 0
	}
	is.mu.Unlock()
	lost := 0
	for len(lines) > 0 {
		n := len(lines)
		if n > listenSend {
			n = bytes.LastIndexByte(lines[:listenSend], '\n') + 1
		}
		if is.send(lines[:n]) != nil {
			lost += bytes.Count(lines[:n], []byte("\n"))
		}
		lines = lines[n:]
	}
	if more > 0 && is.send(fmt.Appendf(nil, "{\"more\":%d}\n", more)) != nil {
		lost += more
	}
	is.miss(lost)
}

// miss counts events that the listener is not told of.
func (is *listener) miss(n int) {
	is.mu.Lock()
	is.more += n
	is.mu.Unlock()
}

// tell gives a listener a line to send, if it is not too much.
func (is *listener) tell(line []byte, now int64) {
	is.mu.Lock()
	defer is.mu.Unlock()
	if now != is.second {
		is.second, is.told = now, 0
	}
	if is.told >= listenRate || len(is.lines)+len(line) > listenQueue {
		is.more++
		return
	}
	is.told++
	is.lines = append(is.lines, line...)
	select {
	case is.wake <- struct{}{}:
	default:
	}
}

package ingest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/config"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
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

	mostProperties = 300 // bytes of an event's properties in a notice
	noticeCost     = 512 // what a notice counts in addition to its texts
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

// A hearing is what a request will tell of its events.
type hearing struct {
	to     *audience // who listened when it began; nil: nobody
	of     *listeners
	at     int64       // when it was received, nanoseconds since 1970; 0: its body was not read
	key    *config.Key // nil: none is known
	events []broker.Notice
	noted  int // how many events it had, whether somebody wants to know of them or not
}

// note notes what became of an event of the request, as place has returned it: that it
// is accepted, as far as it depends on the event.
func (r *request) note(raw []byte, def event.Type, err error) {
	if r.heard.to == nil {
		return
	}
	if err == nil { // as it will be in the log
		raw = r.entries[len(r.entries)-1].of(r.text)
	}
	r.heard.note(raw, def, r.key, err)
}

func (h *hearing) note(raw []byte, def event.Type, key *config.Key, err error) {
	n := noticeOf(raw, def)
	n.Key = key.Name
	var rej *event.Reject
	var no *event.Denied
	switch {
	case errors.As(err, &rej):
		n.Outcome, n.Reason, n.Detail = broker.Refused, rej.Reason, clip(rej.Detail)
	case errors.As(err, &no):
		n.Outcome, n.Reason, n.Detail = broker.Denied, no.Reason, clip(no.Detail)
	case err == errBot:
		n.Outcome, n.Reason, n.Detail = broker.Refused, "bot", err.Error()
	case err != nil: // the whole request is refused
		h.drop()
		return
	}
	h.noted++
	switch {
	case !h.to.wants(&n):
	case h.of.held.Add(cost(&n)) > listenMemory:
		h.of.held.Add(-cost(&n))
		for _, is := range *h.to {
			if is.wish.Wants(&n) {
				is.miss(1)
			}
		}
	default:
		h.events = append(h.events, n)
	}
}

// drop forgets the notices.
func (h *hearing) drop() {
	for i := range h.events {
		h.of.held.Add(-cost(&h.events[i]))
	}
	h.events, h.noted = nil, 0
}

// cost is about how many bytes a notice holds while its request is not answered.
func cost(n *broker.Notice) int64 {
	return int64(noticeCost + len(n.Event) + len(n.User) + len(n.Anonymous) + len(n.Item) + len(n.ID) + len(n.Properties) + len(n.Type) + len(n.Detail))
}

// tell tells those who listen what has become of a request. p is why it failed, nil if it
// was answered with 200.
func (g *Gateway) tell(path string, h hearing, p *problem) {
	if h.to != nil || p != nil && g.listeners.now.Load() != nil {
		g.tellAll(path, h, p)
	}
}

func (g *Gateway) tellAll(path string, h hearing, p *problem) {
	if h.to == nil {
		if h.to = g.listeners.now.Load(); h.to == nil {
			return
		}
	}
	second := time.Now().Unix()
	all := broker.Notice{At: value.FormatTime(cmp.Or(h.at, g.opt.Now())), Gateway: gatewayName(), Path: clip(path), Status: http.StatusOK}
	if h.key != nil {
		all.Key = h.key.Name
	}
	if p != nil {
		all.Status = p.status
	}
	for i := range h.events {
		n := h.events[i]
		n.At, n.Gateway, n.Path, n.Status = all.At, all.Gateway, all.Path, all.Status
		switch {
		case n.Outcome != "":
		case p != nil:
			n.Outcome, n.Reason, n.Detail = outcomeOf(p), p.reason, p.text
		default:
			n.Outcome = broker.Accepted
		}
		h.to.tell(&n, second)
	}
	if p != nil && h.noted == 0 {
		all.Outcome, all.Reason, all.Detail = outcomeOf(p), p.reason, p.text
		h.to.tell(&all, second)
	}
	h.drop()
}

// tell gives a notice to those who want it.
func (a *audience) tell(n *broker.Notice, second int64) {
	var line []byte
	for _, is := range *a {
		if !is.wish.Wants(n) {
			continue
		}
		if line == nil {
			b, err := json.Marshal(n)
			if err != nil {
				return // cannot happen: it has only texts and numbers
			}
			line = append(b, '\n')
		}
		is.tell(line, second)
	}
}

// outcomeOf is what has become of an event whose request has failed.
func outcomeOf(p *problem) string {
	switch {
	case p.status == http.StatusServiceUnavailable:
		return broker.Failed
	case p.status == http.StatusForbidden || p.reason == event.DeniedUnproved:
		return broker.Denied
	}
	return broker.Refused
}

// noticeOf reads what a notice tells of an event, as far as it can: the event may be no
// JSON. It does not recurse, whatever the event is.
func noticeOf(raw []byte, def event.Type) (n broker.Notice) {
	var texts [len(noticeMembers)][]byte // the values of the members
	for m := (members{b: raw}); ; {
		key, val, ok := m.next()
		if !ok {
			break
		}
		if i := slices.Index(noticeMembers[:], name(key.of(raw))); i >= 0 && texts[i] == nil { // of equal ones the first counts
			texts[i] = val.of(raw)
		}
	}
	text := func(member string) string {
		v := texts[slices.Index(noticeMembers[:], member)]
		if len(v) > 0 && (v[0] == '-' || v[0] >= '0' && v[0] <= '9') { // an id may be a number
			return cut(string(v), event.MaxUserBytes)
		}
		return cut(stringOf(v), event.MaxUserBytes)
	}
	if n.Type = text("type"); n.Type == "" && def > 0 {
		n.Type = def.String()
	}
	nameIn, propertiesIn := "event", "properties"
	switch n.Type {
	case "page", "screen":
		nameIn = "name"
	case "identify", "group":
		propertiesIn = "traits"
	case "fact":
		nameIn, propertiesIn = "fact", "values"
	case "item":
		n.Item = text("kind") + "/" + text("id")
	}
	n.Event, n.ID = text(nameIn), text("messageId")
	if n.Type != "item" && n.Type != "fact" && n.Type != "clock" {
		n.User, n.Anonymous = text("userId"), text("anonymousId")
	}
	n.Properties = propertiesText(texts[slices.Index(noticeMembers[:], propertiesIn)])
	return n
}

// noticeMembers are the members of an event that a notice may tell.
var noticeMembers = [...]string{"type", "event", "name", "fact", "kind", "id", "userId", "anonymousId", "messageId", "properties", "traits", "values"}

// propertiesText is the beginning of properties, without a user token.
func propertiesText(v []byte) string {
	if mayHaveToken(v) {
		if len(v) > event.MaxEventBytes || v[0] != '{' {
			return ""
		}
		v = withoutToken(v)
	}
	return cut(string(v[:min(len(v), mostProperties+1)]), mostProperties)
}

// cut shortens a text to a number of bytes.
func cut(s string, most int) string {
	if len(s) <= most {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

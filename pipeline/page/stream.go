package page

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline/value"
)

// A Reader is who may see whose offers.
type Reader struct {
	Key     string    // the user's or visitor's, as an entity's
	Visitor string    // the visitor's id, if his token was issued here
	Expires time.Time // of the token
	From    any       // the address, nil: not limited
}

// A LimitError means that there are too many streams.
type LimitError struct{ Limit string } // id, address or total

func (e *LimitError) Error() string {
	return map[string]string{"id": "this user or visitor", "address": "this address", "total": "this gateway"}[e.Limit] + " has too many streams"
}

// How a stream ends.
type ending uint8

const (
	endAgain ending = iota + 1 // the page comes again at once: the gateway stops, or reads its board again
	endSlow                    // it reads too slowly
	endLogin                   // the visitor has become a user
)

// A Stream is an open stream of a page.
type Stream struct {
	reader Reader
	queue  chan *told
	ended  chan struct{} // closed when end is set
	end    ending
}

// told is a change, and how far the gateway had read.
type told struct {
	Change
	at position
}

// A position is how far the two feeds have been read: the sequences in OFFERS of their last
// messages.
type position struct{ web, page uint64 }

func (p *position) pass(web bool, seq uint64) {
	if web {
		p.web = seq
	} else {
		p.page = seq
	}
}

func (p position) behind(other position) bool { return p.web < other.web || p.page < other.page }

// tell passes changes on to those who watch. It never waits.
func (p *Page) tell(all []Change) {
	for _, c := range all {
		for _, s := range p.watching[c.Key] {
			if s.end != 0 {
				continue
			}
			if c.Login {
				s.finish(endLogin)
				continue
			}
			select {
			case s.queue <- &told{c, p.at}:
			default:
				p.met.slow.Inc()
				s.finish(endSlow)
			}
		}
	}
}

func (s *Stream) finish(how ending) {
	if s.end == 0 {
		s.end = how
		close(s.ended)
	}
}

func (p *Page) endAll(how ending) {
	for _, all := range p.watching {
		for _, s := range all {
			s.finish(how)
		}
	}
}

// Close tells all streams to come again, and refuses further ones.
func (p *Page) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	p.endAll(endAgain)
}

// watch begins a stream, with what its reader can see now.
func (p *Page) watch(r Reader, has []string) (s *Stream, news []*told, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := ""
	switch {
	case !p.ready || p.closing:
		return nil, nil, ErrNotReady
	case p.streams >= p.opt.Streams:
		limit = "total"
	case len(p.watching[r.Key]) >= p.opt.EachID:
		limit = "id"
	case r.From != nil && p.from[r.From] >= p.opt.EachAddress:
		limit = "address"
	}
	if limit != "" {
		p.met.refuse.WithLabelValues(limit).Inc()
		return nil, nil, &LimitError{limit}
	}
	s = &Stream{reader: r, queue: make(chan *told, p.opt.Queue), ended: make(chan struct{})}
	p.watching[r.Key] = append(p.watching[r.Key], s)
	p.streams++
	if r.From != nil {
		p.from[r.From]++
	}
	if p.board.User(r.Key) != "" {
		s.finish(endLogin)
		return s, nil, nil
	}
	open := p.board.Open(nil, r.Key, p.opt.Now())
	for _, id := range has {
		if !slices.ContainsFunc(open, func(o *Offer) bool { return o.ID == id }) {
			news = append(news, &told{Change{Offer: &Offer{ID: id}, Why: p.board.Hidden(r.Key, id)}, p.at})
		}
	}
	for _, o := range open {
		if !slices.Contains(has, o.ID) {
			news = append(news, &told{Change{Offer: o}, p.at})
		}
	}
	return s, news, nil
}

func (p *Page) unwatch(s *Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := s.reader.Key
	all := slices.DeleteFunc(p.watching[key], func(x *Stream) bool { return x == s })
	if p.watching[key] = all; len(all) == 0 {
		delete(p.watching, key)
	}
	p.streams--
	if from := s.reader.From; from != nil {
		if p.from[from]--; p.from[from] == 0 {
			delete(p.from, from)
		}
	}
}

// Limits of the header Last-Event-ID.
const (
	longestID = 4 << 10 // bytes
	longWait  = 2 * time.Second
)

// parseLast reads a Last-Event-ID. One that cannot be read is as none.
func parseLast(text string) (at position, has []string) {
	parts := strings.SplitN(text, "-", 3)
	if len(text) > longestID || len(parts) != 3 {
		return position{}, nil
	}
	web, err1 := strconv.ParseUint(parts[0], 10, 64)
	page, err2 := strconv.ParseUint(parts[1], 10, 64)
	if err1 != nil || err2 != nil {
		return position{}, nil
	}
	for id := range strings.SplitSeq(parts[2], ".") {
		if isOfferID(id) && !slices.Contains(has, id) {
			has = append(has, id)
		}
	}
	return position{web, page}, has
}

// isOfferID reports whether a text can be an offer's id: 32 hexadecimal digits.
func isOfferID(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(id) == 32
}

// await waits a moment if another gateway, from which the page comes, had read more.
func (p *Page) await(r *http.Request, at position) {
	limit := time.NewTimer(longWait)
	defer limit.Stop()
	for {
		p.mu.Lock()
		moved := p.moved
		behind := p.ready && p.at.behind(at)
		if behind {
			p.waiting++
		}
		p.mu.Unlock()
		if !behind {
			return
		}
		select {
		case <-moved:
		case <-limit.C: // NATS was restored from a backup
			return
		case <-r.Context().Done():
			return
		}
	}
}

// Serve is a stream of server-sent events, until the page or the gateway ends it. If it
// returns an error, nothing was answered.
func (p *Page) Serve(w http.ResponseWriter, r *http.Request, reader Reader) error {
	at, has := parseLast(r.Header.Get("Last-Event-ID"))
	p.await(r, at)
	s, news, err := p.watch(reader, has)
	if err != nil {
		return err
	}
	defer p.unwatch(s)
	wr := &writer{page: p, w: w, rc: http.NewResponseController(w), has: has}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx
	wr.text = fmt.Appendf(wr.text, "retry: %d\n\n", 1000+rand.IntN(2000))
	for _, t := range news {
		wr.change(t)
	}
	if wr.flush() {
		s.run(wr, r)
	}
	return nil
}

// run sends what happens.
func (s *Stream) run(wr *writer, r *http.Request) {
	p := wr.page
	beat := time.NewTicker(p.opt.Heartbeat)
	defer beat.Stop()
	token := time.NewTimer(s.renewIn(p))
	defer token.Stop()
	for ok := true; ok; {
		select { // what was told before the end comes before it
		case t := <-s.queue:
			wr.change(t)
			ok = wr.flush()
			continue
		default:
		}
		select {
		case t := <-s.queue:
			wr.change(t)
		case <-beat.C:
			wr.text = append(wr.text, ":\n\n"...)
		case <-token.C:
			if s.reader.Visitor == "" {
				wr.event("again", `{"reason":"token"}`)
				wr.flush()
				return
			}
			wr.event("token", tokenJSON(p.opt.Keys, s.reader.Visitor, p.opt.Now()))
			token.Reset(tokenRenew)
		case <-s.ended:
			switch {
			case len(s.queue) > 0:
				continue
			case s.end == endLogin:
				wr.event("login", `{}`)
			case s.end == endSlow:
				wr.event("again", `{"reason":"slow"}`)
			default:
				wr.event("again", `{"reason":"restart"}`)
			}
			wr.flush()
			return
		case <-r.Context().Done():
			return
		}
		ok = wr.flush()
	}
}

// renewIn is in how long the token needs to be renewed, or ends the stream.
func (s *Stream) renewIn(p *Page) time.Duration {
	left := s.reader.Expires.Sub(time.Unix(0, p.opt.Now()))
	if s.reader.Visitor != "" {
		left -= TokenLife - tokenRenew
	}
	return max(left, 0)
}

func tokenJSON(k *Keys, id string, now int64) string {
	token, expires := k.Token(id, time.Unix(0, now))
	return fmt.Sprintf(`{"id":%q,"token":%q,"expires":%q}`, id, token, value.FormatTime(expires.UnixNano()))
}

// A writer writes events.
type writer struct {
	page *Page
	w    http.ResponseWriter
	rc   *http.ResponseController
	text []byte
	has  []string // ids of the offers that the page has
}

// change adds an event of an offer that appears or is taken back. Whatever the board says, a
// page is not told of what it has, nor that something goes which it has not.
func (w *writer) change(t *told) {
	id := t.Offer.ID
	i := slices.Index(w.has, id)
	if (i >= 0) == (t.Why == "") {
		return
	}
	name := "offer"
	if t.Why == "" {
		w.has = append(w.has, id)
	} else {
		name = "gone"
		w.has = slices.Delete(w.has, i, i+1)
	}
	w.text = fmt.Appendf(w.text, "id: %d-%d-%s\n", t.at.web, t.at.page, strings.Join(w.has, "."))
	if t.Why == "" {
		w.event(name, string(t.Offer.Body))
	} else {
		w.event(name, fmt.Sprintf(`{"id":%q,"reason":%q}`, id, t.Why))
	}
}

// event adds an event. data is on one line.
func (w *writer) event(name, data string) {
	w.page.met.events.WithLabelValues(name).Inc()
	w.text = append(append(append(append(append(w.text, "event: "...), name...), "\ndata: "...), data...), "\n\n"...)
}

// flush reports whether the page has taken what was written.
func (w *writer) flush() bool {
	if len(w.text) == 0 {
		return true
	}
	w.rc.SetWriteDeadline(time.Now().Add(w.page.opt.WriteFor))
	_, err := w.w.Write(w.text)
	if err == nil {
		err = w.rc.Flush()
	}
	if w.text = w.text[:0]; cap(w.text) > 4<<10 { // streams are many, and idle for long
		w.text = nil
	}
	return err == nil
}

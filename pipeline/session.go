package pipeline

import (
	"encoding/binary"
	"net/url"
	"slices"
	"strings"
	"time"
)

// sessionGap ends a session: so long without a track, page or screen event.
const sessionGap = 30 * time.Minute

// sessionEvents is how many of a session's newest event names are kept.
const sessionEvents = 64

// A session is a visit: by log time, from its first track, page or screen
// until sessionGap after its last.
type session struct {
	started, last int64
	count         int64  // its events; 0: there has been none
	events        []byte // names, each after its length
	named         int    // how many names
	referrerHost  string // the first referrer whose host is not the page's own
	query         string // that referrer's q, query or keyword
	source, term  string // the first campaign's
}

var noSession session

// names are the events' names, oldest first.
func (s *session) names() []string {
	names := make([]string, 0, s.named)
	for b := s.events; len(b) > 0; {
		n, head := binary.Uvarint(b)
		names = append(names, string(b[head:head+int(n)]))
		b = b[head+int(n):]
	}
	return names
}

// keyword is what the visitor searched for before coming.
func (s *session) keyword() string {
	if s.term != "" {
		return s.term
	}
	return s.query
}

func (s *session) over(now int64) bool { return s.count == 0 || now >= s.last+int64(sessionGap) }

// sessionAt is the session at now, an empty one where none is on.
func (e *Entity) sessionAt(now int64) *session {
	if e.session.over(now) {
		return &noSession
	}
	return &e.session
}

// extend takes an event into the session, or begins another.
func (s *session) extend(ev *Event, now int64) {
	if s.over(now) {
		*s = session{started: now}
	}
	s.last = now
	s.count++
	name := ev.Name
	if ev.Type != Track {
		name = ev.Type.String()
	}
	if s.named == sessionEvents {
		n, head := binary.Uvarint(s.events)
		s.events = slices.Delete(s.events, 0, head+int(n))
		s.named--
	}
	s.events = append(binary.AppendUvarint(s.events, uint64(len(name))), name...)
	s.named++
	if s.source == "" {
		s.source = strings.Clone(ev.text(inCampaign, "source"))
	}
	if s.term == "" {
		s.term = strings.Clone(ev.text(inCampaign, "term"))
	}
	if s.referrerHost == "" {
		s.refer(ev)
	}
}

// plainSite is a URL's scheme and host where both can be told without
// parsing: most referrers are the shop's own pages.
func plainSite(u string) string {
	i := strings.Index(u, "://")
	if i < 0 || u[:i] != "https" && u[:i] != "http" {
		return ""
	}
	end := 0
	for j := i + 3; j < len(u); j++ {
		switch c := u[j]; {
		case end == 0 && (c == '/' || c == '?' || c == '#'):
			end = j
		case end == 0 && !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-'):
			return ""
		case c <= ' ' || c >= 0x7f || c == '%':
			return ""
		}
	}
	if end == 0 {
		end = len(u)
	}
	if end == i+3 {
		return ""
	}
	return u[:end]
}

func (s *session) refer(ev *Event) {
	find := func(name string) string {
		t := ev.text(inPage, name)
		if t == "" {
			t = ev.text(inProperties, name)
		}
		return t
	}
	from := find("referrer")
	if from == "" {
		return
	}
	if site := plainSite(from); site != "" && site == plainSite(find("url")) {
		return
	}
	pick := func(name string) *url.URL {
		t := strings.Clone(find(name))
		u, err := url.Parse(t)
		if t == "" || err != nil {
			return nil
		}
		return u
	}
	ref := pick("referrer")
	if ref == nil || ref.Hostname() == "" {
		return
	}
	host := strings.ToLower(ref.Hostname())
	if own := pick("url"); own != nil && strings.ToLower(own.Hostname()) == host {
		return
	}
	s.referrerHost = host
	q := ref.Query()
	for _, name := range [...]string{"q", "query", "keyword"} {
		if v := q.Get(name); v != "" {
			s.query = v
			return
		}
	}
}

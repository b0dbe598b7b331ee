package oracle

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

const sessionGap = int64(30 * time.Minute)

// A session is a run of active events without a gap.
type session struct {
	started, last int64
	count         int
	events        []seen
	end           *event // the last one

	source       string
	referrerHost string
	term         string // of a campaign
	searched     string // the search term in the first referrer from another host
}

// A seen is an event of a session.
type seen struct {
	name string
	now  int64
}

// latest returns the user's last session, which may be over. Its count is 0 if
// there was none.
func (u *user) latest() session {
	var s session
	for _, ev := range u.log {
		if ev.absorbed != nil {
			s = s.join(ev.absorbed.latest(), ev.now)
			continue
		}
		if !ev.active() {
			continue
		}
		if s.count == 0 || minus(ev.now, s.last) >= sessionGap {
			s = session{started: ev.now}
		}
		s.extend(ev)
	}
	return s
}

// session returns the current session, else an empty one.
func (u *user) session(now int64) session {
	if s := u.latest(); s.count > 0 && minus(now, s.last) < sessionGap {
		return s
	}
	return session{}
}

func (s *session) extend(ev *event) {
	s.last, s.end = ev.now, ev
	s.count++
	name := ev.name // a page or screen event is listed by its type
	if ev.typ != "track" {
		name = ev.typ
	}
	s.events = append(slices.Clone(s.events), seen{cut(name, 256), ev.now})
	if len(s.events) > 64 {
		s.events = s.events[1:]
	}
	if s.source == "" {
		s.source = cut(ev.root.text("context", "campaign", "source"), maxValue)
	}
	if s.term == "" {
		s.term = cut(ev.root.text("context", "campaign", "term"), maxValue)
	}
	if s.referrerHost != "" {
		return
	}
	referrer := first(ev.root.text("context", "page", "referrer"), ev.root.text("properties", "referrer"))
	page := first(ev.root.text("context", "page", "url"), ev.root.text("properties", "url"))
	h := host(referrer)
	if h == "" || h == host(page) {
		return
	}
	s.referrerHost = cut(h, maxValue)
	if u, err := url.Parse(referrer); err == nil {
		q := u.Query()
		s.searched = cut(first(q.Get("q"), q.Get("query"), q.Get("keyword")), maxValue)
	}
}

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// host returns an address's host in lower case, without the port.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// value returns the session as a value in expressions.
func (s session) value() ref.Val {
	names := []string{}
	for _, e := range s.events {
		names = append(names, e.name)
	}
	started := ref.Val(types.NullValue)
	if s.count > 0 {
		started = timestamp(s.started)
	}
	return textMap{values: map[string]ref.Val{
		"started": started, "count": types.Int(s.count),
		"events":        types.NewStringList(types.DefaultTypeAdapter, names),
		"referrer_host": types.String(s.referrerHost),
		"source":        types.String(s.source),
		"keyword":       types.String(first(s.term, s.searched)),
	}}
}

package pipeline

import (
	"encoding/binary"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// sessionGap is the time without a view after which a session has ended.
const sessionGap = 30 * time.Minute

// sessionEvents is how many event names a session keeps: those of its newest
// events.
const sessionEvents = 64

// A session is a visit: from its first view until sessionGap after its last, in
// log time.
type session struct {
	started, last int64   // log time of the first and the last view
	count         int64   // number of its views; 0: the user has had no session
	events        []byte  // names of the newest views, each preceded by its length
	named         int     // number of these names
	times         []int64 // log times of the newest of these views; engines before 5 keep none
	referrerHost  string  // the host of the first referrer that is not the page's own host
	query         string  // the parameter q, query or keyword of that referrer
	source, term  string  // of the first context.campaign that has them
	ends          bool    // campaigns are evaluated at its end
	lastID        string  // the messageId of its last view, if ends
}

var noSession session

// sessionType is the CEL type of `session`.
var sessionType = value.NewStruct("Session", map[string]value.Field{
	"started": {Type: cel.DynType, Get: ofSession(func(s *session) ref.Val {
		if s.count == 0 {
			return types.NullValue
		}
		return value.CELTime(s.started)
	})},
	"count":         {Type: cel.IntType, Get: ofSession(func(s *session) ref.Val { return types.Int(s.count) })},
	"events":        {Type: cel.ListType(cel.StringType), Get: ofSession(func(s *session) ref.Val { return types.NewStringList(types.DefaultTypeAdapter, s.names()) })},
	"referrer_host": {Type: cel.StringType, Get: ofSession(func(s *session) ref.Val { return types.String(s.referrerHost) })},
	"source":        {Type: cel.StringType, Get: ofSession(func(s *session) ref.Val { return types.String(s.source) })},
	"keyword":       {Type: cel.StringType, Get: ofSession(func(s *session) ref.Val { return types.String(s.keyword()) })},
})

// ofSession makes a field of the session that is open at a scope's log time.
func ofSession(get func(s *session) ref.Val) func(any) ref.Val {
	return func(target any) ref.Val {
		sc := target.(*scope)
		if sc.ended {
			return get(&sc.entity.session)
		}
		return get(sc.entity.sessionAt(sc.now))
	}
}

// names are the names of the newest views, oldest first.
func (s *session) names() []string {
	names := make([]string, 0, s.named)
	for b := s.events; len(b) > 0; {
		n, head := binary.Uvarint(b)
		names = append(names, string(b[head:head+int(n)]))
		b = b[head+int(n):]
	}
	return names
}

// keyword is what the visitor searched for before the session.
func (s *session) keyword() string {
	if s.term != "" {
		return s.term
	}
	return s.query
}

func (s *session) over(now int64) bool {
	return s.count == 0 || value.Minus(now, s.last) >= int64(sessionGap)
}

// due is when the session's end is evaluated, NoDue if it is not.
func (s *session) due() int64 {
	if !s.ends {
		return NoDue
	}
	return value.Plus(s.last, int64(sessionGap))
}

// sessionAt is the session that is open at now, an empty one if there is none.
func (e *Entity) sessionAt(now int64) *session {
	if e.session.over(now) {
		return &noSession
	}
	return &e.session
}

// append writes the session to a record.
func (s *session) append(w *value.Writer) {
	if s.count == 0 {
		return
	}
	w.Int(s.count)
	w.Int(s.started)
	w.Int(s.last - s.started)
	w.Len(s.named)
	w.Bytes(s.events)
	for _, t := range [...]string{s.referrerHost, s.query, s.source, s.term, s.lastID} {
		w.Text(t)
	}
	w.Byte(truth(s.ends))
}

// read reads what append wrote.
func (s *session) read(r *value.Reader) {
	s.count = r.Int()
	s.started = r.Int()
	s.last = s.started + r.Int()
	if s.named = r.Len(1); s.named > sessionEvents {
		r.Fail(errors.New("a session has too many events"))
	}
	s.events = r.Bytes()
	for _, t := range [...]*string{&s.referrerHost, &s.query, &s.source, &s.term, &s.lastID} {
		*t = r.Text()
	}
	s.ends = r.Byte() != 0
}

// extend adds a view to the session, or begins a new session with it. timed: it keeps
// the view's log time.
func (s *session) extend(ev *event.Event, now int64, timed bool) {
	if s.over(now) {
		*s = session{started: now}
	}
	s.last = now
	s.count++
	name := ev.Name
	if ev.Type != event.Track {
		name = ev.Type.String()
	}
	s.name(value.CutText(name, event.MaxName), now, timed)
	if s.source == "" {
		s.source = strings.Clone(value.CutText(ev.AliasText(event.InCampaign, "source"), window.MaxValue))
	}
	if s.term == "" {
		s.term = strings.Clone(value.CutText(ev.AliasText(event.InCampaign, "term"), window.MaxValue))
	}
	if s.referrerHost == "" {
		s.refer(ev)
	}
}

// name adds the name of a view of a log time.
func (s *session) name(name string, at int64, timed bool) {
	if s.named == sessionEvents {
		n, head := binary.Uvarint(s.events)
		s.events = slices.Delete(s.events, 0, head+int(n))
		s.named--
	}
	s.events = append(binary.AppendUvarint(s.events, uint64(len(name))), name...)
	s.named++
	if timed {
		if s.times == nil {
			s.times = make([]int64, 0, 8) // a session has several views
		}
		s.times = keepNewest(append(s.times, at), sessionEvents)
	}
}

// timeOf is the log time of the view whose name is the i-th. Of views before engine 5
// it is not known: they count as the session's first.
func (s *session) timeOf(i int) int64 {
	if i -= s.named - len(s.times); i >= 0 {
		return s.times[i]
	}
	return s.started
}

// sameSite reports whether a referrer and the page's URL have the same scheme and host, if
// that can be found without parsing them. It is fast, because most referrers are pages of
// the shop itself. A referrer that cannot be parsed sets nothing either; the URL can be.
func sameSite(referrer, page string) bool {
	site := plainSite(referrer)
	if site == 0 || !strings.HasPrefix(page, referrer[:site]) {
		return false
	}
	rest := page[site:]
	if rest != "" && rest[0] != '/' && rest[0] != '?' && rest[0] != '#' {
		return false
	}
	for i := range len(rest) {
		if c := rest[i]; c <= ' ' || c >= 0x7f || c == '%' {
			return false
		}
	}
	return true
}

// plainSite is the length of the scheme and host at the beginning of a URL, 0 if they
// cannot be found without parsing.
func plainSite(u string) int {
	at := strings.Index(u, "://") + len("://")
	if at < len("://") || u[:at] != "https://" && u[:at] != "http://" {
		return 0
	}
	end := at
	for end < len(u) && u[end] != '/' && u[end] != '?' && u[end] != '#' {
		if c := u[end]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-') {
			return 0
		}
		end++
	}
	if end == at {
		return 0
	}
	return end
}

// refer sets referrerHost and query from the event's referrer, unless that is a page
// of the shop itself.
func (s *session) refer(ev *event.Event) {
	find := func(name string) string {
		t := ev.AliasText(event.InPage, name)
		if t == "" {
			t = ev.AliasText(event.InProperties, name)
		}
		return t
	}
	referrer := find("referrer")
	if referrer == "" {
		return
	}
	if sameSite(referrer, find("url")) {
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
	s.referrerHost = value.CutText(host, window.MaxValue)
	q := ref.Query()
	for _, name := range [...]string{"q", "query", "keyword"} {
		if v := q.Get(name); v != "" {
			s.query = value.CutText(v, window.MaxValue)
			return
		}
	}
}

// sessionEvent is an event that stands for the end of the entity's session. It has
// the messageId of the session's last view; expressions do not see it.
func (e *Entity) sessionEvent() []byte {
	b := value.AppendJSONString([]byte(`{"type":"identify","messageId":`), e.session.lastID)
	field := `,"anonymousId":`
	if e.Key[0] == 'u' {
		field = `,"userId":`
	}
	return append(value.AppendJSONString(append(b, field...), e.Key[2:]), '}')
}

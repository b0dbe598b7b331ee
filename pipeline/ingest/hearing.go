package ingest

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"offerstream/config"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

const (
	mostProperties = 300 // bytes of an event's properties in a notice
	noticeCost     = 512 // what a notice counts in addition to its texts
)

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

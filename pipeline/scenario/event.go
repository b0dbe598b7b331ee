package scenario

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"offerstream/pipeline/event"
	"offerstream/pipeline/lazyregexp"
	"offerstream/pipeline/value"
)

const eventHint = "write for example: 10:00:00 ada Product Viewed product_id=b1 price=12.5"

// ReadEvent reads a line of events: the time, the user, the event's type or
// name, and pairs name=value. A line with only a time lets time pass. A line
// whose user is the word fact gives a fact: fact weather/seoul dust=90; one whose
// user is the word item is an event about an item, of no person: item product/p1
// Price Changed price=90. A line that begins with { is the JSON of an event.
func ReadEvent(text string, clock *Clock) ([]byte, *Mistake) {
	text, wrong := Expand(text)
	if wrong != nil {
		return nil, wrong
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return rawEvent(text, clock), nil
	}
	w := &words{text: text}
	ns, wrong := clock.read(w)
	if wrong != nil {
		return nil, wrong
	}
	if w.done() {
		return clockEvent(ns), nil
	}
	if fact, wrong := readFact(w, ns); fact != nil || wrong != nil {
		return fact, wrong
	}
	if item, wrong := readItem(w, ns); item != nil || wrong != nil {
		return item, wrong
	}
	e := spoken{time: ns}
	if e.user, e.anonymous, wrong = user(w); wrong != nil {
		return nil, wrong
	}
	if wrong = e.what(w); wrong != nil {
		return nil, wrong
	}
	return e.json(), nil
}

// rawEvent returns the JSON unchanged. If it has a time, the next line may be
// relative to that.
func rawEvent(text string, clock *Clock) []byte {
	var has struct{ Timestamp string }
	if json.Unmarshal([]byte(text), &has) == nil {
		if ns, err := value.ParseTime(has.Timestamp); err == nil {
			clock.Set(ns)
		}
	}
	return []byte(text)
}

var longText = lazyregexp.New(`\{(.)\*(\d+)\}`)

// Expand replaces {x*3000} by 3,000 times the letter x.
func Expand(text string) (string, *Mistake) {
	if !strings.Contains(text, "*") {
		return text, nil
	}
	var wrong *Mistake
	out := longText.ReplaceAllStringFunc(text, func(s string) string {
		m := longText.FindStringSubmatch(s)
		n, err := strconv.Atoi(m[2])
		if err != nil || n > event.MaxEventBytes {
			wrong = &Mistake{strings.Index(text, s), fmt.Sprintf("%s is too long", s), fmt.Sprintf("an event has at most %d bytes", event.MaxEventBytes)}
			return ""
		}
		return strings.Repeat(m[1], n)
	})
	return out, wrong
}

// user reads a user: a userId, or an anonymousId after ~.
func user(w *words) (name string, anonymous bool, wrong *Mistake) {
	if w.done() {
		return "", false, &Mistake{w.at, "the user is missing", "a userId such as ada, or ~a-1 for an anonymousId"}
	}
	from := w.at
	if w.text[w.at] == '~' {
		anonymous = true
		w.at++
		if w.at == len(w.text) || strings.IndexByte(space, w.text[w.at]) >= 0 {
			return "", false, &Mistake{from, "the anonymousId after ~ is missing", "write ~a-1 for the anonymousId a-1"}
		}
	}
	t, wrong := w.next()
	if wrong == nil && t.pair {
		wrong = &Mistake{from, fmt.Sprintf("expected a user, but %s= begins a value", t.text), "put the user before it; quote a name that contains ="}
	}
	return t.text, anonymous, wrong
}

// spoken holds the parts of an event's line.
type spoken struct {
	time      int64
	user      string
	anonymous bool
	kind      string // track, page, ...
	name      string
	id        string
	visitor   string   // that an identify or alias claims
	names     []string // of properties or traits, in order
	values    []json.RawMessage
	context   map[string]any
}

// what reads the rest of the line: the event's type and name, and its pairs.
func (e *spoken) what(w *words) *Mistake {
	var name []string
	var third word
	pair := ""
	from := w.at
	for !w.done() {
		t, wrong := w.next()
		switch {
		case wrong != nil:
			return wrong
		case t.pair:
			pair = t.text
			wrong = e.pair(t)
		case pair != "":
			wrong = &Mistake{t.at, fmt.Sprintf("unexpected %q after %s=...", t.text, pair), fmt.Sprintf(`put a text of several words in quotes: %s="..."`, pair)}
		case e.kind == "" && !t.quoted && kinds[t.text]:
			e.kind = t.text
		default:
			if e.kind == "" {
				e.kind = "track"
			}
			if name = append(name, t.text); len(name) == 3 {
				third = t
			}
		}
		if wrong != nil {
			return wrong
		}
	}
	if e.kind == "" {
		return &Mistake{from, "the event is missing", eventHint}
	}
	e.name = strings.Join(name, " ")
	if change := strings.Join(name[:min(len(name), 2)], " "); len(name) > 2 && !third.quoted && e.kind == "track" && consentChange[change] {
		return &Mistake{third.at, fmt.Sprintf("%q is read as a part of the event's name", third.text), fmt.Sprintf("write %s channel=%s", change, third.text)}
	}
	if e.kind == "system" && e.name == "" {
		return &Mistake{from, "a system event needs a name", "write for example: 10:00:00 ada system Offer Shown offer=o-1"}
	}
	if e.name != "" && !named[e.kind] {
		return &Mistake{from, fmt.Sprintf("%s takes no name", e.kind), fmt.Sprintf("write its traits as name=value; quote the name of a track event: %q", e.kind+" "+e.name)}
	}
	return nil
}

var kinds = map[string]bool{"page": true, "screen": true, "identify": true, "group": true, "alias": true, "system": true}

// visitorField is the field of an event with which a user claims a visitor, by type.
var visitorField = map[string]string{"identify": "anonymousId", "alias": "previousId"}

// consentChange holds the events that are easily followed by a channel instead of
// by a property.
var consentChange = map[string]bool{"Consent Granted": true, "Consent Revoked": true}

// named are the types whose events have a name.
var named = map[string]bool{"track": true, "page": true, "screen": true, "system": true}

// pair takes one pair: messageId, the visitor that a user's identify or alias claims, a
// name that begins with "context.", or else a property, or a trait of identify and
// group.
func (e *spoken) pair(t word) *Mistake {
	path, within := strings.CutPrefix(t.text, "context.")
	switch {
	case !t.quoted && t.text == "messageId":
		if json.Unmarshal(t.value, &e.id) != nil {
			e.id = string(t.value)
		}
	case !t.quoted && !e.anonymous && t.text == visitorField[e.kind]:
		if json.Unmarshal(t.value, &e.visitor) != nil {
			e.visitor = string(t.value)
		}
	case !t.quoted && within:
		if e.context == nil {
			e.context = map[string]any{}
		}
		if !put(e.context, strings.Split(path, "."), t.value) {
			return &Mistake{t.at, fmt.Sprintf("%s appears twice, or is more than one thing", t.text), "keep one"}
		}
	default:
		for _, name := range e.names {
			if name == t.text {
				return &Mistake{t.at, fmt.Sprintf("%s appears twice", t.text), "keep one"}
			}
		}
		e.names, e.values = append(e.names, t.text), append(e.values, t.value)
	}
	return nil
}

// put sets a value in nested maps. It returns false if the path has a value
// already, or leads through a value that is not a map.
func put(m map[string]any, path []string, v json.RawMessage) bool {
	for _, name := range path[:len(path)-1] {
		if m[name] == nil {
			m[name] = map[string]any{}
		}
		below, ok := m[name].(map[string]any)
		if !ok {
			return false
		}
		m = below
	}
	last := path[len(path)-1]
	if m[last] != nil {
		return false
	}
	m[last] = v
	return true
}

func (e *spoken) json() []byte {
	b := fmt.Appendf(nil, `{"type":%q`, e.kind)
	add := func(name, value string) { b = fmt.Appendf(b, `,%q:%s`, name, quote(value)) }
	if e.anonymous {
		add("anonymousId", e.user)
	} else {
		add("userId", e.user)
	}
	if e.visitor != "" {
		add(visitorField[e.kind], e.visitor)
	}
	switch {
	case e.kind == "track" || e.kind == "system":
		add("event", e.name)
	case e.name != "":
		add("name", e.name)
	}
	if e.id != "" {
		add("messageId", e.id)
	}
	add("timestamp", value.FormatTime(e.time))
	section := "properties"
	if e.kind == "identify" || e.kind == "group" {
		section = "traits"
	}
	b = e.appendPairs(b, section)
	if e.context != nil {
		b = fmt.Appendf(b, `,"context":%s`, compact(e.context))
	}
	return append(b, '}')
}

// appendPairs appends the pairs of the line, if there are any, as a member of the
// event.
func (e *spoken) appendPairs(b []byte, section string) []byte {
	if len(e.names) == 0 {
		return b
	}
	b = fmt.Appendf(b, `,%q:{`, section)
	for i, name := range e.names {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `%s:%s`, quote(name), e.values[i])
	}
	return append(b, '}')
}

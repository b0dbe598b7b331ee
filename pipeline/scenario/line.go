package scenario

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/lazyregexp"
	"offerstream/pipeline/value"
)

// A writer writes events of a log as lines of a scenario.
type writer struct {
	day      Day
	as       *disguise
	contexts bool // the set reads event.context, so that all of it matters
}

// line writes an event of the recorded user, or a fact, at a time. An id that is not
// empty becomes its messageId.
func (w *writer) line(ev *event.Event, at int64, id string) string {
	if ev.Type == event.Fact {
		return w.fact(ev, at)
	}
	properties, traits := w.members(ev, "properties", false), w.members(ev, "traits", true)
	context, plain := w.context(ev)
	inTraits := ev.Type == event.Identify || ev.Type == event.Group
	pairs, others := properties, traits
	if inTraits {
		pairs, others = traits, properties
	}
	if len(others) > 0 || !plain {
		return w.raw(ev, at, id)
	}
	parts := []string{w.day.Show(at), w.user(ev)}
	if ev.Type != event.Track {
		parts = append(parts, ev.Type.String())
	}
	if ev.Name != "" {
		parts = append(parts, eventName(ev))
	}
	for _, p := range append(pairs, context...) {
		if p.name == "" {
			return w.raw(ev, at, id)
		}
		parts = append(parts, p.text())
	}
	if id != "" {
		parts = append(parts, "messageId="+id)
	}
	return strings.Join(parts, " ")
}

// user is the user of an event, after ~ if it is anonymous.
func (w *writer) user(ev *event.Event) string {
	name := w.as.name
	if ev.Key[:2] == "a:" {
		return "~" + name
	}
	return name
}

// eventName writes a name that is read back as it is.
func eventName(ev *event.Event) string {
	words := strings.Split(ev.Name, " ")
	bare := ev.Type != event.Track || !kinds[words[0]] && !consentChange[strings.Join(words[:min(len(words), 2)], " ")] || len(words) == 2 && !kinds[words[0]]
	for _, word := range words {
		bare = bare && isBare(word)
	}
	if bare {
		return ev.Name
	}
	return printable(value.AppendJSONString(nil, ev.Name))
}

// A member is a property, a trait or a part of the context.
type member struct {
	name   string
	quoted bool // the name is read as it is, not as a place in the event
	json   []byte
}

func (m member) text() string {
	name := m.name
	if m.quoted && (name == "messageId" || name == "anonymousId" || name == "previousId" || strings.HasPrefix(name, "context.") || !isBare(name)) {
		name = printable(value.AppendJSONString(nil, name))
	}
	return name + "=" + pairValue(m.json)
}

// pairValue writes a value after name=.
func pairValue(b []byte) string {
	if len(b) > 2 && b[0] == '"' {
		if text := string(b[1 : len(b)-1]); isBare(text) && strings.IndexByte("[{", text[0]) < 0 && !strings.ContainsRune(text, '\\') && bytes.Equal(plainValue(text), b) {
			return text
		}
	}
	return printable(b)
}

// isBare reports whether a word is read as it is, without quotes.
func isBare(word string) bool {
	return word != "" && show(word, "*") == word && !strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError })
}

// printable is JSON in which texts have no characters that an editor does not show,
// and nothing that Expand would replace.
func printable(b []byte) string {
	if longText.Match(b) {
		b = bytes.ReplaceAll(b, []byte("*"), []byte(`\u002a`))
	}
	if !bytes.ContainsFunc(b, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return string(b)
	}
	var out strings.Builder
	for _, r := range string(b) {
		switch {
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// members are the members of the event's properties or traits.
func (w *writer) members(ev *event.Event, of string, traits bool) (all []member) {
	value.VisitFirst(ev.Object(of).GetObject(), func(name string, v *fastjson.Value) {
		all = append(all, member{name, true, w.as.append(nil, name, v, traits)})
	})
	return each(all)
}

// each leaves out members whose name has come before. VisitFirst calls twice for one
// that is true, false or null each time.
func each(all []member) (once []member) {
	for _, m := range all {
		if !slices.ContainsFunc(once, func(o member) bool { return o.name == m.name }) {
			once = append(once, m)
		}
	}
	return once
}

// contextsOfSessions are the parts of a context that a session reads.
var contextsOfSessions = map[string][]string{"page": {"referrer", "url"}, "campaign": {"source", "term"}}

var plainName = lazyregexp.New(`^[A-Za-z_][\w-]*$`)

// context are the parts of the event's context that matter. plain is false if they
// cannot be written as pairs.
func (w *writer) context(ev *event.Event) (all []member, plain bool) {
	plain = true
	var part func(path string, v *fastjson.Value)
	part = func(path string, v *fastjson.Value) {
		value.VisitFirst(v.GetObject(), func(name string, v *fastjson.Value) {
			if !w.contexts && !mattersIn(path, name) {
				return
			}
			plain = plain && plainName.MatchString(name)
			if path := path + "." + name; v.Type() == fastjson.TypeObject && v.GetObject().Len() > 0 {
				part(path, v)
			} else {
				all = append(all, member{name: path, json: w.as.append(nil, name, v, strings.Contains(path, ".traits."))})
			}
		})
	}
	part("context", ev.Object("context"))
	return each(all), plain
}

// mattersIn reports whether a session reads a member of the context.
func mattersIn(path, name string) bool {
	if path == "context" {
		return contextsOfSessions[name] != nil
	}
	for _, n := range contextsOfSessions[strings.TrimPrefix(path, "context.")] {
		if n == name {
			return true
		}
	}
	return false
}

// fact writes a fact.
func (w *writer) fact(ev *event.Event, at int64) string {
	var pairs []member
	plain := true
	if v := ev.Root.Get("values"); v.Type() == fastjson.TypeObject {
		value.VisitFirst(v.GetObject(), func(name string, v *fastjson.Value) {
			plain = plain && name != ""
			pairs = append(pairs, member{name, true, value.AppendCompact(nil, v)})
		})
	}
	pairs = each(pairs)
	key := strings.TrimPrefix(ev.Key, "f:"+ev.Name+":")
	if !plain || len(pairs) == 0 {
		values := []byte("{}")
		if len(pairs) > 0 {
			values = value.AppendCompact(nil, ev.Root.Get("values"))
		}
		return printable(event.AppendFact(nil, ev.Name, key, values, fmt.Sprintf(`"timestamp":%q`, value.FormatTime(at))))
	}
	shown := key
	if !isBare(key) {
		shown = printable(value.AppendJSONString(nil, key))
	}
	parts := []string{w.day.Show(at), "fact", ev.Name + "/" + shown}
	for _, p := range pairs {
		parts = append(parts, p.text())
	}
	return strings.Join(parts, " ")
}

// raw writes an event that no line can express: its JSON.
func (w *writer) raw(ev *event.Event, at int64, id string) string {
	b := fmt.Appendf(nil, `{"type":%q`, ev.Type)
	add := func(name, text string) { b = value.AppendJSONString(fmt.Appendf(b, `,%q:`, name), text) }
	if ev.Key[:2] == "a:" {
		add("anonymousId", w.as.name)
	} else {
		add("userId", w.as.name)
	}
	if field := event.Types[ev.Type].NameField; field != "" && ev.Name != "" {
		add(field, ev.Name)
	}
	if id != "" {
		add("messageId", id)
	}
	add("timestamp", value.FormatTime(at))
	for _, of := range [...]string{"properties", "traits"} {
		if v := ev.Object(of); v.GetObject().Len() > 0 {
			b = w.as.append(fmt.Appendf(b, `,%q:`, of), of, v, of == "traits")
		}
	}
	if v := ev.Object("context"); w.contexts && v.GetObject().Len() > 0 {
		b = w.as.append(append(b, `,"context":`...), "context", v, false)
	} else if parts, _ := w.context(ev); len(parts) > 0 {
		context := map[string]any{}
		for _, p := range parts {
			put(context, strings.Split(strings.TrimPrefix(p.name, "context."), "."), p.json)
		}
		b = append(append(b, `,"context":`...), compact(context)...)
	}
	return printable(append(b, '}'))
}

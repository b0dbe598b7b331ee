package ingest

import (
	"bytes"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
)

// A splice turns the text of an event as received into the text for the log. It
// removes members from the text and appends others. It does not decode and encode
// the event, which would change numbers and escapes.
//
//	proof       "none", first in the object, if a browser sent the event without proof of its user; else removed
//	userToken   removed, also from context and properties: it proves the user to whoever has it
//	visitorToken  the same: it proves the visitor
//	writeKey    removed: that of a server is secret
//	receivedAt  always the gateway's
//	messageId   added if the event has none, neither a text nor a number: the hash of the event's bytes
//	type        added if the event has none: the path's
//	sentAt      the batch's, if the event has none that can be read
//	context     the batch's, if the event is of a user and has none
//	traits      context.traits, if the event is an identify and has none
//	logTime     removed under clock: broker, added under clock: event if the event has none
type splice struct {
	ev          *event.Event
	stamp       bool // write proof: none
	receivedAt  string
	sentAt      string // "": do not change it
	logTime     string // "": do not change it
	context     []byte // nil: do not change it
	traits      []byte // nil: do not change them
	dropLogTime bool

	ofContext, ofProperties bool // they have a token
}

// append appends the event on one line, without the line break.
func (s *splice) append(dst, raw []byte, newlines bool) []byte {
	start := len(dst)
	sole := s.findTokens(raw)
	dst = s.begin(dst)
	var cut span // a token that is all there is to remove
	kept := s.dropsAny()
	if !kept && (s.ofContext || s.ofProperties) {
		if sole.present() {
			cut = soleToken(raw, sole)
		}
		kept = !cut.present()
	}
	switch { // without its braces: an admitted event is an object without space around it
	case kept:
		dst = s.appendKept(dst, raw)
	case cut.present():
		dst = append(append(dst, raw[1:cut.from]...), raw[cut.to:len(raw)-1]...)
	default:
		dst = append(dst, raw[1:len(raw)-1]...)
	}
	// An admitted event keeps at least the member that names its user or item, so each of
	// these needs a comma before it.
	dst = append(dst, `,"receivedAt":"`...)
	dst = append(append(dst, s.receivedAt...), '"')
	if s.newType() {
		dst = append(dst, `,"type":"`...)
		dst = append(append(dst, s.ev.Type.String()...), '"')
	}
	if s.newID() {
		dst = append(dst, `,"messageId":"`...)
		dst = append(append(dst, s.ev.ID...), '"')
	}
	if s.sentAt != "" {
		dst = append(dst, `,"sentAt":"`...)
		dst = append(append(dst, s.sentAt...), '"')
	}
	if s.logTime != "" {
		dst = append(dst, `,"logTime":"`...)
		dst = append(append(dst, s.logTime...), '"')
	}
	if s.context != nil {
		dst = append(append(dst, `,"context":`...), s.context...)
	}
	if s.traits != nil {
		dst = append(append(dst, `,"traits":`...), s.traits...)
	}
	dst = append(dst, '}')
	if newlines || s.context != nil {
		oneLine(dst[start:])
	}
	return dst
}

// findTokens looks for tokens in the context and the properties. It returns where the
// name of a token stands if there is no other in the event, else an empty place.
func (s *splice) findTokens(raw []byte) (sole span) {
	sole = indexToken(raw)
	escaped := bytes.Contains(raw, []byte(`\u`))
	switch {
	case !sole.present() && !escaped:
		return span{}
	case escaped || indexToken(raw[sole.to:]).present():
		sole = span{}
	}
	s.ofContext = hasToken(s.ev, event.InContext)
	s.ofProperties = (!sole.present() || !s.ofContext) && hasToken(s.ev, event.InProperties)
	return sole
}

// begin opens the object, with the stamp. An event keeps at least one member, as
// append says, so a comma follows.
func (s *splice) begin(dst []byte) []byte {
	dst = append(dst, '{')
	if s.stamp {
		dst = append(dst, `"proof":"`+event.NoProof+`",`...)
	}
	return dst
}

// appendKept appends the object's members without those that the splice replaces or
// removes.
func (s *splice) appendKept(dst, raw []byte) []byte {
	first := true
	m := members{b: raw}
	for {
		key, val, ok := m.next()
		if !ok {
			return dst
		}
		if s.drops(name(key.of(raw))) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if n := name(key.of(raw)); raw[val.from] == '{' && (n == "context" && s.ofContext || n == "properties" && s.ofProperties) {
			dst = append(append(append(dst, '"'), n...), `":`...)
			dst = append(dst, withoutToken(val.of(raw))...)
			continue
		}
		dst = append(dst, raw[key.from-1:val.to]...)
	}
}

// dropsAny reports whether the event has a member that the splice replaces or
// removes.
func (s *splice) dropsAny() (any bool) {
	if s.ev.Root == nil { // it has a type and an id, and nothing takes the place of what it has
		for _, name := range [...]string{"proof", "writeKey", "receivedAt", "logTime"} {
			any = any || s.ev.Has(name) && s.drops(name)
		}
		return any
	}
	s.ev.Root.GetObject().Visit(func(key []byte, _ *fastjson.Value) { any = any || s.drops(string(key)) })
	return any
}

// drops reports whether the splice replaces or removes a member.
func (s *splice) drops(name string) bool {
	switch name {
	case "proof", memberToken, memberVisitor, "writeKey", "receivedAt":
		return true
	case "logTime":
		return s.dropLogTime || s.logTime != ""
	case "sentAt":
		return s.sentAt != ""
	case "context":
		return s.context != nil
	case "traits":
		return s.traits != nil
	case "type":
		return s.newType()
	case "messageId":
		return s.newID()
	}
	return false
}

func (s *splice) newType() bool { return isAbsent(s.ev, "type") }

// newID reports whether to add a messageId: the event has none, and is not a clock
// event, which needs none.
func (s *splice) newID() bool { return s.ev.Type != event.Clock && !s.ev.HasID }

func isAbsent(ev *event.Event, member string) bool {
	if ev.Root == nil {
		return !ev.Has(member)
	}
	v := ev.Root.Get(member)
	return v == nil || v.Type() == fastjson.TypeNull
}

// oneLine replaces line breaks by spaces. In JSON whose strings have no raw
// control characters, line breaks are only between tokens.
func oneLine(b []byte) {
	for i, c := range b {
		if c == '\n' || c == '\r' {
			b[i] = ' '
		}
	}
}

package ingest

import (
	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
)

// A splice turns the text of an event as received into the text for the log. It
// removes members from the text and appends others. It does not decode and encode
// the event, which would change numbers and escapes.
//
//	receivedAt  always the gateway's
//	messageId   added if the event has none, neither a text nor a number: the hash of the event's bytes
//	type        added if the event has none: the path's
//	sentAt      the batch's, if the event has none that can be read
//	context     the batch's, if the event has none
//	logTime     removed under clock: broker, added under clock: event if the event has none
type splice struct {
	ev          *event.Event
	receivedAt  string
	sentAt      string // "": do not change it
	logTime     string // "": do not change it
	context     []byte // nil: do not change it
	dropLogTime bool
}

// append appends the event on one line, without the line break.
func (s *splice) append(dst, raw []byte, newlines bool) []byte {
	start := len(dst)
	if s.dropsAny() {
		dst = s.appendKept(dst, raw)
	} else {
		end := len(raw) - 1 // without the closing brace: an admitted event is an object without space around it
		dst = append(dst, raw[:end]...)
	}
	// An admitted event keeps at least the member that names its user, so each of
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
	dst = append(dst, '}')
	if newlines || s.context != nil {
		oneLine(dst[start:])
	}
	return dst
}

// appendKept appends the object without its closing brace, and without the members
// that the splice replaces or removes.
func (s *splice) appendKept(dst, raw []byte) []byte {
	dst = append(dst, '{')
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
		dst = append(dst, raw[key.from-1:val.to]...)
	}
}

// dropsAny reports whether the event has a member that the splice replaces or
// removes.
func (s *splice) dropsAny() bool {
	root := s.ev.Root
	return root.Exists("receivedAt") ||
		s.dropLogTime && root.Exists("logTime") ||
		s.logTime != "" && root.Exists("logTime") ||
		s.sentAt != "" && root.Exists("sentAt") ||
		s.context != nil && root.Exists("context") ||
		s.newType() && root.Exists("type") ||
		s.newID() && root.Exists("messageId")
}

// drops reports whether the splice replaces or removes a member.
func (s *splice) drops(name string) bool {
	switch name {
	case "receivedAt":
		return true
	case "logTime":
		return s.dropLogTime || s.logTime != ""
	case "sentAt":
		return s.sentAt != ""
	case "context":
		return s.context != nil
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

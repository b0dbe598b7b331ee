package ingest

import (
	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
)

// A splice turns an event as received into what the log gets, without parsing
// it into a value and printing that again, which would change numbers and
// escapes: the text stays, members are taken out and put at its end.
//
//	receivedAt  always the gateway's
//	messageId   put in where the event has none: the hash of its bytes
//	type        put in where the path said it
//	sentAt      the batch's where the event has none that can be read
//	context     the batch's where the event has none
//	logTime     taken out under clock: broker, put in under clock: event
type splice struct {
	ev          *event.Event
	receivedAt  string
	sentAt      string // "": leave as it is
	logTime     string // "": leave as it is
	context     []byte // nil: leave as it is
	dropLogTime bool
}

// append appends the event on one line, without the line break.
func (s *splice) append(dst, raw []byte, newlines bool) []byte {
	start := len(dst)
	root := s.ev.Root
	drop := root.Exists("receivedAt") ||
		s.dropLogTime && root.Exists("logTime") ||
		s.logTime != "" && root.Exists("logTime") ||
		s.sentAt != "" && root.Exists("sentAt") ||
		s.context != nil && root.Exists("context") ||
		s.newType() && root.Exists("type") ||
		s.newID() && root.Exists("messageId")
	if drop {
		dst = s.appendKept(dst, raw)
	} else {
		end := len(raw) - 1 // the closing brace: an admitted event is an object, trimmed
		dst = append(dst, raw[:end]...)
	}
	// An admitted event keeps at least the member that identifies it, so
	// that a comma is right before each of these.
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

// appendKept appends the object without its closing brace and without the
// members that the splice puts in, or takes out.
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

// newID: a messageId counts if it is a non-empty string. A clock event has
// and needs none.
func (s *splice) newID() bool {
	return s.ev.Type != event.Clock && len(s.ev.Root.GetStringBytes("messageId")) == 0
}

func isAbsent(ev *event.Event, member string) bool {
	v := ev.Root.Get(member)
	return v == nil || v.Type() == fastjson.TypeNull
}

// oneLine replaces line breaks by spaces. In JSON without raw control
// characters inside strings they stand between tokens only.
func oneLine(b []byte) {
	for i, c := range b {
		if c == '\n' || c == '\r' {
			b[i] = ' '
		}
	}
}

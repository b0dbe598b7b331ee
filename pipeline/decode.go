package pipeline

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fastjson"
)

// A Decoder reads events. It reuses its memory: an Event is valid until the
// next call. Not for concurrent use.
type Decoder struct {
	parser fastjson.Parser
	ev     Event
	names  map[string]string // the few names that events have, each once

	// Of ev, where it was scanned:
	key      []byte
	found    found
	sections [3]section
}

// maxNames bounds the names that a decoder keeps.
const maxNames = 4096

// name is a text that many events share.
func (d *Decoder) name(t string) string {
	if n, ok := d.names[t]; ok {
		return n
	}
	if t == "" {
		return ""
	}
	if d.names == nil || len(d.names) >= maxNames {
		d.names = map[string]string{}
	}
	t = strings.Clone(t)
	d.names[t] = t
	return t
}

// Admit reads an event from outside, strictly: whatever it refuses (with a
// *Reject) may not enter the log. Where the JSON has no type, def stands in
// for it (the gateway's path names it; 0: none, then a type is required).
func (d *Decoder) Admit(raw []byte, def Type) (*Event, error) {
	if err := admissible(raw); err != nil {
		return nil, err
	}
	return d.decode(raw, def)
}

// AdmitLine is Admit for an event that will be folded, not written: its Root
// may be nil.
func (d *Decoder) AdmitLine(raw []byte) (*Event, error) {
	if err := admissible(raw); err != nil {
		return nil, err
	}
	return d.Decode(raw)
}

// admissible says what is wrong with the bytes of an event, whatever it says.
func admissible(raw []byte) error {
	if len(raw) > MaxEventBytes {
		return reject("size", "the event has %d bytes; at most %d are taken", len(raw), MaxEventBytes)
	}
	if !utf8.Valid(raw) {
		return reject("json", "not valid UTF-8")
	}
	if err := fastjson.ValidateBytes(raw); err != nil {
		return reject("json", "%v", err)
	}
	return nil
}

// Decode reads an event from the log, which Admit has seen before it was
// written; from other publishers it refuses what cannot be applied.
func (d *Decoder) Decode(raw []byte) (*Event, error) {
	if d.scan(raw) {
		return &d.ev, nil
	}
	return d.decode(raw, 0)
}

func (d *Decoder) decode(raw []byte, def Type) (*Event, error) {
	root, err := d.parser.ParseBytes(raw)
	if err != nil {
		return nil, reject("json", "%v", err)
	}
	if root.Type() != fastjson.TypeObject {
		return nil, reject("json", "an event is an object, this is %s", root.Type())
	}
	d.ev = Event{Root: root, Raw: raw, Type: def}
	ev := &d.ev
	if v := root.Get("type"); v != nil && v.Type() != fastjson.TypeNull {
		if ev.Type, err = typeOf(v); err != nil {
			return nil, err
		}
	}
	if ev.Type == 0 {
		return nil, reject("type", "the event has no type")
	}
	if err := ev.readTimes(); err != nil {
		return nil, err
	}
	if ev.Type == Clock {
		if !ev.HasTimestamp && !ev.HasLogTime {
			return nil, reject("timestamp", "a clock event needs a timestamp")
		}
		return ev, nil
	}
	switch ev.Type {
	case Track:
		if ev.Name = d.name(view(root.Get("event"))); ev.Name == "" {
			return nil, reject("name", "a track event needs a non-empty string in event")
		}
	case Page, Screen:
		ev.Name = d.name(view(root.Get("name")))
	}
	for _, f := range [...]string{"properties", "traits", "context"} {
		if v := root.Get(f); v != nil && v.Type() != fastjson.TypeObject && v.Type() != fastjson.TypeNull {
			return nil, reject("fields", "%s must be an object, this is %s", f, v.Type())
		}
	}
	if ev.Key, err = entityKey(root); err != nil {
		return nil, err
	}
	if ev.ID = view(root.Get("messageId")); ev.ID == "" {
		ev.ID = ContentID(raw)
	}
	return ev, nil
}

// ContentID is the id of an event that brings none: the hex xxhash64 of its
// bytes as received.
func ContentID(raw []byte) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], xxhash.Sum64(bytes.TrimSpace(raw)))
	return hex.EncodeToString(b[:])
}

func typeOf(v *fastjson.Value) (Type, error) {
	s := view(v)
	for t := Track; int(t) < len(typeNames); t++ {
		if typeNames[t] == s {
			return t, nil
		}
	}
	return 0, reject("type", "unknown type %s; known are track, page, screen, identify, group, alias", v)
}

// readTimes reads the times. Only the event's own time and its log time can
// be wrong: sentAt and receivedAt merely correct, so an unreadable one is as
// good as none.
func (e *Event) readTimes() (err error) {
	own := e.Root.Get("timestamp")
	if absent(own) {
		own = e.Root.Get("originalTimestamp")
	}
	if e.Timestamp, e.HasTimestamp, err = readTime(own); err != nil {
		return reject("timestamp", "%v", err)
	}
	if e.LogTime, e.HasLogTime, err = readTime(e.Root.Get("logTime")); err != nil {
		return reject("timestamp", "logTime: %v", err)
	}
	e.SentAt, e.HasSentAt, _ = readTime(e.Root.Get("sentAt"))
	e.ReceivedAt, e.HasReceived, _ = readTime(e.Root.Get("receivedAt"))
	return nil
}

func readTime(v *fastjson.Value) (int64, bool, error) {
	if absent(v) {
		return 0, false, nil
	}
	if v.Type() != fastjson.TypeString {
		return 0, false, fmt.Errorf("a time is a string in RFC 3339, this is %s", v.Type())
	}
	ns, err := ParseTime(view(v))
	return ns, err == nil, err
}

func absent(v *fastjson.Value) bool { return v == nil || v.Type() == fastjson.TypeNull }

// entityKey is "u:" + userId if that is a non-empty string or a number, else
// "a:" + anonymousId.
func entityKey(root *fastjson.Value) (string, error) {
	for _, id := range [...]struct{ field, ns string }{{"userId", "u:"}, {"anonymousId", "a:"}} {
		v := root.Get(id.field)
		s := view(v)
		if v != nil && v.Type() == fastjson.TypeNumber {
			s = decimal(v)
		}
		if s == "" {
			continue
		}
		if err := CheckUser(s); err != nil {
			return "", err
		}
		return id.ns + s, nil
	}
	return "", reject("identity", "the event has neither userId nor anonymousId")
}

// CheckUser refuses what cannot be a userId or anonymousId.
func CheckUser(s string) error {
	if len(s) > MaxUserBytes {
		return reject("user", "the user id has %d bytes; at most %d are taken", len(s), MaxUserBytes)
	}
	plain := true
	for i := range len(s) {
		plain = plain && s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return nil
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return reject("user", "the user id %q has control characters", s)
	}
	if !utf8.ValidString(s) {
		return reject("user", "the user id %q is not valid UTF-8", s)
	}
	return nil
}

// text is a JSON string's text, "" for anything else.
func text(v *fastjson.Value) string { return strings.Clone(view(v)) }

// view is text that is valid as long as its event.
func view(v *fastjson.Value) string {
	if v == nil || v.Type() != fastjson.TypeString {
		return ""
	}
	b := v.GetStringBytes()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// decimal is a JSON number's decimal text: integers as written.
func decimal(v *fastjson.Value) string {
	raw := string(v.MarshalTo(nil))
	if !strings.ContainsAny(raw, ".eE") {
		return raw
	}
	return FormatDouble(number(v))
}

// number reads a JSON number, correctly rounded (fastjson's own reading may
// be one unit in the last place off).
func number(v *fastjson.Value) float64 {
	var buf [32]byte
	raw := v.MarshalTo(buf[:0])
	f, _ := strconv.ParseFloat(unsafe.String(unsafe.SliceData(raw), len(raw)), 64) // beyond range: an infinity
	return f
}

// FormatDouble is the shortest decimal text that reads back as f, without an
// exponent and without ".0".
func FormatDouble(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// Partition is the partition of an entity key among p.
func Partition(key string, p int) int { return int(xxhash.Sum64String(key) % uint64(p)) }

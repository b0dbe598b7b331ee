package event

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// A Decoder decodes events. It reuses its memory: an Event is valid until the
// next call. It must not be used concurrently.
type Decoder struct {
	parser fastjson.Parser
	ev     Event
	names  map[string]string // interned event names, which are few

	// Set if ev was scanned:
	key     []byte
	found   found
	objects [3]lazyObject
}

// maxNames bounds the interned names; beyond it, interning starts anew.
const maxNames = 4096

// intern returns a copy of an event name that all events of that name share.
func (d *Decoder) intern(t string) string {
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

// AdmitLive decodes an event from outside and checks it strictly: an event that it
// refuses (with a *Reject) must not enter the log. If the JSON has no type,
// fallback is used instead; the gateway takes it from the request's path. With
// fallback 0, the type is required. An unreadable timestamp is no reason to refuse
// a live event, because it was received at a known time (TimestampErr).
func (d *Decoder) AdmitLive(raw []byte, fallback Type) (*Event, error) {
	if err := measured(raw); err != nil {
		return nil, err
	}
	if err := valid(raw); err != nil {
		return nil, err
	}
	return d.decode(raw, fallback)
}

// AdmitScan is AdmitLive for who can do without the parsed event: its Root is nil if it
// could be scanned, which takes a third of the time.
func (d *Decoder) AdmitScan(raw []byte, fallback Type) (*Event, error) {
	if err := measured(raw); err != nil {
		return nil, err
	}
	if d.scan(raw) { // then it is JSON, and has a type
		return &d.ev, nil
	}
	if err := valid(raw); err != nil {
		return nil, err
	}
	return d.decode(raw, fallback)
}

// Admit is AdmitLive for a line of a file, in which an unreadable timestamp is
// refused.
func (d *Decoder) Admit(raw []byte, fallback Type) (*Event, error) {
	ev, err := d.AdmitLive(raw, fallback)
	return timed(ev, err)
}

// AdmitLine is Admit for an event that will be folded, not written to the log.
// The event's Root may be nil, as with AdmitScan.
func (d *Decoder) AdmitLine(raw []byte) (*Event, error) {
	ev, err := d.AdmitScan(raw, 0)
	return timed(ev, err)
}

// timed refuses a decoded event whose own time cannot be read.
func timed(ev *Event, err error) (*Event, error) {
	if err == nil && ev.TimestampErr != nil {
		return nil, Rejectf("timestamp", "%v", ev.TimestampErr)
	}
	return ev, err
}

// measured checks the size of an event and that it is UTF-8.
func measured(raw []byte) error {
	if len(raw) > MaxEventBytes {
		return Rejectf("size", "the event has %d bytes; at most %d are allowed", len(raw), MaxEventBytes)
	}
	if !utf8.Valid(raw) {
		return Rejectf("json", "not valid UTF-8")
	}
	return nil
}

// valid checks that an event is JSON.
func valid(raw []byte) error {
	if err := fastjson.ValidateBytes(raw); err != nil {
		return Rejectf("json", "%v", err)
	}
	return nil
}

// Decode decodes an event of the log. The gateway has admitted it before
// writing it; other publishers may not have done so, hence Decode refuses
// events that cannot be applied.
func (d *Decoder) Decode(raw []byte) (*Event, error) {
	if d.scan(raw) {
		return &d.ev, nil
	}
	return d.decode(raw, 0)
}

// DecodeAs decodes an event that was admitted and then changed. Unlike Decode's,
// its Root is never nil. See AdmitLive for fallback.
func (d *Decoder) DecodeAs(raw []byte, fallback Type) (*Event, error) { return d.decode(raw, fallback) }

// NoProof is the value of the member proof that the gateway writes, first in the
// object, into an event of a browser whose user did not prove who he is.
const NoProof = "none"

// decode parses all of an event. See AdmitLive for fallback.
func (d *Decoder) decode(raw []byte, fallback Type) (*Event, error) {
	root, err := value.Parse(&d.parser, raw)
	if err != nil {
		return nil, Rejectf("json", "%v", err)
	}
	if root.Type() != fastjson.TypeObject {
		return nil, Rejectf("json", "an event is an object, this is %s", root.Type())
	}
	d.ev = Event{Root: root, Raw: raw, Type: fallback}
	ev := &d.ev
	if v := root.Get("type"); v != nil && v.Type() != fastjson.TypeNull {
		if ev.Type, err = typeOf(v); err != nil {
			return nil, err
		}
	}
	if ev.Type == 0 {
		return nil, Rejectf("type", "the event has no type")
	}
	if err := ev.readTimes(); err != nil {
		return nil, err
	}
	if ev.Type == Clock {
		if ev.TimestampErr != nil || !ev.HasTimestamp && !ev.HasLogTime {
			return nil, Rejectf("timestamp", "a clock event needs a timestamp")
		}
		return ev, nil
	}
	if err := d.readFields(ev); err != nil {
		return nil, err
	}
	ev.NoProof = value.AliasText(root.Get("proof")) == NoProof
	ev.ID, _ = idText(root.Get("messageId"))
	if ev.HasID = ev.ID != "" && len(ev.ID) <= MaxIDBytes; !ev.HasID {
		ev.ID = ContentID(raw)
	}
	return ev, nil
}

// idText is the text of an id, which is a text or a number; "" for any other JSON.
// ok is false for a number that has no text.
func idText(v *fastjson.Value) (text string, ok bool) {
	if v != nil && v.Type() == fastjson.TypeNumber {
		return value.Decimal(v)
	}
	return value.AliasText(v), true
}

// Whose reads messageId and entity key of an event that may be none, as far as it
// can.
func Whose(raw []byte) (id, key string) {
	var d Decoder
	root, err := value.Parse(&d.parser, raw)
	if err != nil {
		return "", ""
	}
	if id, _ = idText(root.Get("messageId")); len(id) > MaxIDBytes {
		id = ""
	}
	if value.AliasText(root.Get("type")) == Types[Item].Name {
		_, _, key, _ = itemKey(root)
	} else {
		key, _ = entityKey(root)
	}
	return id, key
}

// readFields reads an event's name and key, and checks the types of properties,
// traits and context.
func (d *Decoder) readFields(ev *Event) (err error) {
	root := ev.Root
	if field := Types[ev.Type].NameField; field != "" && ev.Type != Fact {
		ev.Name = d.intern(value.AliasText(root.Get(field)))
	}
	if (ev.Type == Track || ev.Type == System || ev.Type == Item) && ev.Name == "" {
		return Rejectf("name", "an event of type %s needs a non-empty string in event", ev.Type)
	}
	for _, f := range [...]string{"properties", "traits", "context"} {
		if v := root.Get(f); !value.Absent(v) && v.Type() != fastjson.TypeObject && !emptyList(v) {
			return Rejectf("fields", "%s must be an object, this is %s", f, v.Type())
		}
	}
	switch ev.Type {
	case Fact:
		return d.readFact(ev)
	case Item:
		ev.Kind, ev.ItemID, ev.Key, err = itemKey(root)
		return err
	case Codes:
		return d.readCodes(ev)
	case Alias:
		if err := checkAlias(root); err != nil {
			return err
		}
	}
	ev.Key, err = entityKey(root)
	return err
}

// readFact reads what a fact has instead of a user: its name, its key and its
// values. The name has no colon, so that the entity's key can be split again.
func (d *Decoder) readFact(ev *Event) error {
	var parts [2]string
	for i, field := range [...]string{"fact", "key"} {
		v := ev.Root.Get(field)
		text, ok := idText(v)
		if !ok || text == "" {
			return Rejectf(map[bool]string{true: "name", false: "identity"}[i == 0], "a fact needs a non-empty text or a number in %s", field)
		}
		parts[i] = text
	}
	name, key := parts[0], parts[1]
	if strings.Contains(name, ":") {
		return Rejectf("name", "the name of the fact, %q, contains a colon", name)
	}
	if err := checkID("user", "the fact's name with its key", name+":"+key, MaxUserBytes); err != nil {
		return err
	}
	if v := ev.Root.Get("values"); value.Absent(v) || v.Type() != fastjson.TypeObject && !emptyList(v) {
		return Rejectf("fields", "a fact needs an object in values")
	}
	ev.Name = d.intern(name)
	ev.Key = "f:" + name + ":" + key
	return nil
}

// emptyList reports whether v is [], which PHP writes for an empty map.
func emptyList(v *fastjson.Value) bool {
	return v != nil && v.Type() == fastjson.TypeArray && len(v.GetArray()) == 0
}

// ContentID is the id of an event without messageId: the hex xxhash64 of its
// bytes as received.
func ContentID(raw []byte) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], xxhash.Sum64(bytes.TrimSpace(raw)))
	return hex.EncodeToString(b[:])
}

func typeOf(v *fastjson.Value) (Type, error) {
	s := value.AliasText(v)
	for t := Track; int(t) < len(Types); t++ {
		if Types[t].Name == s {
			return t, nil
		}
	}
	return 0, &Reject{Reason: "type", Detail: fmt.Sprintf("unknown type %s; known are track, page, screen, identify, group, alias, system, fact, item", v), Type: strings.Clone(s)}
}

// readTimes reads the event's times. Only an unreadable log time is an error. An
// unreadable own time is kept in TimestampErr, also where originalTimestamp could
// be read. sentAt and receivedAt merely correct the own time, so unreadable ones
// are ignored.
func (e *Event) readTimes() (err error) {
	own, original := e.Root.Get("timestamp"), e.Root.Get("originalTimestamp")
	if value.Absent(own) {
		own = original
	}
	e.Timestamp, e.HasTimestamp, e.TimestampErr = readTime(own)
	if e.LogTime, e.HasLogTime, err = readTime(e.Root.Get("logTime")); err != nil {
		return Rejectf("timestamp", "logTime: %v", err)
	}
	e.SentAt, e.HasSentAt, _ = readTime(e.Root.Get("sentAt"))
	e.ReceivedAt, e.HasReceived, _ = readTime(e.Root.Get("receivedAt"))
	at, has, _ := readTime(original)
	e.SentAtOriginal = has && e.HasSentAt && at == e.SentAt
	return nil
}

func readTime(v *fastjson.Value) (int64, bool, error) {
	if value.Absent(v) {
		return 0, false, nil
	}
	if v.Type() != fastjson.TypeString {
		return 0, false, fmt.Errorf("a time is a string in RFC 3339, this is %s", v.Type())
	}
	ns, err := value.ParseTime(value.AliasText(v))
	return ns, err == nil, err
}

// entityKey is "u:" + userId if userId is a non-empty string or a number, else
// "a:" + anonymousId.
func entityKey(root *fastjson.Value) (string, error) {
	for _, id := range [...]struct{ field, ns string }{{"userId", "u:"}, {"anonymousId", "a:"}} {
		v := root.Get(id.field)
		s, ok := idText(v)
		if !ok {
			return "", Rejectf("user", "%s is not a finite number: %s", id.field, v)
		}
		if s == "" {
			continue
		}
		if err := CheckUser(s); err != nil {
			return "", err
		}
		return id.ns + s, nil
	}
	return "", Rejectf("identity", "the event has neither userId nor anonymousId")
}

// CheckUser returns a Reject if s cannot be a userId or anonymousId.
func CheckUser(s string) error { return checkID("user", "the user id", s, MaxUserBytes) }

// checkID returns a Reject with the given reason if s is not a text of at most most
// bytes without control characters.
func checkID(reason, what, s string, most int) error {
	if len(s) > most {
		return Rejectf(reason, "%s has %d bytes; at most %d are allowed", what, len(s), most)
	}
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] >= ' ' && s[i] < 0x7f
	}
	if ascii {
		return nil
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return Rejectf(reason, "%s %q has control characters", what, s)
	}
	if !utf8.ValidString(s) {
		return Rejectf(reason, "%s %q is not valid UTF-8", what, s)
	}
	return nil
}

// Partition is the partition, of p, to which an entity key belongs.
func Partition(key string, p int) int { return int(xxhash.Sum64String(key) % uint64(p)) }

package event

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// Most events of the log were admitted before, and a fold reads few of their
// fields. Therefore scan reads only the members of the outer object, and skips
// over properties, traits and context; each of these is parsed when it is first
// used. scan accepts only a subset of what the parser accepts: it leaves every
// unusual event to the parser, which also reports what is wrong with it.
//
// Below, JSON is plain if scan can read it: no escapes in keys, no deep nesting.

// A Member is a member of the event's outer object, or of its context, that has
// a meaning.
type Member uint8

const (
	InProperties Member = iota // properties, traits and context are parsed on demand
	inTraits
	InContext
	inType
	inEvent
	inName
	inMessageID
	inUserID
	inAnonymousID
	inTimestamp
	inOriginalTimestamp
	inSentAt
	inReceivedAt
	inLogTime
	inProof
	InCampaign // context.campaign
	InPage     // context.page
	noMember
)

// found holds where in the event the JSON of each member is, nowhere if the event
// lacks it. The last element receives the members without a meaning.
type found [noMember + 1]span

// A span is a part of an event, in bytes. The first byte of an event is never part
// of a member.
type span struct{ from, to uint32 }

// of is the part of an event, nil if the span is nowhere.
func (s span) of(raw []byte) []byte {
	if s.to == 0 {
		return nil
	}
	return raw[s.from:s.to:s.to]
}

// member is the JSON of a member of the scanned event, nil if the event lacks it.
func (d *Decoder) member(m Member) []byte { return d.found[m].of(d.ev.Raw) }

func memberOf(key string) Member {
	switch key {
	case "properties":
		return InProperties
	case "traits":
		return inTraits
	case "context":
		return InContext
	case "type":
		return inType
	case "event":
		return inEvent
	case "name":
		return inName
	case "messageId":
		return inMessageID
	case "userId":
		return inUserID
	case "anonymousId":
		return inAnonymousID
	case "timestamp":
		return inTimestamp
	case "originalTimestamp":
		return inOriginalTimestamp
	case "sentAt":
		return inSentAt
	case "receivedAt":
		return inReceivedAt
	case "logTime":
		return inLogTime
	case "proof":
		return inProof
	}
	return noMember
}

func memberOfContext(key string) Member {
	switch key {
	case "campaign":
		return InCampaign
	case "page":
		return InPage
	}
	return noMember
}

// A lazyObject is properties, traits or context, parsed on demand.
type lazyObject struct {
	parsed *fastjson.Value
	parser fastjson.Parser
}

// scan reads an event into d.ev. It returns false for an event that only the
// parser can read, and for all that is not JSON.
func (d *Decoder) scan(raw []byte) bool {
	clear(d.found[:])
	if i := space(raw, 0); i == len(raw) || raw[i] != '{' || len(raw) > math.MaxInt32 {
		return false
	} else if i = object(raw, i, memberOf, &d.found); i < 0 || space(raw, i) != len(raw) {
		return false
	}
	d.ev = Event{Raw: raw, dec: d}
	if !d.scanObjects() || !d.scanName() || !d.scanTimes() {
		return false
	}
	if v := d.member(inProof); v != nil {
		d.ev.NoProof = string(v) == `"`+NoProof+`"`
		if !d.ev.NoProof && v[0] == '"' && bytes.IndexByte(v, '\\') >= 0 {
			return false
		}
	}
	d.ev.ID, d.ev.HasID = aliasPlainText(d.member(inMessageID)), true
	return d.ev.ID != "" && len(d.ev.ID) <= MaxIDBytes && d.scanUser()
}

// scanObjects checks that properties, traits and context are objects, [] or null.
// It takes [] and null as missing.
func (d *Decoder) scanObjects() bool {
	for i := range d.objects {
		if v := d.member(Member(i)); v != nil && v[0] != '{' {
			if v[0] != 'n' && (v[0] != '[' || v[space(v, 1)] != ']') {
				return false
			}
			d.found[i] = span{}
		}
		d.objects[i].parsed = nil
	}
	return true
}

// scanName reads the event's type and name.
func (d *Decoder) scanName() bool {
	typ := aliasPlainText(d.member(inType))
	for t := Track; int(t) < len(Types); t++ {
		if Types[t].Name == typ {
			d.ev.Type = t
			break
		}
	}
	switch d.ev.Type {
	case 0, Clock, Fact: // they have no user, and are few
		return false
	case Track, System:
		d.ev.Name = d.intern(aliasPlainText(d.member(inEvent)))
		return d.ev.Name != ""
	case Page, Screen:
		if v := d.member(inName); v != nil && v[0] == '"' {
			d.ev.Name = d.intern(aliasPlainText(v))
			return d.ev.Name != "" || len(v) == 2 // "" is a name, a text with escapes is not plain
		}
	}
	return true
}

// scanTimes reads the event's times. It returns false if any of them is not a
// plain time.
func (d *Decoder) scanTimes() bool {
	ev := &d.ev
	own := d.member(inTimestamp)
	if own == nil || own[0] == 'n' {
		own = d.member(inOriginalTimestamp)
	}
	for _, t := range [...]struct {
		v   []byte
		ns  *int64
		has *bool
	}{{own, &ev.Timestamp, &ev.HasTimestamp}, {d.member(inSentAt), &ev.SentAt, &ev.HasSentAt}, {d.member(inReceivedAt), &ev.ReceivedAt, &ev.HasReceived}, {d.member(inLogTime), &ev.LogTime, &ev.HasLogTime}} {
		if t.v == nil {
			continue
		}
		ns, err := value.ParseTime(aliasPlainText(t.v))
		if err != nil {
			return false
		}
		*t.ns, *t.has = ns, true
	}
	if original := d.member(inOriginalTimestamp); original != nil && ev.HasSentAt {
		at, err := value.ParseTime(aliasPlainText(original))
		if err != nil {
			return false
		}
		ev.SentAtOriginal = at == ev.SentAt
	}
	return true
}

// scanUser reads the event's key.
func (d *Decoder) scanUser() bool {
	prefix, user := "u:", aliasPlainText(d.member(inUserID))
	if user == "" {
		if v := d.member(inUserID); v != nil && v[0] != 'n' {
			return false
		}
		prefix, user = "a:", aliasPlainText(d.member(inAnonymousID))
	}
	if user == "" || CheckUser(user) != nil {
		return false
	}
	d.setKey(prefix, user)
	return true
}

func (d *Decoder) setKey(prefix, user string) {
	d.key = append(append(d.key[:0], prefix...), user...)
	d.ev.Key = unsafe.String(unsafe.SliceData(d.key), len(d.key))
}

// aliasPlainText is the text of a JSON string without escapes, in the memory of
// v; "" for any other JSON.
func aliasPlainText(v []byte) string {
	if len(v) < 3 || v[0] != '"' {
		return ""
	}
	v = v[1 : len(v)-1]
	if bytes.IndexByte(v, '\\') >= 0 {
		return ""
	}
	return unsafe.String(unsafe.SliceData(v), len(v))
}

// object stores the members of the object that begins at i, and returns the
// offset of its end, -1 if the object is not plain. Of duplicate members the
// first counts.
func object(b []byte, i int, member func(key string) Member, m *found) int {
	i = space(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		end, plain := skipText(b, i)
		if end < 0 || !plain {
			return -1
		}
		key := b[i+1 : end-1]
		i = space(b, end)
		if i == len(b) || b[i] != ':' {
			return -1
		}
		i = space(b, i+1)
		k := member(unsafe.String(unsafe.SliceData(key), len(key)))
		if k == InContext && m[k].to == 0 && i < len(b) && b[i] == '{' {
			end = object(b, i, memberOfContext, m)
		} else {
			end = skip(b, i, 0)
		}
		if end < 0 {
			return -1
		}
		if m[k].to == 0 {
			m[k] = span{uint32(i), uint32(end)}
		}
		i = space(b, end)
		if i < len(b) && b[i] == '}' {
			return i + 1
		}
		if i == len(b) || b[i] != ',' {
			return -1
		}
		i = space(b, i+1)
	}
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the offset of the end of the string that begins at i, -1
// if there is no string.
func skipString(b []byte, i int) int {
	end, _ := skipText(b, i)
	return end
}

// skipText is skipString, and reports whether the string has no escapes.
func skipText(b []byte, i int) (end int, plain bool) {
	if i >= len(b) || b[i] != '"' {
		return -1, false
	}
	plain = true
	for i++; ; {
		i = ordinary(b, i)
		if i == len(b) || b[i] < ' ' {
			return -1, false
		}
		if b[i] == '"' {
			return i + 1, plain
		}
		plain = false
		if i = skipEscape(b, i); i < 0 {
			return -1, false
		}
	}
}

// ordinary returns the offset of the first byte from i on that is a quote, a
// backslash or a control character, len(b) if there is none. It looks at eight
// bytes at once; the lowest bit of a mask is that of the first such byte.
func ordinary(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, back := x^('"'*ones), x^('\\'*ones)
		if m := ((quote-ones)&^quote | (back-ones)&^back | (x-' '*ones)&^x) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// skipEscape returns the offset of the end of the escape that begins at i, -1 if it
// is none.
func skipEscape(b []byte, i int) int {
	if i+1 == len(b) {
		return -1
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		for end := i + 2; end < len(b) && isHex(b[end]); end++ {
			if end == i+5 {
				return i + 6
			}
		}
	}
	return -1
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// deepest is the deepest nesting of values that skip reads.
const deepest = 32

// skip returns the offset of the end of the value that begins at i, -1 if the
// value is not plain.
func skip(b []byte, i, depth int) int {
	if i >= len(b) || depth > deepest {
		return -1
	}
	switch c := b[i]; c {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipInside(b, i, depth)
	case 't':
		return literally(b, i, "true")
	case 'f':
		return literally(b, i, "false")
	case 'n':
		return literally(b, i, "null")
	}
	return skipNumber(b, i)
}

// skipNumber returns the offset of the end of the number that begins at i, -1 if
// there is none.
func skipNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	end := digits(b, i)
	if end == i || b[i] == '0' && end > i+1 {
		return -1
	}
	if i = end; i < len(b) && b[i] == '.' {
		if end = digits(b, i+1); end == i+1 {
			return -1
		}
		i = end
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if end = digits(b, i); end == i {
			return -1
		}
		i = end
	}
	return i
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// literally returns the offset of the end of the word that begins at i, -1 if
// another word begins there.
func literally(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// skipInside is skip for an object or a list.
func skipInside(b []byte, i, depth int) int {
	object, closing := b[i] == '{', b[i]+2
	i = space(b, i+1)
	if i < len(b) && b[i] == closing {
		return i + 1
	}
	for {
		if object {
			if i = skipString(b, i); i < 0 {
				return -1
			}
			if i = space(b, i); i == len(b) || b[i] != ':' {
				return -1
			}
			i = space(b, i+1)
		}
		if i = skip(b, i, depth+1); i < 0 {
			return -1
		}
		i = space(b, i)
		switch {
		case i == len(b):
			return -1
		case b[i] == ',':
			i = space(b, i+1)
		case b[i] == closing:
			return i + 1
		default:
			return -1
		}
	}
}

// Get is a value of the event: properties, traits, context, or a value inside
// them, nil if there is none. It is valid as long as the event.
func (e *Event) Get(path ...string) *fastjson.Value {
	if e.Root != nil {
		if v := e.Root.Get(path...); len(path) > 1 || !emptyList(v) {
			return v
		}
		return nil
	}
	return e.lazyObject(memberOf(path[0])).Get(path[1:]...)
}

func (e *Event) lazyObject(m Member) *fastjson.Value {
	s := &e.dec.objects[m]
	if raw := e.dec.member(m); s.parsed == nil && raw != nil {
		s.parsed, _ = value.Parse(&s.parser, raw) // cannot fail: skip has read all of it
	}
	return s.parsed
}

var pathTo = [noMember][]string{InProperties: {"properties"}, InCampaign: {"context", "campaign"}, InPage: {"context", "page"}}

// AliasText is the text of a member of properties, campaign or page, "" if it
// is not a text. It is valid as long as the event. It parses the object only
// if the JSON is not plain.
func (e *Event) AliasText(in Member, key string) string {
	if e.Root == nil {
		raw := e.dec.member(in)
		if raw == nil {
			return ""
		}
		if v, plain := find(raw, key); plain {
			if t := aliasPlainText(v); t != "" || len(v) < 3 || v[0] != '"' {
				return t
			}
		}
	}
	return value.AliasText(e.Get(pathTo[in]...).Get(key))
}

// find is a member of an object, nil if the object lacks it; plain is false if
// the object has a key with escapes. b is nil, or was read by skip to its end.
func find(b []byte, key string) (v []byte, plain bool) {
	if len(b) == 0 || b[0] != '{' {
		return nil, true
	}
	for i := space(b, 1); b[i] == '"'; {
		end, plain := skipText(b, i)
		if !plain {
			return nil, false
		}
		name := b[i+1 : end-1]
		i = space(b, space(b, end)+1)
		end = skip(b, i, 0)
		if string(name) == key {
			return b[i:end], true
		}
		if i = space(b, end); b[i] == ',' {
			i = space(b, i+1)
		}
	}
	return nil, true
}

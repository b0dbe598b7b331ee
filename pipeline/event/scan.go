package event

import (
	"bytes"
	"strings"
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

// found holds the JSON of each member of an event, nil if the event lacks it.
// The last element receives the members without a meaning.
type found [noMember + 1][]byte

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
// parser can read.
func (d *Decoder) scan(raw []byte) bool {
	m := &d.found
	clear(m[:])
	if i := space(raw, 0); i == len(raw) || raw[i] != '{' {
		return false
	} else if i = object(raw, i, memberOf, m); i < 0 || space(raw, i) != len(raw) {
		return false
	}
	d.ev = Event{Raw: raw, dec: d}
	if !d.scanObjects() || !d.scanName() || !d.scanTimes() {
		return false
	}
	if v := m[inProof]; v != nil {
		d.ev.NoProof = string(v) == `"`+NoProof+`"`
		if !d.ev.NoProof && v[0] == '"' && bytes.IndexByte(v, '\\') >= 0 {
			return false
		}
	}
	d.ev.ID, d.ev.HasID = aliasPlainText(m[inMessageID]), true
	return d.ev.ID != "" && len(d.ev.ID) <= MaxIDBytes && d.scanUser()
}

// scanObjects checks that properties, traits and context are objects, [] or null.
// It takes [] and null as missing.
func (d *Decoder) scanObjects() bool {
	for i := range d.objects {
		if v := d.found[i]; v != nil && v[0] != '{' {
			if v[0] != 'n' && (v[0] != '[' || v[space(v, 1)] != ']') {
				return false
			}
			d.found[i] = nil
		}
		d.objects[i].parsed = nil
	}
	return true
}

// scanName reads the event's type and name.
func (d *Decoder) scanName() bool {
	typ := aliasPlainText(d.found[inType])
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
		d.ev.Name = d.intern(aliasPlainText(d.found[inEvent]))
		return d.ev.Name != ""
	case Page, Screen:
		if v := d.found[inName]; v != nil && v[0] == '"' {
			d.ev.Name = d.intern(aliasPlainText(v))
			return d.ev.Name != "" || len(v) == 2 // "" is a name, a text with escapes is not plain
		}
	}
	return true
}

// scanTimes reads the event's times. It returns false if any of them is not a
// plain time.
func (d *Decoder) scanTimes() bool {
	m, ev := &d.found, &d.ev
	own := m[inTimestamp]
	if own == nil || own[0] == 'n' {
		own = m[inOriginalTimestamp]
	}
	for _, t := range [...]struct {
		v   []byte
		ns  *int64
		has *bool
	}{{own, &ev.Timestamp, &ev.HasTimestamp}, {m[inSentAt], &ev.SentAt, &ev.HasSentAt}, {m[inReceivedAt], &ev.ReceivedAt, &ev.HasReceived}, {m[inLogTime], &ev.LogTime, &ev.HasLogTime}} {
		if t.v == nil {
			continue
		}
		ns, err := value.ParseTime(aliasPlainText(t.v))
		if err != nil {
			return false
		}
		*t.ns, *t.has = ns, true
	}
	if original := m[inOriginalTimestamp]; original != nil && ev.HasSentAt {
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
	prefix, user := "u:", aliasPlainText(d.found[inUserID])
	if user == "" {
		if v := d.found[inUserID]; v != nil && v[0] != 'n' {
			return false
		}
		prefix, user = "a:", aliasPlainText(d.found[inAnonymousID])
	}
	if user == "" || CheckUser(user) != nil {
		return false
	}
	d.key = append(append(d.key[:0], prefix...), user...)
	d.ev.Key = unsafe.String(unsafe.SliceData(d.key), len(d.key))
	return true
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
		end := skipString(b, i)
		if end < 0 || bytes.IndexByte(b[i+1:end-1], '\\') >= 0 {
			return -1
		}
		key := b[i+1 : end-1]
		i = space(b, end)
		if i == len(b) || b[i] != ':' {
			return -1
		}
		i = space(b, i+1)
		k := member(unsafe.String(unsafe.SliceData(key), len(key)))
		if k == InContext && m[k] == nil && i < len(b) && b[i] == '{' {
			end = object(b, i, memberOfContext, m)
		} else {
			end = skip(b, i, 0)
		}
		if end < 0 {
			return -1
		}
		if m[k] == nil {
			m[k] = b[i:end:end]
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
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for end := i + 1; ; {
		n := bytes.IndexByte(b[end:], '"')
		if n < 0 {
			return -1
		}
		end += n
		slashes := 0
		for b[end-1-slashes] == '\\' {
			slashes++
		}
		end++
		if slashes%2 == 0 {
			return end
		}
	}
}

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
	from := i
	if b[i] == '-' {
		from, i = i+1, i+1
	}
	for i < len(b) && (b[i] >= '0' && b[i] <= '9' || i > from && strings.IndexByte(".eE+-", b[i]) >= 0) {
		i++
	}
	if i == from {
		return -1
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
	if raw := e.dec.found[m]; s.parsed == nil && raw != nil {
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
		if e.dec.found[in] == nil {
			return ""
		}
		if v, plain := find(e.dec.found[in], key); plain {
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
		end := skipString(b, i)
		name := b[i+1 : end-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			return nil, false
		}
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

package event

import (
	"bytes"
	"strings"
	"unsafe"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// An event of the log was admitted once, and its fold reads few of its
// fields. So scan reads the outer object's members alone and steps over what
// is inside `properties`, `traits` and `context`; each of these is parsed when
// something asks for it. scan takes less than the parser does and never more:
// whatever is out of the ordinary it leaves to the parser, which knows what is
// wrong with it.

// A Member is one of the outer object, or of context, that means something.
type Member uint8

const (
	InProperties Member = iota // the first three are parsed on demand
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
	InCampaign // of context, as is the next
	InPage
	noMember
)

// found is where members stand in an event; of what is no member, anywhere.
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

// A section is what of an event is parsed on demand.
type section struct {
	parsed *fastjson.Value
	parser fastjson.Parser
}

// scan reads an ordinary event into d.ev; false for any other.
func (d *Decoder) scan(raw []byte) bool {
	m := &d.found
	clear(m[:])
	if i := space(raw, 0); i == len(raw) || raw[i] != '{' {
		return false
	} else if i = object(raw, i, memberOf, m); i < 0 || space(raw, i) != len(raw) {
		return false
	}
	d.ev = Event{Raw: raw, dec: d}
	ev := &d.ev
	for i := range d.sections {
		if v := m[i]; v != nil && v[0] != '{' && v[0] != 'n' {
			return false
		} else if v != nil && v[0] == 'n' {
			m[i] = nil
		}
		d.sections[i].parsed = nil
	}
	typ := plainText(m[inType])
	for t := Track; t < Clock; t++ {
		if Types[t].Name == typ {
			ev.Type = t
		}
	}
	own := m[inTimestamp]
	if own == nil || own[0] == 'n' {
		own = m[inOriginalTimestamp]
	}
	switch ev.Type {
	case 0:
		return false
	case Track:
		if ev.Name = d.name(plainText(m[inEvent])); ev.Name == "" {
			return false
		}
	case Page, Screen:
		if v := m[inName]; v != nil && v[0] == '"' {
			if ev.Name = d.name(plainText(v)); ev.Name == "" && len(v) > 2 {
				return false
			}
		}
	}
	for _, t := range [...]struct {
		v   []byte
		at  *int64
		has *bool
	}{{own, &ev.Timestamp, &ev.HasTimestamp}, {m[inSentAt], &ev.SentAt, &ev.HasSentAt}, {m[inReceivedAt], &ev.ReceivedAt, &ev.HasReceived}, {m[inLogTime], &ev.LogTime, &ev.HasLogTime}} {
		if t.v == nil {
			continue
		}
		ns, err := value.ParseTime(plainText(t.v))
		if err != nil {
			return false
		}
		*t.at, *t.has = ns, true
	}
	ns, user := "u:", plainText(m[inUserID])
	if user == "" {
		if v := m[inUserID]; v != nil && v[0] != 'n' {
			return false
		}
		ns, user = "a:", plainText(m[inAnonymousID])
	}
	ev.ID = plainText(m[inMessageID])
	if user == "" || ev.ID == "" || CheckUser(user) != nil {
		return false
	}
	d.key = append(append(d.key[:0], ns...), user...)
	ev.Key = unsafe.String(unsafe.SliceData(d.key), len(d.key))
	return true
}

// plainText is a JSON string's text where it has no escapes, else "".
func plainText(v []byte) string {
	if len(v) < 3 || v[0] != '"' {
		return ""
	}
	v = v[1 : len(v)-1]
	if bytes.IndexByte(v, '\\') >= 0 {
		return ""
	}
	return unsafe.String(unsafe.SliceData(v), len(v))
}

// object finds the members of the object that begins at i, and returns where
// it ends, -1 where it is not plain. Of a member that stands there twice the
// first counts.
func object(b []byte, i int, of func(key string) Member, m *found) int {
	i = space(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		end := skipString(b, i)
		if end < 0 {
			return -1
		}
		key := b[i+1 : end-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			return -1
		}
		i = space(b, end)
		if i == len(b) || b[i] != ':' {
			return -1
		}
		i = space(b, i+1)
		k := of(unsafe.String(unsafe.SliceData(key), len(key)))
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
		switch {
		case i == len(b):
			return -1
		case b[i] == ',':
			i = space(b, i+1)
		case b[i] == '}':
			return i + 1
		default:
			return -1
		}
	}
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString is where the string that begins at i ends, -1 where none does.
func skipString(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for at := i + 1; ; {
		n := bytes.IndexByte(b[at:], '"')
		if n < 0 {
			return -1
		}
		at += n
		slashes := 0
		for b[at-1-slashes] == '\\' {
			slashes++
		}
		at++
		if slashes%2 == 0 {
			return at
		}
	}
}

// deepest is how deep values may lie for skip.
const deepest = 32

// skip is where the value that begins at i ends, -1 where it is not plain.
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

func literally(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// skipInside skips an object or a list.
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

// Get is a value of the event: properties, traits, context, or what is in
// them. Valid as long as the event.
func (e *Event) Get(path ...string) *fastjson.Value {
	if e.Root != nil {
		return e.Root.Get(path...)
	}
	return e.section(memberOf(path[0])).Get(path[1:]...)
}

func (e *Event) section(m Member) *fastjson.Value {
	s := &e.dec.sections[m]
	if raw := e.dec.found[m]; s.parsed == nil && raw != nil {
		s.parsed, _ = s.parser.ParseBytes(raw) // skip has seen it whole
	}
	return s.parsed
}

var pathTo = [noMember][]string{InProperties: {"properties"}, InCampaign: {"context", "campaign"}, InPage: {"context", "page"}}

// Text is the text of a member of properties, campaign or page, found without
// parsing what lies around it where all of it is plain.
func (e *Event) Text(in Member, key string) string {
	if e.Root == nil {
		if e.dec.found[in] == nil {
			return ""
		}
		if v, plain := find(e.dec.found[in], key); plain {
			if t := plainText(v); t != "" || len(v) < 3 || v[0] != '"' {
				return t
			}
		}
	}
	return value.Text(e.Get(pathTo[in]...).Get(key))
}

// find is an object's member, nil where there is none; false where that is
// not plain. b is what skip has seen whole, or nil.
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

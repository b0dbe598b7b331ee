package event

import (
	"bytes"
	"math"
	"unsafe"

	"offerstream/pipeline/value"
)

// Most events of the log were admitted before, and a fold reads few of their
// fields, as does a gateway. Therefore scan reads only the members of the outer object, and skips
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
	inUserToken
	inVisitorToken
	inWriteKey
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
	case "userToken":
		return inUserToken
	case "visitorToken":
		return inVisitorToken
	case "writeKey":
		return inWriteKey
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

// scan reads an event into d.ev. It returns false for an event that only the
// parser can read, and for all that is not JSON.
func (d *Decoder) scan(raw []byte) bool {
	if !d.scanMembers(raw) || !d.scanObjects() || !d.scanName() || !d.scanTimes() {
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

// scanMembers finds the members of d.ev. It returns false if they are not plain.
func (d *Decoder) scanMembers(raw []byte) bool {
	clear(d.found[:])
	d.ev = Event{Raw: raw, dec: d}
	i := space(raw, 0)
	if i == len(raw) || raw[i] != '{' || len(raw) > math.MaxInt32 {
		return false
	}
	i = object(raw, i, memberOf, &d.found)
	return i >= 0 && space(raw, i) == len(raw)
}

// Received is the receivedAt of an event as it is in the log, without what makes an
// event of the rest. ok is false if only a parser can tell.
func (d *Decoder) Received(raw []byte) (ns int64, ok bool) {
	if !d.scanMembers(raw) {
		return 0, false
	}
	ns, err := value.ParseTime(aliasPlainText(d.member(inReceivedAt)))
	return ns, err == nil
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
	case 0, Clock, Fact, Item, Alias, Codes: // they have no user, or more than one, and are few
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
	if d.ev.Type == Identify && prefix == "u:" { // Claims reads it
		if v := d.member(inAnonymousID); v != nil && v[0] != 'n' && aliasPlainText(v) == "" {
			return false
		}
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

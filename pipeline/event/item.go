package event

import (
	"encoding/json"
	"strings"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// ItemKey is the entity key of an item.
func ItemKey(kind, id string) string { return "i:" + kind + ":" + id }

// ItemParts splits an item's entity key. A kind has no colon.
func ItemParts(key string) (kind, id string, ok bool) {
	if key, ok = strings.CutPrefix(key, "i:"); !ok {
		return "", "", false
	}
	return strings.Cut(key, ":")
}

// CheckKind returns a Reject if s cannot be a kind of item. A kind is an identifier,
// as the names in a campaign file are.
func CheckKind(s string) error {
	plain := s != "" && len(s) <= MaxKindBytes
	for i := range len(s) {
		c := s[i]
		plain = plain && (c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || i > 0 && '0' <= c && c <= '9')
	}
	if !plain {
		return Rejectf("name", "the kind of an item is 1 to %d letters, digits and _, a letter or _ first; this is %.80q", MaxKindBytes, s)
	}
	return nil
}

// CheckItem returns a Reject if s cannot be the id of an item.
func CheckItem(s string) error {
	if s == "" {
		return Rejectf("identity", "an item event needs a non-empty text or a number in id")
	}
	return checkID("identity", "the item's id", s, MaxItemBytes)
}

// itemKey reads what an event about an item has instead of a user. Its userId and
// anonymousId mean nothing.
func itemKey(root *fastjson.Value) (kind, id, key string, err error) {
	if kind = value.AliasText(root.Get("kind")); kind == "" {
		return "", "", "", Rejectf("name", "an item event needs the kind of the item, such as product, as a text in kind")
	}
	if err := CheckKind(kind); err != nil {
		return "", "", "", err
	}
	id, _ = idText(root.Get("id"))
	if err := CheckItem(id); err != nil {
		return "", "", "", err
	}
	return kind, id, ItemKey(kind, id), nil
}

// SetItem names the property that holds the key of items of the event's kind, which
// the set of campaigns says. From then on the event's item has the id there, as text,
// whatever the event's properties have under that name. It does nothing to an event
// of another type.
func (e *Event) SetItem(key string) {
	if e.Type != Item {
		return
	}
	var memory fastjson.Arena
	it := memory.NewObject()
	value.VisitFirst(e.Object("properties").GetObject(), it.Set)
	it.Set(key, memory.NewString(e.ItemID))
	e.sole[0] = it
	e.items = e.sole[:]
}

// AppendItem appends the text of an event about an item. properties is a JSON object;
// more is further members, such as `"timestamp":"2026-01-01T00:00:00Z"`, or empty.
func AppendItem(dst []byte, kind, id, name string, properties []byte, more string) []byte {
	for i, m := range [...]struct{ name, text string }{{"kind", kind}, {"id", id}, {"event", name}} {
		if i == 0 {
			dst = append(dst, `{"type":"item"`...)
		}
		quoted, _ := json.Marshal(m.text) // a text always marshals
		dst = append(append(append(append(dst, `,"`...), m.name...), `":`...), quoted...)
	}
	if more != "" {
		dst = append(append(dst, ','), more...)
	}
	return append(append(append(dst, `,"properties":`...), properties...), '}')
}

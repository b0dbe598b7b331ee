package ingest

import (
	"bytes"

	"offerstream/config"
	"offerstream/pipeline/event"
)

// Bits of an address that are stored if it is cut.
const (
	keptBits4 = 24
	keptBits6 = 48
)

// A redaction says what becomes of a value before it is stored. nil: it stays.
type redaction struct {
	members map[string]*redaction // of an object, or of the objects in an array
	names   [][]byte              // of the members at the ends of all paths; at the root alone
	drop    bool                  // the member is left out
	cut     bool                  // it is an address, of which the network stays
}

// newRedaction is what the settings ask for, nil if they ask for nothing.
func newRedaction(e config.Exposure) *redaction {
	root := &redaction{}
	for _, path := range e.Redact {
		root.at(path).drop = true
		if path[0] == "traits" { // where SDKs have them too
			for _, other := range [][]string{{"context", "traits"}, {"properties", "$set"}, {"properties", "$set_once"}} {
				root.at(append(other, path[1:]...)).drop = true
			}
		}
	}
	if e.CutAddresses {
		for _, path := range [][]string{{"context", "ip"}, {"properties", "ip"}, {"properties", "$ip"}} {
			root.at(path).cut = true
		}
	}
	if root.members == nil {
		return nil
	}
	return root
}

// at makes the place at the end of a path.
func (r *redaction) at(path []string) *redaction {
	to := r
	for _, name := range path {
		next := to.members[name]
		if next == nil {
			next = &redaction{}
			if to.members == nil {
				to.members = map[string]*redaction{}
			}
			to.members[name] = next
		}
		to = next
	}
	r.names = append(r.names, []byte(path[len(path)-1]))
	return to
}

// concerns reports whether a text may have a member of the redaction. Most have none, and
// are not copied.
func (r *redaction) concerns(text []byte) bool {
	for _, n := range r.names {
		if bytes.Contains(text, n) {
			return true
		}
	}
	return bytes.IndexByte(text, '\\') >= 0 // a name may be escaped
}

// withheld is what a dead letter has in place of an event that cannot be read, and in which
// a redaction may not find what must not be stored.
var withheld = []byte(`{}`)

// redacted returns a text with an event in it as it may be stored, and where it is in it.
func (a *admission) redacted(r *redaction, text []byte, v jsonValue) ([]byte, jsonValue, error) {
	raw := v.of(text)
	if err := unreadable(raw, v); err != nil || !r.concerns(raw) {
		return text, v, err
	}
	var ok bool
	if a.kept, ok = r.append(a.kept[:0], raw); !ok {
		return text, v, event.Rejectf("json", "it is not JSON")
	}
	in, err := soleValue(a.kept)
	if err != nil {
		return text, v, event.Rejectf("json", "%v", err)
	}
	return a.kept, in, nil
}

// append appends a value as it may be stored. It returns false if the value is not JSON, as
// far as it has to look.
func (r *redaction) append(dst, raw []byte) ([]byte, bool) {
	switch {
	case r == nil:
	case r.cut && raw[0] == '"':
		return appendNetwork(dst, raw), true
	case r.members != nil && raw[0] == '{':
		return r.appendMembers(dst, raw)
	case r.members != nil && raw[0] == '[':
		return r.appendElements(dst, raw)
	}
	return append(dst, raw...), true
}

func (r *redaction) appendMembers(dst, raw []byte) (_ []byte, ok bool) {
	dst = append(dst, '{')
	start := len(dst)
	for m := (members{b: raw}); ; {
		key, val, more := m.next()
		if !more {
			return append(dst, '}'), m.err == nil
		}
		to := r.members[name(key.of(raw))]
		if to != nil && to.drop {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(dst, raw[key.from-1:key.to+1]...), ':')
		if dst, ok = to.append(dst, val.of(raw)); !ok {
			return dst, false
		}
	}
}

func (r *redaction) appendElements(dst, raw []byte) (_ []byte, ok bool) {
	dst = append(dst, '[')
	for i := skipSpace(raw, 1); i < len(raw) && raw[i] != ']'; {
		v, err := scanValue(raw, i)
		if err != nil {
			return dst, false
		}
		if dst, ok = r.append(dst, v.of(raw)); !ok {
			return dst, false
		}
		if i = skipSpace(raw, v.to); i < len(raw) && raw[i] == ',' {
			dst = append(dst, ',')
			i = skipSpace(raw, i+1)
		}
	}
	return append(dst, ']'), true
}

// appendNetwork appends the network of an address; anything else as an empty text, as it
// may be several addresses.
func appendNetwork(dst, raw []byte) []byte {
	a := parseAddress(stringOf(raw))
	bits := keptBits6
	if a.Is4() {
		bits = keptBits4
	}
	if !a.IsValid() {
		return append(dst, `""`...)
	}
	p, _ := a.WithZone("").Prefix(bits)
	return append(append(append(dst, '"'), p.Addr().String()...), '"')
}

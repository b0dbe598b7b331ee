package event

import (
	"bytes"
	"unsafe"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// A lazyObject is properties, traits or context, parsed on demand.
type lazyObject struct {
	parsed *fastjson.Value
	parser fastjson.Parser
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

var pathTo = [noMember][]string{InProperties: {"properties"}, InContext: {"context"}, InCampaign: {"context", "campaign"}, InPage: {"context", "page"}}

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

// TextIn is a member of properties or of the context: its text if it is one, and whether
// the event has it at all. The text is valid as long as the event.
func (e *Event) TextIn(in Member, key string) (text string, is, has bool) {
	if e.Root == nil {
		v, plain := find(e.dec.member(in), key)
		switch {
		case plain && v == nil:
			return "", false, false
		case plain && v[0] != '"':
			return "", false, true
		case plain && bytes.IndexByte(v, '\\') < 0:
			return unsafe.String(unsafe.SliceData(v[1:]), len(v)-2), true, true
		}
	}
	v := e.Get(pathTo[in]...).Get(key)
	return value.AliasText(v), v != nil && v.Type() == fastjson.TypeString, v != nil
}

// Has reports whether the outer object has a member of the format's; of a scanned event
// one of those of memberOf, and properties, traits or context only if it is an object.
func (e *Event) Has(name string) bool {
	if e.Root != nil {
		return e.Root.Exists(name)
	}
	return e.dec.member(memberOf(name)) != nil
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

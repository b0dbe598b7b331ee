package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"offerstream/pipeline/value"
)

// maxDepth is how deep an event's JSON may nest. This scan, which does not
// recurse, checks it before a recursive parser sees the bytes: such a parser's
// time grows with the square of the depth.
const maxDepth = 200

// A span is body[from:to].
type span struct{ from, to int }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }
func (s span) present() bool      { return s.to > s.from }

// A jsonValue is the place of a JSON value in a body, with what the scan has found
// in it.
type jsonValue struct {
	span
	deep     bool // it nests deeper than maxDepth
	control  bool // a string has a raw control character, which is not JSON
	newlines bool // it has line breaks between tokens
}

// scanValue finds the end of the JSON value at b[i]. It looks only at brackets and
// strings: a value that it accepts need not be JSON, one that it refuses is not.
func scanValue(b []byte, i int) (v jsonValue, err error) {
	v.from = i
	depth := 0
	for i < len(b) {
		switch c := b[i]; c {
		case '"':
			end, control := scanString(b, i)
			if end < 0 {
				return v, fmt.Errorf("the string at byte %d does not end", i)
			}
			v.control = v.control || control
			i = end - 1
		case '{', '[':
			if depth++; depth > maxDepth {
				v.deep = true
			}
		case '}', ']':
			if depth == 0 {
				return v, fmt.Errorf("unexpected %q at byte %d", c, i)
			}
			depth--
		case ',', ':':
			if depth == 0 {
				return v, fmt.Errorf("unexpected %q at byte %d", c, i)
			}
		case '\n', '\r':
			v.newlines = true
		case ' ', '\t':
		default: // a number or a literal: read it to its end
			for i+1 < len(b) && inScalar[b[i+1]] {
				i++
			}
		}
		i++
		if depth == 0 {
			v.to = i
			return v, nil
		}
	}
	return v, fmt.Errorf("the JSON ends early, at byte %d", len(b))
}

// soleValue finds the one JSON value in a text, which may have white space around it.
func soleValue(text []byte) (jsonValue, error) {
	v, err := scanValue(text, skipSpace(text, 0))
	if err == nil && skipSpace(text, v.to) < len(text) {
		err = errAfter
	}
	return v, err
}

var errAfter = errors.New("the body goes on after the event")

// scanString returns the index after the string that begins at b[i], or -1 if the
// string does not end, and whether it has a raw control character.
func scanString(b []byte, i int) (end int, control bool) {
	for i++; ; i++ {
		if i = value.Ordinary(b, i); i >= len(b) {
			return -1, control
		}
		switch b[i] {
		case '"':
			return i + 1, control
		case '\\': // the next byte is part of the string, whatever it is
			i++
		default:
			control = true
		}
	}
}

// inScalar has the bytes that numbers and literals consist of, and many others.
var inScalar = func() (t [256]bool) {
	for c := ' '; c < 256; c++ {
		t[c] = !strings.ContainsRune(` {}[],:"\`, c)
	}
	return t
}()

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// members iterates over the members of the object that begins at b[at].
type members struct {
	b      []byte
	at     int // the next byte to read
	opened bool
	err    error
}

// next reads a member. It returns false on an error, and at the closing brace;
// then at is the index after the brace.
func (m *members) next() (key span, val jsonValue, ok bool) {
	if key, ok = m.key(); !ok {
		return key, val, false
	}
	val, ok = m.value()
	return key, val, ok
}

// value reads the value that follows a key.
func (m *members) value() (val jsonValue, ok bool) {
	if val, m.err = scanValue(m.b, m.at); m.err != nil {
		return jsonValue{}, false
	}
	m.at = val.to
	return val, true
}

// key reads a member's name, and returns false where next does. Then at is where the
// member's value begins, which the caller reads.
func (m *members) key() (key span, ok bool) {
	fail := func(err error) (span, bool) { m.err = err; return span{}, false }
	i := skipSpace(m.b, m.at)
	switch {
	case !m.opened:
		if i >= len(m.b) || m.b[i] != '{' {
			return fail(fmt.Errorf("expected an object at byte %d", i))
		}
		m.opened = true
		i = skipSpace(m.b, i+1)
		if i < len(m.b) && m.b[i] == '}' {
			m.at = i + 1
			return span{}, false
		}
	case i < len(m.b) && m.b[i] == '}':
		m.at = i + 1
		return span{}, false
	case i < len(m.b) && m.b[i] == ',':
		i = skipSpace(m.b, i+1)
	default:
		return fail(fmt.Errorf("expected a comma or the object's end at byte %d", i))
	}
	if i >= len(m.b) || m.b[i] != '"' {
		return fail(fmt.Errorf("expected a member's name at byte %d", i))
	}
	end, control := scanString(m.b, i)
	if end < 0 || control {
		return fail(fmt.Errorf("the member's name at byte %d is not a string", i))
	}
	key = span{i + 1, end - 1}
	if i = skipSpace(m.b, end); i >= len(m.b) || m.b[i] != ':' {
		return fail(fmt.Errorf("expected a colon at byte %d", i))
	}
	m.at = skipSpace(m.b, i+1)
	return key, true
}

// name returns a member's name without escapes.
func name(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	var s string
	quoted := append(append([]byte{'"'}, raw...), '"')
	if json.Unmarshal(quoted, &s) != nil {
		return string(raw)
	}
	return s
}

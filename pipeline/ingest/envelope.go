package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/valyala/fastjson"
)

// An envelope is the body of POST /v1/batch, split but not copied:
//
//	{"batch": [event, ...], "sentAt": time, "context": {...}, "writeKey": "...", "userToken": "..."}
//
// Other members are ignored.
type envelope struct {
	events   []jsonValue
	sentAt   string // "" if it is missing or not a string
	context  span   // a JSON object; empty if it is missing or not an object
	writeKey string
	token    string // a user token
	visitor  string // a visitor's token
	single   bool   // the body is one event, and not in a batch

	seen [len(envelopeMembers)]bool // which of them were there already
}

// envelopeMembers are the members that are read, besides batch. Of equal ones the first counts, as in events.
var envelopeMembers = [...]string{"sentAt", "writeKey", "context", memberToken, memberVisitor}

var errTooManyEvents = fmt.Errorf("the batch has more than %d events: send several batches", MaxBatchEvents)

// read splits the body. An error means that the body is not an envelope (400),
// except errTooManyEvents (413). read does not check the events themselves: an
// event that is not JSON fails alone, later.
func (e *envelope) read(body []byte) error {
	*e = envelope{events: e.events[:0]}
	m := members{b: body}
	found := false
	for {
		key, ok := m.key()
		if !ok {
			break
		}
		k := name(key.of(body))
		if k == "batch" && !found {
			found = true
			if err := e.readBatch(&m); err != nil {
				return err
			}
			continue
		}
		val, ok := m.value()
		if !ok {
			break
		}
		if k == "batch" {
			return fmt.Errorf("the envelope has two members named batch")
		}
		if err := e.readMember(body, k, val); err != nil {
			return err
		}
	}
	if m.err != nil {
		return m.err
	}
	if i := skipSpace(body, m.at); i < len(body) {
		return fmt.Errorf("the body goes on after the envelope, at byte %d", i)
	}
	if !found {
		return fmt.Errorf("the envelope has no batch")
	}
	return nil
}

// readMember reads any member but batch.
func (e *envelope) readMember(body []byte, k string, val jsonValue) error {
	if val.deep || val.control {
		return fmt.Errorf("the envelope's %q nests too deeply, or has a string with a raw control character", k)
	}
	if !utf8.Valid(val.of(body)) { // an event with the batch's context would not be UTF-8 either
		return fmt.Errorf("the envelope's %q is not valid UTF-8", k)
	}
	if err := fastjson.ValidateBytes(val.of(body)); err != nil {
		return fmt.Errorf("the envelope's %q is not JSON: %w", k, err)
	}
	i := slices.Index(envelopeMembers[:], k)
	if i < 0 || e.seen[i] {
		return nil
	}
	e.seen[i] = true
	switch k {
	case "sentAt":
		e.sentAt = stringOf(val.of(body))
	case "writeKey":
		e.writeKey = stringOf(val.of(body))
	case memberToken:
		e.token = stringOf(val.of(body))
	case memberVisitor:
		e.visitor = stringOf(val.of(body))
	case "context":
		if body[val.from] == '{' {
			e.context = val.span
		}
	}
	return nil
}

// readBatch reads the events of the member whose key has just been read.
func (e *envelope) readBatch(m *members) error {
	if end, ok := e.takeEvents(m.b, m.at); ok {
		m.at = end
		return nil
	}
	list, ok := m.value()
	if !ok {
		return m.err
	}
	return e.readEvents(m.b, list)
}

// takeEvents reads the array of events that begins at i, and returns the index after it.
// It need not know before where the array ends, as readEvents must, so that a batch is
// scanned once. ok is false if anything is wrong with the array: readEvents says what.
func (e *envelope) takeEvents(body []byte, i int) (end int, ok bool) {
	e.events = e.events[:0]
	if i >= len(body) || body[i] != '[' {
		return 0, false
	}
	if i = skipSpace(body, i+1); i < len(body) && body[i] == ']' {
		return i + 1, true
	}
	for len(e.events) < MaxBatchEvents {
		v, err := scanValue(body, i)
		if err != nil {
			break
		}
		e.events = append(e.events, v)
		if i = skipSpace(body, v.to); i == len(body) {
			break
		}
		switch body[i] {
		case ']':
			return i + 1, true
		case ',':
			i = skipSpace(body, i+1)
		default:
			return 0, false
		}
	}
	return 0, false
}

func (e *envelope) readEvents(body []byte, list jsonValue) error {
	e.events = e.events[:0]
	if body[list.from] != '[' {
		return fmt.Errorf("batch must be an array")
	}
	end := list.to - 1
	if body[end] != ']' {
		return fmt.Errorf("the array batch does not end at byte %d", end)
	}
	i := skipSpace(body, list.from+1)
	if i == end {
		return nil
	}
	for {
		v, err := scanValue(body[:end], i)
		if err != nil {
			return fmt.Errorf("in batch: %w", err)
		}
		if len(e.events) == MaxBatchEvents {
			return errTooManyEvents
		}
		e.events = append(e.events, v)
		if i = skipSpace(body, v.to); i == end {
			return nil
		}
		if body[i] != ',' {
			return fmt.Errorf("expected a comma in batch at byte %d", i)
		}
		i = skipSpace(body, i+1)
	}
}

// stringOf returns the text of a JSON string, "" for anything else.
func stringOf(raw []byte) string {
	if isText(raw) && bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

package ingest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// PostHog's SDKs send {"api_key": KEY, "batch": [event, ...], "sent_at": time}; older ones
// data instead of batch, an array of events or one event, also in base64 in a form. Only
// 200 is success, so a bad event never fails its request.
//
// distinct_id is a userId, and an anonymousId where the SDK says that nobody has logged in.
var _ = add(&dialect{
	routes: map[string]route{"/batch": {batch: true}, "/e": {batch: true}, "/i/v0/e": {batch: true}, "/capture": {batch: true}},
	stubs: []stub{
		{"/array/*/config", fixed(`{"supportedCompression":["gzip-js"],"hasFeatureFlags":false,"sessionRecording":false,"surveys":false}`)},
		{"/flags", fixed(`{"flags":{},"featureFlags":{},"featureFlagPayloads":{},"errorsWhileComputingFlags":false}`)},
		{"/decide", fixed(`{"featureFlags":{},"featureFlagPayloads":{},"errorsWhileComputingFlags":false}`)},
	},
	text:  posthogText,
	split: posthogSplit,
	event: posthogEvent,
})

// posthogText decodes the form data=BASE64.
func posthogText(_ *http.Request, body []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(body, []byte("data="))
	if !ok {
		return body, nil
	}
	rest, _, _ = bytes.Cut(rest, []byte("&"))
	data, err := url.QueryUnescape(string(rest))
	if err != nil {
		return nil, bad("form", fmt.Errorf("the form's data cannot be read: %w", err))
	}
	if data != "" && (data[0] == '{' || data[0] == '[') {
		return []byte(data), nil
	}
	text, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return nil, bad("form", fmt.Errorf("the form's data is not base64: %w", err))
	}
	return text, nil
}

func posthogSplit(e *envelope, text []byte) error {
	*e = envelope{events: e.events[:0]}
	if list, ok := arrayOf(text); ok {
		if err := e.readEvents(text, list); err != nil {
			return err
		}
	} else if err := e.readPosthog(text); err != nil {
		return err
	}
	if e.writeKey == "" && len(e.events) > 0 { // older SDKs have it in each event
		e.writeKey = posthogKey(e.events[0].of(text))
	}
	return nil
}

// readPosthog reads a body that is an object: an envelope, or one event.
func (e *envelope) readPosthog(text []byte) error {
	m := members{b: text}
	found := false
	for {
		key, ok := m.key()
		if !ok {
			break
		}
		k := name(key.of(text))
		if (k == "batch" || k == "data") && !found {
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
		switch k {
		case "api_key", "token":
			if e.writeKey == "" {
				e.writeKey = stringOf(val.of(text))
			}
		case "sent_at":
			if e.sentAt == "" {
				e.sentAt = stringOf(val.of(text))
			}
		}
	}
	switch {
	case m.err != nil:
		return m.err
	case skipSpace(text, m.at) < len(text):
		return errAfter
	case !found:
		whole, err := soleValue(text)
		if err != nil {
			return err
		}
		e.events = append(e.events, whole)
	}
	return nil
}

// posthogKey is the key in an event.
func posthogKey(raw []byte) string {
	for m := (members{b: raw}); ; {
		key, val, ok := m.next()
		if !ok {
			return ""
		}
		switch name(key.of(raw)) {
		case "api_key", "token":
			return stringOf(val.of(raw))
		case "properties":
			if in := val.of(raw); in[0] == '{' {
				if k := posthogKey(in); k != "" {
					return k
				}
			}
		}
	}
}

// posthogFields are what is read of an event: JSON values as they came, nil for those
// that it lacks.
type posthogFields struct {
	event, id, uuid, timestamp, offset, properties []byte

	// Of its properties, or else of the event itself:
	set, setOnce []byte

	// Of its properties:
	anonymous, device, identified, alias, groupKey, groupSet, screen, title []byte
}

func (f *posthogFields) read(raw []byte) error {
	err := fieldsOf(raw, func(name []byte) *[]byte {
		switch string(name) {
		case "event":
			return &f.event
		case "distinct_id":
			return &f.id
		case "uuid":
			return &f.uuid
		case "timestamp":
			return &f.timestamp
		case "offset":
			return &f.offset
		case "properties":
			return &f.properties
		case "$set":
			return &f.set
		case "$set_once":
			return &f.setOnce
		}
		return nil
	})
	if err != nil || len(f.properties) == 0 || f.properties[0] != '{' {
		return err
	}
	return fieldsOf(f.properties, func(name []byte) *[]byte {
		switch string(name) {
		case "distinct_id":
			return &f.id
		case "$anon_distinct_id":
			return &f.anonymous
		case "$device_id":
			return &f.device
		case "$is_identified":
			return &f.identified
		case "alias":
			return &f.alias
		case "$group_key":
			return &f.groupKey
		case "$group_set":
			return &f.groupSet
		case "$screen_name":
			return &f.screen
		case "title":
			return &f.title
		case "$set":
			return &f.set
		case "$set_once":
			return &f.setOnce
		}
		return nil
	})
}

func posthogEvent(dst, raw []byte, now int64) ([]byte, error) {
	var f posthogFields
	if err := f.read(raw); err != nil {
		return dst, event.Rejectf("json", "%v", err)
	}
	add := func(name string, v []byte) { dst = appendMember(dst, name, v) }
	typ, user, anonymous := "track", f.id, f.device
	if string(f.identified) == "false" || f.identified == nil && f.device != nil && bytes.Equal(f.id, f.device) {
		user, anonymous = nil, f.id
	}
	var more func()
	switch stringOf(f.event) {
	case "":
		return dst, event.Rejectf("name", "an event of PostHog's form needs a non-empty string in event")
	case "$identify":
		typ, user, anonymous = "identify", f.id, f.anonymous
		more = func() { add("traits", f.traits()) }
	case "$set":
		typ = "identify"
		if user != nil {
			anonymous = nil // it claims nobody
		}
		more = func() { add("traits", f.traits()) }
	case "$create_alias":
		previous := f.alias
		if user == nil { // the visitor becomes known under the alias
			user, previous = f.alias, f.id
		}
		typ, anonymous = "alias", nil
		more = func() { add("previousId", previous) }
	case "$groupidentify":
		typ = "group"
		more = func() { add("groupId", f.groupKey); add("traits", f.groupSet) }
	case "$pageview":
		typ = "page"
		more = func() { add("name", f.title) }
	case "$screen":
		typ = "screen"
		more = func() { add("name", f.screen) }
	}
	dst = append(append(append(dst, `{"type":"`...), typ...), '"')
	if typ == "track" {
		add("event", f.event)
	}
	add("userId", user)
	add("anonymousId", anonymous)
	add("messageId", f.uuid)
	if f.timestamp == nil {
		f.timestamp = f.before(now)
	}
	add("timestamp", f.timestamp)
	if more != nil {
		more()
	}
	add("properties", f.properties)
	return append(dst, '}'), nil
}

// before is the time of an event that only says how many milliseconds before the request
// it was; nil if it does not.
func (f *posthogFields) before(now int64) []byte {
	ms, err := strconv.ParseFloat(string(f.offset), 64)
	if err != nil || ms < 0 || ms > float64(now/int64(time.Millisecond)) {
		return nil
	}
	return strconv.AppendQuote(nil, value.FormatTime(now-int64(ms*float64(time.Millisecond))))
}

// traits joins $set and $set_once. Of equal members the first counts, as everywhere.
func (f *posthogFields) traits() []byte {
	switch {
	case f.setOnce == nil || f.setOnce[0] != '{' || f.setOnce[skipSpace(f.setOnce, 1)] == '}':
		return f.set
	case f.set == nil || f.set[0] != '{' || f.set[skipSpace(f.set, 1)] == '}':
		return f.setOnce
	}
	return append(append(append([]byte(nil), f.set[:len(f.set)-1]...), ','), f.setOnce[1:]...)
}

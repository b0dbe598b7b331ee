package ingest

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
)

// CloudEvents 1.0 come in each of their three forms: binary, with attributes in headers;
// structured, one object; and batched, an array of these. The event's name is type, its
// user subject, its messageId source and id, and its properties data. The extension
// anonymousid is its anonymousId. The key is the user name of Basic authorization, the
// header X-Write-Key, or the parameter writeKey.
var _ = add(&dialect{
	routes: map[string]route{"/v1/cloudevents": {batch: true}},
	key: func(r *http.Request) string {
		if key := r.Header.Get("X-Write-Key"); key != "" {
			return key
		}
		return keyParameter(r)
	},
	text:  cloudText,
	split: cloudSplit,
	event: cloudEvent,
})

// cloudAttributes are the attributes that are read.
var cloudAttributes = [...]string{"id", "source", "type", "subject", "time", "anonymousid"}

// cloudText makes a binary event a structured one.
func cloudText(r *http.Request, body []byte) ([]byte, error) {
	if r.Header.Get("ce-id") == "" && r.Header.Get("ce-type") == "" {
		return body, nil
	}
	text := []byte{'{'}
	add := func(name string, v []byte) {
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(append(append(append(text, '"'), name...), `":`...), v...)
	}
	for _, a := range cloudAttributes {
		if v := r.Header.Get("ce-" + a); v != "" {
			if plain, err := url.PathUnescape(v); err == nil { // as the specification wants it in headers
				v = plain
			}
			quoted, _ := json.Marshal(v)
			add(a, quoted)
		}
	}
	if fastjson.ValidateBytes(body) == nil {
		add("data", body)
	} else if len(body) > 0 {
		quoted, _ := json.Marshal(string(body))
		add("data", quoted)
	}
	return append(text, '}'), nil
}

func cloudSplit(e *envelope, text []byte) error {
	*e = envelope{events: e.events[:0]}
	v, err := soleValue(text)
	if err != nil {
		return err
	}
	if text[v.from] == '[' {
		return e.readEvents(text, v)
	}
	e.events, e.single = append(e.events, v), true
	return nil
}

func cloudEvent(dst, raw []byte, _ int64) ([]byte, error) {
	var id, source, typ, subject, at, anonymous, data, coded []byte
	err := fieldsOf(raw, func(name []byte) *[]byte {
		switch string(name) {
		case "id":
			return &id
		case "source":
			return &source
		case "type":
			return &typ
		case "subject":
			return &subject
		case "time":
			return &at
		case "anonymousid":
			return &anonymous
		case "data":
			return &data
		case "data_base64":
			return &coded
		}
		return nil
	})
	if err != nil {
		return dst, event.Rejectf("json", "%v", err)
	}
	if !isText(id) || !isText(source) || !isText(typ) {
		return dst, event.Rejectf("name", "a CloudEvent needs non-empty strings in id, source and type")
	}
	dst = append(append(dst, `{"type":"track","event":`...), typ...)
	dst = appendMember(dst, "userId", subject)
	dst = appendMember(dst, "anonymousId", anonymous)
	dst = append(append(dst, `,"messageId":`...), source[:len(source)-1]...)
	dst = append(append(dst, ' '), id[1:]...) // a source is a URI, and has no space
	dst = appendMember(dst, "timestamp", at)
	switch {
	case data != nil && data[0] == '{':
		dst = appendMember(dst, "properties", data)
	case data != nil:
		dst = append(append(append(dst, `,"properties":{"data":`...), data...), '}')
	case coded != nil:
		dst = append(append(append(dst, `,"properties":{"data_base64":`...), coded...), '}')
	}
	return append(dst, '}'), nil
}

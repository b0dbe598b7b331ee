package ingest

import (
	"bytes"
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
	if list, ok := arrayOf(text); ok {
		return e.readEvents(text, list)
	}
	v, err := soleValue(text)
	if err != nil {
		return err
	}
	e.events, e.single = append(e.events, v), true
	return nil
}

// arrayOf is the text without the white space around it, if it begins like an array. Its
// end is not looked for: readEvents, to which it goes, finds each event's.
func arrayOf(text []byte) (list jsonValue, ok bool) {
	text = bytes.TrimRight(text, " \t\r\n")
	list.span = span{skipSpace(text, 0), len(text)}
	return list, list.present() && text[list.from] == '['
}

// cloudFields are what is read of an event: JSON values as they came, nil for those that
// it lacks.
type cloudFields struct{ id, source, typ, subject, at, anonymous, data, coded []byte }

func (f *cloudFields) field(name []byte) *[]byte {
	switch string(name) {
	case "id":
		return &f.id
	case "source":
		return &f.source
	case "type":
		return &f.typ
	case "subject":
		return &f.subject
	case "time":
		return &f.at
	case "anonymousid":
		return &f.anonymous
	case "data":
		return &f.data
	case "data_base64":
		return &f.coded
	}
	return nil
}

func cloudEvent(dst, raw []byte, _ int64) ([]byte, error) {
	var f cloudFields
	if err := fieldsOf(raw, f.field); err != nil {
		return dst, event.Rejectf("json", "%v", err)
	}
	if !isText(f.id) || !isText(f.source) || !isText(f.typ) {
		return dst, event.Rejectf("name", "a CloudEvent needs non-empty strings in id, source and type")
	}
	dst = append(append(dst, `{"type":"track","event":`...), f.typ...)
	dst = appendMember(dst, "userId", f.subject)
	dst = appendMember(dst, "anonymousId", f.anonymous)
	dst = append(append(dst, `,"messageId":`...), f.source[:len(f.source)-1]...)
	dst = append(append(dst, ' '), f.id[1:]...) // a source is a URI, and has no space
	dst = appendMember(dst, "timestamp", f.at)
	switch {
	case f.data != nil && f.data[0] == '{':
		dst = appendMember(dst, "properties", f.data)
	case f.data != nil:
		dst = append(append(append(dst, `,"properties":{"data":`...), f.data...), '}')
	case f.coded != nil:
		dst = append(append(append(dst, `,"properties":{"data_base64":`...), f.coded...), '}')
	}
	return append(dst, '}'), nil
}

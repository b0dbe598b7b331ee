package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// An object is a JSON object with its keys in the order of the text. Of a key
// that stands there twice the first counts.
type object struct {
	keys []string
	vals map[string]any
}

// parseJSON reads one JSON value: *object, []any, json.Number, string, bool
// or nil.
func parseJSON(raw []byte) (any, error) {
	if !json.Valid(raw) {
		return nil, fmt.Errorf("not valid JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := parseValue(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one value")
	}
	return v, nil
}

func parseValue(dec *json.Decoder) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('{'):
		o := &object{vals: map[string]any{}}
		for dec.More() {
			k, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := parseValue(dec)
			if err != nil {
				return nil, err
			}
			key := k.(string)
			if _, twice := o.vals[key]; !twice {
				o.keys = append(o.keys, key)
				o.vals[key] = v
			}
		}
		_, err := dec.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := parseValue(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	return tok, nil
}

// get follows a path of keys; nil where it ends early.
func (o *object) get(path ...string) any {
	var v any = o
	for _, key := range path {
		in, ok := v.(*object)
		if !ok || in == nil {
			return nil
		}
		v = in.vals[key]
	}
	return v
}

// text is the string at a path, "" for anything else.
func (o *object) text(path ...string) string {
	s, _ := o.get(path...).(string)
	return s
}

// object is the object at a path, an empty one for anything else.
func (o *object) object(path ...string) *object {
	if in, ok := o.get(path...).(*object); ok && in != nil {
		return in
	}
	return &object{}
}

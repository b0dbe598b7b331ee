package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// An object is a JSON object with its keys in the order of the text. If a key is
// repeated, the first one counts.
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

// get follows a path of keys. It returns nil if the path does not exist.
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

// text returns the string at a path, or "" if there is none.
func (o *object) text(path ...string) string {
	s, _ := o.get(path...).(string)
	return s
}

// object returns the object at a path, or an empty one if there is none.
func (o *object) object(path ...string) *object {
	if in, ok := o.get(path...).(*object); ok && in != nil {
		return in
	}
	return &object{}
}

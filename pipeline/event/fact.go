package event

import "encoding/json"

// AppendFact appends the text of a fact. values is a JSON object; more is further
// members, such as `"timestamp":"2026-01-01T00:00:00Z"`, or empty.
func AppendFact(dst []byte, name, key string, values []byte, more string) []byte {
	quote := func(s string) []byte {
		b, _ := json.Marshal(s) // a text always marshals
		return b
	}
	dst = append(append(dst, `{"type":"fact","fact":`...), quote(name)...)
	dst = append(append(dst, `,"key":`...), quote(key)...)
	if more != "" {
		dst = append(append(dst, ','), more...)
	}
	return append(append(append(dst, `,"values":`...), values...), '}')
}

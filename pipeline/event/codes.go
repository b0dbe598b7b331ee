package event

import (
	"encoding/json"
	"strings"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// MaxCodeBytes bounds a code of a pool.
const MaxCodeBytes = 128

// readCodes reads an event that brings codes for a pool: {"type": "codes", "pool":
// "spring", "codes": ["A1", "B2"]}.
func (d *Decoder) readCodes(ev *Event) error {
	pool := value.AliasText(ev.Root.Get("pool"))
	if pool == "" || strings.ContainsAny(pool, ":#") {
		return Rejectf("name", "codes need the name of their pool in pool, without : and #")
	}
	if err := checkID("identity", "the pool's name", pool, 64); err != nil {
		return err
	}
	list := ev.Root.Get("codes")
	if list == nil || list.Type() != fastjson.TypeArray || len(list.GetArray()) == 0 {
		return Rejectf("fields", "codes need a list of texts in codes")
	}
	for _, c := range list.GetArray() {
		if text := value.AliasText(c); text == "" || len(text) > MaxCodeBytes {
			return Rejectf("fields", "a code is a text of 1 to %d bytes, this is %s", MaxCodeBytes, c)
		}
	}
	ev.Key = "p:" + pool
	return nil
}

// Codes are the codes that an event of the type brings.
func (e *Event) Codes() (codes []string) {
	for _, c := range e.Get("codes").GetArray() {
		codes = append(codes, strings.Clone(value.AliasText(c)))
	}
	return codes
}

// AppendCodes appends the text of an event that brings codes for a pool. more is
// further members, such as `"messageId":"..."`, or empty.
func AppendCodes(dst []byte, pool string, codes []string, more string) []byte {
	name, _ := json.Marshal(pool) // texts always marshal
	list, _ := json.Marshal(codes)
	dst = append(append(dst, `{"type":"codes","pool":`...), name...)
	if more != "" {
		dst = append(append(dst, ','), more...)
	}
	return append(append(append(dst, `,"codes":`...), list...), '}')
}

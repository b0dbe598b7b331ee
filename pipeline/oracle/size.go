package oracle

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// The limits of rule 18, in bytes.
const (
	maxKey     = 1 << 10
	maxValue   = 4 << 10
	maxTraits  = 64 << 10
	maxPending = 64 << 10
)

// cut returns the beginning of a text, in whole characters.
func cut(s string, most int) string {
	out := ""
	for _, r := range s {
		if len(out)+utf8.RuneLen(r) > most {
			break
		}
		out += string(r)
	}
	return out
}

// jsonSize returns the size of a JSON value.
func jsonSize(v any) int {
	switch v := v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case json.Number:
		return numberSize(v.String())
	case string:
		return len(v)
	}
	return len(compact(v))
}

// numberSize returns the size of a number: that of 64 bits, or the digits of a
// longer integer.
func numberSize(s string) int {
	if strings.ContainsAny(s, ".eE") || len(s) <= 20 {
		return 8
	}
	return len(s)
}

// compact returns the JSON of a value without white space.
func compact(v any) string {
	switch v := v.(type) {
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, compact(e))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case *object:
		var parts []string
		for _, key := range v.keys {
			parts = append(parts, compact(key)+":"+compact(v.vals[key]))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSpace(b.String())
}

// valueSize returns the size of the result of an expression.
func valueSize(v ref.Val) int {
	switch v := v.(type) {
	case nil, types.Null:
		return 0
	case types.Bool:
		return 1
	case types.String:
		return len(v)
	case integer:
		return numberSize(v.text)
	}
	return 8
}

// size returns the size of an entry that is not folded.
func (e *entry) size(f *feature) int {
	n := 16 + len(e.key) + len(e.listKey)
	switch {
	case f.Agg == "count", f.Agg == "histogram":
	case f.Agg == "list":
		for _, v := range e.stored.vals {
			n += jsonSize(v)
		}
	case f.Agg == "dwell":
		n += 8
	default:
		n += valueSize(e.value)
	}
	return n
}

// size returns the size of a folded step.
func (b *bucket) size(f *feature) int {
	n := 16 + len(b.entries[0].key)
	switch f.Agg {
	case "avg":
		return n + 16
	case "first":
		return n + valueSize(b.entries[0].value)
	case "last":
		return n + valueSize(b.entries[len(b.entries)-1].value)
	}
	return n + 8
}

// size returns the size of all that a feature holds.
func (s *state) size() int {
	n := 0
	for _, w := range s.keys {
		for _, b := range w.buckets {
			n += b.size(s.f)
		}
		for _, e := range w.exact {
			n += e.size(s.f)
		}
	}
	for _, r := range s.top {
		n += 16 + len(r.key) + 8
	}
	return n
}

func (s *state) drop(now int64) {
	for _, w := range s.keys {
		w.drop(now)
	}
}

// evict removes the oldest entry or folded step.
func (s *state) evict() {
	if s.f.Agg == "top" || s.f.Agg == "together" {
		s.evictTop()
		return
	}
	var from *window
	var oldest entry
	for _, w := range s.keys {
		e, ok := w.oldest()
		if ok && (from == nil || e.before(&oldest) < 0) {
			from, oldest = w, e
		}
	}
	if len(from.buckets) > 0 && (len(from.exact) == 0 || from.buckets[0].at <= from.exact[0].at) {
		from.buckets = from.buckets[1:]
	} else {
		from.exact = from.exact[1:]
	}
}

// oldest returns the place in the order of what is oldest. A folded step has
// that of the entry in it that came first.
func (w *window) oldest() (entry, bool) {
	if len(w.buckets) > 0 && (len(w.exact) == 0 || w.buckets[0].at <= w.exact[0].at) {
		b := w.buckets[0]
		came := slices.MinFunc(b.entries, func(a, b *entry) int {
			return (&entry{pos: a.pos, item: a.item}).before(&entry{pos: b.pos, item: b.item})
		})
		return entry{at: b.at, pos: came.pos, item: came.item}, true
	}
	if len(w.exact) > 0 {
		return *w.exact[0], true
	}
	return entry{}, false
}

// evict notes in the user's newest event which entries leave because of the
// bound on bytes.
func (u *user) evict(ev *event) {
	ev.evicted = map[*feature]int{}
	for {
		total, most := 0, 0
		var largest *feature
		for _, f := range u.set.own() { // by name
			s := u.state(f)
			s.drop(ev.now)
			n := s.size()
			total += n
			if n > most {
				most, largest = n, f
			}
		}
		if total <= u.set.Bounds.UserBytes {
			return
		}
		ev.evicted[largest]++
		u.out.meet("bound on bytes: " + largest.Agg)
		u.state(largest).evict()
	}
}

// traitsSize returns the size of a profile.
func traitsSize(profile map[string]any) int {
	n := 0
	for name, v := range profile {
		n += len(name) + jsonSize(v)
	}
	return n
}

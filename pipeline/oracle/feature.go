package oracle

import (
	"encoding/json"
	"math"
	"math/big"
	"slices"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

const maxDwell = int64(5 * time.Minute)

// collect returns the entries that an event adds to a feature: one, or with a
// bare `by` or `agg: list` one for each item.
func (f *feature) collect(u *user, ev *event) []entry {
	sc := &scope{user: u, event: ev, now: ev.now, pos: ev.pos}
	if !ev.matches(f.On) || !f.where.holds(sc) {
		return nil
	}
	byItem := f.By != "" && isBare(f.By)
	whole := "" // the key of all the event's entries
	if f.By != "" && !byItem {
		v, err := f.by.eval(sc)
		if err != nil {
			return nil
		}
		var ok bool
		if whole, ok = keyText(v); !ok {
			return nil
		}
	}
	items := []any{nil}
	if byItem || f.Agg == "list" {
		items = ev.items()
	}
	var out []entry
	for i, item := range items {
		e := entry{key: whole, at: ev.time, pos: ev.pos, item: i}
		if f.collectItem(&e, sc, item, byItem) {
			out = append(out, e)
		}
	}
	return out
}

// collectItem fills in what an item adds. It returns false if the item adds
// no entry.
func (f *feature) collectItem(e *entry, sc *scope, item any, byItem bool) bool {
	fields, _ := item.(*object)
	ok := true
	if byItem {
		if e.key, ok = property(fields, f.By); !ok {
			return false
		}
		sc.item = fromJSON(item)
	}
	return len(e.key) <= maxKey && f.fillRow(e, sc, fields)
}

// fillRow fills in what an entry holds: of a list the fields of the item.
func (f *feature) fillRow(e *entry, sc *scope, fields *object) bool {
	if f.Agg != "list" {
		return f.fill(e, sc, sc.event)
	}
	if f.Key != "" {
		var ok bool
		if e.listKey, ok = property(fields, f.Key); !ok || len(e.listKey) > maxKey {
			return false
		}
	}
	e.stored = f.stored(fields)
	e.value = fromJSON(e.stored)
	return true
}

// property returns a property of an item as the text of a key.
func property(item *object, name string) (string, bool) {
	v := item.get(name)
	if v == nil {
		return "", false
	}
	return keyText(fromJSON(v))
}

// stored returns the part of an item that a list keeps.
func (f *feature) stored(item *object) *object {
	out := &object{vals: map[string]any{}}
	if item == nil {
		return out
	}
	for _, name := range f.Fields {
		v, ok := item.vals[name]
		if s, isText := v.(string); isText {
			v = cut(s, maxValue)
		}
		switch v.(type) {
		case *object, []any:
			ok = ok && jsonSize(v) <= maxValue
		}
		if ok {
			out.vals[name] = v
		}
	}
	return out
}

// fill evaluates `of` into an entry. It returns false if the aggregate cannot
// use the value.
func (f *feature) fill(e *entry, sc *scope, ev *event) bool {
	switch f.Agg {
	case "count", "top", "histogram":
		return true
	case "dwell":
		e.open = true
		if ms, ok := ev.root.get("properties", "dwell_ms").(json.Number); ok {
			e.open = false
			milliseconds, _ := double(fromJSON(ms))
			e.length = int64(min(max(math.RoundToEven(milliseconds*1e6), 0), float64(maxDwell)))
		}
		return true
	}
	v, err := f.of.eval(sc)
	if err != nil {
		return false
	}
	e.value = v
	switch f.Agg {
	case "sum", "avg", "min", "max":
		n, ok := double(v)
		if !ok || math.IsNaN(n) || math.IsInf(n, 0) {
			return false
		}
		e.value = types.Double(n)
		if f.Agg == "sum" || f.Agg == "avg" {
			if math.Abs(n) >= 9.2e12 {
				return false
			}
			e.micro = new(big.Int).SetInt64(int64(math.RoundToEven(n * 1e6)))
		}
		return true
	}
	if f.Agg == "quantiles" {
		var ok bool
		e.value, ok = measure(v)
		return ok
	}
	if s, ok := v.(types.String); ok {
		e.value = types.String(cut(string(s), maxValue))
	}
	if f.Agg == "distinct" {
		e.text, err = shown(e.value)
		return err == nil
	}
	switch v.(type) {
	case types.Null, types.Bool, types.Int, types.Uint, types.Double, integer, types.String, types.Timestamp, types.Duration:
		return true
	}
	return false
}

func double(v ref.Val) (float64, bool) {
	f, _, ok := numeric(v)
	return f, ok
}

// A state is one feature of one user: the fold of all the user's events.
type state struct {
	f       *feature
	keys    map[string]*window
	touched []string // keys, the one touched last at the end
	top     []*ranked
	users   []entry
	folds   bool // a bound on keys or entries was reached
}

// apply folds the user's next event in.
func (s *state) apply(ev *event) {
	if ev.absorbed != nil {
		s.absorb(ev)
	}
	if ev.active() {
		s.close(ev.time)
	}
	if ev.matches(s.f.RemoveOn) {
		s.remove(ev)
	}
	if !ev.full {
		for _, e := range ev.entries[s.f] {
			s.add(ev.now, e)
		}
	}
	for range ev.evicted[s.f] {
		s.drop(ev.now)
		s.evict()
	}
}

// close ends the open dwell intervals.
func (s *state) close(at int64) {
	for _, w := range s.keys {
		for _, e := range w.all() {
			if e.open {
				e.open, e.length = false, min(max(minus(at, e.at), 0), maxDwell)
			}
		}
		if s.f.Agg == "dwell" {
			w.foldTo(s.f.bounds.Entries)
		}
	}
}

func (w *window) all() []*entry {
	out := slices.Clone(w.exact)
	for _, b := range w.buckets {
		out = append(out, b.entries...)
	}
	return out
}

// remove takes the event's items out of a list, under every key of `by`.
func (s *state) remove(ev *event) {
	for _, item := range ev.items() {
		fields, _ := item.(*object)
		key, ok := property(fields, s.f.Key)
		if !ok {
			continue
		}
		for _, w := range s.keys {
			w.exact = slices.DeleteFunc(w.exact, func(e *entry) bool { return e.listKey == key })
		}
	}
}

func (s *state) add(now int64, e entry) {
	f := s.f
	switch f.Agg {
	case "top", "together":
		s.touchTop(now, e)
		return
	case "users":
		s.addUser(now, e)
		return
	}
	w := s.keys[e.key]
	if w == nil {
		w = &window{within: f.Within}
	}
	if !w.in(e.at, now) {
		return
	}
	s.touch(now, e.key, w)
	w.drop(now)
	if f.Agg == "distinct" && f.Per != "" {
		w.sample(&e)
		return
	}
	switch f.Agg {
	case "distinct":
		if i := slices.IndexFunc(w.exact, func(o *entry) bool { return o.text == e.text }); i >= 0 {
			if w.exact[i].before(&e) > 0 {
				return // a newer entry of this value is there already
			}
			w.exact = slices.Delete(w.exact, i, i+1)
		}
	case "list":
		if f.Key != "" {
			w.exact = slices.DeleteFunc(w.exact, func(o *entry) bool { return o.listKey == e.listKey })
		}
	}
	w.insert(&e)
	s.bound(w)
}

// bound folds or removes what is beyond the bound on entries.
func (s *state) bound(w *window) {
	f, bound := s.f, s.f.bounds.Entries
	if f.Keep > 0 {
		bound = f.Keep
	}
	if len(w.exact) <= bound {
		return
	}
	if f.Agg == "distinct" || f.Agg == "list" || f.Agg == "quantiles" || f.Agg == "histogram" {
		w.exact, s.folds = w.exact[len(w.exact)-bound:], true
	} else {
		w.foldTo(bound)
	}
}

// touch first drops the keys that have nothing in the window and then makes
// key the one touched last. If there are more keys than the bound allows, it
// drops the one touched longest ago.
func (s *state) touch(now int64, key string, w *window) {
	for k, other := range s.keys {
		if k != key && len(other.live(now)) == 0 {
			s.forgetKey(k)
		}
	}
	s.touched = append(slices.DeleteFunc(s.touched, func(k string) bool { return k == key }), key)
	s.keys[key] = w
	if s.f.By != "" && len(s.touched) > s.f.bounds.Keys {
		s.forgetKey(s.touched[0])
	}
}

func (s *state) forgetKey(key string) {
	delete(s.keys, key)
	s.touched = slices.DeleteFunc(s.touched, func(k string) bool { return k == key })
}

// read returns the feature's value in an expression.
func (s *state) read(now int64) ref.Val {
	switch s.f.Agg {
	case "top", "together":
		return s.readTop(now)
	case "users":
		return s.readUsers(now)
	}
	if s.f.By == "" {
		return s.valueOf("", now)
	}
	m := textMap{values: map[string]ref.Val{}, other: s.f.value(nil, now)}
	for key := range s.keys {
		if live := s.live(key, now); len(live) > 0 {
			m.values[key] = s.valueOf(key, now)
		}
	}
	return m
}

// valueOf returns the value under a key. Of the distinct values of an item, one that
// is held may stand for many.
func (s *state) valueOf(key string, now int64) ref.Val {
	v := s.f.value(s.live(key, now), now)
	if w := s.keys[key]; w != nil && w.zeros > 0 {
		return v.(types.Int) << w.zeros
	}
	return v
}

func (s *state) live(key string, now int64) []*entry {
	if w := s.keys[key]; w != nil {
		return w.live(now)
	}
	return nil
}

// value returns the aggregate of entries.
func (f *feature) value(es []*entry, now int64) ref.Val {
	sum, length := new(big.Int), int64(0)
	for _, e := range es {
		if e.micro != nil {
			sum.Add(sum, e.micro)
		}
		length += e.dwell(now)
	}
	total, _ := new(big.Rat).SetFrac(sum, big.NewInt(1e6)).Float64()
	switch f.Agg {
	case "count", "distinct":
		return types.Int(len(es))
	case "sum":
		return types.Double(total)
	case "dwell":
		return types.Duration{Duration: time.Duration(length)}
	case "list":
		vals := []ref.Val{}
		for _, e := range es {
			vals = append(vals, e.value)
		}
		return types.NewRefValList(types.DefaultTypeAdapter, vals)
	}
	switch f.Agg {
	case "quantiles":
		return quantiles(es)
	case "histogram":
		return histogramOf(es)
	}
	if len(es) == 0 {
		return types.NullValue
	}
	best := es[0]
	switch f.Agg {
	case "avg":
		return types.Double(total / float64(len(es)))
	case "last":
		best = es[len(es)-1]
	case "min", "max":
		for _, e := range es {
			x, _ := double(e.value)
			y, _ := double(best.value)
			if f.Agg == "min" && x < y || f.Agg == "max" && x > y {
				best = e
			}
		}
	}
	return best.value
}

// dwell returns the length of an interval as of now.
func (e *entry) dwell(now int64) int64 {
	if e.open {
		return min(max(minus(now, e.at), 0), maxDwell)
	}
	return e.length
}

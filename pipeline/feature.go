package pipeline

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fastjson"
)

type aggregate uint8

const (
	aggCount aggregate = iota + 1
	aggSum
	aggMin
	aggMax
	aggAvg
	aggDistinct
	aggFirst
	aggLast
	aggList
	aggDwell
)

var aggregates = map[string]aggregate{
	"count": aggCount, "sum": aggSum, "min": aggMin, "max": aggMax, "avg": aggAvg,
	"distinct": aggDistinct, "first": aggFirst, "last": aggLast, "list": aggList, "dwell": aggDwell,
}

func (a aggregate) sums() bool { return a == aggSum || a == aggAvg || a == aggDwell }

// A feature is a compiled Feature.
type feature struct {
	def    *Feature
	id     uint64 // of the whole definition: what is changed is another feature
	agg    aggregate
	where  []*expr
	by     keyer
	of     *expr
	typ    *cel.Type
	remove map[string]bool // remove_on
}

// A keyer is a compiled `by` or `match`: none, a property of each item, or an
// expression about the event.
type keyer struct {
	name string
	expr *expr
}

func (k keyer) none() bool { return k.name == "" && k.expr == nil }

// each calls fn with every key of the event, in the order of its items; item
// is the index among them. What has no key is skipped. A key is valid as long
// as the event.
func (k keyer) each(sc *scope, fn func(key string, item int, v *fastjson.Value)) error {
	switch {
	case k.expr != nil:
		key, err := k.expr.key(sc)
		if err != nil {
			return err
		}
		fn(key, 0, nil)
	case k.name != "":
		for i, it := range sc.event.items() {
			if key, ok := jsonKey(it.Get(k.name)); ok {
				fn(key, i, it)
			}
		}
	default:
		fn("", 0, nil)
	}
	return nil
}

// A featureState is what a user holds of one feature.
type featureState struct {
	id    uint64
	since uint32   // epoch of the feature when it began
	open  int      // dwell: how many intervals are open
	keys  []*keyed // least recently touched first; without `by` at most one, key ""
	sums  []uint32 // of the keys' texts, so that a search reads one place
}

type keyed struct {
	key string
	window
}

func (s *featureState) find(key string) *keyed {
	if s == nil {
		return nil
	}
	if i := s.index(key); i >= 0 {
		return s.keys[i]
	}
	return nil
}

// index is a key's place, -1 where it has none.
func (s *featureState) index(key string) int {
	sum := keySum(key)
	for i := len(s.sums) - 1; i >= 0; i-- { // the latest are asked for most
		if s.sums[i] == sum && s.keys[i].key == key {
			return i
		}
	}
	return -1
}

func keySum(key string) uint32 { return uint32(xxhash.Sum64String(key)) }

// append puts a key behind the others.
func (s *featureState) append(k *keyed) {
	s.keys = append(s.keys, k)
	s.sums = append(s.sums, keySum(k.key))
}

// latest makes key i the last.
func (s *featureState) latest(i int) *keyed {
	k, sum, end := s.keys[i], s.sums[i], len(s.keys)-1
	if i < end {
		copy(s.keys[i:], s.keys[i+1:])
		copy(s.sums[i:], s.sums[i+1:])
		s.keys[end], s.sums[end] = k, sum
	}
	return k
}

// keep keeps the keys for which which holds.
func (s *featureState) keep(which func(*keyed) bool) {
	keys, sums := s.keys, s.sums
	s.keys, s.sums = s.keys[:0], s.sums[:0]
	for i, k := range keys {
		if which(k) {
			s.keys, s.sums = append(s.keys, k), append(s.sums, sums[i])
		}
	}
	clear(keys[len(s.keys):])
}

// update takes the event into the feature's state.
func (f *feature) update(st *featureState, sc *scope, e *Entity, c *Counts) {
	out := cut(sc.now, f.def.Within)
	err := f.by.each(sc, func(key string, item int, it *fastjson.Value) {
		base := entry{t: sc.event.Time, pos: e.seq<<16 | uint64(item)}
		if base.t <= out {
			return // it has left the window before it came
		}
		if f.agg == aggList {
			f.addRows(st, key, base, item, it, sc, e, c)
			return
		}
		v, err := f.value(sc, it)
		if err != nil {
			c.failed(err)
			return
		}
		base.v = v
		f.add(st, key, base, sc.now, e, c)
	})
	if err != nil {
		c.failed(err)
	}
}

// value is what the event brings to the aggregate.
func (f *feature) value(sc *scope, item *fastjson.Value) (Value, error) {
	switch f.agg {
	case aggCount:
		return Value{}, nil
	case aggDwell:
		if v := sc.event.Root.Get("properties", "dwell_ms"); v != nil && v.Type() == fastjson.TypeNumber {
			ms := min(max(number(v), 0), float64(maxDwell/time.Millisecond))
			return Value{kind: kindDuration, bits: uint64(math.RoundToEven(float64(ms * 1e6)))}, nil
		}
		return Value{}, nil // open
	}
	sc.item = item
	val, err := f.of.value(sc)
	sc.item = nil
	if err != nil {
		return Value{}, err
	}
	switch f.agg {
	case aggSum, aggAvg, aggMin, aggMax:
		x, ok := val.number()
		if !ok {
			return Value{}, fmt.Errorf("%s takes numbers, this is %v", f.def.Agg, val.cel())
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return Value{}, fmt.Errorf("%s takes numbers, this is %v", f.def.Agg, x)
		}
		if f.agg == aggMin || f.agg == aggMax {
			return Value{kind: kindDouble, bits: math.Float64bits(x)}, nil
		}
		if math.Abs(x) >= maxSum {
			return Value{}, fmt.Errorf("%s takes numbers below %g, this is %g", f.def.Agg, maxSum, x)
		}
		return Value{kind: kindInt, bits: uint64(int64(math.RoundToEven(float64(x * 1e6))))}, nil
	}
	return val, nil
}

// maxSum bounds one summand: sums are integers of millionths.
const maxSum = 9.2e12

// addRows adds the event's items to a list. Under a bare `by` it is called
// once for each item, else once for all.
func (f *feature) addRows(st *featureState, key string, base entry, item int, it *fastjson.Value, sc *scope, e *Entity, c *Counts) {
	items := sc.event.items()
	if it != nil {
		items = items[item : item+1]
	} else {
		item = 0
	}
	for i, it := range items {
		r := &row{fields: make([]Value, len(f.def.Fields)), has: make([]bool, len(f.def.Fields))}
		if f.def.Key != "" {
			k, ok := jsonKey(it.Get(f.def.Key))
			if !ok {
				continue
			}
			r.key = strings.Clone(k)
		}
		for j, name := range f.def.Fields {
			if v := it.Get(name); v != nil {
				r.fields[j], r.has[j] = jsonValue(v), true
			}
		}
		en := base
		en.pos = e.seq<<16 | uint64(item+i)
		en.row = r
		f.add(st, key, en, sc.now, e, c)
	}
}

// add puts an entry under a key, which becomes the most recently touched.
func (f *feature) add(st *featureState, key string, en entry, now int64, e *Entity, c *Counts) {
	bounds := &e.live.def.Bounds
	out := cut(now, f.def.Within)
	k := f.touch(st, key, out, e, c)
	before := k.len()
	k.drop(out)
	if f.agg == aggDwell && en.open() {
		st.open++
	}
	if k.add(f, en, bounds) {
		c.Bounds++
	}
	e.entries += k.len() - before
}

// touch finds or makes the key's window and moves it to the end of the keys.
func (f *feature) touch(st *featureState, key string, out int64, e *Entity, c *Counts) *keyed {
	if i := st.index(key); i >= 0 {
		return st.latest(i)
	}
	if bound := e.live.def.Bounds.Keys; len(st.keys) >= bound {
		st.keep(func(k *keyed) bool {
			if k.empty(out) {
				e.entries -= k.len()
				return false
			}
			return true
		})
		if len(st.keys) >= bound {
			oldest := st.keys[0]
			e.entries -= oldest.len()
			st.keep(func(k *keyed) bool { return k != oldest })
			c.Bounds++
		}
	}
	k := &keyed{key: strings.Clone(key)}
	st.append(k)
	return k
}

// removeRows takes the event's items out of a list (remove_on).
func (f *feature) removeRows(st *featureState, ev *Event, e *Entity) {
	for _, it := range ev.items() {
		key, ok := jsonKey(it.Get(f.def.Key))
		if !ok {
			continue
		}
		for _, k := range st.keys {
			if k.remove(key) {
				e.entries--
			}
		}
	}
}

// close ends the open intervals of a dwell at time t.
func (f *feature) close(st *featureState, t int64, e *Entity) {
	for j := len(st.keys) - 1; j >= 0 && st.open > 0; j-- { // the latest are open, if any
		k, was := st.keys[j], st.open
		for i := len(k.entries) - 1; i >= 0 && st.open > 0; i-- {
			if en := &k.entries[i]; en.open() {
				en.v = Value{kind: kindDuration, bits: uint64(clampDwell(t - en.t))}
				st.open--
			}
		}
		if st.open < was {
			before := k.len()
			k.foldTo(f, e.live.def.Bounds.Entries)
			e.entries += k.len() - before
		}
	}
	st.open = 0 // what was open and has left its window or its key
}

// read is the feature in an expression.
func (f *feature) read(st *featureState, now int64) ref.Val {
	if !f.by.none() {
		return celMap{keysSource{f, st, now}}
	}
	return f.result(st.find(""), now)
}

// at is one aggregate, but a list's, under a key.
func (f *feature) at(st *featureState, key string, now int64) Value {
	k := st.find(key)
	if k == nil {
		return f.total(nil, nil, now)
	}
	b, en := k.in(cut(now, f.def.Within))
	return f.total(b, en, now)
}

// result is the aggregate of what lies in the window; k may be nil.
func (f *feature) result(k *keyed, now int64) ref.Val {
	var b []bucket
	var en []entry
	if k != nil {
		b, en = k.in(cut(now, f.def.Within))
	}
	if f.agg != aggList {
		return f.total(b, en, now).cel()
	}
	vals := make([]ref.Val, len(en))
	for i := range en {
		vals[i] = celMap{rowSource{f.def.Fields, en[i].row}}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}

// total is the aggregate, but a list's, of buckets and entries.
func (f *feature) total(buckets []bucket, entries []entry, now int64) Value {
	switch f.agg {
	case aggCount, aggSum, aggAvg:
		n, sum := int64(len(entries)), int64(0)
		for i := range buckets {
			n += buckets[i].n
			sum += buckets[i].sum
		}
		if f.agg == aggCount {
			return Value{kind: kindInt, bits: uint64(n)}
		}
		for i := range entries {
			sum += int64(entries[i].v.bits)
		}
		total := float64(sum) / 1e6
		if f.agg == aggSum {
			return doubleValue(total)
		}
		if n == 0 {
			return Value{}
		}
		return doubleValue(total / float64(n))
	case aggDistinct:
		return Value{kind: kindInt, bits: uint64(len(entries))}
	case aggDwell:
		return Value{kind: kindDuration, bits: uint64(dwell(buckets, entries, now))}
	case aggMin, aggMax:
		return extreme(f.agg == aggMin, buckets, entries)
	case aggFirst:
		if len(buckets) > 0 {
			return buckets[0].first.v
		}
		if len(entries) > 0 {
			return entries[0].v
		}
	case aggLast:
		if len(entries) > 0 {
			return entries[len(entries)-1].v
		}
		if len(buckets) > 0 {
			return buckets[len(buckets)-1].last.v
		}
	}
	return Value{}
}

func doubleValue(f float64) Value { return Value{kind: kindDouble, bits: math.Float64bits(f)} }

func extreme(least bool, buckets []bucket, entries []entry) Value {
	var best Value
	take := func(v Value) {
		if best.kind == kindNull || (least && less(v, best)) || (!least && less(best, v)) {
			best = v
		}
	}
	for i := range buckets {
		if least {
			take(buckets[i].min)
		} else {
			take(buckets[i].max)
		}
	}
	for i := range entries {
		take(entries[i].v)
	}
	return best
}

// keysSource is a feature with `by` in an expression: the keys that have an
// entry in the window.
type keysSource struct {
	f   *feature
	st  *featureState
	now int64
}

func (s keysSource) find(key string) (ref.Val, bool) {
	return s.f.result(s.st.find(key), s.now), true
}

func (s keysSource) has(key string) bool {
	k := s.st.find(key)
	return k != nil && !k.empty(cut(s.now, s.f.def.Within))
}

func (s keysSource) keys() []string {
	if s.st == nil {
		return nil
	}
	c := cut(s.now, s.f.def.Within)
	var ks []string
	for _, k := range s.st.keys {
		if !k.empty(c) {
			ks = append(ks, k.key)
		}
	}
	sort.Strings(ks)
	return ks
}

func (s keysSource) size() int { return len(s.keys()) }

type rowSource struct {
	names []string
	r     *row
}

func (s rowSource) find(key string) (ref.Val, bool) {
	for i, n := range s.names {
		if n == key && s.r.has[i] {
			return s.r.fields[i].cel(), true
		}
	}
	return nil, false
}

func (s rowSource) has(key string) bool {
	_, ok := s.find(key)
	return ok
}

func (s rowSource) keys() []string {
	var ks []string
	for i, n := range s.names {
		if s.r.has[i] {
			ks = append(ks, n)
		}
	}
	sort.Strings(ks)
	return ks
}

func (s rowSource) size() int { return len(s.keys()) }

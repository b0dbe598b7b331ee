package pipeline

import (
	"fmt"
	"math"
	"time"

	"cel.dev/cel-go/cel"
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

// A feature is a compiled Feature.
type feature struct {
	def    *Feature
	id     uint64 // of the whole definition: what is changed is another feature
	agg    aggregate
	width  int // of an entry, where the aggregate has a series
	where  []*expr
	by     keyer
	of     *expr
	typ    *cel.Type
	remove map[string]bool // remove_on
}

// update takes the event into the feature's state.
func (f *feature) update(st *featureState, sc *scope, e *Entity, c *Counts) {
	out := cut(sc.now, f.def.Within)
	err := f.by.each(sc, func(key string, item int, it *fastjson.Value) {
		if sc.event.Time <= out {
			return // it has left the window before it came
		}
		if len(key) > maxKey {
			c.Bounds++
			return
		}
		if f.agg == aggList {
			f.addRows(st, key, item, it, sc, e, c)
			return
		}
		v, err := f.value(sc, it)
		if err != nil {
			c.failed(err)
			return
		}
		f.add(st, key, entry{t: sc.event.Time, v: v}, sc.now, e, c)
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
		if v := sc.event.get("properties", "dwell_ms"); v != nil && v.Type() == fastjson.TypeNumber {
			ms := min(max(number(v), 0), float64(maxDwell/time.Millisecond))
			return Value{kind: kindDuration, bits: uint64(math.RoundToEven(float64(ms * 1e6)))}, nil
		}
		return openValue, nil
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

// openValue is a stay that goes on.
var openValue = func() Value { v := int64(openStay); return Value{kind: kindDuration, bits: uint64(v)} }()

// maxSum bounds one summand: sums are integers of millionths.
const maxSum = 9.2e12

// addRows adds the event's items to a list. Under a bare `by` it is called
// once for each item, else once for all.
func (f *feature) addRows(st *featureState, key string, item int, it *fastjson.Value, sc *scope, e *Entity, c *Counts) {
	items := sc.event.items()
	if it != nil {
		items = items[item : item+1]
	}
	for _, it := range items {
		r := &row{fields: make([]Value, len(f.def.Fields)), has: make([]bool, len(f.def.Fields))}
		if f.def.Key != "" {
			k, ok := jsonKey(it.Get(f.def.Key))
			if !ok {
				continue
			}
			r.key = k
		}
		for j, name := range f.def.Fields {
			if v := it.Get(name); v != nil {
				r.fields[j], r.has[j] = jsonValue(v), true
			}
		}
		f.add(st, key, entry{t: sc.event.Time, row: r}, sc.now, e, c)
	}
}

// add puts an entry under a key, which becomes the most recently touched.
func (f *feature) add(st *featureState, key string, en entry, now int64, e *Entity, c *Counts) {
	bounds := &e.live.def.Bounds
	out := cut(now, f.def.Within)
	held := st.held
	i := f.touch(st, key, out, bounds, c)
	full := false
	if f.width > 0 {
		f.dropSeries(st, i, out)
		if f.agg == aggDwell && en.v == openValue {
			st.open++
		}
		full = f.addSeries(st, i, en.t, int64(en.v.bits), bounds.Entries)
	} else {
		full = f.addWindow(st, i, out, en, bounds, &e.live.scratch)
	}
	if full {
		c.Bounds++
	}
	e.entries += int(st.held) - int(held)
}

// touch finds or makes the key's record and moves it to the end of the keys.
func (f *feature) touch(st *featureState, key string, out int64, bounds *Bounds, c *Counts) int {
	if i := st.index(key); i >= 0 {
		st.latest(i)
		return int(st.keys) - 1
	}
	if int(st.keys) >= bounds.Keys {
		for i := int(st.keys) - 1; i >= 0; i-- {
			if f.newest(st.record(i)) <= out {
				f.forget(st, i)
			}
		}
		if int(st.keys) >= bounds.Keys {
			f.forget(st, 0)
			c.Bounds++
		}
	}
	st.append(key)
	return int(st.keys) - 1
}

// forget takes key i and what it holds away.
func (f *feature) forget(st *featureState, i int) {
	st.held -= uint32(f.holds(st.record(i)))
	st.remove(i)
}

// newest is the time of a record's newest bucket or entry.
func (f *feature) newest(rec []byte) int64 {
	newest := int64(math.MinInt64)
	if f.width == 0 {
		if b := body(rec); len(b) > 0 {
			newest = word(b, 0)
		}
		return newest
	}
	buckets, entries := f.series(rec)
	if n := len(buckets); n > 0 {
		newest = word(buckets[n-bucketBytes:], 0)
	}
	if n := len(entries); n > 0 {
		newest = max(newest, word(entries[n-f.width:], 0))
	}
	return newest
}

// holds is how many buckets and entries a record has.
func (f *feature) holds(rec []byte) int {
	if f.width > 0 {
		buckets, entries := f.series(rec)
		return len(buckets)/bucketBytes + len(entries)/f.width
	}
	if b := body(rec); len(b) > 0 {
		return counted(b, windowEntries) + counted(b, windowBuckets)
	}
	return 0
}

// drop drops what lies at or before c, under every key.
func (f *feature) drop(st *featureState, c int64) {
	for i := range int(st.keys) {
		if f.width > 0 {
			f.dropSeries(st, i, c)
		} else {
			f.dropWindow(st, i, c)
		}
	}
}

// removeRows takes the event's items out of a list (remove_on).
func (f *feature) removeRows(st *featureState, ev *Event, e *Entity) {
	for _, it := range ev.items() {
		key, ok := jsonKey(it.Get(f.def.Key))
		if !ok {
			continue
		}
		held := st.held
		for i := range int(st.keys) {
			f.removeRow(st, i, key)
		}
		e.entries += int(st.held) - int(held)
	}
}

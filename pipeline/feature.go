package pipeline

import (
	"fmt"
	"math"
	"strings"
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

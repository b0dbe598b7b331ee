package pipeline

import (
	"math"
	"sort"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

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

package pipeline

import (
	"sort"
	"strings"

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

// at is one aggregate, but a list's, under a key; its text is valid until the
// state changes.
func (f *feature) at(st *featureState, key string, now int64) Value {
	return f.total(st.find(key), now)
}

// result is the aggregate of what lies in the window; rec may be nil.
func (f *feature) result(rec []byte, now int64) ref.Val {
	if f.agg != aggList {
		v := f.total(rec, now)
		v.str = strings.Clone(v.str)
		return v.cel()
	}
	var all []*row
	if rec != nil {
		all = rows(rec, cut(now, f.def.Within))
	}
	vals := make([]ref.Val, len(all))
	for i, r := range all {
		vals[i] = celMap{rowSource{f.def.Fields, r}}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}

// total is the aggregate, but a list's, of a record, which may be nil.
func (f *feature) total(rec []byte, now int64) Value {
	if f.width > 0 {
		return f.totalSeries(rec, now)
	}
	return f.totalWindow(rec, cut(now, f.def.Within))
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
	rec := s.st.find(key)
	return rec != nil && s.f.newest(rec) > cut(s.now, s.f.def.Within)
}

func (s keysSource) keys() []string {
	if s.st == nil {
		return nil
	}
	c := cut(s.now, s.f.def.Within)
	var ks []string
	for i := range int(s.st.keys) {
		if s.f.newest(s.st.record(i)) > c {
			ks = append(ks, strings.Clone(s.st.key(i)))
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

package pipeline

import (
	"sort"

	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
)

// A scope is what expressions of one entity's step see.
type scope struct {
	set    *Set
	now    int64
	event  *event.Event
	item   *fastjson.Value // in `of` under a bare `by`
	entity *Entity

	totals *totals // nil while the entity's state may change
}

var _ expr.Scope = (*scope)(nil)

func (s *scope) Parent() interpreter.Activation { return nil }

func (s *scope) Now() int64 { return s.now }

func (s *scope) Event() *event.Event { return s.event }

func (s *scope) Item() *fastjson.Value { return s.item }

func (s *scope) ResolveName(name string) (any, bool) {
	switch name {
	case "profile":
		return value.Map{Source: profile{s.entity}}, true
	case "session":
		return sessionType.Of(s), true
	}
	if i, ok := s.set.featureIndex[name]; ok {
		return s.set.features[i].read(s.entity.feature(i), s.now), true
	}
	return expr.Common(s, name)
}

func (s *scope) Under(i int, key string) value.Value {
	return s.set.features[i].shape.Total(s.entity.feature(i), key, s.now)
}

func (s *scope) Has(i int, key string) bool {
	return s.set.features[i].shape.Has(s.entity.feature(i), key, s.now)
}

// Total is feature i, which has no `by`; its text is valid until the state
// changes.
func (s *scope) Total(i int) value.Value {
	if s.totals == nil {
		return s.Under(i, "")
	}
	t := &s.totals.at[i]
	if t.step != s.totals.step {
		*t = total{s.totals.step, s.Under(i, "")}
	}
	return t.v
}

// totals are the aggregates without `by` that a step has read: many campaigns
// ask for the same.
type totals struct {
	step uint64
	at   []total // by feature
}

type total struct {
	step uint64 // that read it
	v    value.Value
}

// next forgets what the step before has read.
func (t *totals) next(features int) *totals {
	t.step++
	if len(t.at) != features {
		t.at = make([]total, features)
	}
	return t
}

// profile is `profile` in an expression: the traits of its entity.
type profile struct{ e *Entity }

func (p profile) Find(key string) (ref.Val, bool) {
	i, found := p.e.trait(key)
	if !found {
		return nil, false
	}
	return p.e.traits[i].value.CEL(), true
}

func (p profile) Has(key string) bool {
	_, found := p.e.trait(key)
	return found
}

func (p profile) Keys() []string {
	ks := make([]string, len(p.e.traits))
	for i, t := range p.e.traits {
		ks[i] = t.name
	}
	return ks
}

func (p profile) Size() int { return len(p.e.traits) }

// trait is the place of a trait, or where it would be.
func (e *Entity) trait(name string) (int, bool) {
	i := sort.Search(len(e.traits), func(i int) bool { return e.traits[i].name >= name })
	return i, i < len(e.traits) && e.traits[i].name == name
}

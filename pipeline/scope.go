package pipeline

import (
	"sort"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/unsubscribe"
	"offerstream/pipeline/value"
	"offerstream/pipeline/zone"
)

// A scope is what expressions see during a step on one entity.
type scope struct {
	set    *Set
	now    int64
	event  *event.Event
	item   *fastjson.Value // set only for `of` under a bare `by`, and for features of items
	entity *Entity
	c      *liveCampaign                     // whose expression it is; nil: of a feature
	before *Entity                           // what before.x reads
	began  int64                             // the log time at which before.x is read
	nobody bool                              // the event is of no person: what is known of a user is an error
	ended  bool                              // session is read as it was at its end
	answer *answer                           // what features of items are; nil: empty
	key    string                            // the evaluation's match key
	read   func(key string) (*Entity, error) // of a fact

	// Set only for templates:
	chosen        ref.Val
	coupon        *OfferCoupon
	couponExpires int64

	totals *totals // nil while the entity's features may change
	lets   []any   // of c: those that were read since of, nil: not yet
}

// of sets the campaign whose expressions are evaluated next.
func (s *scope) of(c *liveCampaign) {
	s.c = c
	clear(s.lets)
	s.lets = s.lets[:0]
	if c != nil {
		for range c.lets {
			s.lets = append(s.lets, nil)
		}
	}
}

var _ expr.Scope = (*scope)(nil)

func (s *scope) Parent() interpreter.Activation { return nil }

func (s *scope) Now() int64 { return s.now }

func (s *scope) Event() *event.Event { return s.event }

func (s *scope) Item() *fastjson.Value {
	if s.item != nil {
		return s.item
	}
	return s.itemOf()
}

func (s *scope) ResolveName(name string) (any, bool) {
	if s.nobody && s.ofUser(name) {
		return types.NewErr("no such key: the event is of no person, and %s is of a user", name), true
	}
	switch name {
	case "profile":
		return value.Map{Source: profile{s.entity}}, true
	case "session":
		return sessionType.Of(s), true
	case "item":
		if s.chosen != nil {
			return s.chosen, true
		}
	}
	if i, ok := s.set.featureIndex[name]; ok {
		if f := s.set.features[i]; f.per > 0 {
			return s.readItem(f, false), true
		}
		return s.set.features[i].read(s.entity.feature(i), s.now), true
	}
	if v := s.let(name); v != nil {
		return v, true
	}
	if of, in, dotted := strings.Cut(name, "."); dotted {
		return s.dotted(of, in)
	}
	if name == unsubscribeURL {
		return types.String(unsubscribe.Placeholder), true
	}
	return expr.Common(s, name)
}

// ofUser reports whether a name stands for what is known of a user.
func (s *scope) ofUser(name string) bool {
	of, in, dotted := strings.Cut(name, ".")
	if of == "before" && dotted {
		name = in
	}
	_, feature := s.set.featureIndex[name]
	return feature || name == "profile" || name == "session" || of == "local"
}

// let is a `let` of the campaign, nil if it has none of that name. It is evaluated
// once, however often it is read.
func (s *scope) let(name string) any {
	if s.c == nil {
		return nil
	}
	for i := range s.c.lets {
		if s.c.lets[i].name != name {
			continue
		}
		if s.lets[i] == nil {
			v, err := s.c.lets[i].expr.Eval(s)
			if s.lets[i] = v; err != nil {
				s.lets[i] = types.WrapErr(err)
			}
		}
		return s.lets[i]
	}
	return nil
}

// dotted resolves names such as before.visits and local.hour.
func (s *scope) dotted(of, name string) (any, bool) {
	switch of {
	case "before":
		if i, ok := s.set.featureIndex[name]; ok && s.set.features[i].per > 0 {
			return s.readItem(s.set.features[i], true), true
		}
		if s.before == nil {
			return nil, false
		}
		was := &scope{set: s.set, now: s.began, event: s.event, entity: s.before}
		return was.ResolveName(name)
	case "row":
		if v, ok := s.c.value(name); ok {
			return v.CEL(), true
		}
		return types.NewErr("no such key: %s", name), true
	case "local":
		return s.local(name)
	case "facts":
		if f := s.set.facts[name]; f != nil {
			return factMap(s, f), true
		}
	case "coupon":
		if s.coupon != nil {
			return s.couponPart(name)
		}
	}
	return nil, false
}

// local is local time in the user's zone.
func (s *scope) local(name string) (any, bool) {
	hour, minute, weekday, date := zone.Local(s.now, s.entity.location())
	switch name {
	case "hour":
		return types.Int(hour), true
	case "minute":
		return types.Int(minute), true
	case "weekday":
		return types.String(weekday), true
	case "date":
		return types.String(date), true
	}
	return nil, false
}

func (s *scope) couponPart(name string) (any, bool) {
	switch name {
	case "code":
		return types.String(s.coupon.Code), true
	case "url":
		if s.coupon.URL == "" { // the set has no address to begin with
			return types.String(s.coupon.Code), true
		}
		return types.String(s.coupon.URL), true
	case "expires":
		if s.couponExpires == NoDue {
			return types.NullValue, true
		}
		return value.CELTime(s.couponExpires), true
	}
	return nil, false
}

// Under is the single value of feature i under a key. Its text is valid until the
// entity's features change.
func (s *scope) Under(i int, key string) value.Value {
	if f := s.set.features[i]; f.per > 0 {
		return f.shape.FrozenTotal(s.given(f, false), key)
	}
	if s.totals == nil {
		return s.set.features[i].shape.Total(s.entity.feature(i), key, s.now)
	}
	t := &s.totals.features[i]
	if t.step != s.totals.step || t.key != key {
		*t = total{s.totals.step, key, s.set.features[i].shape.Total(s.entity.feature(i), key, s.now)}
	}
	return t.v
}

func (s *scope) Has(i int, key string) bool {
	if f := s.set.features[i]; f.per > 0 {
		return f.shape.FrozenHas(s.given(f, false), key)
	}
	return s.set.features[i].shape.Has(s.entity.feature(i), key, s.now)
}

// Total is Under for feature i that has no `by`.
func (s *scope) Total(i int) value.Value { return s.Under(i, "") }

// totals caches the last value of each feature that was read during a step, because
// many campaigns read the same features, and under the same key.
type totals struct {
	step     uint64 // number of the current step
	features []total
}

// A total is the value of a feature under a key in the step of that number. The key
// may be a text of the step's event.
type total struct {
	step uint64
	key  string
	v    value.Value
}

// next begins a new step: cached values of earlier steps are no longer used.
func (t *totals) next(features int) *totals {
	t.step++
	if len(t.features) != features {
		t.features = make([]total, features)
	}
	return t
}

// A profile is `profile` in an expression: the traits of an entity.
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

// trait is the index of a trait. If the entity lacks it, found is false and i
// is the index at which to insert it.
func (e *Entity) trait(name string) (i int, found bool) {
	i = sort.Search(len(e.traits), func(i int) bool { return e.traits[i].name >= name })
	return i, i < len(e.traits) && e.traits[i].name == name
}

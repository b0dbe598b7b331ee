package oracle

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// A scope holds the names that an expression can use. A feature is computed, as
// of now, when the expression reads it.
type scope struct {
	user     *user     // nil in the step of an item
	world    *world    // then
	campaign *campaign // nil in a feature
	event    *event    // nil after the end of a session
	now      int64
	pos      int      // the place in the log: what stands there and later is not known yet
	ended    *session // at the end of a session: that session
	item     ref.Val
	coupon   *coupon

	frozen, frozenBefore map[string]ref.Val // features of items, as they were answered
}

// in returns the world that the step is in.
func (sc *scope) in() *world {
	if sc.user != nil {
		return sc.user.w
	}
	return sc.world
}

var _ interpreter.Activation = (*scope)(nil)

func (sc *scope) Parent() interpreter.Activation { return nil }

func (sc *scope) ResolveName(name string) (any, bool) {
	if sc.user == nil && slices.Contains([]string{"profile", "session", "local"}, name) {
		return types.NewErr("there is no user"), true
	}
	switch name {
	case "event":
		if sc.event == nil {
			return types.NewErr("there is no event"), true
		}
		return sc.event.value(sc.in().set.Engine >= 5), true
	case "now":
		return timestamp(sc.now), true
	case "item":
		return sc.item, sc.item != nil
	case "profile":
		return sc.user.profile(), true
	case "session":
		if sc.ended != nil {
			return sc.ended.value(), true
		}
		return sc.user.session(sc.now).value(), true
	case "before":
		return named{sc.before}, true
	case "local":
		return local(sc.now, sc.user.zone()), true
	case "facts":
		return named{func(name string) (ref.Val, error) { return sc.in().in.facts.read(name, sc) }}, true
	case "row":
		if sc.campaign == nil || sc.campaign.row == nil {
			return types.NewErr("there are no rows"), true
		}
		return fromJSON(sc.campaign.row), true
	case "coupon":
		if sc.coupon == nil {
			return types.NewErr("there is no coupon"), true
		}
		return sc.coupon.value(), true
	}
	if f, ok := sc.in().language.features[name]; ok {
		if f.Per != "" {
			return orMissing(sc.frozen[name]), true
		}
		if sc.user == nil {
			return types.NewErr("there is no user"), true
		}
		return sc.user.state(f).read(sc.now), true
	}
	if sc.campaign != nil && sc.campaign.lets[name] != nil {
		v, err := sc.campaign.lets[name].eval(sc)
		if err != nil {
			return types.WrapErr(err), true
		}
		return v, true
	}
	if name == "unsubscribe_url" {
		return types.String("https://unsubscribe.invalid/offerstream"), true
	}
	return nil, false
}

func orMissing(v ref.Val) ref.Val {
	if v == nil {
		return types.NewErr("no item has answered")
	}
	return v
}

// before returns a feature, the profile or the session as it was just before the
// event. All of it is computed again, from the events before that one.
func (sc *scope) before(name string) (ref.Val, error) {
	if f := sc.in().language.features[name]; f != nil && f.Per != "" {
		if v := sc.frozenBefore[name]; v != nil {
			return v, nil
		}
		return nil, errors.New("no item has answered")
	}
	if sc.event == nil || sc.event.earlier == nil {
		return nil, errors.New("there is no event")
	}
	u, now := sc.event.earlier, sc.event.now
	u.out.meet("before")
	if sc.now != now {
		u.out.meet("before, read later")
	}
	switch name {
	case "profile":
		return u.profile(), nil
	case "session":
		return u.session(now).value(), nil
	}
	if f, ok := u.language.features[name]; ok {
		return u.state(f).read(now), nil
	}
	return nil, fmt.Errorf("no feature %s", name)
}

// A named is a value of which only fields can be read, each computed when it
// is.
type named struct {
	get func(name string) (ref.Val, error)
}

var _ traits.Mapper = named{}

func (n named) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), false
	}
	v, err := n.get(string(name))
	return v, err == nil
}

func (n named) Get(key ref.Val) ref.Val {
	v, ok := n.Find(key)
	if !ok {
		return types.NewErr("no such key: %v", key)
	}
	return v
}

func (n named) Contains(key ref.Val) ref.Val {
	_, ok := n.Find(key)
	return types.Bool(ok)
}

func (n named) Size() ref.Val             { return types.NewErr("only fields can be read") }
func (n named) Iterator() traits.Iterator { return textMap{}.Iterator() }
func (n named) Equal(ref.Val) ref.Val     { return types.False }
func (n named) Type() ref.Type            { return types.MapType }
func (n named) Value() any                { return n }

func (n named) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("this is not a %v", t)
}

func (n named) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("this is not a %s", t.TypeName())
}

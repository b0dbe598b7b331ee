package pipeline

import (
	"errors"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
)

// A keyer is a compiled `by` or `match`: nothing, a property of each item
// (name), or an expression about the event (expr).
type keyer struct {
	name string
	expr *expr.Expr
}

func (k keyer) none() bool { return k.name == "" && k.expr == nil }

// errNoKey reports that an item has no key.
var errNoKey = errors.New("the item has no such property")

// of is the key that the event gives for one of its items, which the scope's
// expressions see as item.
func (k keyer) of(sc *scope, it *fastjson.Value) (string, error) {
	switch {
	case k.expr != nil:
		return k.expr.Key(sc)
	case k.name == "":
		return "", nil
	}
	key, ok := value.AliasJSONKey(it.Get(k.name))
	if !ok {
		return "", errNoKey
	}
	return key, nil
}

// each calls fn with every key of the event, in the order of its items; index
// is that of the item. Items without a key are skipped. A key is valid as long
// as the event.
func (k keyer) each(sc *scope, fn func(key string, index int, item *fastjson.Value)) error {
	switch {
	case k.expr != nil:
		key, err := k.expr.Key(sc)
		if err != nil {
			return err
		}
		fn(key, 0, nil)
	case k.name != "":
		for i, it := range sc.event.Items() {
			if key, ok := value.AliasJSONKey(it.Get(k.name)); ok {
				fn(key, i, it)
			}
		}
	default:
		fn("", 0, nil)
	}
	return nil
}

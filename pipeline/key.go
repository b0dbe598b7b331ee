package pipeline

import (
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

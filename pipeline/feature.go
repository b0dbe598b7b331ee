package pipeline

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// A feature is a compiled campaign.Feature.
type feature struct {
	def    *campaign.Feature
	id     uint64
	shape  window.Shape
	where  []*expr.Expr
	by     keyer
	of     *expr.Expr // nil: the aggregate takes none
	typ    *cel.Type  // that expressions see
	remove bool       // it has remove_on
}

// read is the feature in an expression; st may be nil.
func (f *feature) read(st *window.State, now int64) ref.Val {
	if f.by.none() {
		return f.shape.Read(st, "", now)
	}
	return f.shape.By(st, now)
}

// update takes the event into the feature's state. What it meets is counted in
// c; scratch is memory to use.
func (f *feature) update(st *window.State, sc *scope, c *Counts, scratch *[]byte) {
	err := f.by.each(sc, func(key string, item int, it *fastjson.Value) {
		switch {
		case f.shape.Left(sc.event.Time, sc.now): // before it came
		case len(key) > window.MaxKey:
			c.Bounds++
		case f.shape.Rows:
			f.addRows(st, key, item, it, sc, c, scratch)
		default:
			v, err := f.value(sc, it)
			if err != nil {
				c.failed(err)
				return
			}
			c.Bounds += f.shape.Add(st, key, window.Entry{Time: sc.event.Time, Value: v}, sc.now, scratch)
		}
	})
	if err != nil {
		c.failed(err)
	}
}

// value is what the event brings to the aggregate.
func (f *feature) value(sc *scope, item *fastjson.Value) (v value.Value, err error) {
	switch {
	case f.shape.Stays:
		if ms := sc.event.Get("properties", "dwell_ms"); ms != nil && ms.Type() == fastjson.TypeNumber {
			v = value.OfDouble(value.Number(ms))
		}
	case f.of != nil:
		sc.item = item
		v, err = f.of.Value(sc)
		sc.item = nil
	}
	if err != nil || f.shape.Take == nil {
		return v, err
	}
	return f.shape.Take(v)
}

// addRows adds the event's items to a list. Under a bare `by` it is called
// once for each item, else once for all.
func (f *feature) addRows(st *window.State, key string, item int, it *fastjson.Value, sc *scope, c *Counts, scratch *[]byte) {
	items := sc.event.Items()
	if it != nil {
		items = items[item : item+1]
	}
	for _, it := range items {
		r := &window.Row{Fields: make([]value.Value, len(f.def.Fields)), Has: make([]bool, len(f.def.Fields))}
		if f.def.Key != "" {
			k, ok := value.AliasJSONKey(it.Get(f.def.Key))
			if !ok {
				continue
			}
			r.Key = k
		}
		for j, name := range f.def.Fields {
			if v := it.Get(name); v != nil {
				r.Fields[j], r.Has[j] = value.OfJSON(v), true
			}
		}
		c.Bounds += f.shape.Add(st, key, window.Entry{Time: sc.event.Time, Row: r}, sc.now, scratch)
	}
}

// removeRows takes the event's items out of a list (remove_on).
func (f *feature) removeRows(st *window.State, ev *event.Event) {
	for _, it := range ev.Items() {
		if key, ok := value.AliasJSONKey(it.Get(f.def.Key)); ok {
			f.shape.RemoveRow(st, key)
		}
	}
}

package pipeline

import (
	"strings"

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
	def         *campaign.Feature
	id          uint64
	shape       window.Shape
	where       []*expr.Expr
	by          keyer
	of          *expr.Expr // nil: the aggregate has no operand
	typ         *cel.Type  // the type that expressions see
	remove      bool       // the feature has remove_on
	readsBefore bool       // its expressions read anything as before.x
	per         int        // 1 + the index in Definition.Items of the kind whose items have the feature; 0: users have it
}

// grouped reports whether expressions see a map by key.
func (f *feature) grouped() bool { return f.shape.Mapped() }

// ofNobody is a feature of items as an event of no person feeds it.
func (f *feature) ofNobody() *feature {
	of := *f
	of.where = nil
	for _, x := range f.where {
		of.where = append(of.where, x.InCEL())
	}
	of.by.expr, of.of = f.by.expr.InCEL(), f.of.InCEL()
	return &of
}

// most is the greatest number of elements of a list that expressions see; 0: they
// see no list.
func (f *feature) most() int {
	switch {
	case f.shape.Ranks:
		return f.shape.Keys
	case f.shape.Rows && !f.grouped():
		return f.shape.Entries
	}
	return 0
}

// read is the feature as an expression sees it; st may be nil.
func (f *feature) read(st *window.State, now int64) ref.Val {
	if !f.grouped() {
		return f.shape.Read(st, "", now)
	}
	return f.shape.By(st, now)
}

// update adds the event to the feature's state. Errors and reached bounds are
// added to counts, and errors shown. scratch is memory that it may use.
func (f *feature) update(st *window.State, sc *scope, counts *Counts, show func(Failure), scratch *[]byte) {
	err := f.by.each(sc, func(key string, item int, it *fastjson.Value) {
		switch {
		case f.shape.Left(sc.event.Time, sc.now): // the event is too old for the window
		case len(key) > window.MaxKey:
			counts.Bounds++
		case f.shape.Rows:
			f.addRows(st, key, item, it, sc, counts, scratch)
		default:
			v, err := f.value(sc, it, counts)
			if err != nil {
				if err != window.ErrSkip {
					f.failed(counts, show, "of", f.def.Of, err)
				}
				return
			}
			counts.Bounds += f.shape.Add(st, key, window.Entry{Time: sc.event.Time, Value: v}, sc.now, scratch)
		}
	})
	if err != nil {
		f.failed(counts, show, "by", f.def.By, err)
	}
}

// value is the value of the event's entry.
func (f *feature) value(sc *scope, item *fastjson.Value, counts *Counts) (v value.Value, err error) {
	switch {
	case f.shape.Stays:
		if ms := sc.event.Get("properties", "dwell_ms"); ms != nil && ms.Type() == fastjson.TypeNumber {
			v = value.OfDouble(value.Number(ms))
		}
	case f.of != nil:
		around := sc.item
		sc.item = item
		v, err = f.of.Value(sc)
		sc.item = around
		if v = cut(v, counts); len(v.Str) > window.MaxValue {
			return v, window.ErrSkip
		}
	}
	if err != nil || f.shape.Take == nil {
		return v, err
	}
	return f.shape.Take(v)
}

// addRows adds the event's items to a list. Under a bare `by` it adds only one
// item, it, whose index is item; else it is nil, and all items are added.
func (f *feature) addRows(st *window.State, key string, item int, it *fastjson.Value, sc *scope, counts *Counts, scratch *[]byte) {
	items := sc.event.Items()
	if it != nil {
		items = items[item : item+1]
	}
	for _, it := range items {
		r := f.row(it, counts)
		if r == nil {
			continue
		}
		counts.Bounds += f.shape.Add(st, key, window.Entry{Time: sc.event.Time, Row: r}, sc.now, scratch)
	}
}

// row is what a list keeps of an item, nil if the item has no key.
func (f *feature) row(it *fastjson.Value, counts *Counts) *window.Row {
	r := &window.Row{Fields: make([]value.Value, len(f.def.Fields)), Has: make([]bool, len(f.def.Fields))}
	if f.def.Key != "" {
		k, ok := value.AliasJSONKey(it.Get(f.def.Key))
		if !ok {
			return nil
		}
		if len(k) > window.MaxKey {
			counts.Bounds++
			return nil
		}
		r.Key = k
	}
	for j, name := range f.def.Fields {
		if v := it.Get(name); v != nil {
			r.Fields[j] = cut(value.OfJSON(v), counts)
			r.Has[j] = len(r.Fields[j].Str) <= window.MaxValue
		}
	}
	return r
}

// cut shortens a text that is too long to be stored. A list, map or integer that
// is too long cannot be shortened; it is counted, and the caller leaves it out.
func cut(v value.Value, counts *Counts) value.Value {
	if len(v.Str) <= window.MaxValue {
		return v
	}
	counts.Bounds++
	if v.Kind == value.String {
		v.Str = strings.Clone(value.CutText(v.Str, window.MaxValue))
	}
	return v
}

// removeRows removes the event's items from a list (remove_on).
func (f *feature) removeRows(st *window.State, ev *event.Event) {
	for _, it := range ev.Items() {
		if key, ok := value.AliasJSONKey(it.Get(f.def.Key)); ok {
			f.shape.RemoveRow(st, key)
		}
	}
}

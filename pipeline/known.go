package pipeline

import (
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/lazyregexp"
	"offerstream/pipeline/value"
)

// known.go tells expressions what is known of their variables beyond the types of
// CEL: the fields of a list's entries, the types of facts and of the columns of
// rows, the values of local time. Only an author's compilation asks for it.

// shape is what is known of a variable in a place; nil: nothing.
func (c *compiler) shape(name string, p place) *expr.Shape {
	for _, v := range p.more {
		if v.name == name {
			return v.shape
		}
	}
	if of, ok := strings.CutPrefix(name, "facts."); ok {
		return c.factShape(of)
	}
	of := strings.TrimPrefix(name, "before.")
	i, ok := c.set.featureIndex[of]
	if !ok || !c.set.features[i].shape.Rows {
		return nil
	}
	f := c.set.features[i]
	entry := &expr.Shape{Is: expr.Record, Of: "an entry of " + of, Fields: map[string]*expr.Shape{}}
	for _, field := range f.def.Fields {
		entry.Fields[field] = nil
	}
	list := &expr.Shape{Is: expr.List, Elem: entry}
	if f.grouped() {
		return &expr.Shape{Is: expr.Values, Elem: list}
	}
	return list
}

func (c *compiler) factShape(name string) *expr.Shape {
	f := c.set.facts[name]
	if f == nil || len(f.Fields) == 0 {
		return nil
	}
	fact := &expr.Shape{Is: expr.Record, Of: "facts." + name, Fields: map[string]*expr.Shape{}}
	for _, field := range f.Fields {
		kind := map[string]expr.Kind{campaign.FactText: expr.Text, campaign.FactNumber: expr.Number, campaign.FactBool: expr.Truth}[field.Type]
		fact.Fields[field.Name] = &expr.Shape{Is: kind}
	}
	return &expr.Shape{Is: expr.Values, Elem: fact}
}

// column is what is known of the values in a column of a campaign's rows: their
// kind, if all rows that have one agree.
func (c *compiler) column(cp *compiled, name string) *expr.Shape {
	if !c.strict || len(cp.cells) == 0 {
		return nil
	}
	i, kind := slices.Index(cp.columns, name), expr.Unknown
	for at := i; at < len(cp.cells); at += len(cp.columns) {
		is := expr.Unknown
		switch cp.cells[at].Kind {
		case absent:
			continue
		case value.String:
			is = expr.Text
		case value.Bool:
			is = expr.Truth
		case value.Int, value.Double, value.Integer:
			is = expr.Number
		}
		if is == expr.Unknown || kind != expr.Unknown && is != kind {
			return nil
		}
		kind = is
	}
	if kind == expr.Unknown {
		return nil
	}
	return c.same(&expr.Shape{Is: kind})
}

// same is one shape for all that are equal, so that languages for equal variables
// can be shared.
func (c *compiler) same(s *expr.Shape) *expr.Shape {
	if s == nil {
		return nil
	}
	if c.shapes == nil {
		c.shapes = map[string]*expr.Shape{}
	}
	key := s.String()
	if c.shapes[key] == nil {
		c.shapes[key] = s
	}
	return c.shapes[key]
}

// keyOf is how an expression writes the key that a feature's `by` gives an event.
func keyOf(by string) string {
	if campaign.PropertyName(by) {
		return campaign.Member("event.properties", by)
	}
	return by
}

var dateForm = lazyregexp.New(`^[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?$`)

// localDomains are what local time may be. Only the beginning of a date may be
// compared, too, as by >= "2026-04".
var localDomains = map[string]*expr.Domain{
	"local.hour":    {Most: 23},
	"local.minute":  {Most: 59},
	"local.weekday": {Texts: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}},
	"local.date":    {Form: dateForm, Example: "2026-04-01"},
}

func localDomain(name string) *expr.Domain { return localDomains[name] }

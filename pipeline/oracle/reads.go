package oracle

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/common/ast"
)

// reads are the features of items that a campaign reads: as they are with the event,
// and by before.
type reads struct{ now, before []string }

// findItems finds out which items the campaign is about, and what it reads of them.
func (c *campaign) findItems(set *definition, l *language) error {
	per := map[string]bool{}
	for _, x := range c.expressions() {
		mentioned(x.ast.Expr(), func(name string, before bool) {
			f := l.features[name]
			if f == nil || f.Per == "" {
				return
			}
			per[f.Per] = true
			list := &c.reads.now
			if before {
				list = &c.reads.before
			}
			if !slices.Contains(*list, name) {
				*list = append(*list, name)
			}
		})
	}
	if c.Users != "" {
		f := l.features[c.Users]
		if f == nil || f.Agg != "users" {
			return fmt.Errorf("campaign %s: to: %s is no feature with agg: users", c.ID, c.Users)
		}
		per[f.Per] = true
	}
	if len(per) > 1 {
		return fmt.Errorf("campaign %s reads two kinds of items", c.ID)
	}
	for _, k := range set.Items {
		if per[k.Kind] {
			c.about = k
		}
	}
	for _, x := range c.conditions {
		x.needsItem = x.feature != nil || c.readsItem(x.expression, l)
	}
	return nil
}

// expressions are all that may read features of items.
func (c *campaign) expressions() []*expression {
	all := []*expression{c.choose, c.score, c.whenDue, c.Offer.expires}
	for _, x := range c.lets {
		all = append(all, x)
	}
	for _, x := range c.conditions {
		all = append(all, x.expression)
	}
	for _, entry := range c.entries {
		if entry.Unless != nil {
			all = append(all, entry.Unless.within)
		}
	}
	if c.Budget != nil {
		all = append(all, c.Budget.of)
	}
	all = append(all, inData(c.data)...)
	return slices.DeleteFunc(all, func(x *expression) bool { return x == nil })
}

// inData returns the expressions of the templates in a tree.
func inData(v any) (all []*expression) {
	switch v := v.(type) {
	case *template:
		for _, p := range v.parts {
			all = append(all, p.expr)
		}
	case []any:
		for _, e := range v {
			all = append(all, inData(e)...)
		}
	case *object:
		for _, e := range v.vals {
			all = append(all, inData(e)...)
		}
	}
	return all
}

// readsItem reports whether an expression reads a feature of items, or the item.
func (c *campaign) readsItem(x *expression, l *language) (is bool) {
	mentioned(x.ast.Expr(), func(name string, before bool) {
		f := l.features[name]
		switch {
		case f != nil:
			is = is || f.Per != ""
		case before:
		case name == "item":
			is = true
		case c.lets[name] != nil:
			is = is || c.readsItem(c.lets[name], l)
		}
	})
	return is
}

// mentioned visits the names in an expression, and those of before.NAME.
func mentioned(e ast.Expr, visit func(name string, before bool)) {
	if e.Kind() == ast.SelectKind {
		if of := e.AsSelect().Operand(); of.Kind() == ast.IdentKind && of.AsIdent() == "before" {
			visit(e.AsSelect().FieldName(), true)
			return
		}
	}
	if e.Kind() == ast.IdentKind {
		visit(e.AsIdent(), false)
	}
	for _, child := range children(e) {
		mentioned(child, visit)
	}
}

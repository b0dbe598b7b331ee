package change

import (
	"encoding/json"
	"fmt"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/expr"
)

// A Refused is a part of a condition that may hold only because a feature is young.
type Refused struct {
	Campaign   string `json:"campaign"`
	Place      string `json:"place"`      // if[0]
	Expression string `json:"expression"` // views < 3
	Feature    string `json:"feature"`
	Why        string `json:"why"`

	Live     bool `json:"live,omitempty"`     // the live set has the same condition on the same feature: this change does not make it so
	Backfill bool `json:"backfill,omitempty"` // a backfill makes the feature full
}

// refuse finds the conditions on young features that hold of what is empty.
func (b *between) refuse() {
	if len(b.young) == 0 {
		return
	}
	id := func(c *campaign.Campaign) string { return c.ID }
	was := byName(b.was.Campaigns, id)
	for i := range b.is.Campaigns {
		c := &b.is.Campaigns[i]
		live := map[negative]bool{}
		if old := was[c.ID]; old != nil {
			for _, n := range negativesOf(old) {
				live[negative{text: n.text, name: n.name}] = true
			}
		}
		for _, n := range negativesOf(c) {
			f := b.young[strings.TrimPrefix(n.name, "before.")]
			if f == nil {
				continue
			}
			b.change.Refused = append(b.change.Refused, Refused{
				Campaign: c.ID, Place: n.place, Expression: n.text, Feature: f.Name, Why: why(f),
				Live: f.What == Same && live[negative{text: n.text, name: n.name}], Backfill: f.fills,
			})
		}
	}
}

// why says why a condition on a young feature is refused.
func why(f *Feature) string {
	age := "starts empty"
	if !f.Empty {
		age = "has been fed only since " + f.Since
	}
	until := "for ever, as it has no `within`"
	if f.Until != "" {
		until = "until " + f.Until
	}
	return fmt.Sprintf("%s %s and is young %s, so this may hold for users for whom it should not", f.Name, age, until)
}

// A negative is an expr.Negative in its place.
type negative struct{ place, text, name string }

// negativesOf are those of a campaign's conditions: of `if`, when_due, and what
// choose leaves out.
func negativesOf(c *campaign.Campaign) (all []negative) {
	lets := map[string]*expr.Clause{}
	for _, l := range c.Let {
		lets[l.Name] = expr.ReadClause(l.Is)
	}
	add := func(place, src string) {
		if clause := expr.ReadClause(src); src != "" && clause != nil {
			for _, n := range clause.Negatives(lets) {
				all = append(all, negative{place, n.Text, n.Name})
			}
		}
	}
	for i, src := range c.If {
		add(fmt.Sprintf("if[%d]", i), src)
	}
	add("when_due", c.WhenDue)
	add("choose", c.Choose)
	return all
}

// eachExpression calls fn with what each expression of a campaign reads that is
// evaluated after its trigger, with its place.
func eachExpression(c *campaign.Campaign, fn func(place string, uses func(*expr.Reader) []expr.Use)) {
	one := func(place, src string) {
		if src != "" {
			fn(place, func(r *expr.Reader) []expr.Use { uses, _ := r.Uses(src); return uses })
		}
	}
	for i, src := range c.If {
		one(fmt.Sprintf("if[%d]", i), src)
	}
	one("when_due", c.WhenDue)
	if c.At != nil {
		one("at.best_hour", c.At.BestHour)
	}
	one("choose", c.Choose)
	one("score", c.Score)
	if c.Unless != nil {
		one("unless.within", c.Unless.WithinIs)
	}
	for i, t := range c.Any {
		if t.Unless != nil {
			one(fmt.Sprintf("any[%d].unless.within", i), t.Unless.WithinIs)
		}
	}
	if c.Budget != nil {
		one("budget.of", c.Budget.Of)
	}
	one("offer.expires", c.Offer.ExpiresIs)
	texts(c.Offer.Data, "offer.data", func(place string, text json.RawMessage) {
		fn(place, func(r *expr.Reader) (all []expr.Use) {
			r.Template(text, func(_ []string, uses []expr.Use) { all = append(all, uses...) })
			return all
		})
	})
}

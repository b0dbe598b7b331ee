package config

import (
	"fmt"

	"offerstream/pipeline/campaign"
)

// Limits of budgets. Values are counted in millionths.
const (
	mostBudget = 1_000_000_000_000
	leastValue = 1e-6
)

// budget reads how much all users together get of a campaign.
func (v value) budget() *campaign.Budget {
	b := campaign.Budget{}
	has := v.fields(aBudget, fields{
		"offers": func(v value) { b.Offers = v.whole() },
		"value":  func(v value) { b.Value = v.budgetValue() },
		"of":     func(v value) { b.Of = v.cel() },
		"within": func(v value) { b.Within = v.span() },
		"per": func(v value) {
			if b.PerDay = v.is() == "text" && v.n.Value == "day"; !b.PerDay && !v.bad() {
				v.problem(fmt.Sprintf("%q is not a possible value", v.n.Value), "day; for a time span, within: 1d")
			}
		},
	})
	refuse := func(name, what, hint string) {
		c := has[name]
		c.problemAt(start(c.key), what, hint)
	}
	switch {
	case v.bad() || v.is() != "a map":
	case has.has("offers") && has.has("value"):
		refuse("value", "a budget has `offers` or `value`, not both", "keep one")
	case has.has("offers") && has.has("of"):
		refuse("of", "`of` is the value of an offer, and this budget counts offers", "remove it, or write value instead of offers")
	case has.has("value"):
		v.needs(has, "a budget with `value`", "of", "of: item.price * 0.1, the value of an offer")
	case !has.has("offers"):
		v.needs(has, aBudget, "offers", "offers: 1000; or value: 5000000, of: item.price * 0.1")
	}
	if has.has("within") && has.has("per") {
		refuse("per", "a budget has `within` or `per`, not both", "keep one")
	}
	return &b
}

// budgetValue reads the sum of a budget.
func (v value) budgetValue() float64 {
	n := v.number()
	if v.bad() || v.is() != "a number" {
		return 0
	}
	if n < leastValue || n > mostBudget {
		v.problem(fmt.Sprintf("%s is not a number from 0.000001 to %s", v.n.Value, grouped(mostBudget)), v.row.hint())
		return 0
	}
	return n
}

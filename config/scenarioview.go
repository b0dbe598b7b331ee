package config

import (
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/scenario"
	"offerstream/pipeline/window"
)

const viewLineHint = "- 10:10:00 item product/p1 viewers=11, or without a time: - ada views=3"

// views reads what must be stored of items, users, budgets and pools.
func (r *scenarioReader) views(v value, s *scenario.Scenario, wrote *expectation) {
	v.elements(viewLineHint, func(v value) {
		text, ok := v.line(viewLineHint)
		if !ok {
			return
		}
		is, wrong := scenario.ReadView(text, s.Day)
		if wrong == nil && s.Set != nil {
			wrong = unknownInView(&is, s.Set)
		}
		if wrong != nil {
			v.mistake(wrong)
			return
		}
		s.Views, wrote.views = append(s.Views, is), append(wrote.views, v)
	})
}

// viewTimes reports views of times at which the events of a scenario have not begun,
// or are over.
func viewTimes(s *scenario.Scenario, at []value) {
	if !slices.ContainsFunc(s.Views, func(v scenario.View) bool { return v.Timed }) {
		return
	}
	from, to, ok := s.Span()
	if !ok {
		return // the events of the scenario are all refused, which it tells
	}
	for i, v := range s.Views {
		switch {
		case !v.Timed:
		case v.Time < from:
			at[i].problem(fmt.Sprintf("the view is of %s, and the events begin at %s", s.Day.Show(v.Time), s.Day.Show(from)), "write the time of an event or a later one")
		case v.Time > to:
			at[i].problem(fmt.Sprintf("the view is of %s, and the events end at %s", s.Day.Show(v.Time), s.Day.Show(to)), "let time pass: end the events with the line "+s.Day.Show(v.Time))
		}
	}
}

// unknownInView finds what the set does not have, or has in another form.
func unknownInView(v *scenario.View, set *pipeline.Set) *scenario.Mistake {
	def := set.Definition()
	switch {
	case v.Budget != "":
		return unknownInBudget(v, def)
	case v.Pool != "" && !slices.Contains(pipeline.Pools(def), v.Pool):
		return &scenario.Mistake{At: v.At, What: fmt.Sprintf("there is no pool %q", v.Pool), Hint: didYouMeanAny(v.Pool, pipeline.Pools(def), "offer: {coupon: {pool: spring}}")}
	case v.Pool != "":
		return unknownValue(v, "pool", "imported", "given", "left")
	}
	if v.Kind != "" && !slices.ContainsFunc(def.Items, func(it campaign.Item) bool { return it.Kind == v.Kind }) {
		return &scenario.Mistake{At: v.At, What: fmt.Sprintf("there are no items of kind %q", v.Kind), Hint: didYouMeanAny(v.Kind, kindsOf(def), "items: {product: {key: product_id}}")}
	}
	for _, x := range v.Values {
		if wrong := unknownFeature(v, x, def); wrong != nil {
			return wrong
		}
	}
	return nil
}

func kindsOf(def *campaign.Definition) (kinds []string) {
	for _, it := range def.Items {
		kinds = append(kinds, it.Kind)
	}
	return kinds
}

// didYouMeanAny is didYouMean, or an example if nothing is known.
func didYouMeanAny(name string, known []string, example string) string {
	if len(known) == 0 {
		return "the set has none; they are declared as " + example
	}
	return didYouMean(name, known)
}

// unknownFeature finds that a value is not of a feature of what is looked at, or not
// in the form of its values.
func unknownFeature(v *scenario.View, x scenario.ViewValue, def *campaign.Definition) *scenario.Mistake {
	whose, example := "users", "features: {views: {on: Product Viewed, agg: count}}"
	if v.Kind != "" {
		whose, example = v.Kind, fmt.Sprintf("features: {viewers: {per: %s, on: Product Viewed, agg: count}}", v.Kind)
	}
	var names []string
	for i := range def.Features {
		f := &def.Features[i]
		switch {
		case f.Per == v.Kind && f.Name == x.Name:
			return viewForm(x, f)
		case f.Per == v.Kind:
			names = append(names, f.Name)
		case f.Name == x.Name && f.Per == "":
			return &scenario.Mistake{At: x.At, What: fmt.Sprintf("%s is a feature of users, not of %s", x.Name, whose), Hint: fmt.Sprintf("write for example: ada %s=3", x.Name)}
		case f.Name == x.Name:
			return &scenario.Mistake{At: x.At, What: fmt.Sprintf("%s is a feature of %s, not of %s", x.Name, f.Per, whose), Hint: fmt.Sprintf("write for example: item %s/p1 %s=3", f.Per, x.Name)}
		}
	}
	return &scenario.Mistake{At: x.At, What: fmt.Sprintf("there is no feature %q of %s", x.Name, whose), Hint: didYouMeanAny(x.Name, names, example)}
}

// viewForm finds that a value has a key where the feature has none, or the other way,
// or that it cannot be the value of a list of users.
func viewForm(x scenario.ViewValue, f *campaign.Feature) *scenario.Mistake {
	mapped := f.By != "" && !window.Of(f.Agg, f.Per != "").Ranks
	members := []string{"size", "p10", "p25", "p50", "p75", "p90"}
	switch {
	case x.Member != "" && f.Agg != "quantiles":
		return &scenario.Mistake{At: x.At, What: fmt.Sprintf("%s is no quantiles, and has no %s", x.Name, x.Member), Hint: fmt.Sprintf("write %s=..", x.Name)}
	case x.Member != "" && !slices.Contains(members, x.Member):
		return &scenario.Mistake{At: x.At, What: fmt.Sprintf("quantiles have no %q", x.Member), Hint: didYouMean(x.Member, members)}
	case x.Keyed && !mapped:
		return &scenario.Mistake{At: x.At, What: fmt.Sprintf("%s has no keys", x.Name), Hint: fmt.Sprintf("write %s=..", x.Name)}
	case !x.Keyed && mapped && (x.Member != "" || x.Is[0] != '{'):
		return &scenario.Mistake{At: x.At, What: fmt.Sprintf("%s has a value for each key", x.Name), Hint: fmt.Sprintf(`write %s[key]=.., or the whole map: %s={"key":..}`, x.Name, x.Name)}
	case f.Agg == "users" && strings.IndexByte("[0123456789", x.Is[0]) < 0:
		return &scenario.Mistake{At: x.At, What: fmt.Sprintf("%s is a list of users", x.Name), Hint: fmt.Sprintf(`write how many there are: %s=2, or who has been in it longest: %s=["u:ada","a:a-1"]`, x.Name, x.Name)}
	}
	return nil
}

// unknownInBudget finds that there is no such campaign or row, or no budget, or no
// such value of one.
func unknownInBudget(v *scenario.View, def *campaign.Definition) *scenario.Mistake {
	id, row, hasRow := strings.Cut(v.Budget, "/")
	var names []string
	for _, c := range def.Campaigns {
		switch names = append(names, c.ID); {
		case c.ID != id:
			continue
		case c.Budget == nil:
			return &scenario.Mistake{At: v.At, What: fmt.Sprintf("campaign %q has no budget", id), Hint: "look at one that has"}
		case len(c.Rows) > 0 && !hasRow:
			return &scenario.Mistake{At: v.At, What: fmt.Sprintf("campaign %q has rows, each with its own budget", id), Hint: fmt.Sprintf("write for example budget %s/%s", id, c.Rows[0].ID)}
		case hasRow && !slices.ContainsFunc(c.Rows, func(r campaign.Row) bool { return r.ID == row }):
			return &scenario.Mistake{At: v.At, What: fmt.Sprintf("campaign %q has no row %q", id, row), Hint: "write the id of one of its rows"}
		}
		return unknownValue(v, "budget", "most", "spent", "left")
	}
	return &scenario.Mistake{At: v.At, What: fmt.Sprintf("there is no campaign %q", id), Hint: didYouMean(id, names)}
}

// unknownValue finds a value that a budget or a pool does not have.
func unknownValue(v *scenario.View, of string, known ...string) *scenario.Mistake {
	for _, x := range v.Values {
		if x.Keyed || x.Member != "" || !slices.Contains(known, x.Name) {
			return &scenario.Mistake{At: x.At, What: fmt.Sprintf("a %s has no value %q", of, x.Text()), Hint: didYouMean(x.Name, known)}
		}
	}
	return nil
}

// view edits one line of `views`: actual values take the place of those that differ.
func (u *update) view(at value, want *scenario.View, got scenario.Seen, day scenario.Day) {
	text := want.With(got, day)
	switch {
	case text == want.Text:
	case at.flow || text[0] == '"':
		u.replace(at.n, quoted(text))
	default:
		u.replace(at.n, yamlText(text))
	}
}

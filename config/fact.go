package config

import (
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
)

// fact reads the declaration of one fact and adds it to the set.
func (v value) fact(name string) {
	if !v.variable("fact", name, celWords) {
		return
	}
	if first := v.l.places[key(v.path)]; first.n != v.n {
		v.problemAt(start(v.key), fmt.Sprintf("fact %q is already defined at %s", name, first.keyPlace()), "rename one")
		return
	}
	f := campaign.Fact{Name: name}
	before := len(v.l.problems)
	has := v.fields(aFact, fields{
		"fields":  func(v value) { f.Fields = v.factFields() },
		"file":    func(value) {}, // below, when the fields are known
		"max_age": func(v value) { f.MaxAge = v.span() },
	})
	switch sound := len(v.l.problems) == before; {
	case v.bad() || v.is() != "a map":
	case has.has("file") && sound:
		c := has["file"]
		c.tableFile(func(path string, b []byte) (warnings, problems Errors) { return readFacts(path, b, &f) })
	case !has.has("file") && !has.has("fields"):
		v.needs(has, aFact, "fields", "fields: {sky: string, dust: number}, or file: stores.csv")
	}
	v.l.def.Facts = append(v.l.def.Facts, f)
}

// factFields reads a map from the name of a field to its type.
func (v value) factFields() []campaign.FactField {
	var fs []campaign.FactField
	v.named("types", func(name string, c value) {
		if !c.variable("field", name, celWords) {
			return
		}
		if t := c.word(campaign.FactText, campaign.FactNumber, campaign.FactBool); t != "" {
			fs = append(fs, campaign.FactField{Name: name, Type: t})
		}
	})
	if v.is() == "a map" && !v.bad() && len(v.n.Content) == 0 {
		v.problem("no field is named here", v.row.hint())
	}
	slices.SortFunc(fs, func(a, b campaign.FactField) int { return strings.Compare(a.Name, b.Name) })
	return fs
}

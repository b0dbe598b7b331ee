package config

import (
	"fmt"
	"slices"
)

// A laterKey is a key of the language that this engine does not support yet.
type laterKey struct {
	in, name    string // the map, and the key
	meaning     string // for the reference
	consequence string // the end of "this version ...": what would go wrong if the key were ignored
}

// later are all of them. They are refused, never ignored.
var later = []laterKey{
	{aSet, "items", "the kinds of things that have their own state, such as products", "keeps state for users only"},
	{aFeature, "per", "keeps the feature for an item of that kind instead of the user", "keeps state for users only"},
	{aCampaign, "to", "sends to every user in a list kept for an item, instead of the event's user", "would send to the user of the event"},
	{aCampaign, "budget", "how much the campaign may give to all users together", "would ignore the budget"},
	{anUnless, "at_most", "the longest wait, where `within` is computed", "would always wait for all of `within`"},
	{aCoupon, "pool", "codes that are given out one by one, instead of made", "makes every code itself"},
}

// laterAggregates are the aggregates of the language that this engine refuses.
var laterAggregates = []string{"users", "together"}

// laterIn returns the keys of a map that are refused.
func laterIn(what string) []string {
	var names []string
	for _, k := range later {
		if k.in == what {
			names = append(names, k.name)
		}
	}
	return names
}

// unsupported refuses a key, if it is one of later.
func (v value) unsupported(in, name string) bool {
	i := slices.IndexFunc(later, func(k laterKey) bool { return k.in == in && k.name == name })
	if i < 0 {
		return false
	}
	v.problemAt(start(v.key), fmt.Sprintf("%q is not supported yet", name), "remove it; this version "+later[i].consequence)
	return true
}

// notYet refuses a value.
func (v value) notYet(what, consequence string) {
	v.problem(what+" is not supported yet", "remove it; this version "+consequence)
}

// Package change compares two campaign sets: what a change of the set in force does
// to campaigns, features and what is pending, by rule 14 of the language, before it
// does it. `apply` shows it, and asks or refuses.
//
// A Change is a function of its arguments. It knows no users: how many evaluations
// are cancelled is asked of the workers (Change.CancelsUnit, Change.Cancelled).
package change

import (
	"maps"
	"slices"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// The kinds of a difference.
const (
	Added   = "added" // of campaigns
	New     = "new"   // of features
	Changed = "changed"
	Gone    = "gone"
	Same    = "same" // of features
	Back    = "back" // of features: gone before, and fed on since then
)

// A Change is what happens when one set takes the place of another. All lists are
// sorted by name, and values stand in the order of a campaign file.
type Change struct {
	Old       string     `json:"old,omitempty"` // hash; "": no set is live
	New       string     `json:"new"`
	Set       []Value    `json:"set,omitempty"` // what is neither a campaign nor a feature
	Campaigns []Campaign `json:"campaigns,omitempty"`
	Features  []Feature  `json:"features,omitempty"`
	Refused   []Refused  `json:"refused,omitempty"`
	Backfill  Backfill   `json:"backfill"`
	AtSwitch  Backfill   `json:"at_switch,omitzero"` // what a backfill cannot take from the log, and begins at the switch

	// The caller sets these before it shows the change.

	// Cancelled has the number of evaluations that are cancelled, by the campaigns that
	// cancel any; one that is not in it is not known.
	Cancelled map[string]int `json:"cancelled,omitempty"`
	// Filled means that what Backfill lists comes from the log.
	Filled bool `json:"filled,omitempty"`
}

// A Value is a key whose value differs, in the words of a campaign file. "" means
// that the key is absent.
type Value struct {
	Key string `json:"key"` // if[0], offer.data.title, limits
	Old string `json:"old"`
	New string `json:"new"`
}

// A Campaign is one that differs.
type Campaign struct {
	ID     string  `json:"id"`
	What   string  `json:"what"`           // Added, Changed or Gone
	Rows   *Rows   `json:"rows,omitempty"` // nil: it has no for_each
	Values []Value `json:"values,omitempty"`
	Lost   []Lost  `json:"lost,omitempty"`

	// Cancels means that what is pending of it is cancelled: of all of it, or if
	// CancelledRows is not empty, of these rows (row.id).
	Cancels       bool     `json:"cancels"`
	CancelledRows []string `json:"cancelled_rows,omitempty"`

	// Waits means that evaluations can be pending under the old set.
	Waits bool `json:"waits"`
}

// Rows counts the rows of a for_each that differ.
type Rows struct {
	Added   int `json:"added"`
	Changed int `json:"changed"`
	Gone    int `json:"gone"`
}

// A Lost is what pending evaluations do not hold of their event, or of the state
// before it, and what the new definition reads after the wait: such an evaluation
// ends without an offer.
type Lost struct {
	Field  string   `json:"field"`  // event.properties.price, before.views
	Places []string `json:"places"` // where it is read: offer.data.title
}

// Between compares the live set with one that is to take its place; old nil: no set
// is live. fed has the log time since which live has fed a feature (by its name) or
// a campaign ("campaign " and its id); what is not in it has been fed from the log's
// beginning. now is log time, 0 if there is none yet; reach is the log time at which
// the log, or the oldest state that a backfill may begin with, begins, 0 if that is
// the beginning of all. retired are sets that were live in the last 24 h of log
// time: their features are fed on.
func Between(old, new *pipeline.Set, fed map[string]int64, now, reach int64, retired ...*pipeline.Set) Change {
	b := &between{old: old, new: new, is: new.Definition(), fed: fed, now: now, reach: reach, young: map[string]*Feature{}}
	b.was = nothing(b.is)
	b.change.New = new.Hash()
	if old != nil {
		b.was, b.change.Old = old.Definition(), old.Hash()
	}
	b.change.Set = slices.Concat(differ(settings(b.was), settings(b.is)), kinds(b.was, b.is), facts(b.was, b.is))
	b.features(retired)
	b.campaigns()
	b.refuse()
	return b.change
}

// nothing is the definition that is in force before the first set, as far as it can
// be written.
func nothing(is *campaign.Definition) *campaign.Definition {
	return &campaign.Definition{
		Engine: is.Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
		Forget: campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown},
	}
}

// between is a Change in the making.
type between struct {
	change     Change
	old, new   *pipeline.Set // old nil: none
	was, is    *campaign.Definition
	fed        map[string]int64
	now, reach int64
	young      map[string]*Feature // those of is that are young, by name
}

// A Backfill lists what a backfill takes from the log. It sends no messages, so features
// of items, and campaigns that read these or go to their users, are not among it.
type Backfill struct {
	Features  []string `json:"features"`  // names in the new set
	Campaigns []string `json:"campaigns"` // ids in the new set, without rows
}

// IsZero reports whether the list is empty.
func (b Backfill) IsZero() bool { return len(b.Features)+len(b.Campaigns) == 0 }

// CancelsUnit reports whether the change cancels what is pending of a unit: of a
// campaign, or of a row of one ("name/row").
func (c *Change) CancelsUnit(unit string) bool {
	id := campaign.NameOf(unit)
	i, found := slices.BinarySearchFunc(c.Campaigns, id, func(x Campaign, id string) int { return strings.Compare(x.ID, id) })
	if !found || !c.Campaigns[i].Cancels {
		return false
	}
	if len(c.Campaigns[i].CancelledRows) == 0 {
		return true
	}
	_, row, _ := strings.Cut(unit, "/")
	_, found = slices.BinarySearch(c.Campaigns[i].CancelledRows, row)
	return found
}

// Refuses reports whether the change needs to be forced: it makes a condition read a
// young feature as if it were not, or pending evaluations end for want of a field.
func (c *Change) Refuses() bool {
	return slices.ContainsFunc(c.Refused, func(r Refused) bool { return c.refuses(&r) }) ||
		slices.ContainsFunc(c.Campaigns, func(x Campaign) bool { return len(x.Lost) > 0 })
}

// refuses reports whether a condition stands in the way.
func (c *Change) refuses(r *Refused) bool { return !r.Live && !(c.Filled && r.Backfill) }

// byName maps names to what has them.
func byName[T any](all []T, name func(*T) string) map[string]*T {
	m := make(map[string]*T, len(all))
	for i := range all {
		m[name(&all[i])] = &all[i]
	}
	return m
}

// names are the names in either of two maps, sorted.
func names[T any](a, b map[string]T) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

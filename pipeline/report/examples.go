package report

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/explain"
)

// How many examples a campaign has.
const (
	firedExamples = 2
	otherExamples = 4 // of outcomes that are no offer, each once
)

// reachedLooked is among how many users of each campaign examples are looked for: those
// whom it reached first.
const reachedLooked = 3

// Reached are users whom the offers of a run reached, as examples.
type Reached map[string][]string // by campaign: entity keys

// Add takes an offer of the run.
func (r Reached) Add(o *pipeline.Offer) {
	id, key := campaign.NameOf(o.Campaign), o.Entity()
	if known := r[id]; len(known) < reachedLooked && !slices.Contains(known, key) && !o.Withheld {
		r[id] = append(known, key)
	}
}

// Keys are the entity keys of the users whom these campaigns reached, each once.
func (r Reached) Keys(campaigns []string) (keys []string) {
	for _, id := range campaigns {
		keys = append(keys, r[id]...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Examples picks examples of each campaign from what happened to some users: some
// offers, and of the other outcomes the most frequent ones.
func Examples(stories []*explain.Story, zone *time.Location) (picked []Example) {
	by := map[string]map[string][]Example{} // by campaign and outcome
	for _, s := range stories {
		for _, c := range s.Campaigns {
			for _, e := range slices.Backward(c.Evaluations) {
				if by[c.Campaign] == nil {
					by[c.Campaign] = map[string][]Example{}
				}
				by[c.Campaign][e.Outcome] = append(by[c.Campaign][e.Outcome], Example{e.Campaign, s.User[2:], e.Outcome, shownTime(e.At, zone), e.Sentence})
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(by)) {
		fired := by[id][pipeline.Fired.String()]
		picked = append(picked, fired[:min(len(fired), firedExamples)]...)
		delete(by[id], pipeline.Fired.String())
		others := slices.SortedFunc(maps.Keys(by[id]), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(by[id][b]), len(by[id][a])), cmp.Compare(a, b))
		})
		for _, o := range others[:min(len(others), otherExamples)] {
			picked = append(picked, by[id][o][0])
		}
	}
	return picked
}

// shownTime is a time for people, with its date.
func shownTime(at string, zone *time.Location) string {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return at
	}
	return t.In(zone).Format(dateTime)
}

package backtest

import (
	"cmp"
	"slices"
	"strings"

	"offerstream/pipeline"
)

// Limits of what is remembered of expressions' errors. An error's text may hold
// values of events, of which there is no end.
const (
	mostErrors   = 1000 // different ones of a campaign, in each shard; further ones are not listed
	mostFailures = 10   // of a campaign in a Result
)

// failures count errors of expressions, by campaign; "": those of features.
type failures map[string]map[Failure]uint64 // the key's N is 0

func (f failures) add(one pipeline.Failure) {
	campaign, _, _ := strings.Cut(one.Campaign, "/")
	if one.Feature != "" {
		one.Place = "features." + one.Feature + "." + one.Place
	}
	f.count(campaign, Failure{Place: one.Place, Text: one.Text, Error: one.Err.Error()}, 1)
}

func (f failures) count(campaign string, one Failure, n uint64) {
	of := f[campaign]
	if of == nil {
		of = map[Failure]uint64{}
		f[campaign] = of
	}
	if _, known := of[one]; known || len(of) < mostErrors {
		of[one] += n
	}
}

func (f failures) plus(more failures) {
	for campaign, of := range more {
		for one, n := range of {
			if f[campaign] == nil {
				f[campaign] = map[Failure]uint64{}
			}
			f[campaign][one] += n
		}
	}
}

// most are the most frequent errors of a campaign.
func (f failures) most(campaign string) []Failure {
	var all []Failure
	for one, n := range f[campaign] {
		one.N = n
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Place, b.Place), strings.Compare(a.Text, b.Text), strings.Compare(a.Error, b.Error))
	})
	return all[:min(len(all), mostFailures)]
}

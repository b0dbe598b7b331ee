package change

import (
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// A Feature is a feature of either set.
type Feature struct {
	Name   string  `json:"name"`
	Per    string  `json:"per,omitempty"` // the kind of items that have it; "": users have it
	What   string  `json:"what"`
	Values []Value `json:"values,omitempty"` // what has changed
	Empty  bool    `json:"empty,omitempty"`  // it starts empty

	// Young means that it has been fed for less than its window, and so reads as less
	// than it will; Until is the log time, in RFC 3339, from which on it is not, "" if
	// that never comes because it has no window.
	Young bool   `json:"young,omitempty"`
	Until string `json:"until,omitempty"`
	Since string `json:"since,omitempty"` // of one that live feeds: since when, if that is not from the log's beginning

	fills bool // a backfill makes it full
}

// features compares the features.
func (b *between) features(retired []*pipeline.Set) {
	name := func(f *campaign.Feature) string { return f.Name }
	was, is := byName(b.was.Features, name), byName(b.is.Features, name)
	kept := map[uint64]bool{} // identities of features that are fed on
	for _, set := range retired {
		for i := range set.Definition().Features {
			kept[set.Definition().Features[i].FeatureID()] = true
		}
	}
	for _, name := range names(was, is) {
		a, f := was[name], is[name]
		x, since := Feature{Name: name}, int64(0) // since when it is fed; 0: from the log's beginning, or not known
		switch {
		case f == nil:
			x.What = Gone
		case a != nil && a.FeatureID() == f.FeatureID():
			x.What, since = Same, b.fed[name]
		case a == nil && kept[f.FeatureID()]:
			x.What, since = Back, b.fed[name]
		case a == nil:
			x.What, x.Empty, since = New, true, b.now
		case kept[f.FeatureID()]: // b.fed is about the definition that it takes the place of
			x.What, x.Values = Back, differ(structure(a), structure(f))
		default:
			x.What, x.Empty, since = Changed, true, b.now
			x.Values = differ(structure(a), structure(f))
		}
		if f != nil {
			x.Per = f.Per
			b.age(&x, f, since)
		}
		b.change.Features = append(b.change.Features, x)
	}
	for i := range b.change.Features {
		if x := &b.change.Features[i]; x.Young {
			b.young[x.Name] = x
		}
	}
}

// toSecond is a log time in RFC 3339, without what is below a second.
func toSecond(ns int64) string { return value.FormatTime(ns - ns%int64(time.Second)) }

// age tells whether a feature is young that has been fed since a log time, and what
// a backfill does about it.
func (b *between) age(x *Feature, f *campaign.Feature, since int64) {
	if since > 0 && !x.Empty {
		x.Since = toSecond(since)
	}
	// A feature that begins with the log lacks nothing.
	if until := value.Plus(since, int64(f.Within)); since > 0 && f.Within == 0 {
		x.Young = true
	} else if since > 0 && until > b.now {
		x.Young, x.Until = true, toSecond(value.Plus(until, int64(time.Second)-1))
	}
	switch {
	case f.Per != "" && x.Empty:
		b.change.AtSwitch.Features = append(b.change.AtSwitch.Features, f.Name)
	case f.Per != "":
	case x.Empty || since > b.reach:
		b.change.Backfill.Features = append(b.change.Backfill.Features, f.Name)
		x.fills = b.reach == 0 || f.Within > 0 && b.reach <= value.Minus(b.now, int64(f.Within))
	}
}

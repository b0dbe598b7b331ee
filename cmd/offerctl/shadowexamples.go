package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/explain"
)

// Limits of what is remembered of users for examples.
const (
	recentStories  = 2000 // users, once or twice as many
	pinnedStories  = 400  // users for whom the sets have sent different offers
	storyKept      = 10   // evaluations of each campaign
	shadowExamples = 10
)

// shadowStories remember what happened to users under the shadow's set: to those of
// whom an evaluation was traced last, and to the first for whom the sets differ.
type shadowStories struct {
	def         *campaign.Definition
	recent, old map[string]*userStory
	pinned      map[string]*userStory
}

// A userStory records one user, as a recorder has no limit of users.
type userStory struct {
	*explain.Recorder
	add func(*pipeline.Trace)
}

func newShadowStories(def *campaign.Definition) *shadowStories {
	return &shadowStories{def: def, recent: map[string]*userStory{}, old: map[string]*userStory{}, pinned: map[string]*userStory{}}
}

// A traceSource gives a Recorder the traces that it is told.
type traceSource struct {
	def *campaign.Definition
	add func(*pipeline.Trace)
}

func (s *traceSource) Trace(fn func(*pipeline.Trace))                        { s.add = fn }
func (s *traceSource) TraceTriggers(func(*pipeline.TriggerTrace), ...string) {}
func (s *traceSource) Only(...string)                                        {}
func (s *traceSource) Definition() *campaign.Definition                      { return s.def }

// take takes what came of a message.
func (s *shadowStories) take(m audit.ShadowMessage) {
	for _, t := range m.Traces {
		s.of(t.User).add(t)
	}
	ids := map[string]int{}
	for i, offers := range [...][]*pipeline.Offer{m.Live, m.Shadow} {
		for _, o := range offers {
			ids[o.ID] += 1 - 2*i
		}
	}
	for _, offers := range [...][]*pipeline.Offer{m.Live, m.Shadow} {
		for _, o := range offers {
			if key := o.Entity(); ids[o.ID] != 0 && s.pinned[key] == nil && len(s.pinned) < pinnedStories {
				s.pinned[key] = s.of(key)
			}
		}
	}
}

// of is the story of a user.
func (s *shadowStories) of(key string) *userStory {
	for _, in := range []map[string]*userStory{s.pinned, s.recent} {
		if u := in[key]; u != nil {
			return u
		}
	}
	u := s.old[key]
	if u == nil {
		u = &userStory{Recorder: explain.New(key)}
		u.Keep(storyKept)
		u.Triggers()
		source := &traceSource{def: s.def}
		u.Watch(source)
		u.add = source.add
	}
	if len(s.recent) >= recentStories {
		s.recent, s.old = map[string]*userStory{}, s.recent
	}
	s.recent[key] = u
	return u
}

// all are the stories of those for whom the sets differ, and of some others.
func (s *shadowStories) all(zone *time.Location) (all []*explain.Story) {
	keys := slices.Sorted(maps.Keys(s.pinned))
	for _, key := range slices.Sorted(maps.Keys(s.recent)) {
		if len(keys) < pinnedStories && s.pinned[key] == nil {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		all = append(all, s.of(key).Story(explain.Query{User: key, Evaluated: true, Zone: zone}))
	}
	return all
}

// A shadowExample is an offer that only one of the sets has sent.
type shadowExample struct {
	What     string `json:"what"` // gained or lost
	Campaign string `json:"campaign"`
	User     string `json:"user"` // the entity's key
	Key      string `json:"key,omitempty"`
	Time     string `json:"time"`
	Sentence string `json:"sentence"` // what the shadow did
}

// examples picks some of the offers that only one of the sets has sent, of all
// campaigns in turn, first those of which the shadow's story is known.
func (s *shadowStories) examples(change *backtest.Comparison, zone *time.Location) []shadowExample {
	var lists [][]shadowExample
	most := 0
	for _, id := range slices.Sorted(maps.Keys(change.Campaigns)) {
		c := change.Campaigns[id]
		for _, of := range []struct {
			what string
			sent []backtest.Sent
		}{{"gained", c.GainedFirst}, {"lost", c.LostFirst}} {
			var list []shadowExample
			for _, o := range of.sent {
				list = append(list, shadowExample{of.what, o.Campaign, o.User, o.Key, o.Time, ""})
			}
			lists, most = append(lists, list), max(most, len(list))
		}
	}
	var known, others []shadowExample
	for i := range most {
		for _, list := range lists {
			if i >= len(list) {
				continue
			}
			x := list[i]
			if x.Sentence = s.sentence(&x, zone); x.Sentence != "" {
				known = append(known, x)
			} else {
				x.Sentence = unknownSentence(&x)
				others = append(others, x)
			}
		}
	}
	all := append(known, others...)
	return all[:min(len(all), shadowExamples)]
}

// sentence is what the shadow did, "" if that is not known.
func (s *shadowStories) sentence(x *shadowExample, zone *time.Location) string {
	name := campaign.NameOf(x.Campaign)
	if !slices.ContainsFunc(s.def.Campaigns, func(c campaign.Campaign) bool { return c.ID == name }) {
		return fmt.Sprintf("No %s offer: the campaign is not in the set.", x.Campaign)
	}
	var u *userStory
	for _, in := range []map[string]*userStory{s.pinned, s.recent, s.old} {
		if u = in[x.User]; u != nil {
			break
		}
	}
	if u == nil {
		return ""
	}
	best := ""
	for _, c := range u.Story(explain.Query{User: x.User, Campaign: x.Campaign, Zone: zone}).Campaigns {
		for _, e := range c.Evaluations { // the newest last
			sent := e.Offer != nil && e.Offer.Time == x.Time && !e.Offer.Withheld
			switch {
			case e.Campaign != x.Campaign || e.Key != x.Key && e.Key != "" && x.Key != "":
			case sent == (x.What == "gained") && e.At == x.Time:
				return e.Sentence
			case x.What == "lost" && !sent && e.Began <= x.Time:
				best = e.Sentence
			}
		}
	}
	return best
}

func unknownSentence(x *shadowExample) string {
	if x.What == "gained" {
		return fmt.Sprintf("%s went out.", x.Campaign)
	}
	return fmt.Sprintf("No %s offer: no trace of an evaluation is kept.", x.Campaign)
}

package explain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// A Query says what a story is about.
type Query struct {
	User     string         // the entity key
	Campaign string         // a campaign, or one of its rows as name/row; "": all campaigns
	Newest   int            // how many evaluations of each campaign are told, the newest, and besides the newest that gave an offer and the newest that is pending; 0: all that are kept
	Zone     *time.Location // of the times in sentences; nil: UTC

	Most      int  // how many campaigns are told, those with offers first; 0: all
	Evaluated bool // leave out campaigns that nothing has triggered
}

// A Story is what happened to a user's evaluations. Times are RFC 3339 in UTC.
type Story struct {
	User      string          `json:"user"`            // the entity key
	Owner     string          `json:"owner,omitempty"` // of a visitor: the entity key of the user whom the visitor has become, if it is in another partition
	Sentence  string          `json:"sentence"`        // of the campaign; or which offers the user got
	Campaigns []CampaignStory `json:"campaigns"`
	More      *More           `json:"more,omitempty"` // nil: all campaigns are told

	zone *time.Location
}

// More counts the campaigns that a story leaves out.
type More struct {
	Campaigns int `json:"campaigns"`
	Evaluated int `json:"evaluated"` // of them
}

// A CampaignStory is what happened to a user's evaluations of one campaign.
type CampaignStory struct {
	Campaign    string            `json:"campaign"`
	Sentence    string            `json:"sentence"`
	Outcomes    map[string]uint64 `json:"outcomes"` // evaluated, pending, and each outcome that occurred; moved: how many besides count with the user whom the visitor became
	Evaluations []Evaluation      `json:"evaluations"`
	Older       uint64            `json:"older,omitempty"` // evaluations that are not told
	Nearest     *Nearest          `json:"nearest,omitempty"`
}

// An Evaluation is one evaluation of a campaign.
type Evaluation struct {
	Campaign string          `json:"campaign"` // with its row: name/row
	Key      string          `json:"key,omitempty"`
	Trigger  Event           `json:"trigger"`
	Began    string          `json:"began"`   // log time
	Outcome  string          `json:"outcome"` // in the words of LANGUAGE.md, rule 13, or pending, or moved
	Stage    string          `json:"stage"`   // in which it ended or waits
	At       string          `json:"at"`      // log time of the last step
	Due      string          `json:"due,omitempty"`
	Sentence string          `json:"sentence"`
	Steps    []Step          `json:"steps"`
	Offer    *pipeline.Offer `json:"offer,omitempty"`

	began, at int64
}

// An Event is an event in a story.
type Event struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Name string `json:"name,omitempty"`
	Time string `json:"time"` // event time
}

// A Step is what happened to an evaluation at one log time.
type Step struct {
	At     string  `json:"at"`
	By     *Event  `json:"by,omitempty"` // the event; none: it was due
	Stages []Stage `json:"stages"`
	Waits  string  `json:"waits,omitempty"` // the stage in which it waits from then on
	Due    string  `json:"due,omitempty"`
	Asks   string  `json:"asks,omitempty"`  // the key of the item, budget or pool whose answer it waits for
	From   string  `json:"from,omitempty"`  // the key of the visitor who became the user in this step, and whose evaluation it was
	Ended  string  `json:"ended,omitempty"` // the outcome
	Cause  string  `json:"cause,omitempty"` // of cancelled, superseded and lost: view, unless, newer, bound, change, loss or merge; merge too where it waits on

	at, due int64
}

// A Stage is a stage that an evaluation passed, or in which it ended.
type Stage struct {
	Stage string `json:"stage"`
	Parts []Part `json:"parts"`
}

// A Part is a condition, a gate, or a part of the offer.
type Part struct {
	Text   string                     `json:"text"`
	OK     bool                       `json:"ok"`
	Words  string                     `json:"words"`
	Error  string                     `json:"error,omitempty"`
	Values map[string]json.RawMessage `json:"values,omitempty"`
}

// A Nearest is the event that came nearest to triggering a campaign.
type Nearest struct {
	Event Event  `json:"event"`
	At    string `json:"at"`
	Parts []Part `json:"parts"`
}

// Outcomes of evaluations that have none: yet, and of a visitor who has become a user.
const (
	outcomePending = "pending"
	outcomeMoved   = "moved"
)

// Story tells what happened. A campaign that the set does not have is in no story.
func (r *Recorder) Story(q Query) *Story {
	s := &Story{User: q.User, Campaigns: []CampaignStory{}, zone: q.Zone}
	if s.zone == nil {
		s.zone = time.UTC
	}
	u := r.users[q.User]
	if u == nil {
		return s
	}
	s.Owner = u.owner
	name, row, _ := strings.Cut(q.Campaign, "/")
	for _, id := range u.known(q.Evaluated) {
		if name != "" && id != name {
			continue
		}
		c := u.story(id, row, q, s.zone, r.tries(id, u))
		s.Campaigns = append(s.Campaigns, c)
	}
	if name != "" && len(s.Campaigns) > 0 {
		s.Sentence = s.Campaigns[0].Sentence
		return s
	}
	slices.SortStableFunc(s.Campaigns, func(a, b CampaignStory) int {
		return cmp.Or(cmp.Compare(b.interest(), a.interest()), cmp.Compare(b.at(), a.at()))
	})
	s.Sentence = s.summary()
	if q.Most > 0 && len(s.Campaigns) > q.Most {
		s.More = &More{Campaigns: len(s.Campaigns) - q.Most}
		for i := range s.Campaigns[q.Most:] {
			if s.Campaigns[q.Most+i].Outcomes[evaluated] > 0 {
				s.More.Evaluated++
			}
		}
		s.Campaigns = s.Campaigns[:q.Most]
	}
	return s
}

// sent reports whether the evaluation gave an offer.
func (e *evaluation) sent() bool { return e.done && e.last().Outcome == pipeline.Fired }

func (e *evaluation) pending() bool { return !e.done && e.movedTo == "" }

// known are the campaigns of the set, and those that had evaluations before they
// went; or only those that had evaluations.
func (u *record) known(evaluated bool) []string {
	all := map[string]bool{}
	if u.def != nil && !evaluated {
		for _, c := range u.def.Campaigns {
			all[c.ID] = true
		}
	}
	for id, h := range u.campaigns {
		if len(h.evaluations) > 0 || !evaluated {
			all[id] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (u *record) story(id, row string, q Query, zone *time.Location, tried bool) CampaignStory {
	c := CampaignStory{Campaign: id, Outcomes: map[string]uint64{}, Evaluations: []Evaluation{}}
	h := u.of(id)
	for unit, counts := range h.counts {
		if row != "" && unit != q.Campaign {
			continue
		}
		for what, n := range counts {
			c.Outcomes[what] += n
		}
	}
	ended := uint64(0)
	for what, n := range c.Outcomes {
		if what != evaluated {
			ended += n
		}
	}
	if n := c.Outcomes[evaluated] - ended; n > 0 {
		c.Outcomes[outcomePending] = n
	}
	for unit, n := range h.moved {
		if row == "" || unit == q.Campaign {
			c.Outcomes[outcomeMoved] += n
		}
	}
	var told []*evaluation
	for _, e := range h.evaluations {
		if row == "" || e.first().Campaign == q.Campaign {
			told = append(told, e)
		}
	}
	slices.SortStableFunc(told, func(a, b *evaluation) int { return compare(a.last().Now, b.last().Now) })
	c.Older = h.dropped
	if extra := len(told) - q.Newest; q.Newest > 0 && extra > 0 {
		older := told[:extra]
		told = slices.Clone(told[extra:])
		for _, e := range slices.Backward(older) {
			for _, matters := range []func(*evaluation) bool{(*evaluation).sent, (*evaluation).pending} {
				if matters(e) && !slices.ContainsFunc(told, matters) {
					told, extra = slices.Insert(told, 0, e), extra-1
				}
			}
		}
		c.Older += uint64(extra)
	}
	for _, e := range told {
		c.Evaluations = append(c.Evaluations, e.story(zone))
	}
	if n := len(c.Evaluations); n > 0 {
		c.Sentence = c.Evaluations[n-1].Sentence
		return c
	}
	if n := c.Outcomes[evaluated]; n > 0 { // of a row, the others have taken their place
		c.Sentence = fmt.Sprintf("%s had %s, all older than the newest %d of %s.", q.Campaign, quantity(int64(n), "evaluation"), mostEvaluations, id)
		return c
	}
	c.Sentence = never(u.def, id, row, h, zone, tried)
	if n := h.nearest(id, row, 0); n != nil && !n.trace.Sequence {
		c.Nearest = &Nearest{Event: eventOf(n.trace.Event), At: value.FormatTime(n.trace.Now), Parts: partsOf(n.trace.Parts, u.def, n.trace.Now, zone)}
	}
	return c
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (e *evaluation) story(zone *time.Location) Evaluation {
	first, last := e.first(), e.last()
	is := Evaluation{
		Campaign: first.Campaign, Key: last.Key, Trigger: eventOf(first.Trigger), Began: value.FormatTime(first.Began), Outcome: outcomePending,
		Stage: last.Stage, At: value.FormatTime(last.Now), Sentence: sentence(e, zone), Offer: last.Offer, began: first.Began, at: last.Now,
	}
	switch {
	case e.done:
		is.Outcome = last.Outcome.String()
	case e.movedTo != "":
		is.Outcome = outcomeMoved
	case last.Asks == "":
		is.Due = value.FormatTime(last.Due)
	}
	for _, t := range e.steps {
		st := Step{At: value.FormatTime(t.Now), Stages: []Stage{}, Cause: string(t.Cause), Asks: t.Asks, From: t.Of, at: t.Now, due: t.Due}
		if t.By != nil {
			by := eventOf(*t.By)
			st.By = &by
		}
		for _, g := range t.Stages {
			st.Stages = append(st.Stages, Stage{g.Stage, partsOf(g.Parts, e.def, t.Now, zone)})
		}
		if t.Wait > 0 {
			if st.Waits = t.Stage; t.Asks == "" {
				st.Due = value.FormatTime(t.Due)
			}
		} else {
			st.Ended = t.Outcome.String()
		}
		is.Steps = append(is.Steps, st)
	}
	return is
}

func eventOf(e pipeline.TraceEvent) Event {
	return Event{ID: e.ID, Type: e.Type, Name: e.Name, Time: value.FormatTime(e.Time)}
}

func partsOf(parts []pipeline.TracePart, def *campaign.Definition, now int64, zone *time.Location) []Part {
	all := make([]Part, len(parts))
	for i, p := range parts {
		all[i] = Part{Text: p.Text, OK: p.OK, Error: p.Error, Words: partWords(p, def, now, zone)}
		for _, v := range p.Values {
			if all[i].Values == nil {
				all[i].Values = map[string]json.RawMessage{}
			}
			all[i].Values[v.Of] = v.Is
		}
	}
	return all
}

// campaignOf is a campaign of a definition; nil: it has none of that id.
func campaignOf(def *campaign.Definition, unit string) *campaign.Campaign {
	name, _, _ := strings.Cut(unit, "/")
	if def == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(def.Campaigns, name, func(c campaign.Campaign, id string) int { return strings.Compare(c.ID, id) })
	if !ok {
		return nil
	}
	return &def.Campaigns[i]
}

// named is an event for people: its name, or its type where it has none.
func named(e pipeline.TraceEvent) string {
	switch {
	case e.Type == "track" || e.Type == "system" || e.Type == "item":
		return e.Name
	case e.Name != "":
		return fmt.Sprintf("%s %q", e.Type, e.Name)
	}
	return e.Type
}

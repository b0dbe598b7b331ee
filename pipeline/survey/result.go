package survey

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// A Result is what a survey has seen.
type Result struct {
	Events     uint64     `json:"events"` // without duplicates and those that were refused
	Users      int        `json:"users"`
	Duplicates uint64     `json:"duplicates"`
	From       string     `json:"from,omitempty"` // log time
	To         string     `json:"to,omitempty"`
	JudgedAll  uint64     `json:"judged_all"` // the first events, after which `if` is judged for some users only
	Names      []Name     `json:"names"`      // the most frequent first
	Campaigns  []Campaign `json:"campaigns"`
	Findings   []Finding  `json:"-"`
}

// A Name is how often events of one name came.
type Name struct {
	Type   string `json:"type"`
	Name   string `json:"name,omitempty"`
	Events uint64 `json:"events"`
}

// A Campaign is how often each condition of a campaign held, all its rows together.
type Campaign struct {
	ID          string            `json:"id"`
	Rows        int               `json:"rows,omitempty"`
	Triggers    []Trigger         `json:"triggers"`
	Evaluations uint64            `json:"evaluations"`
	If          []Condition       `json:"if,omitempty"`
	Ended       map[string]uint64 `json:"ended,omitempty"` // by outcome, without fired
	Pending     uint64            `json:"pending,omitempty"`
	Offers      uint64            `json:"offers"`
}

// A Trigger is the events that `on` names: of a campaign, of an entry of `any`, or
// of a step of a sequence.
type Trigger struct {
	On     []string    `json:"on"`
	Unless bool        `json:"unless,omitempty"` // the events of `unless`
	Events uint64      `json:"events"`
	Where  []Condition `json:"where,omitempty"` // each judged on all of these events; of a campaign with rows: whether it held for any
}

// A Condition is how often a conjunct held.
type Condition struct {
	Text    string `json:"text"`
	Held    uint64 `json:"held"`
	Of      uint64 `json:"of"`
	AtLeast bool   `json:"at_least,omitempty"` // not all rows were tried
}

// Result ends the survey.
func (s *Survey) Result() *Result {
	counts, _ := s.backtest.Counts()
	s.counts = map[string]pipeline.Counts{}
	for unit, n := range counts {
		id := campaign.NameOf(unit)
		s.counts[id] = s.counts[id].Plus(n)
	}
	r := &Result{Events: s.sample.n, Users: s.backtest.UserCount(), Duplicates: s.backtest.Duplicates(), Names: []Name{}, Campaigns: []Campaign{}}
	if r.JudgedAll = s.trace.after; r.JudgedAll == 0 {
		r.JudgedAll = s.sample.n
	}
	if s.sample.n > 0 {
		r.From, r.To = value.FormatTime(s.first), value.FormatTime(s.backtest.LogTime())
	}
	for _, k := range slices.SortedFunc(maps.Values(s.sample.kinds), byCount) {
		r.Names = append(r.Names, Name{k.typ.String(), k.name, k.n})
	}
	for i := range s.def.Campaigns {
		r.Campaigns = append(r.Campaigns, s.campaign(&s.def.Campaigns[i]))
	}
	r.Findings = s.findings()
	return r
}

func (s *Survey) campaign(def *campaign.Campaign) Campaign {
	n := s.counts[def.ID]
	c := Campaign{ID: def.ID, Rows: len(def.Rows), Evaluations: n.Evaluated, Offers: n.Ended[pipeline.Fired], Pending: n.Pending(), Triggers: []Trigger{}}
	for _, t := range s.judge.triggers[def.ID] {
		kinds := s.sample.named(t.on)
		one := Trigger{On: t.on, Unless: t.ends, Events: events(kinds)}
		for _, term := range t.terms {
			one.Where = append(one.Where, Condition{term.Text(), term.sum(kinds), one.Events, term.more})
		}
		c.Triggers = append(c.Triggers, one)
	}
	cs := s.conditions[def.ID]
	for _, p := range cs.parts {
		c.If = append(c.If, Condition{Text: p.Text, Held: p.held, Of: cs.judged})
	}
	for o, k := range n.Ended {
		if what := pipeline.Outcome(o); k > 0 && what != pipeline.Fired {
			if c.Ended == nil {
				c.Ended = map[string]uint64{}
			}
			c.Ended[what.String()] = k
		}
	}
	return c
}

// Text writes the table: for each campaign its conditions from the trigger to the
// offer, each with how often it held.
func (r *Result) Text(w io.Writer) {
	fmt.Fprintf(w, "sample: %s of %s, %s to %s\n", count(r.Events, "event"), count(uint64(r.Users), "user"), r.From, r.To)
	for i, n := range r.Names {
		if i == mostNamesShown {
			fmt.Fprintf(w, "  and %s\n", count(uint64(len(r.Names)-i), "other name"))
			break
		}
		name := n.Name
		if name == "" {
			name = "of type " + n.Type
		}
		fmt.Fprintf(w, "  %9s  %s\n", thousands(n.Events), name)
	}
	if note := r.judged(); note != "" {
		fmt.Fprintln(w, note)
	}
	shown := r.foremost()
	for i := range r.Campaigns {
		if shown == nil || shown[i] {
			r.Campaigns[i].text(w)
		}
	}
	if shown != nil {
		fmt.Fprintf(w, "\nand %s; these have the most evaluations, --json has all\n", count(uint64(len(r.Campaigns)-len(shown)), "more campaign"))
	}
}

// mostCampaignsShown bounds the campaigns of the table.
const mostCampaignsShown = 100

// foremost are the indexes of the campaigns with the most evaluations; nil: all are
// shown.
func (r *Result) foremost() map[int]bool {
	if len(r.Campaigns) <= mostCampaignsShown {
		return nil
	}
	by := make([]int, len(r.Campaigns))
	for i := range by {
		by[i] = i
	}
	slices.SortStableFunc(by, func(a, b int) int { return cmp.Compare(r.Campaigns[b].Evaluations, r.Campaigns[a].Evaluations) })
	shown := map[int]bool{}
	for _, i := range by[:mostCampaignsShown] {
		shown[i] = true
	}
	return shown
}

const mostNamesShown = 20

func (c *Campaign) text(w io.Writer) {
	fmt.Fprintf(w, "\n%s", c.ID)
	if c.Rows > 0 {
		fmt.Fprintf(w, "  (%s together)", count(uint64(c.Rows), "row"))
	}
	fmt.Fprintln(w)
	line := func(n uint64, of, what string) {
		fmt.Fprintf(w, "  %9s  %-13s  %s\n", thousands(n), of, what)
	}
	condition := func(key string, x Condition) {
		mark := ""
		if x.Of == 0 {
			fmt.Fprintf(w, "  %9s  %-13s  %-6s %s\n", "-", "", key, cut(x.Text))
			return
		}
		switch {
		case x.AtLeast:
			mark = "  (at least: not all rows were tried)"
		case x.Held == 0:
			mark = "  <- never"
		}
		line(x.Held, "of "+thousands(x.Of), fmt.Sprintf("%-6s %s%s", key, cut(x.Text), mark))
	}
	together := c.Evaluations == 0 // never, though each condition held
	trigger := func(t Trigger, key string) {
		line(t.Events, "", fmt.Sprintf("%-6s %s", key, strings.Join(t.On, ", ")))
		for _, x := range t.Where {
			condition("where", x)
		}
	}
	for _, t := range c.Triggers {
		if t.Unless || slices.Equal(t.On, []string{campaign.SessionEnd}) {
			continue
		}
		trigger(t, "on")
		for _, x := range t.Where {
			together = together && x.Held > 0
		}
		together = together && t.Events > 0
	}
	what := plural(c.Evaluations, "evaluation")
	if together {
		what += "  <- never all at once"
	}
	line(c.Evaluations, "", what)
	for _, x := range c.If {
		condition("if", x)
	}
	for _, t := range c.Triggers {
		if t.Unless {
			trigger(t, "unless")
		}
	}
	var rest []string
	for _, o := range pipeline.Outcomes() {
		if n := c.Ended[o.String()]; n > 0 {
			rest = append(rest, fmt.Sprintf("%s %s", o, thousands(n)))
		}
	}
	if c.Pending > 0 {
		rest = append(rest, "pending "+thousands(c.Pending))
	}
	what = plural(c.Offers, "offer")
	if len(rest) > 0 {
		what += "; else: " + strings.Join(rest, ", ")
	}
	line(c.Offers, "", what)
}

// mostText is how many characters of a condition are shown.
const mostText = 100

func cut(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) > mostText {
		text = string([]rune(text)[:mostText]) + "..."
	}
	return text
}

// thousands is a number with commas.
func thousands(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func plural(n uint64, of string) string {
	if n != 1 {
		of += "s"
	}
	return of
}

func count(n uint64, of string) string { return thousands(n) + " " + plural(n, of) }

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return thousands(n) + " times"
}

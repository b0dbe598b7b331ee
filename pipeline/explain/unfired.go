package explain

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// An Unfired is a campaign of which no offer went out, and why.
type Unfired struct {
	Campaign    string `json:"campaign"`
	Why         string `json:"why"`
	Evaluations uint64 `json:"evaluations"`
	Pending     uint64 `json:"pending"`
	FirstDue    string `json:"first_due,omitempty"` // RFC 3339: when the first of those that are pending continues
}

// mostTraced is how many evaluations of a partition are traced: of more, the
// conditions that are missing most often are hardly others.
const mostTraced = 50_000

// An UnfiredWatch watches the folds of a set's partitions, one after another, to say
// why campaigns have not fired.
type UnfiredWatch struct {
	set       *campaign.Definition
	campaigns map[string]*unfiredTally

	logTime   int64 // of the partition that is furthest
	partition int
	watched   *pipeline.Fold // of the partition
	users     pipeline.Memory
	missing   map[string]map[string]int // of the partition, by campaign: how often each condition did not hold
	traced    int
}

// An unfiredTally is what happened to all evaluations of a campaign, and its rows.
type unfiredTally struct {
	counts  pipeline.Counts
	missing map[string]int
	waits   map[string]*unfiredWait // by stage
}

// An unfiredWait counts the evaluations that wait in one stage.
type unfiredWait struct {
	n   uint64
	due int64 // of the first
}

// NewUnfiredWatch makes a watch of the folds of a set.
func NewUnfiredWatch(set *campaign.Definition) *UnfiredWatch {
	w := &UnfiredWatch{set: set, campaigns: map[string]*unfiredTally{}}
	for i := range set.Campaigns {
		w.campaigns[set.Campaigns[i].ID] = &unfiredTally{missing: map[string]int{}, waits: map[string]*unfiredWait{}}
	}
	return w
}

// Fold watches the next partition's fold, or another one of the same partition.
func (w *UnfiredWatch) Fold(partition int, f *pipeline.Fold, users pipeline.Memory) {
	if partition != w.partition {
		w.end()
	}
	w.partition, w.watched, w.users, w.missing, w.traced = partition, f, users, map[string]map[string]int{}, 0
	f.Trace(func(t *pipeline.Trace) {
		if w.traced++; w.traced >= mostTraced {
			f.Trace(nil)
		}
		if t.Due != pipeline.NoDue || t.Outcome != pipeline.Condition || len(t.Stages) == 0 {
			return
		}
		id := campaign.NameOf(t.Campaign)
		if w.missing[id] == nil {
			w.missing[id] = map[string]int{}
		}
		for _, p := range t.Stages[len(t.Stages)-1].Parts {
			if !p.OK {
				w.missing[id][p.Text]++
			}
		}
	})
}

// end adds what the last fold knows.
func (w *UnfiredWatch) end() {
	if w.watched == nil {
		return
	}
	w.watched.EachCount(func(unit string, n pipeline.Counts) {
		if t := w.campaigns[campaign.NameOf(unit)]; t != nil {
			t.counts = t.counts.Plus(n)
		}
	})
	w.users.Pending(func(unit, stage string, due int64) {
		t := w.campaigns[campaign.NameOf(unit)]
		if t == nil {
			return
		}
		if t.waits[stage] == nil {
			t.waits[stage] = &unfiredWait{due: due}
		}
		t.waits[stage].n++
		t.waits[stage].due = min(t.waits[stage].due, due)
	})
	for id, missing := range w.missing {
		for text, n := range missing {
			if t := w.campaigns[id]; t != nil {
				t.missing[text] += n
			}
		}
	}
	_, _, logTime, _ := w.watched.At()
	w.logTime = max(w.logTime, logTime)
	w.watched, w.users = nil, nil
}

// Result are the campaigns that have not fired.
func (w *UnfiredWatch) Result() []Unfired {
	w.end()
	all := []Unfired{}
	for i := range w.set.Campaigns {
		c := &w.set.Campaigns[i]
		t := w.campaigns[c.ID]
		if t.counts.Ended[pipeline.Fired] > 0 {
			continue
		}
		u := Unfired{Campaign: c.ID, Why: t.why(c, w.logTime), Evaluations: t.counts.Evaluated}
		for stage, wait := range t.waits {
			u.Pending += wait.n
			if asks[stage] != "" { // the time is that of the question
				continue
			}
			if due := utc(wait.due).Format(time.RFC3339); u.FirstDue == "" || due < u.FirstDue {
				u.FirstDue = due
			}
		}
		all = append(all, u)
	}
	return all
}

func utc(at int64) time.Time { return time.Unix(0, at).UTC() }

// why says in a sentence why the campaign has not fired. now is log time.
func (t *unfiredTally) why(c *campaign.Campaign, now int64) string {
	if t.counts.Evaluated == 0 {
		return notTriggered(c)
	}
	var parts []string
	for _, stage := range slices.Sorted(maps.Keys(t.waits)) {
		parts = append(parts, t.waits[stage].why(stage, c, now))
	}
	var ended []string
	outcomes := pipeline.Outcomes()
	slices.SortStableFunc(outcomes, func(a, b pipeline.Outcome) int { return cmp.Compare(t.counts.Ended[b], t.counts.Ended[a]) })
	for _, o := range outcomes {
		if n := t.counts.Ended[o]; n > 0 {
			ended = append(ended, fmt.Sprintf("%d %s", n, t.ended(o)))
		}
	}
	evaluations := quantity(int64(t.counts.Evaluated), "evaluation")
	switch {
	case t.counts.Evaluated == 1 && len(ended) == 1:
		parts = append(parts, fmt.Sprintf("%s, %s", evaluations, t.ended(outcomes[0])))
	case len(ended) == 1 && len(parts) == 0:
		parts = append(parts, fmt.Sprintf("%s, all %s", evaluations, t.ended(outcomes[0])))
	case len(ended) > 0:
		parts = append(parts, fmt.Sprintf("%s: %s", evaluations, strings.Join(ended, ", ")))
	}
	return strings.Join(parts, "; ")
}

// notTriggered says what the campaign waits for.
func notTriggered(c *campaign.Campaign) string {
	on, where := c.On, c.Where
	switch {
	case slices.Contains(c.On, campaign.SessionEnd):
		return "no visit has ended: that takes half an hour without an event"
	case c.Sequence != nil:
		return fmt.Sprintf("nobody has done the %s of its sequence within %s", quantity(int64(len(c.Sequence.Steps)), "step"), campaign.FormatDuration(c.Sequence.Within))
	}
	for _, any := range c.Any {
		on, where = append(on, any.On...), where+any.Where
	}
	text := "nothing has triggered it: no " + strings.Join(on, " and no ") + " has come"
	if where != "" {
		text += " that its `where` accepts"
	}
	return text
}

// asks are the stages in which evaluations wait for another entity.
var asks = map[string]string{"ask": "waits for an item's answer", "grant": "waits for its budget or its pool of codes"}

// why says what evaluations in a stage wait for.
func (w *unfiredWait) why(stage string, c *campaign.Campaign, now int64) string {
	text := "waits"
	if asks[stage] != "" {
		return fmt.Sprintf("%s: %d pending", asks[stage], w.n)
	}
	switch stage {
	case "absence":
		unless := c.Unless
		for i := 0; unless == nil && i < len(c.Any); i++ {
			unless = c.Any[i].Unless
		}
		if unless != nil {
			within := campaign.FormatDuration(unless.Within)
			if unless.WithinIs != "" {
				within = fmt.Sprintf("as long as `within` says, at most %s", campaign.FormatDuration(unless.AtMost))
			}
			text = fmt.Sprintf("waits %s, unless %s comes", within, strings.Join(unless.On, " or "))
		}
	case "dwell":
		text = "waits until the visitor has stayed long enough"
	case "delay":
		text = "waits for each user's best hour"
	case "hold":
		text = "waits for the end of the quiet hours"
	}
	at := "15:04"
	if utc(w.due).YearDay() != utc(now).YearDay() {
		at = "15:04 on 2 January"
	}
	return fmt.Sprintf("%s: %d pending, the first is due at %s UTC", text, w.n, utc(w.due).Format(at))
}

// ended says how evaluations ended.
func (t *unfiredTally) ended(o pipeline.Outcome) string {
	switch o {
	case pipeline.Withheld:
		return "withheld, as the users belong to the holdout"
	case pipeline.Condition:
		most := ""
		for _, text := range slices.Sorted(maps.Keys(t.missing)) {
			if most == "" || t.missing[text] > t.missing[most] {
				most = text
			}
		}
		if most == "" {
			return "stopped by condition"
		}
		return fmt.Sprintf("stopped by condition (the most frequent missing part: %s)", plain(most))
	case pipeline.NoChoice:
		return "stopped because `choose` gave nothing"
	case pipeline.Outranked:
		return "outranked by another campaign on the channel"
	case pipeline.Failed:
		return "failed with an error in an expression"
	case pipeline.Cancelled:
		return "cancelled by a later event"
	case pipeline.Superseded:
		return "replaced by a later one"
	}
	return "stopped by " + o.String()
}

// PrintUnfired prints a table of the campaigns that have not fired.
func PrintUnfired(to io.Writer, all []Unfired) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(to, "campaigns that have not fired:")
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, u := range all {
		fmt.Fprintf(w, "  %s\t%s\n", u.Campaign, u.Why)
	}
	w.Flush()
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/report"
	"offerstream/pipeline/zone"
)

// Limits of what a shadow remembers.
const (
	mostShadowOffers   = 2_000_000 // of both sets: some 250 MB
	mostShadowFailures = 1000      // different ones
	mostShadowNotes    = 20
)

// errShadowFull ends a shadow that has counted as many offers as it can.
var errShadowFull = errors.New("it ended at 2,000,000 offers, which is as many as it compares: shadow for a shorter time, or fewer users (--users)")

// A shadowCount counts what comes of the messages of a shadow.
type shadowCount struct {
	def, live *campaign.Definition // live nil: none
	zone      *time.Location

	mu       sync.Mutex
	begun    time.Time
	sides    [2]*shadowSide  // live, shadow
	single   map[string]bool // ids of offers that only one side has sent so far: whether that is the shadow
	failures map[backtest.Failure]uint64
	of       map[backtest.Failure]string // the campaign of each
	stories  *shadowStories
	notes    []string
}

// A shadowSide is what one of the sets has sent.
type shadowSide struct {
	n      int
	offers backtest.Offers
	users  map[string]map[string]bool // by campaign
	series *report.Series
}

func newShadowCount(live, def *campaign.Definition) *shadowCount {
	c := &shadowCount{def: def, live: live, zone: zone.OrUTC(def.Zone), single: map[string]bool{}, failures: map[backtest.Failure]uint64{}, of: map[backtest.Failure]string{}, stories: newShadowStories(def)}
	for i := range c.sides {
		c.sides[i] = &shadowSide{users: map[string]map[string]bool{}, series: report.NewSeries(c.zone)}
	}
	return c
}

// began says that the set has begun.
func (c *shadowCount) began() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = time.Now()
}

// take counts what came of a message.
func (c *shadowCount) take(m audit.ShadowMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, offers := range [...][]*pipeline.Offer{m.Live, m.Shadow} {
		for _, o := range offers {
			c.sides[i].add(o)
			if o.Withheld {
				continue
			}
			if by, ok := c.single[o.ID]; ok && by != (i == 1) {
				delete(c.single, o.ID)
			} else {
				c.single[o.ID] = i == 1
			}
		}
	}
	for _, f := range m.Failures {
		c.failed(f)
	}
	c.stories.take(m)
	if c.sides[0].n+c.sides[1].n >= mostShadowOffers {
		return errShadowFull
	}
	return nil
}

func (s *shadowSide) add(o *pipeline.Offer) {
	s.series.Add(o)
	s.offers.Add(o)
	if o.Withheld {
		return
	}
	s.n++
	name := campaign.NameOf(o.Campaign)
	if s.users[name] == nil {
		s.users[name] = map[string]bool{}
	}
	s.users[name][o.Entity()] = true
}

// failed counts an error of an expression of the shadow's set.
func (c *shadowCount) failed(one pipeline.Failure) {
	if one.Feature != "" {
		one.Place = "features." + one.Feature + "." + one.Place
	}
	f := backtest.Failure{Place: one.Place, Text: one.Text, Error: one.Err.Error()}
	if _, known := c.failures[f]; known || len(c.failures) < mostShadowFailures {
		c.failures[f]++
		c.of[f] = campaign.NameOf(one.Campaign)
	}
}

// changed notes that another set went live.
func (c *shadowCount) changed(p int, seq uint64, hash string) {
	c.note(fmt.Sprintf("the live set changed: partition %d goes on with set %s from message %d on", p, hash, seq))
}

func (c *shadowCount) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.notes) < mostShadowNotes {
		c.notes = append(c.notes, text)
	}
}

// line tells how far the shadow is.
func (r *shadowRun) line(st audit.ShadowState) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun.IsZero() {
		return fmt.Sprintf("catching up: message %d of %d, %s", st.Read, st.End, count(st.Users, "user"))
	}
	only := [2]int{}
	for _, shadow := range r.single {
		only[b2i(shadow)]++
	}
	of := ""
	if r.most > 0 {
		of = " of " + r.most.String()
	}
	return fmt.Sprintf("%s%s: %s; live %s, shadow %d; only live %d, only shadow %d", time.Since(r.begun).Round(time.Second), of,
		count(int(st.Events), "event"), count(r.sides[0].n, "offer"), r.sides[1].n, only[0], only[1])
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A shadowComparison is what both sets have sent.
type shadowComparison struct {
	run          *shadowRun
	state        audit.ShadowState
	live, shadow *backtest.Result
	change       *backtest.Comparison
	examples     []shadowExample
	notes        []string
	took         time.Duration
}

// compare compares what both sets have sent so far.
func (r *shadowRun) compare(st audit.ShadowState) *shadowComparison {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &shadowComparison{run: r, state: st, took: time.Since(r.begun)}
	c.live = r.result(r.sides[0], st, st.LiveSet, st.Live, st.LiveParts, r.live)
	c.shadow = r.result(r.sides[1], st, st.Set, st.Shadow, st.ShadowParts, r.def)
	for f, n := range r.failures {
		list := &c.shadow.Failures
		if in := c.shadow.Campaigns[r.of[f]]; in != nil {
			list = &in.Failures
		}
		f.N = n
		*list = append(*list, f)
	}
	sortFailures(c.shadow)
	c.change = backtest.Compare(c.live, c.shadow, &r.sides[0].offers, &r.sides[1].offers)
	c.examples = r.stories.examples(c.change, r.zone)
	c.notes = append(c.situation(), r.notes...)
	return c
}

func sortFailures(res *backtest.Result) {
	by := func(a, b backtest.Failure) int {
		return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Place, b.Place), strings.Compare(a.Text, b.Text), strings.Compare(a.Error, b.Error))
	}
	slices.SortFunc(res.Failures, by)
	for _, in := range res.Campaigns {
		slices.SortFunc(in.Failures, by)
	}
}

// result is what one side has done, as of a backtest.
func (r *shadowRun) result(side *shadowSide, st audit.ShadowState, set string, counts map[string]pipeline.Counts, features pipeline.Counts, def *campaign.Definition) *backtest.Result {
	res := &backtest.Result{Set: set, First: st.First, Last: st.Last, Lines: st.Events, Events: st.Events, Users: uint64(st.Users), Rejected: map[string]uint64{}, Campaigns: map[string]*backtest.Campaign{}, Features: features}
	of := func(name string) *backtest.Campaign {
		if res.Campaigns[name] == nil {
			res.Campaigns[name] = &backtest.Campaign{Users: map[string]bool{}}
		}
		return res.Campaigns[name]
	}
	if def != nil {
		for i := range def.Campaigns {
			of(def.Campaigns[i].ID)
		}
	}
	for unit, n := range counts {
		if _, has := res.Campaigns[campaign.NameOf(unit)]; n == (pipeline.Counts{}) || !has && side == r.sides[1] {
			continue // of a campaign that the set lacks, what was pending was cancelled
		}
		c := of(campaign.NameOf(unit))
		c.Counts = c.Counts.Plus(n)
		if strings.Contains(unit, "/") {
			if c.Rows == nil {
				c.Rows = map[string]pipeline.Counts{}
			}
			c.Rows[unit] = c.Rows[unit].Plus(n)
		}
	}
	for name, users := range side.users {
		of(name).Users = users
	}
	return res
}

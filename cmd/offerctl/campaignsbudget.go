package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// A listedBudget is the budget of a campaign, of one with rows those of all its rows
// together. The numbers are of offers, or of what `of` measures.
type listedBudget struct {
	pipeline.BudgetState
	Counted string `json:"counted"`          // over which time: 1d, day, or ever
	Rows    int    `json:"rows,omitempty"`   // that have answered
	Empty   int    `json:"empty,omitempty"`  // those of them of which nothing is left
	Unknown int    `json:"unknown,omitzero"` // budgets, of rows or of the campaign, whose owner does not answer
}

// askHeld asks the owners of all partitions what their budgets and pools hold, if the
// set has any. why is of the partitions that do not say.
func askHeld(ctx context.Context, conn *broker.Conn, def *campaign.Definition) (held pipeline.Holdings, why []unanswered, err error) {
	held = pipeline.Holdings{Budgets: map[string]pipeline.BudgetState{}, Pools: map[string]pipeline.PoolState{}}
	if def == nil || len(pipeline.Pools(def)) == 0 && !slices.ContainsFunc(def.Campaigns, func(c campaign.Campaign) bool { return c.Budget != nil }) {
		return held, nil, nil
	}
	var mu sync.Mutex
	err = askEach(ctx, conn, broker.Query{Held: true}, func(p int, a broker.Answer, err error) {
		mu.Lock()
		defer mu.Unlock()
		var is pipeline.Holdings
		if err == nil && a.Held == nil {
			err = errors.New("its worker is of a version that knows no budgets")
		}
		if err == nil {
			err = json.Unmarshal(a.Held, &is)
		}
		if err != nil {
			why = append(why, unanswered{p, err.Error()})
			return
		}
		maps.Copy(held.Budgets, is.Budgets)
		maps.Copy(held.Pools, is.Pools)
	})
	slices.SortFunc(why, func(a, b unanswered) int { return a.Partition - b.Partition })
	return held, why, err
}

// budgets fills in what is left of budgets and pools.
func (l *campaignList) budgets(def *campaign.Definition, held pipeline.Holdings, why []unanswered) {
	l.Pools, l.NotHeld = held.Pools, why
	if def == nil {
		return
	}
	for i := range def.Campaigns {
		c := &def.Campaigns[i]
		if c.Budget == nil {
			continue
		}
		at := slices.IndexFunc(l.Campaigns, func(o listedCampaign) bool { return o.ID == c.ID })
		l.Campaigns[at].Budget = budgetOf(c, held.Budgets)
	}
}

func budgetOf(c *campaign.Campaign, held map[string]pipeline.BudgetState) *listedBudget {
	b := &listedBudget{Counted: "ever"}
	switch {
	case c.Budget.PerDay:
		b.Counted = "day"
	case c.Budget.Within > 0:
		b.Counted = campaign.FormatDuration(c.Budget.Within)
	}
	units := []string{c.ID}
	if len(c.Rows) > 0 {
		units = nil
		for _, r := range c.Rows {
			units = append(units, c.ID+"/"+r.ID)
		}
	}
	for _, unit := range units {
		is, known := held[unit]
		if !known {
			b.Unknown++
			continue
		}
		b.Most, b.Spent, b.Left = b.Most+is.Most, b.Spent+is.Spent, b.Left+is.Left
		if len(c.Rows) > 0 {
			b.Rows++
			if is.Left == 0 {
				b.Empty++
			}
		}
	}
	return b
}

// text is the budget for people.
func (b *listedBudget) text() string {
	switch {
	case b == nil:
		return "-"
	case b.Unknown > 0 && b.Most == 0:
		return "not known"
	}
	text := amount(b.Left) + " of " + amount(b.Most) + " left"
	switch b.Counted {
	case "day":
		text += " today"
	case "ever":
	default:
		text += " in " + b.Counted
	}
	if b.Rows > 0 {
		text += ", in " + count(b.Rows, "row")
	}
	if b.Empty > 0 {
		text += ", nothing in " + strconv.Itoa(b.Empty)
	}
	if b.Unknown > 0 {
		text += fmt.Sprintf(", %d not known", b.Unknown)
	}
	return text
}

// amount is a number of offers, or of what a budget counts, without what is below a
// millionth.
func amount(v float64) string {
	text := strconv.FormatFloat(v, 'f', 6, 64)
	return strings.TrimRight(strings.TrimRight(text, "0"), ".")
}

// writeHeld tells of pools that have few codes, and of what is not known.
func (l *campaignList) writeHeld(out io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(l.Pools)) {
		if p := l.Pools[name]; p.Low() {
			fmt.Fprintf(out, "pool %s: %s\n", name, poolText(p))
		}
	}
	for why, ns := range (&plan{Unanswered: l.NotHeld}).unanswered() {
		fmt.Fprintf(out, "what is left of the budgets and pools in partitions %s is not known: %s\n", ns, why)
	}
}

// poolText is what is left of a pool that has few codes.
func poolText(p pipeline.PoolState) string {
	if p.Imported == 0 {
		return lowText(p)
	}
	return fmt.Sprintf("%d of %s left: %s", p.Left, count(int(p.Imported), "code"), lowText(p))
}

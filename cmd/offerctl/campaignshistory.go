package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"offerstream/config"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// A changeMade is a change, as the control messages of all partitions tell of it.
type changeMade struct {
	Kind       string   `json:"kind"`     // set, pauses or unreadable
	Revision   uint64   `json:"revision"` // 0: made by a version that knew none
	Time       string   `json:"time"`     // when its first message was stored; "": there is none yet
	By         string   `json:"by,omitempty"`
	Partitions []int    `json:"partitions"` // whose logs have it
	Of         int      `json:"of"`         // partitions
	Set        string   `json:"set,omitempty"`
	Before     string   `json:"before,omitempty"` // the set before; "": not known
	Backfill   bool     `json:"backfill,omitempty"`
	Overdue    string   `json:"overdue,omitempty"` // of a backfill
	Changes    *tallies `json:"changes,omitempty"` // null: one of the two sets is not stored
	Paused     []string `json:"paused,omitempty"`  // by PauseName: newly
	Resumed    []string `json:"resumed,omitempty"`
	All        []string `json:"all,omitempty"` // all that is paused then

	stored int64 // of the first message
	order  int64 // by which changes are sorted
	resume map[string]uint64
}

// tallies count what differs between two sets.
type tallies struct {
	Campaigns tally `json:"campaigns"`
	Features  tally `json:"features"`
	Others    int   `json:"others"` // settings and facts
}

// A tally counts parts of one kind.
type tally struct {
	Added   int `json:"added"`
	Changed int `json:"changed"`
	Gone    int `json:"gone"`
}

// history is `offerctl campaigns history`.
func (c *campaigns) history(ctx context.Context, _ []string) error {
	logs := make([][]broker.ControlMessage, c.conn.Partitions)
	for p := range logs {
		var err error
		if logs[p], err = c.conn.Controls(ctx, p); err != nil {
			return err
		}
	}
	d := new(deployed)
	if err := d.read(ctx, c.conn); err != nil {
		return err
	}
	all := changes(logs, d.live, d.pauses)
	if err := c.compareSets(ctx, all); err != nil {
		return err
	}
	if c.asJSON {
		for _, m := range all {
			if err := writeJSON(c.std.out, m); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		fmt.Fprintln(c.std.out, "the logs have no changes")
		return nil
	}
	w := tabwriter.NewWriter(onDisplay(c.std.out), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "time\trevision\tby\tpartitions\twhat")
	for _, m := range all {
		revision := m.Kind
		if m.Revision > 0 {
			revision = fmt.Sprint(m.Kind, " ", m.Revision)
		}
		at := "not yet"
		if m.stored > 0 {
			at = time.Unix(0, m.stored).UTC().Format("2006-01-02 15:04:05Z")
		}
		by := m.By
		if by == "" {
			by = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d of %d\t%s\n", at, revision, by, len(m.Partitions), m.Of, m.text())
	}
	return w.Flush()
}

// The kinds of a change.
const (
	ofSet     = "set"
	ofPauses  = "pauses"
	ofNothing = "unreadable"
)

// changes joins the control messages of all partitions, the oldest first, and what the
// bucket asks for that no log has yet.
func changes(logs [][]broker.ControlMessage, live broker.Live, pauses broker.Pauses) []*changeMade {
	found := map[string]*changeMade{}
	for p, log := range logs {
		older := map[string]int{} // messages without a revision: how many say the same after this one
		for _, m := range slices.Backward(log) {
			made := changeOf(m)
			key := fmt.Sprint(made.Kind, " ", made.Revision)
			if made.Revision == 0 {
				same := fmt.Sprintf("%s %s %q", key, made.Set, made.All)
				older[same]++
				key = fmt.Sprint(same, " ", older[same])
			}
			is, known := found[key]
			if !known {
				is = made
				found[key] = is
			}
			is.stored = min(is.stored, made.stored)
			if !slices.Contains(is.Partitions, p) {
				is.Partitions = append(is.Partitions, p)
			}
		}
	}
	all := slices.SortedFunc(maps.Values(found), func(a, b *changeMade) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.stored, b.stored))
	})
	for i, m := range all { // a partition may get a revision before another gets the one before it
		if m.order = m.stored; i > 0 && all[i-1].Kind == m.Kind {
			m.order = max(m.order, all[i-1].order)
		}
	}
	slices.SortStableFunc(all, func(a, b *changeMade) int { return cmp.Compare(a.order, b.order) })
	if _, known := found[fmt.Sprint(ofSet, " ", live.Revision)]; !known && live.Revision > 0 {
		all = append(all, &changeMade{Kind: ofSet, Revision: live.Revision, By: live.By, Set: live.Set, Backfill: live.Go()})
	}
	if _, known := found[fmt.Sprint(ofPauses, " ", pauses.Revision)]; !known && pauses.Revision > 0 {
		all = append(all, &changeMade{Kind: ofPauses, Revision: pauses.Revision, By: pauses.By, All: pauseNames(pauses.Campaigns, pauses.Channels), resume: pauses.Resumed})
	}
	finish(all, len(logs))
	return all
}

// changeOf is what a control message tells.
func changeOf(m broker.ControlMessage) *changeMade {
	made := &changeMade{Kind: ofSet, Revision: m.Revision, By: m.By, Set: m.Set, stored: m.Stored}
	switch {
	case m.Paused == nil && m.Set == "":
		made.Kind = ofNothing
	case m.Paused != nil:
		made.Kind, made.Revision, made.Set = ofPauses, m.Pauses, ""
		made.All, made.resume = pauseNames(m.Paused, m.Channels), m.Resumed
	}
	if len(m.Switch) > 0 {
		made.Backfill = true
		var sw struct{ Overdue string }
		if json.Unmarshal(m.Switch, &sw) == nil {
			made.Overdue = sw.Overdue
		}
	}
	return made
}

func pauseNames(campaigns, channels []string) (names []string) {
	for _, id := range campaigns {
		names = append(names, broker.PauseName("", id))
	}
	for _, channel := range channels {
		names = append(names, broker.PauseName(channel, ""))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// finish fills in what a change tells only beside the one before it.
func finish(all []*changeMade, of int) {
	set, paused := "", []string(nil)
	for _, m := range all {
		slices.Sort(m.Partitions)
		m.Of = of
		if m.Partitions == nil {
			m.Partitions = []int{}
		}
		if m.stored > 0 {
			m.Time = value.FormatTime(m.stored)
		}
		switch m.Kind {
		case ofSet:
			m.Before, set = set, m.Set
			continue
		case ofNothing:
			continue
		}
		for _, is := range m.All {
			if !slices.Contains(paused, is) {
				m.Paused = append(m.Paused, is)
			}
		}
		for _, is := range paused {
			if !slices.Contains(m.All, is) {
				m.Resumed = append(m.Resumed, is)
			}
		}
		for is, revision := range m.resume { // what only a brake had paused
			if revision == m.Revision && revision > 0 && !slices.Contains(m.Resumed, is) {
				m.Resumed = append(m.Resumed, is)
			}
		}
		slices.Sort(m.Resumed)
		paused = m.All
	}
}

// compareSets counts what differs between the sets, where they are stored.
func (c *campaigns) compareSets(ctx context.Context, all []*changeMade) error {
	last, lastOf := (*campaign.Definition)(nil), ""
	read := func(hash string) (*campaign.Definition, error) {
		if hash == lastOf || hash == "" {
			return map[bool]*campaign.Definition{true: last}[hash != ""], nil
		}
		def, err := c.conn.Set(ctx, hash)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil && !errors.Is(err, broker.ErrNoSet) {
			fmt.Fprintf(onDisplay(c.std.err), "%v\n", err)
		}
		return def, nil
	}
	for _, m := range all {
		if m.Kind != ofSet || m.Set == m.Before {
			continue
		}
		before, err := read(m.Before)
		if err != nil {
			return err
		}
		def, err := read(m.Set)
		if err != nil {
			return err
		}
		if before != nil && def != nil {
			m.Changes = compareSet(before, def)
		}
		last, lastOf = def, m.Set
	}
	return nil
}

func compareSet(before, def *campaign.Definition) *tallies {
	var t tallies
	for _, line := range config.Describe(before, def) {
		sign, what, _ := strings.Cut(line, " ")
		var of *tally
		switch kind, _, _ := strings.Cut(what, " "); kind {
		case "campaign":
			of = &t.Campaigns
		case "feature":
			of = &t.Features
		default:
			t.Others++
			continue
		}
		switch sign {
		case "+":
			of.Added++
		case "-":
			of.Gone++
		default:
			of.Changed++
		}
	}
	return &t
}

func (t tally) text(of string) string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{t.Added, "added"}, {t.Changed, "changed"}, {t.Gone, "gone"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return of + " " + strings.Join(parts, ", ")
}

// shortDuration is a duration, or another word, without the zeros of Duration.String.
func shortDuration(text string) string {
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-len(zero)+1]
		}
	}
	return text
}

// text says what the change is.
func (m *changeMade) text() string {
	switch m.Kind {
	case ofNothing:
		return "a message that cannot be read"
	case ofPauses:
		var parts []string
		if len(m.Paused) > 0 {
			parts = append(parts, "paused "+several(m.Paused))
		}
		if len(m.Resumed) > 0 {
			parts = append(parts, "resumed "+several(m.Resumed))
		}
		if len(parts) == 0 {
			return "the same is paused as before"
		}
		return strings.Join(parts, "; ")
	}
	if m.Set == m.Before {
		return "set " + short(m.Set) + " stays: a backfill was asked for or ended"
	}
	parts := []string{"set " + short(m.Set)}
	if m.Backfill {
		parts[0] += " by backfill" + after(", overdue ", shortDuration(m.Overdue))
	}
	if t := m.Changes; t != nil {
		for _, text := range []string{t.Campaigns.text("campaigns"), t.Features.text("features")} {
			if text != "" {
				parts = append(parts, text)
			}
		}
		if t.Others > 0 {
			parts = append(parts, count(t.Others, "setting")+" or facts changed")
		}
	}
	return strings.Join(parts, "; ")
}

package config

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/expr"
)

// TestOutrankedNeverFires: what a random set's campaigns are warned of is true in a
// backtest of random events: a campaign that is always outranked never fires, and
// neither does one whose condition can never hold.
func TestOutrankedNeverFires(t *testing.T) {
	const seed = 16
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	outranked, never, fired := 0, 0, 0
	for range 150 {
		var set strings.Builder
		set.WriteString("lateness: 10m\npolicies: {consent: none, quiet_hours: none, caps: [{channels: [push], max: 2, within: 10m}]}\nfeatures: {n: {on: [A, page], agg: count, within: 1h}}\ncampaigns:\n")
		for i := range 4 + r.IntN(5) {
			trigger := pick("on: A", "on: A", "on: [A, page]", "on: page", `on: "*"`, "any: [{on: A}, {on: page}]", `any: [{on: A, where: 'event.type == "track"'}, {on: page}]`, "on: session_end", "sequence: {steps: [A, page], within: 5m}")
			if strings.HasPrefix(trigger, "on") && !strings.Contains(trigger, "session_end") {
				trigger += pick("", "", "", ", fresh: 2m", ", unless: {on: Order, within: 2m}", ", where: 'event.type == \"track\"'")
			}
			fmt.Fprintf(&set, "  c%d: {%s%s%s%s, offer: {channel: %s, kind: %s}}\n", i, trigger,
				pick("", "", "", ", if: n > 1", ", if: [n > 1, n < 3]", ", if: n < 3 && n > 1", ", if: n > 3 && n < 4", ", let: {few: n < 3}, if: few && session.count > 1"),
				pick("", "", ", priority: 1", ", priority: 2", ", score: n"), pick("", "", "", "", ", limits: [{max: 1, within: 5m}]", ", choose: '[][?0]'", `, period: {to: "2026-01-01T01:00:00Z"}`, ", holdout: 30%"),
				pick("web", "web", "web", "push"), pick("advertising", "advertising", "service"))
		}
		d, findings, err := Check{}.Findings(write(t, "set.yaml", set.String()))
		if err != nil || d == nil {
			t.Fatalf("%v %v\n%s", err, findings, set.String())
		}
		var told []string
		for _, f := range findings {
			if f.Rule == "outranked" {
				told = append(told, campaignAt(t, d, set.String(), f))
			}
		}
		if slices.Sort(told); !slices.Equal(told, outrankedByAny(d)) {
			t.Errorf("%v are told to be outranked, comparing each with each finds %v\n%s", told, outrankedByAny(d), set.String())
		}
		b, problems := pipeline.NewBacktest(d)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		sent := map[string]bool{}
		for i := range 60 {
			at := i*90 + r.IntN(60)
			if r.IntN(10) == 0 {
				at = max(at-300, 0)
			}
			kind := pick(`"type":"track","event":"A"`, `"type":"track","event":"A"`, `"type":"page","name":"home"`, `"type":"track","event":"Order"`, `"type":"identify"`, `"type":"system","event":"A"`)
			line := fmt.Sprintf(`{%s,"userId":"u%d","messageId":"m%d","timestamp":"2026-01-01T%02d:%02d:%02dZ"}`, kind, r.IntN(3), i, at/3600, at/60%60, at%60)
			if err := b.Line([]byte(line), func(o *pipeline.Offer) { sent[o.Campaign] = true }); err != nil {
				t.Fatal(err)
			}
		}
		fired += len(sent)
		for _, f := range findings {
			id := campaignAt(t, d, set.String(), f)
			switch {
			case f.Rule == "outranked":
				outranked++
			case f.Rule == "never-holds":
				never++
			default:
				continue
			}
			if sent[id] {
				t.Errorf("%s fires, and %v\n%s", id, f, set.String())
			}
		}
	}
	if outranked < 25 || never < 30 || fired < 200 {
		t.Errorf("only %d outranked, %d that never hold, %d that fire", outranked, never, fired)
	}
}

// outrankedByAny finds the campaigns that are always outranked by comparing each with
// each.
func outrankedByAny(d *campaign.Definition) (ids []string) {
	n := &linter{load: &load{def: d}, clauses: map[string]*expr.Clause{}}
	var all []*contender
	for i := range d.Campaigns {
		all = append(all, n.contender(&d.Campaigns[i]))
	}
	for _, c := range all {
		if c.Score == "" && slices.ContainsFunc(all, func(w *contender) bool { return w != c && w.relentless() && w.alwaysBefore(c) }) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// campaignAt is the campaign in whose line a finding is.
func campaignAt(t *testing.T, d *campaign.Definition, set string, f Finding) string {
	t.Helper()
	id, _, _ := strings.Cut(strings.TrimSpace(strings.Split(set, "\n")[f.Line-1]), ":")
	for _, c := range d.Campaigns {
		if c.ID == id {
			return id
		}
	}
	return ""
}

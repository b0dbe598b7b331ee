package change

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline"
)

// waits are campaigns that wait each in one stage alone, with what their set needs.
var waits = []struct{ stage, set, on, more, conditions string }{
	{stage: "absence", on: "A", more: "unless: {on: B, within: 1h}", conditions: "true"},
	{stage: "dwell", on: "A", conditions: `looking >= duration("60s")`},
	{stage: "delay", on: "A", more: "at: {best_hour: hours, ahead: 24h}", conditions: "true"},
	{stage: "hold", on: "A", conditions: "true", set: `quiet_hours: {channels: [push], from: "00:00", to: "08:00"}`},
	// These wait for one thing after another.
	{stage: "dwell", on: "A", more: "unless: {on: B, within: 1h}", conditions: `looking >= duration("60s")`, set: `quiet_hours: {channels: [push], from: "00:00", to: "08:00"}`},
	{stage: "absence", on: "A", more: "at: {best_hour: hours, ahead: 24h}\n    unless: {on: B, within: 1h}", conditions: "true", set: `quiet_hours: {channels: [push], from: "00:00", to: "08:00"}`},
}

// reader is a set of one campaign that waits and reads random fields of its event.
func reader(t *testing.T, r *rand.Rand, wait int) *pipeline.Set {
	w := waits[wait]
	field := func() string {
		of := []string{"p0", "p1", "p2", "p3", "o.a", "o.b", `o["c d"]`}
		return "event.properties." + of[r.IntN(len(of))]
	}
	some := func(format string) string {
		if r.IntN(4) > 0 {
			return ""
		}
		return fmt.Sprintf(format, field())
	}
	set := w.set
	if set == "" {
		set = "quiet_hours: none"
	}
	before := ""
	if w.stage == "dwell" && r.IntN(4) == 0 {
		before = fmt.Sprintf("      - before.%s >= 0\n", []string{"n", "session.count"}[r.IntN(2)])
	}
	whole := ""
	if r.IntN(8) == 0 {
		whole = "        o: \"{{ event.properties.o.size() }}\"\n"
	}
	yaml := fmt.Sprintf(`version: 1
clock: event
policies:
  consent: none
  %s
features:
  looking: {on: A, agg: dwell, within: 30m}
  n: {on: A, agg: count}
  hours: {on: Order, agg: histogram, within: 30d}
campaigns:
  c:
    on: %s
    %s
    let: {v: '%s'}
    if:
      - %s
%s%s%s%s%s    offer:
      channel: push
      data:
        fixed: x
%s%s%s`, set, w.on, w.more, field(), w.conditions, before,
		some("      - %s >= 0\n"), some("    when_due: %s >= 0\n"), some("    choose: %s\n"), some("    score: %s\n"),
		some("        title: 'it is {{ %s }}'\n"), whole, []string{"", "        let: \"{{ v }}\"\n"}[r.IntN(2)])
	return loadWhole(t, yaml)
}

// TestLost changes what a campaign reads of its event while it waits: it ends for
// want of a field exactly where the change lists that field.
func TestLost(t *testing.T) {
	t.Parallel()
	const last = 4 // waits that are in one stage alone
	lost, whole := map[string]int{}, map[string]int{}
	for s := *seed; s < *seed+uint64(*seeds)*5; s++ {
		r := rand.New(rand.NewPCG(s, 7))
		wait := int(s) % len(waits)
		old, new := reader(t, r, wait), reader(t, r, wait)
		change := Between(old, new, nil, day, 0)
		var fields []string
		for _, c := range change.Campaigns {
			for _, l := range c.Lost {
				fields = append(fields, l.Field)
				if len(l.Places) == 0 {
					t.Errorf("where %s is read is not said", l.Field)
				}
			}
		}

		l := newLogged(t, old)
		event := func(at, user, name string) {
			l.event(fmt.Sprintf(`{"type":"track","event":%q,"userId":%q,"messageId":"%s %s %s","timestamp":"2026-04-%sZ","properties":{"p0":1,"p1":1,"p2":1,"p3":1,"o":{"a":1,"b":2,"c d":3}}}`, name, user, at, name, user, at))
		}
		event("01T12:00:00", "u", "Order")
		event("02T03:00:00", "u", "A")
		if got := l.pending(); got["c"] != 1 {
			t.Fatalf("%v is pending", got)
		}
		l.users.Pending(func(_, stage string, _ int64) {
			if stage != waits[wait].stage {
				t.Fatalf("it waits in %s, not in %s", stage, waits[wait].stage)
			}
		})
		l.f.Use(new)
		event("05T00:00:00", "other", "Nothing")
		if got := l.pending(); len(got) > 0 {
			t.Fatalf("%v is pending", got)
		}
		counts, _ := l.f.Counts()
		c := counts["c"]
		failed := c.Missing + c.Errors
		// What is kept of an event for a later stage than the one in which it waits may be
		// less; and of what is read as before.n, no copy reads as none.
		exact := wait < last && !slices.Contains(fields, "before.n")
		if failed > 0 && len(fields) == 0 || failed == 0 && len(fields) > 0 && exact && !onlyWhole(fields) {
			t.Errorf("%s: %d missing, %d errors, outcomes %v; lost %q", waits[wait].stage, c.Missing, c.Errors, c.Ended, fields)
		}
		if failed == 0 && c.Ended[pipeline.Fired] != 1 {
			t.Errorf("it has not fired: %v", c.Ended)
		}
		if len(fields) > 0 {
			lost[waits[wait].stage]++
		} else {
			whole[waits[wait].stage]++
		}
		if t.Failed() {
			t.Fatalf("seed %d: go test ./pipeline/change -run TestLost -seeds=1 -seed=%d\n%s\nfrom %s\nto %s", s, s, strings.Join(change.Lines(), "\n"), old.Definition().JSON(), new.Definition().JSON())
		}
	}
	t.Logf("lost %v, not lost %v", lost, whole)
	for _, w := range waits {
		if *seeds >= 40 && (lost[w.stage] < 3 || whole[w.stage] < 3) {
			t.Errorf("%s: too few to say anything", w.stage)
		}
	}
}

// onlyWhole reports whether all that is lost is a map of which a part is kept, which
// reads as a smaller one.
func onlyWhole(fields []string) bool {
	return !slices.ContainsFunc(fields, func(f string) bool { return f != "event.properties.o" })
}

package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/scenario"
	core "offerstream/pipeline/value"
)

// TestRecordRandom writes scenarios of users of random sets and events. Each must have
// the offers, outcomes and duplicates that the user has in the whole input.
func TestRecordRandom(t *testing.T) {
	t.Parallel()
	offers, late, replaced, raw := 0, 0, 0, 0
	for seed := uint64(1); seed <= 50; seed++ {
		c := oracle.Random(seed)
		def, err := campaign.ParseDefinition(c.Set)
		if err != nil {
			t.Fatal(err)
		}
		set, problems := pipeline.Compile(def)
		if len(problems) > 0 {
			t.Fatalf("seed %d: %v", seed, problems)
		}
		users := usersOf(t, set, c.Events)
		for _, key := range []string{users[seed%uint64(len(users))], users[(seed+1)%uint64(len(users))]} {
			want := ofUser(t, set, c.Events, key)
			text, r := recorded(t, set, c.Events, key, 1<<20)
			if r == nil {
				t.Fatalf("seed %d, %s: %s", seed, key, text)
			}
			if bytes.Contains(c.Set, []byte("event.user")) {
				continue // a campaign depends on the id that was replaced; that what was written passes is all there is
			}
			data := !bytes.Contains(c.Set, []byte("event.id"))
			if got, want := shownOffers(r.Offers, data), shownOffers(want.Offers, data); got != want {
				t.Errorf("seed %d, %s: the offers are\n%s\nwant\n%s\nof\n%s", seed, key, got, want, text)
			}
			for unit, of := range want.Outcomes {
				if got := r.Outcomes[unit]; fmt.Sprint(got) != fmt.Sprint(of) {
					t.Errorf("seed %d, %s: the outcomes of %s are %v, want %v, of\n%s", seed, key, unit, got, of, text)
				}
			}
			if r.Duplicates != want.Duplicates {
				t.Errorf("seed %d, %s: %d duplicates, want %d", seed, key, r.Duplicates, want.Duplicates)
			}
			if t.Failed() {
				t.FailNow()
			}
			offers += len(r.Offers)
			late += strings.Count(text, "\n      - 20") // lines with a date of their own
			replaced += strings.Count(text, "# Replaced")
			raw += strings.Count(text, "\n      - '{")
		}
	}
	t.Logf("%d offers, %d lines with a date, %d with replaced values, %d lines of JSON", offers, late, replaced, raw)
	if offers < 100 || late == 0 || raw == 0 {
		t.Error("too little happened")
	}
}

// usersOf are the entity keys of an input's users.
func usersOf(t *testing.T, set *pipeline.Set, lines [][]byte) (keys []string) {
	t.Helper()
	b, err := set.Backtest()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if err := b.Line(line, func(*pipeline.Offer) {}); err != nil {
			t.Fatal(err)
		}
	}
	for key := range b.Users {
		if key[:2] != "f:" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// ofUser is what the user has in the whole input.
func ofUser(t *testing.T, set *pipeline.Set, lines [][]byte, key string) *scenario.Result {
	t.Helper()
	s := &scenario.Scenario{Set: set, Day: scenario.DefaultDay}
	var dec event.Decoder
	for i, line := range lines {
		// Events of others become the passage of time.
		ev, err := dec.AdmitLine(line)
		if err == nil && ev.Key != key && ev.Type != event.Fact && ev.Type != event.Clock {
			if !ev.HasTimestamp {
				continue
			}
			line = fmt.Appendf(nil, `{"type":"clock","timestamp":%q}`, core.FormatTime(ev.Timestamp))
		}
		s.Events = append(s.Events, scenario.Event{JSON: line, Line: i + 1})
	}
	r, err := s.Run()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// recorded writes a scenario of the user, as if from a log in which log time is that
// of a backtest, reads it and runs it. If that is impossible, text says why.
func recorded(t *testing.T, set *pipeline.Set, lines [][]byte, key string, most int) (text string, r *scenario.Result) {
	t.Helper()
	rec, err := scenario.NewRecording(set, key, most)
	if err != nil {
		t.Fatal(err)
	}
	each := func(fn func(ev *event.Event, log, own int64) error) (now int64) {
		var dec event.Decoder
		begun := false
		for _, line := range lines {
			ev, err := dec.AdmitLine(line)
			if err != nil || !ev.HasTimestamp && !begun {
				continue
			}
			own := now
			if ev.HasTimestamp {
				own = ev.Timestamp
			}
			if !begun || own > now {
				now, begun = own, true
			}
			if err := fn(ev, now, own); err != nil {
				t.Fatal(err)
			}
		}
		return now
	}
	facts, err := rec.End(each(rec.Event))
	if err != nil {
		t.Fatal(err)
	}
	if facts {
		each(func(ev *event.Event, log, own int64) error { rec.Fact(ev, log, own); return nil })
	}
	all := &Scenarios{}
	const instead = "campaigns: {x: {on: x, offer: {channel: web}}}\n"
	if _, err := all.read("x.test.yaml", []byte(instead+"scenarios: {x: {events: [10:00:00 x x], expect: none}}\n")); err != nil {
		t.Fatal(err)
	}
	for hash := range all.sets {
		all.sets[hash] = set
	}
	written, same, err := all.record("x.test.yaml", instead, rec)
	if err != nil {
		return err.Error(), nil
	}
	if rec.Older == 0 && !same && !bytes.Contains(set.Definition().JSON(), []byte("event.user")) {
		t.Errorf("the offers of %s are not those of the log:\n%s", key, written)
	}
	f, err := all.read("x.test.yaml", written)
	if err != nil {
		return err.Error(), nil
	}
	s := f.Scenarios[0]
	if r, err = s.Run(); err != nil {
		return err.Error(), nil
	}
	if wrong := s.Compare(r); wrong != "" {
		return wrong, nil
	}
	if len(r.Late) > 0 {
		return fmt.Sprintf("events are late: %v\n%s", r.Late, written), nil
	}
	return string(written), r
}

// shownOffers lists offers without their user.
func shownOffers(offers []scenario.Offer, data bool) string {
	var b strings.Builder
	for _, o := range offers {
		o.User = "x"
		o.AnyData = !data
		fmt.Fprintln(&b, o.Show(scenario.DefaultDay))
	}
	return b.String()
}

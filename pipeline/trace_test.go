package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// TestTrace checks that the trace of an evaluation names each stage that it
// passed and what was judged there, in each step that touched it; and that
// every outcome that is counted ends a trace.
func TestTrace(t *testing.T) {
	def, err := campaign.ParseDefinition((&scene{
		features: []string{countViews, looking},
		campaigns: []string{
			sends("a", "n", `"on":["View"],"if":["n >= 2 && event.properties.p > 1","looking >= duration(\"60s\")"],"unless":{"on":["Order"],"within":120000000000},"limits":[{"max":1}]`),
			`{"id":"b","on":["View"],"offer":{"channel":"a","kind":"service","data":"{{ event.properties.q }}"}}`,
			`{"id":"c","priority":1,"on":["View"],"offer":{"channel":"a","kind":"service"}}`,
		},
	}).set())
	if err != nil {
		t.Fatal(err)
	}
	b, problems := NewBacktest(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var got []string
	ended := map[string]uint64{}
	b.fold.Trace(func(tr *Trace) {
		line := fmt.Sprintf("%s %s of %s", clockTime(tr.Now), tr.Campaign, tr.Trigger.ID)
		if tr.By != nil {
			line += " by " + tr.By.ID
		}
		if tr.From > 0 {
			line += fmt.Sprintf(" from %d", tr.From)
		}
		for _, s := range tr.Stages {
			line += " | " + s.Stage
			for _, p := range s.Parts {
				line += fmt.Sprintf(" %s=%v", p.Text, p.OK)
				for _, v := range p.Values {
					line += fmt.Sprintf(" (%s is %s)", v.Of, v.Is)
				}
				if p.Error != "" {
					line += " (" + p.Error + ")"
				}
			}
		}
		if tr.Due == NoDue {
			ended[tr.Campaign+" "+tr.Outcome.String()]++
			line += " -> " + tr.Outcome.String() + " in " + tr.Stage + strings.TrimSuffix(" by "+string(tr.Cause), " by ")
		} else {
			line += fmt.Sprintf(" -> waits as %d in %s", tr.Wait, tr.Stage) + " until " + clockTime(tr.Due)
		}
		got = append(got, line)
	})
	for _, l := range []string{at("10:00:00", "View", `"p":1,"q":5`), at("10:00:10", "View", `"p":2`), at("10:03:00", "x", ""), at("10:03:10", "View", `"p":2`), at("10:03:20", "View", `"p":2`), at("10:05:00", "Order", ""), at("10:06:00", "x", "")} {
		if err := b.Line([]byte(l), func(*Offer) {}); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.TrimSpace(`
10:00:00 a of f458d303fc36d8e2 by f458d303fc36d8e2 | trigger n >= 2=false (n is 1) event.properties.p > 1=false (event.properties.p is 1) looking >= duration("60s")=false (looking is "0s") -> condition in trigger
10:00:00 c of f458d303fc36d8e2 by f458d303fc36d8e2 | choice data=true | channel a=true -> fired in out
10:00:00 b of f458d303fc36d8e2 by f458d303fc36d8e2 | choice data=true | channel a=false (taken by is "c") -> outranked in channel
10:00:10 a of 39e01ba074a49aa9 by 39e01ba074a49aa9 | trigger n >= 2=true (n is 2) event.properties.p > 1=true (event.properties.p is 2) looking >= duration("60s")=false (looking is "10s") -> waits as 1 in dwell until 10:01:00
10:00:10 c of 39e01ba074a49aa9 by 39e01ba074a49aa9 | choice data=true | channel a=true -> fired in out
10:00:10 b of 39e01ba074a49aa9 by 39e01ba074a49aa9 | choice data=false (no such key: q) -> error in choice
10:01:00 a of 39e01ba074a49aa9 from 1 | dwell n >= 2=true (n is 2) event.properties.p > 1=true (event.properties.p is 2) looking >= duration("60s")=true (looking is "60s") -> waits as 2 in absence until 10:02:10
10:02:10 a of 39e01ba074a49aa9 from 2 | gates limit=true (max is 1) (sent is 0) | choice data=true | channel a=true -> fired in out
10:03:10 a of d5f81c36fbdff4f6 by d5f81c36fbdff4f6 | trigger n >= 2=true (n is 3) event.properties.p > 1=true (event.properties.p is 2) looking >= duration("60s")=true (looking is "180s") -> waits as 3 in absence until 10:05:10
10:03:10 c of d5f81c36fbdff4f6 by d5f81c36fbdff4f6 | choice data=true | channel a=true -> fired in out
10:03:10 b of d5f81c36fbdff4f6 by d5f81c36fbdff4f6 | choice data=false (no such key: q) -> error in choice
10:03:20 a of d5f81c36fbdff4f6 by de87ab38635d5b24 from 3 -> superseded in absence by newer
10:03:20 a of de87ab38635d5b24 by de87ab38635d5b24 | trigger n >= 2=true (n is 4) event.properties.p > 1=true (event.properties.p is 2) looking >= duration("60s")=true (looking is "190s") -> waits as 4 in absence until 10:05:20
10:03:20 c of de87ab38635d5b24 by de87ab38635d5b24 | choice data=true | channel a=true -> fired in out
10:03:20 b of de87ab38635d5b24 by de87ab38635d5b24 | choice data=false (no such key: q) -> error in choice
10:05:00 a of de87ab38635d5b24 by 084c5ad073182db1 from 4 -> cancelled in absence by unless
`)
	if g := strings.Join(got, "\n"); g != want {
		t.Errorf("the traces are\n%s\nwant\n%s", g, want)
	}
	counts, _ := b.Counts()
	for id, c := range counts {
		for o, n := range c.Ended {
			if end := id + " " + Outcome(o).String(); ended[end] != n {
				t.Errorf("%s is counted %d times and traced %d times", end, n, ended[end])
			}
		}
	}
}

// clockTime is the time of day, in UTC.
func clockTime(ns int64) string { text := value.FormatTime(ns); return text[11 : len(text)-1] }

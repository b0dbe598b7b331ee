package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/explain"
)

func offerAt(campaign, at string) *pipeline.Offer {
	return &pipeline.Offer{Campaign: campaign, User: "ada", Time: at}
}

// pageOf is a page about two hostile names and some offers.
func pageOf(t *testing.T, runs int) string {
	t.Helper()
	first, last := time.Date(2026, 3, 1, 0, 30, 0, 0, time.UTC).UnixNano(), time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC).UnixNano()
	p := &Page{Source: "<events>.jsonl", Zone: time.UTC}
	for i := range runs {
		s := NewSeries(time.UTC)
		s.Add(offerAt("bag", "2026-03-01T10:00:00Z"))
		s.Add(offerAt("rows/a", "2026-03-08T23:59:59Z"))
		c := &backtest.Campaign{Users: map[string]bool{"u:ada": true}, Failures: []backtest.Failure{{Place: "if", Text: "a < b", Error: "no such key: a", N: 3}}}
		c.Evaluated, c.Ended[pipeline.Fired], c.Ended[pipeline.Limit], c.Ended[pipeline.Condition] = 1200, 200, 500, 499
		r := &backtest.Result{First: first, Last: last, Events: 12345, Users: 10, Campaigns: map[string]*backtest.Campaign{"bag": c}}
		if i == 0 {
			r.Campaigns["rows"] = &backtest.Campaign{}
		}
		p.Runs = append(p.Runs, Run{Name: fmt.Sprintf("set %d & <co>", i), Result: r, Series: s, Examples: []Example{{"bag", "<ada>", "limit", "2026-03-01 10:00", `No bag offer: "x" < 3.`}}})
	}
	if runs == 2 {
		p.Comparison = &backtest.Comparison{Campaigns: map[string]*backtest.Change{"bag": {Same: 7, Lost: 2}}}
	}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPage: the page has the figures, loads nothing, runs nothing, and its tags are
// balanced.
func TestPage(t *testing.T) {
	for runs := 1; runs <= 2; runs++ {
		text := pageOf(t, runs)
		for _, want := range []string{"12,345", "1,200", "&lt;events&gt;.jsonl", "set 0 &amp; &lt;co&gt;", "&lt;ada&gt;", `<section id="bag">`, "42%", "2026-03-01 00:30", `<svg class="bars"`, "Sun 10:00: 1", "if: <code>a &lt; b</code>: no such key: a, 3 times", "still waiting at the end", "<code>limits</code> allow"} {
			if !strings.Contains(text, want) {
				t.Errorf("%d runs: the page lacks %q", runs, want)
			}
		}
		for _, never := range []string{"<script", "http:", "https:", "<link", "@import", "<img", "url("} {
			if strings.Contains(text, never) {
				t.Errorf("%d runs: the page has %q", runs, never)
			}
		}
		balanced(t, text)
	}
	two := pageOf(t, 2)
	for _, want := range []string{"side by side", "the same", "offers lost", "set 1 &amp; &lt;co&gt; does not have this campaign"} {
		if !strings.Contains(two, want) {
			t.Errorf("the page of two runs lacks %q", want)
		}
	}
}

// balanced checks that each element of the body ends where it must.
func balanced(t *testing.T, page string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page[strings.Index(page, "<body>"):strings.Index(page, "</html>")]))
	d.Entity = xml.HTMLEntity
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestSeries: all offers of a campaign are in its bars and in its week, whatever the
// length of the run.
func TestSeries(t *testing.T) {
	zone := time.FixedZone("", 9*3600)
	for _, length := range []time.Duration{0, time.Hour, 96 * time.Hour, 97 * time.Hour, 31 * 24 * time.Hour, 3 * 365 * 24 * time.Hour} {
		s, first := NewSeries(zone), time.Date(1969, 12, 31, 20, 15, 0, 0, time.UTC)
		const n = 50
		for i := range n {
			s.Add(offerAt(fmt.Sprintf("c/%d", i%3), first.Add(length*time.Duration(i)/(n-1)).Format(time.RFC3339Nano)))
		}
		s.Add(&pipeline.Offer{Campaign: "c", Withheld: true, Time: "1970-01-01T00:00:00Z"})
		bars := s.bars("c", first.UnixNano(), first.Add(length).UnixNano())
		sum, week := uint64(0), uint64(0)
		for _, b := range bars {
			sum += b.N
		}
		for _, day := range s.of("c").ofWeek {
			for _, n := range day {
				week += n
			}
		}
		if sum != n || week != n || len(bars) > mostBars {
			t.Errorf("over %s: %d bars hold %d offers, the week %d, want %d", length, len(bars), sum, week, n)
		}
	}
	s := NewSeries(zone)
	s.Add(offerAt("c", "2026-03-01T15:30:00Z")) // Monday 00:30 in the zone
	if s.of("c").ofWeek[0][0] != 1 {
		t.Error("Monday 00:30 is not in the first hour of the week")
	}
}

// TestExamples: two offers of a campaign are picked, and of the other outcomes the
// most frequent ones, each once.
func TestExamples(t *testing.T) {
	var evaluations []explain.Evaluation
	for outcome, n := range map[string]int{"fired": 5, "limit": 7, "condition": 6, "cap": 5, "age": 4, "paused": 3} {
		for range n {
			evaluations = append(evaluations, explain.Evaluation{Campaign: "c/1", Outcome: outcome})
		}
	}
	got := ""
	for _, e := range Examples([]*explain.Story{{User: "u:ada", Campaigns: []explain.CampaignStory{{Campaign: "c", Evaluations: evaluations}}}}, time.UTC) {
		got += e.User + " " + e.Outcome + ", "
	}
	if want := "ada fired, ada fired, ada limit, ada condition, ada cap, ada age, "; got != want {
		t.Errorf("picked %s, want %s", got, want)
	}
}

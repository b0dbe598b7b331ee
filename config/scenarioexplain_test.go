package config

import (
	"strings"
	"testing"

	"offerstream/pipeline/explain"
	"offerstream/pipeline/scenario"
)

const explained = `campaigns:
  c: {on: View, if: views >= 3, offer: {channel: web}}
  d: {on: Add, unless: {on: Order, within: 1h}, offer: {channel: web}}
features: {views: {on: View, agg: count, within: 30m}}
scenarios:
  one:
    events: [10:00:00 ada View, +1m bob Add, +1m ada View, +1m bob Order, +1m ~v Add]
    explain:
`

// explainWrong runs the only scenario of a file, and returns the differences.
func explainWrong(t *testing.T, text string) string {
	t.Helper()
	f, err := new(Scenarios).read("x.test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Scenarios[0].Run()
	if err != nil {
		t.Fatal(err)
	}
	return f.Scenarios[0].Compare(r)
}

// TestExplain: what is told of the last evaluation is compared, by user and campaign,
// while the events of all users count.
func TestExplain(t *testing.T) {
	for text, want := range map[string]string{
		"ada c: 2 of 3": "",
		"ada c: {sentence: 2 of 3, outcome: condition, stage: trigger}": "",
		"ada: 2 of 3":                                 "",
		"bob: {outcome: cancelled}":                   "",
		"bob d: {outcome: cancelled, stage: absence}": "",
		"~v d: {outcome: pending, stage: absence}":    "",
		"ada d: No d offer":                           "",
		"eve c: No c offer":                           "",
		"ada c: 3 of 3":                               "explanation of ada c (- expected in it, + actual):\n    - 3 of 3\n    + No c offer: 2 of 3",
		"ada c: {outcome: fired, stage: gates}":       "    outcome is condition, expected fired\n    stage is trigger, expected gates\n    it is told: No c offer: 2 of 3",
		"eve c: {outcome: fired}":                     "    there was no evaluation, expected outcome fired\n",
		"v d: {outcome: pending}":                     "    there was no evaluation, expected outcome pending\n",
		"bob d: {outcome: superseded}":                "    outcome is cancelled, expected superseded\n",
	} {
		got := explainWrong(t, explained+"      "+text+"\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s:\n%s\nwant:\n%s", text, got, want)
		}
	}
	if got := explainWrong(t, strings.Replace(explained, "    explain:\n", "    explain: {bob: {outcome: cancelled}}\n    outcomes: {c: {evaluated: 2}}\n", 1)); got != "" {
		t.Errorf("other users no longer count:\n%s", got)
	}
}

// TestExplainUpdate: sentences and names become the actual ones, wherever they are
// written, and what is right stays.
func TestExplainUpdate(t *testing.T) {
	for text, want := range map[string]string{
		"ada c: 2 of 3   # stays":                                    "ada c: 2 of 3   # stays",
		"ada c: 5 of 3   # goes":                                     "ada c: 'ADA'   # goes",
		"ada c:   # filled":                                          "ada c: 'ADA'   # filled",
		"ada c: {sentence: , outcome: fired}":                        "ada c: {sentence: 'ADA' , outcome: condition}",
		`ada c: {"sentence": "x", outcome: condition}`:               `ada c: {"sentence": 'ADA', outcome: condition}`,
		"bob d: {outcome: fired, stage: out}  # why":                 "bob d: {outcome: cancelled, stage: absence}  # why",
		"bob d:\n        outcome: \"fired\"\n        stage: absence": "bob d:\n        outcome: cancelled\n        stage: absence",
	} {
		from := explained + "      " + text + "\n"
		got, err := update1(from)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		r := explain.New("u:ada")
		want := strings.ReplaceAll(explained+"      "+want+"\n", "ADA", adaIsTold(t, r))
		if got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	}
}

// adaIsTold is the sentence about ada's campaign c.
func adaIsTold(t *testing.T, r *explain.Recorder) string {
	t.Helper()
	f, err := new(Scenarios).read("x.test.yaml", []byte(explained+"      bob: x\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Scenarios[0]
	b, err := s.Set.Backtest()
	if err != nil {
		t.Fatal(err)
	}
	r.Watch(b)
	for _, e := range s.Events {
		if err := b.Line(e.JSON, nil); err != nil {
			t.Fatal(err)
		}
	}
	return r.Story(explain.Query{User: "u:ada", Campaign: "c", Zone: scenario.DefaultDay.Zone}).Sentence
}

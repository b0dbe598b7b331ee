package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/survey"
)

const surveyedSet = `features: {views: {on: Product Viewed, by: category, agg: count}}
campaigns:
  c:
    on: Product Viewed
    where: event.properties.category == "bags"
    if: views["bag"] >= 1
    offer: {channel: web}
`

// surveyedEvent is a view, the i-th.
func surveyedEvent(i int) string {
	return fmt.Sprintf(`{"type":"track","event":"Product Viewed","userId":"u%d","messageId":"%d","timestamp":"2026-04-01T00:00:%02dZ","properties":{"category":"bag"}}`, i%3, i, i)
}

// TestCheckEvents: the findings are warnings at their places, the table follows the
// set's line, lines that are no events are told, and --sample bounds what is read.
func TestCheckEvents(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("s.yaml", surveyedSet)
	write("e.jsonl", surveyedEvent(0)+"\n\nnonsense\n"+surveyedEvent(1)+"\n"+surveyedEvent(2)+"\n")
	const finding = "s.yaml:5:12: warning: event.properties.category is never \"bags\" in %d events Product Viewed: did you mean \"bag\" (%d times)?\n"
	out, errs, code := checked(t, "s.yaml", "--events", "e.jsonl")
	if code != 0 || !strings.HasPrefix(out, "ok: 1 campaign, 1 feature in 1 file, set H\nsample: 3 events of 3 users, 2026-04-01T00:00:00Z to 2026-04-01T00:00:02Z\n") ||
		!strings.Contains(out, "0  of 3           where  event.properties.category == \"bags\"  <- never\n") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if want := "e.jsonl: warning: 1 line is no event and left out; the first is line 3: "; !strings.HasPrefix(errs, want) || !strings.HasSuffix(errs, fmt.Sprintf(finding, 3, 3)) {
		t.Errorf("%s", errs)
	}
	if out, errs, _ := checked(t, "s.yaml", "--events", "e.jsonl", "--sample", "2"); !strings.Contains(out, "sample: 2 events") || !strings.HasSuffix(errs, fmt.Sprintf(finding, 2, 2)) {
		t.Errorf("--sample 2: %s%s", out, errs)
	}
	out, errs, code = checked(t, "s.yaml", "--events", "e.jsonl", "--json", "--strict")
	var r struct {
		OK       bool
		Sets     []struct{ Survey *survey.Result }
		Problems []struct {
			Rule      string
			Line, Col int
			EndCol    int `json:"end_col"`
		}
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 1 || r.OK || r.Sets[0].Survey == nil || r.Sets[0].Survey.Campaigns[0].Triggers[0].Where[0].Of != 3 {
		t.Errorf("--json: exit %d, %v\n%s%s", code, err, out, errs)
	}
	if p := r.Problems; len(p) != 1 || p[0].Rule != survey.ValueNeverMatches || p[0].Line != 5 || p[0].Col != 12 || p[0].EndCol != 37 {
		t.Errorf("--json: %+v", p)
	}
	if out, _, _ := checked(t, "s.yaml", "--events", "e.jsonl", "--sarif"); !strings.Contains(out, `"ruleId": "value-never-matches"`) {
		t.Errorf("--sarif: %s", out)
	}
	write("x.csv", "event_time,event_type\n2019,view\n")
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"--events", "x.csv"}, "looks like CSV", 1},
		{[]string{"--events", os.DevNull}, "no events", 1},
		{[]string{"--events", "e.jsonl", "--sample", "0"}, "--sample 0", 2},
		{[]string{"--events", "e.jsonl", "--nats", "nats://127.0.0.1:1"}, "choose one", 2},
	} {
		if _, errs, code := checked(t, append([]string{"s.yaml"}, c.args...)...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d, %s", c.args, code, errs)
		}
	}
}

// TestCheckNATS samples a live log.
func TestCheckNATS(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("s.yaml", []byte(surveyedSet), 0o644); err != nil {
		t.Fatal(err)
	}
	ns, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Port: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	conn, err := broker.Connect(t.Context(), broker.Options{URL: ns.ClientURL(), Client: "test", Partitions: 2, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if _, errs, code := checked(t, "s.yaml", "--nats", ns.ClientURL()); code != 1 || !strings.Contains(errs, "the log has no events yet") {
		t.Errorf("an empty log: exit %d, %s", code, errs)
	}
	for i := range 6 {
		m := &nats.Msg{Subject: conn.Names.EventsSubject(i%2, "in"), Data: []byte(surveyedEvent(i))}
		if _, err := conn.JS.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	out, errs, code := checked(t, "s.yaml", "--nats", ns.ClientURL())
	if code != 0 || !strings.Contains(out, "sample: 6 events of 3 users") || !strings.Contains(errs, `s.yaml:5:12: warning: event.properties.category is never "bags" in 6 events`) {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

// TestCheckRees46: the shipped campaigns fit real events, but for what these events
// lack.
func TestCheckRees46(t *testing.T) {
	events := t.TempDir() + "/e.jsonl"
	if err := os.WriteFile(events, bytes.Join(rees46Lines(t), []byte("\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	out, errs, code := checked(t, "../../deploy/campaigns/shop.yaml", "--events", events)
	want := `../../deploy/campaigns/shop.yaml:18:26: warning: none of 165 items of events Product Added has name: known are brand, category_id, price, product_id, session, and 1 more
../../deploy/campaigns/shop.yaml:19:17: warning: no event of the sample is named "Product Removed": it has Product Viewed, Order Completed, Product Added
`
	if code != 0 || errs != want || !strings.Contains(out, "      1,668  of 17,055      if     brands_seen[event.properties.category] >= 3\n        294                 offers; else: condition 15,387, limit 1,374\n") {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
}

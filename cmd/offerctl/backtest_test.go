package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/backtest"
)

const backtestSet = `
version: 1
zone: Asia/Seoul
policies: {consent: none, quiet_hours: none}
features:
  views: {on: View, by: event.properties.category, agg: count, within: 1h}
campaigns:
  rowed:
    for_each: {rows: [{id: bags, category: bag}, {id: shoes, category: shoe}, {id: none, category: none}]}
    on: View
    where: event.properties.category == row.category
    if: views[event.properties.category] >= 1
    offer: {channel: web, data: {title: "Look: {{ event.properties.name }}"}}
    limits: [{max: 2, within: 1d}]
  left-after-a-view-of-anything-in-the-shop:
    on: View
    unless: {on: Order, within: 90s}
    when_due: event.properties.wanted
    priority: 2
    offer: {channel: push}
  second:
    on: View
    priority: -1
    offer: {channel: web, data: {category: "{{ event.properties.category }}"}}
`

// backtestEvents are views by two users, ten seconds apart, and one line that is no
// event.
func backtestEvents() string {
	var b strings.Builder
	for i := range 12 {
		properties := fmt.Sprintf(`"category":%q`, []string{"bag", "shoe", "hat"}[i%3])
		if i%4 > 0 {
			properties += `,"name":"it"`
		}
		if i > 5 {
			properties = `"wanted":true,` + properties
		}
		if i == 7 {
			properties = ""
		}
		fmt.Fprintf(&b, `{"type":"track","event":"View","userId":"u%d","messageId":"m%d","timestamp":"2026-01-01T10:%02d:00Z","properties":{%s}}`+"\n", i%2, i, i, properties)
	}
	return b.String() + `{"type":"page"}` + "\n" + view(12, "") + view(12, "")
}

// TestBacktestText: the summary for people.
func TestBacktestText(t *testing.T) {
	campaigns, events := file(t, "c.yaml", backtestSet), file(t, "e.jsonl", backtestEvents())
	text, code := ran(t, "backtest", "--campaigns", campaigns, "--events", events, "--rows")
	const want = `14 events, 3 users, 1 duplicate, 1 rejected (identity 1); the first is line 13: identity: the event has neither userId nor anonymousId
counted from 2026-01-01T10:00:00Z to 2026-01-01T10:11:00Z

campaign  evaluated      fired      users   withheld    pending
left-after-a-view-of-anything-in-the-shop
                 13          3          2          0          3
    stopped: when_due 7
    failed: when_due: event.properties.wanted: wanted is missing, 7 times
rowed             7          5          2          0          0
    stopped: error 2
    failed: offer.data.title: {{ event.properties.name }}: name is missing, 2 times
  bags            4          3                     0          0
      stopped: error 1
  shoes           3          2                     0          0
      stopped: error 1
second           13          6          2          0          0
    stopped: outranked 5, error 2
    failed: offer.data.category: {{ event.properties.category }}: category is missing, 2 times

evaluated    how often the trigger came, and the campaign was judged
fired        the offer went out
users        how many people got an offer of the campaign
withheld     the person is in the control group (~holdout~), so the offer did not go out
pending      still waiting when the events ended
when_due     ~when_due~ was not true when the wait was over
outranked    an offer with a higher ~priority~ or ~score~ took the channel at that moment
error        the offer could not be made: ~score~, ~at~, ~choose~ or a template failed

features: 2 events lacked a field, 0 errors, a bound was reached 0 times
    failed: features.views.by: event.properties.category: category is missing, 2 times
`
	if want := strings.ReplaceAll(want, "~", "`"); code != 0 || text != want {
		t.Errorf("exit %d, %s\nwant %s", code, text, want)
	}
}

// backtestJSON runs the command with --json, and returns the object.
func backtestJSON(t *testing.T, args ...string) (o backtestObject, text string) {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), append([]string{"backtest", "--json"}, args...), stdio{strings.NewReader(""), &out, &errs}); code != 0 || errs.Len() > 0 {
		t.Fatalf("%s: exit %d, %s", args, code, errs.String())
	}
	if err := json.Unmarshal(out.Bytes(), &o); err != nil {
		t.Fatalf("%s: %v", out.String(), err)
	}
	return o, out.String()
}

// TestBacktestJSON: the object for programs. Every evaluation has one outcome, and
// the counts are those of the core.
func TestBacktestJSON(t *testing.T) {
	campaigns, events := file(t, "c.yaml", backtestSet), file(t, "e.jsonl", backtestEvents())
	_, text := backtestJSON(t, "--campaigns", campaigns, "--events", events)
	const want = `{"events":14,"users":3,"duplicates":1,"rejected":{"identity":1},"campaigns":{` +
		`"left-after-a-view-of-anything-in-the-shop":{"evaluations":13,"fired":3,"withheld":0,"suppressed":{"when_due":7},"cancelled":0,"superseded":0,"pending":3,` +
		`"users_reached":2,"missing_fields":7,"errors":0,"bounds":0,` +
		`"failures":[{"place":"when_due","text":"event.properties.wanted","error":"no such key: wanted","times":7}]},` +
		`"rowed":{"evaluations":7,"fired":5,"withheld":0,"suppressed":{"error":2},"cancelled":0,"superseded":0,"pending":0,` +
		`"users_reached":2,"missing_fields":2,"errors":0,"bounds":0,` +
		`"failures":[{"place":"offer.data.title","text":"{{ event.properties.name }}","error":"no such key: name","times":2}],` +
		`"rows":{"bags":{"evaluations":4,"fired":3,"withheld":0,"suppressed":{"error":1},`
	if !strings.HasPrefix(text, want) || strings.Count(text, "\n") != 1 {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	for _, set := range []string{campaigns, "../../deploy/campaigns/shop.yaml"} {
		for _, events := range []string{events, "../../pipeline/testdata/golden/5/events.jsonl"} {
			o, _ := backtestJSON(t, "--campaigns", set, "--events", events)
			compareWithCore(t, o, set, events)
		}
	}
}

// compareWithCore compares an object with what the core counts.
func compareWithCore(t *testing.T, o backtestObject, set, events string) {
	t.Helper()
	def, err := config.LoadCampaigns(set)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pipeline.NewBacktest(def)
	text, err := os.ReadFile(events)
	if err != nil {
		t.Fatal(err)
	}
	reached := map[string]map[string]bool{}
	for line := range bytes.Lines(text) {
		if err := b.Line(line, func(o *pipeline.Offer) {
			campaign, _, _ := strings.Cut(o.Campaign, "/")
			if reached[campaign] == nil {
				reached[campaign] = map[string]bool{}
			}
			reached[campaign][fmt.Sprint(o.User, o.Anon)] = !o.Withheld || reached[campaign][fmt.Sprint(o.User, o.Anon)]
		}); err != nil {
			t.Fatal(err)
		}
	}
	if o.Events != b.Applied || o.Users != uint64(b.UserCount()) || o.Duplicates != b.Duplicates() || fmt.Sprint(o.Rejected) != fmt.Sprint(b.Rejected) || o.Set != def.Hash() {
		t.Errorf("%s, %s: %+v", set, events, o)
	}
	counts, _ := b.Counts()
	sums := map[string]pipeline.Counts{}
	for id, n := range counts {
		campaign, _, _ := strings.Cut(id, "/")
		sums[campaign] = sums[campaign].Plus(n)
	}
	if len(sums) != len(o.Campaigns) {
		t.Errorf("%s: %d campaigns", set, len(o.Campaigns))
	}
	for id, n := range sums {
		c, want := o.Campaigns[id], campaignObjectOf(&n)
		if fmt.Sprint(c.Suppressed) != fmt.Sprint(want.Suppressed) || c.Fired != n.Ended[pipeline.Fired] || c.Evaluations != n.Evaluated || c.Pending != n.Pending() || c.Missing != n.Missing || c.Errors != n.Errors {
			t.Errorf("%s, %s: %s: %+v, want %+v", set, events, id, c, want)
		}
		if c.Evaluations != c.Fired+c.Withheld+sum(c.Suppressed)+c.Cancelled+c.Superseded+c.Pending {
			t.Errorf("%s: an evaluation has not one outcome: %+v", id, c)
		}
		users, failed := 0, uint64(0)
		for _, out := range reached[id] {
			if out {
				users++
			}
		}
		for _, f := range c.Failures {
			failed += f.Times
		}
		if *c.UsersReached != users || failed != n.Missing+n.Errors {
			t.Errorf("%s, %s: %s: %d users, %d failures: %+v", set, events, id, *c.UsersReached, failed, c)
		}
	}
}

// TestBacktestPeriods: periods that follow each other divide the offers of the
// whole, also at a time at which there is an event, and a date is one of the set's
// zone.
func TestBacktestPeriods(t *testing.T) {
	campaigns, events := file(t, "c.yaml", backtestSet), file(t, "e.jsonl", backtestEvents())
	offers := func(args ...string) string {
		t.Helper()
		out := filepath.Join(t.TempDir(), "offers.jsonl")
		if text, code := ran(t, append([]string{"backtest", "--campaigns", campaigns, "--events", events, "--out", out}, args...)...); code != 0 {
			t.Fatalf("%s: exit %d, %s", args, code, text)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	whole := offers()
	for i := range 12 {
		at := time.Date(2026, 1, 1, 10, i, 0, 0, time.UTC).Format(time.RFC3339)
		if before, after := offers("--to", at), offers("--from", at); before+after != whole || i > 0 && before == "" || after == "" {
			t.Errorf("%s: before:\n%safter:\n%s", at, before, after)
		}
	}
	if offers("--from", "2026-01-01", "--to", "2026-01-02") != whole || offers("--to", "2026-01-01") != "" {
		t.Error("a day has not the offers of the day")
	}
	if got := offers("--to", "2026-01-01T19:05:00+09:00"); got != offers("--to", "2026-01-01T10:05:00Z") {
		t.Errorf("a time with a zone: %s", got)
	}
	first, err := readMoment("--from", "2026-01-01", "Asia/Seoul")
	if want := time.Date(2025, 12, 31, 15, 0, 0, 0, time.UTC).UnixNano(); err != nil || first != want {
		t.Errorf("a date in a zone: %d, %v, want %d", first, err, want)
	}
	o, text := backtestJSON(t, "--campaigns", campaigns, "--events", events, "--from", "2026-01-01T10:05:00Z", "--to", "2026-01-01T10:07:00Z")
	if o.From != "2026-01-01T10:05:00Z" || o.To != "2026-01-01T10:07:00Z" || o.Campaigns["second"].Evaluations != 2 {
		t.Errorf("a period: %s", text)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--from", "soon"}, `--from "soon" is not a time: give a date, such as 2026-02-01 (its first moment in Asia/Seoul), or RFC 3339`},
		{[]string{"--to", "2026-01-01T10:00:00"}, `--to "2026-01-01T10:00:00" is not a time`},
		{[]string{"--from", "2026-01-02", "--to", "2026-01-02"}, "--to 2026-01-02 is not after --from 2026-01-02"},
	} {
		if text, code := ran(t, append([]string{"backtest", "--campaigns", campaigns, "--events", events}, tt.args...)...); code != 2 || !strings.Contains(text, tt.want) {
			t.Errorf("%s: exit %d, %s", tt.args, code, text)
		}
	}
	if text, code := ran(t, "backtest", "--campaigns", campaigns, "--events", events, "--from", "2027-01-01"); code != 0 || !strings.Contains(text, "\nwarning: --from is after the last event: nothing is counted\n") {
		t.Errorf("after the last event: exit %d, %s", code, text)
	}
}

// TestBacktestCompare: what would change with other campaigns.
func TestBacktestCompare(t *testing.T) {
	change := strings.NewReplacer("{max: 2, within: 1d}", "{max: 1, within: 1d}", "second:", "third:", "within: 90s", "within: 100s")
	campaigns, other, events := file(t, "c.yaml", backtestSet), file(t, "d.yaml", change.Replace(backtestSet)), file(t, "e.jsonl", backtestEvents())
	text, code := ran(t, "backtest", "--campaigns", campaigns, "--events", events, "--compare", other)
	_, text, _ = strings.Cut(text, "\nWith "+other+" instead of "+campaigns+":\n")
	const want = `
all campaigns          this      other
    evaluated            33         33
    fired                14         14
    users                 2          2
    offers: 4 the same, 3 moved to another time, 7 gained, 7 lost
    users: 2 are reached with both

left-after-a-view-of-anything-in-the-shop
                       this      other
    evaluated            13         13
    fired                 3          3
    users                 2          2
    when_due              7          7
    pending               3          3
    offers: 0 the same, 3 moved to another time, 0 gained, 0 lost
    users: 2 are reached with both

rowed                  this      other
    evaluated             7          7
    fired                 5          4         -1
    users                 2          2
    limit                 0          1         +1
    error                 2          2
    offers: 4 the same, 0 moved to another time, 0 gained, 1 lost
    users: 2 are reached with both
    first lost: u1 at 2026-01-01T10:09:00Z

second: gone           this      other
    evaluated            13          0        -13
    fired                 6          0         -6
    users                 2          0         -2
    outranked             5          0         -5
    error                 2          0         -2

third: new             this      other
    evaluated             0         13        +13
    fired                 0          7         +7
    users                 0          2         +2
    outranked             0          4         +4
    error                 0          2         +2
    failed, with other only: offer.data.category: {{ event.properties.category }}: category is
        missing, 2 times

limit        the person already got as many as the campaign's ~limits~ allow
`
	if want := strings.ReplaceAll(want, "~", "`"); code != 0 || text != want {
		t.Errorf("exit %d, %s\nwant %s", code, text, want)
	}
	o, text := backtestJSON(t, "--campaigns", campaigns, "--events", events, "--compare", other)
	same, _ := backtestJSON(t, "--campaigns", other, "--events", events)
	for what, pair := range map[string][2]any{"the other's campaigns": {o.Compare.Campaigns, same.Campaigns}, "users": {o.Compare.Users, same.Users}, "set": {o.Compare.Set, same.Set}} {
		if a, b := jsonOf(pair[0]), jsonOf(pair[1]); a != b {
			t.Errorf("%s: %s, alone %s", what, a, b)
		}
	}
	for id, ch := range o.Compare.Changes {
		if this, other := o.Campaigns[id], same.Campaigns[id]; this != nil && this.Fired != ch.Same+ch.Moved+ch.Lost || other != nil && other.Fired != ch.Same+ch.Moved+ch.Gained {
			t.Errorf("%s: %+v does not add up: %s", id, ch, text)
		}
	}
	if text, code := ran(t, "backtest", "--campaigns", campaigns, "--events", events, "--compare", campaigns); code != 0 ||
		!strings.Contains(text, "\n    offers: 14 the same, 0 moved to another time, 0 gained, 0 lost\n") ||
		!strings.HasSuffix(text, "\nnothing changes for: left-after-a-view-of-anything-in-the-shop, rowed, second\n") {
		t.Errorf("compared with itself: exit %d, %s", code, text)
	}
	for _, tt := range []struct{ events, other, want string }{
		{"-", other, "--compare reads the events twice, and - can be read only once"},
		{events, filepath.Join(t.TempDir(), "none"), "none"},
		{events, file(t, "bad.yaml", "campaigns: {c: {}}"), "--compare: "},
	} {
		if text, code := ran(t, "backtest", "--campaigns", campaigns, "--events", tt.events, "--compare", tt.other); code == 0 || !strings.Contains(text, tt.want) {
			t.Errorf("%+v: exit %d, %s", tt, code, text)
		}
	}
	if text, code := ran(t, "backtest", "--campaigns", campaigns, "--events", events, "--compare", other, "--out", other); code != 2 || !strings.Contains(text, "same file") {
		t.Errorf("--out is a file of --compare: exit %d, %s", code, text)
	}
}

// TestBacktestWidth: however much there is to say, the lines stay readable.
func TestBacktestWidth(t *testing.T) {
	res := &backtest.Result{Campaigns: map[string]*backtest.Campaign{}}
	all := &backtest.Campaign{}
	for _, o := range pipeline.Outcomes() {
		all.Evaluated += 123_456_789
		all.Ended[o] = 123_456_789
	}
	long := strings.Repeat("long", 100)
	all.Missing = 20
	for i := range 8 {
		all.Failures = append(all.Failures, backtest.Failure{Place: "if", Text: fmt.Sprint(i, long), Error: "no\nsuch key: " + long, N: 2})
	}
	res.Campaigns["all"], res.Campaigns[long[:64]] = all, all
	var b strings.Builder
	s := &backtestSummary{run: &backtestRun{}, backtested: &backtested{Result: res}}
	if err := s.writeText(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if most := 97; len(line) > most {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if !strings.Contains(b.String(), "    failed: other expressions or other errors, 10 times\n") {
		t.Error(b.String())
	}
}

// TestFailureText: CEL's own words for what is missing or has another type are not shown.
func TestFailureText(t *testing.T) {
	for err, want := range map[string]string{
		"no such key: price": "if: x > 1: price is missing, 1 time",
		"no such overload":   "if: x > 1: a value has another type, such as text for a number, 1 time",
		"division by zero":   "if: x > 1: division by zero, 1 time",
	} {
		f := backtest.Failure{Place: "if", Text: "x > 1", Error: err, N: 1}
		if got := failureText(f); got != want {
			t.Errorf("got %q\nwant %q", got, want)
		}
	}
}

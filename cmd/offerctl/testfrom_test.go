package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

const recordedSet = `zone: Asia/Seoul
facts: {weather: {fields: {sky: string}}}
features: {views: {on: View, agg: count, within: 2h}}
campaigns:
  third: {on: View, if: [views >= 3, profile.email != ""], offer: {channel: web, data: {to: "{{ profile.email }}", at: "{{ event.time }}"}}}
  rain: {on: Look, if: 'facts.weather["seoul"].sky == "rain"', offer: {channel: web}}
  left: {on: Add, unless: {on: Order, within: 1h}, offer: {channel: web}}
`

// recordedLog has late events, two users, duplicates, an event that is refused, and
// more facts than matter.
const recordedLog = `{"type":"fact","fact":"weather","key":"seoul","values":{"sky":"sun"},"timestamp":"2026-03-01T00:30:00Z"}
{"type":"fact","fact":"weather","key":"busan","values":{"sky":"rain"},"timestamp":"2026-03-01T00:30:00Z"}
{"type":"identify","userId":"541312140","messageId":"1","timestamp":"2026-03-01T01:00:00Z","traits":{"email":"kim@shop.kr","segment":"vip"}}
{"type":"track","event":"View","userId":"541312140","messageId":"2","timestamp":"2026-03-01T01:00:01Z","context":{"ip":"1.2.3.4","library":{"name":"x"}}}
{"type":"track","event":"View","userId":"bob","messageId":"3","timestamp":"2026-03-01T01:10:00Z"}
{"type":"track","event":"View","userId":"541312140","messageId":"4","timestamp":"2026-03-01T01:05:00Z","properties":{"who":"541312140"}}
{"type":"track","event":"View","userId":"541312140","messageId":"4","timestamp":"2026-03-01T01:05:00Z","properties":{"who":"541312140"}}
{"type":"track","event":"View","messageId":"5","timestamp":"2026-03-01T01:12:00Z"}
{"type":"track","event":"Look","userId":"541312140","messageId":"6","timestamp":"2026-03-01T01:12:00Z"}
{"type":"track","event":"Look","userId":"541312140","messageId":"6b","timestamp":"2026-03-01T01:12:00Z"}
{"type":"fact","fact":"weather","key":"busan","values":{"sky":"sun"},"timestamp":"2026-03-01T01:12:20Z"}
{"type":"fact","fact":"weather","key":"seoul","values":{"sky":"rain"},"timestamp":"2026-03-01T01:12:30Z"}
{"type":"track","event":"Look","userId":"541312140","messageId":"7","timestamp":"2026-03-01T01:13:00Z"}
{"type":"track","event":"View","userId":"541312140","messageId":"8","timestamp":"2026-03-01T00:01:00Z"}
{"type":"track","event":"Add","userId":"541312140","messageId":"9","timestamp":"2026-03-01T01:14:00Z"}
{"type":"track","event":"Add","anonymousId":"541312140","messageId":"10","timestamp":"2026-03-01T01:14:00Z"}
{"type":"track","event":"Add","userId":"541312140","messageId":"11","timestamp":"2026-03-01T03:00:00Z"}
`

const recordedScenario = `# Written by offerctl test --from-user. The offers and outcomes are those of now:
# change them to what they should be. ada is the user.
# Replaced besides the user's id: the values of email, the user's id in who.
campaigns: set
times: {date: 2026-03-01, zone: Asia/Seoul}
scenarios:
  ada on 2026-03-01:
    events:
      - 09:30:00 fact weather/seoul sky=sun
      - 10:00:00 ada identify email=ada@example.com segment=vip
      - 10:00:01 ada View
      - 10:10:00
      - 10:05:00 ada View who=ada messageId=m1
      - 10:05:00 ada View who=ada messageId=m1
      - 10:12:00 ada Look
      - 10:12:00 ada Look messageId=m2
      - 10:12:30 fact weather/seoul sky=rain
      - 10:13:00 ada Look
      - 09:13:00 ada View
      - 10:14:00 ada Add
      - 12:00:00 ada Add
    expect:
      - 10:13:00 ada rain
      - 10:13:00 ada third at=2026-03-01T00:13:00Z to=ada@example.com
      - 11:14:00 ada left
    outcomes:
      left: {evaluated: 2, fired: 1, pending: 1}
      rain: {evaluated: 3, fired: 1, condition: 2}
      third: {evaluated: 3, fired: 1, condition: 2}
    duplicates: 1
`

// TestFromUser: what --from-user writes has the log times, event times and facts of
// the log, and passes at once.
func TestFromUser(t *testing.T) {
	t.Chdir(t.TempDir())
	putFile(t, "set/set.yaml", recordedSet)
	putFile(t, "log/e.jsonl", recordedLog)
	from := func(args string) (out, errs string, code int) {
		t.Helper()
		return tested(t, strings.Fields("--campaigns set --events log/e.jsonl --from-user "+args)...)
	}
	if out, errs, code := from("541312140 --out bug.test.yaml"); code != 0 || errs != "" || out != "wrote bug.test.yaml: a scenario of 10 events of the user, which passes as it is\n\nNext:\n  offerctl test bug.test.yaml\n" {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	if b, err := os.ReadFile("bug.test.yaml"); err != nil || string(b) != recordedScenario {
		t.Errorf("%v\n%s\nwant\n%s", err, b, recordedScenario)
	}
	if out, errs, code := tested(t, "bug.test.yaml"); code != 0 || errs != "" || !strings.Contains(out, "1 scenario in 1 file: all passed") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if _, errs, code := from("541312140 --out bug.test.yaml"); code != 1 || !strings.Contains(errs, "exists") {
		t.Errorf("the file is there already: exit %d\n%s", code, errs)
	}
	out, errs, code := from("541312140 --anonymous")
	if code != 0 || errs != "" || !strings.Contains(out, "\n      - 10:14:00 ~visitor Add\n      - 12:00:00\n    expect:\n      - 11:14:00 ~visitor left\n") || !strings.Contains(out, "\ncampaigns: .\n") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	out, errs, code = from("541312140 --at 2026-03-01T01:12:40Z")
	if code != 0 || errs != "" || !strings.Contains(out, "sky=rain\n      - 10:12:40\n    expect: none\n") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	for args, want := range map[string]string{
		"kim":                            "the log has no event of kim: check the id, or say --anonymous",
		"kim --at 2026-03-01":            "--at: ",
		"kim --nats x":                   "--from-user needs --events or --nats",
		"kim --out bug.yaml":             "the name of a file of scenarios ends with .test.yaml",
		"kim set":                        "--from-user runs no scenarios: leave out set",
		"kim --events -":                 "--from-user reads the events twice",
		"kim --events log/none":          "no such file",
		"kim --campaigns log":            "no campaign files",
		"kim --events set/set.yaml":      "none of the 7 lines is an event",
		"541312140 --out no/x.test.yaml": "no such file or directory",
	} {
		if out, errs, code := from(args); code == 0 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d\n%s%s\nwant %s", args, code, out, errs, want)
		}
	}
	if _, errs, code := tested(t, "--at", "2026-03-01T00:00:00Z", "set"); code != 2 || !strings.Contains(errs, "--at is for --from-user") {
		t.Errorf("exit %d\n%s", code, errs)
	}
}

// TestFromUserNewest: of more than 200 events, the newest are kept, and it is said that
// the offers may be others.
func TestFromUserNewest(t *testing.T) {
	t.Chdir(t.TempDir())
	putFile(t, "c.yaml", "features: {views: {on: View, agg: count, within: 30d}}\ncampaigns: {c: {on: View, if: views >= 250, offer: {channel: web}, limits: [{max: 1}]}}\n")
	var log strings.Builder
	for i := range 300 {
		fmt.Fprintf(&log, `{"type":"track","event":"View","userId":"kim","messageId":"%d","timestamp":"2026-03-01T01:%02d:%02dZ"}`+"\n", i, i/60, i%60)
	}
	putFile(t, "e.jsonl", log.String())
	out, errs, code := tested(t, "--from-user", "kim", "--campaigns", "c.yaml", "--events", "e.jsonl")
	if code != 0 || !strings.Contains(errs, "warning: the scenario's offers are not those of the log") || strings.Count(out, "ada View\n") != mostRecorded ||
		!strings.Contains(out, "# Left out: the user's 100 older events.") || !strings.Contains(out, "In the log they are:\n#   01:04:09 ada c ...\n") || !strings.Contains(out, "    expect: none\n") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

// TestFromUserLive: a scenario out of the live log has its times to the nanosecond:
// offers that tell them are the same.
func TestFromUserLive(t *testing.T) {
	t.Chdir(t.TempDir())
	putFile(t, "set/set.yaml", strings.Replace(recordedSet, `to: "{{ profile.email }}", at: "{{ event.time }}"`, `now: "{{ now }}", at: "{{ event.time }}"`, 1))
	def, err := loadSet("", "set")
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", partitions: 2, addr: "127.0.0.1:0", writeKey: "KEY", set: def, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	send := func(body string) {
		t.Helper()
		r, err := http.NewRequest("POST", "http://"+n.addr+"/v1/batch", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("KEY", "")
		resp, err := http.DefaultClient.Do(r)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
	}
	late := time.Now().Add(-20 * time.Minute).UTC().Format(time.RFC3339)
	early := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	send(`{"batch":[{"type":"identify","userId":"kim-1","traits":{"email":"a@b.kr"}},{"type":"track","event":"View","userId":"kim-1"},{"type":"track","event":"View","userId":"lee"}]}`)
	send(`{"batch":[{"type":"track","event":"View","userId":"kim-1","messageId":"x","timestamp":"` + late + `"},{"type":"track","event":"View","userId":"kim-1","messageId":"x","timestamp":"` + late + `"}]}`)
	send(`{"batch":[{"type":"track","event":"View","userId":"kim-1","messageId":"y","timestamp":"` + early + `"},{"type":"track","event":"View","userId":"kim-1","messageId":"z","timestamp":"` + late + `"}]}`)
	if err := n.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, errs, code := tested(t, "--from-user", "kim-1", "--campaigns", "set", "--nats", n.natsURL(), "--out", "live.test.yaml")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	b, err := os.ReadFile("live.test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if out, errs, code := tested(t, "live.test.yaml"); code != 0 || strings.Contains(out, "warning") {
		t.Errorf("exit %d\n%s%s\n%s", code, out, errs, b)
	}
	offers := 0
	if err := n.conn.ScanOffers(t.Context(), event.Partition("u:kim-1", n.conn.Partitions), func(r broker.Record) error {
		var o pipeline.Offer
		if err := json.Unmarshal(r.Data, &o); err != nil || o.User != "kim-1" {
			return err
		}
		var data struct{ At, Now string }
		if err := json.Unmarshal(o.Data, &data); err != nil {
			return err
		}
		offers++
		if want := fmt.Sprintf(" ada third at=%s now=%s\n", data.At, data.Now); data.Now != o.Time || !strings.Contains(string(b), want) {
			t.Errorf("no offer %s in\n%s", want, b)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if offers != 2 || strings.Count(string(b), " ada third ") != offers || !strings.Contains(string(b), "duplicates: 1\n") {
		t.Errorf("%d offers in the log, and\n%s", offers, b)
	}
	putFile(t, "other/set.yaml", recordedSet)
	if out, errs, code := tested(t, "--from-user", "kim-1", "--campaigns", "other", "--nats", n.natsURL()); code != 0 || !strings.Contains(errs, "warning: the campaigns are not the live set") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if out, errs, code := tested(t, "--from-user", "kim-2", "--campaigns", "set", "--nats", n.natsURL()); code != 1 || !strings.Contains(errs, "the log has no event of kim-2") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

// TestFromUserReplayed: out of a log under clock: event comes the same scenario as out
// of the file that was replayed into it.
func TestFromUserReplayed(t *testing.T) {
	t.Chdir(t.TempDir())
	putFile(t, "set/set.yaml", recordedSet)
	putFile(t, "e.jsonl", recordedLog)
	def, err := loadSet("event", "set")
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", partitions: 2, addr: "127.0.0.1:0",
		keys: []config.Key{config.KeyOf("all", "SERVER", event.Server|event.Feeder)}, set: def, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	if text, code := ran(t, "replay", "--events", "e.jsonl", "--to", "http://"+n.addr, "--server-key", "SERVER"); code != 0 {
		t.Fatalf("exit %d, %s", code, text)
	}
	if err := n.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, more := range []string{"", " --anonymous", " --at 2026-03-01T01:12:40Z"} {
		args := strings.Fields("--from-user 541312140 --campaigns set" + more)
		want, errs, code := tested(t, append(args, "--events", "e.jsonl")...)
		if code != 0 || errs != "" {
			t.Fatalf("%s: exit %d\n%s%s", more, code, want, errs)
		}
		if got, errs, code := tested(t, append(args, "--nats", n.natsURL())...); code != 0 || errs != "" || got != want {
			t.Errorf("%s: exit %d\n%s%s\nwant\n%s", more, code, got, errs, want)
		}
	}
}

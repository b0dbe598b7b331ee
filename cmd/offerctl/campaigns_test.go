package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// startCampaigns starts a node with a set.
func startCampaigns(t *testing.T, text string) *node {
	t.Helper()
	set, err := loadSet("", file(t, "c.yaml", text))
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", addr: "127.0.0.1:0", serverKey: "KEY", set: set, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// has fails if a text lacks one of some lines or parts of lines.
func has(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

// matches fails if a text has no line that matches, for one of some patterns.
func matches(t *testing.T, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(text) {
			t.Errorf("nothing matches %s in\n%s", p, text)
		}
	}
}

const pausedSet = `clock: event
policies: {consent: none, quiet_hours: none}
campaigns:
  wait: {on: View, unless: {on: Order Completed, within: 1h}, offer: {channel: web}}
  rows: {for_each: {rows: [{id: a}, {id: b}]}, on: View, offer: {channel: push, data: {row: "{{ row.id }}"}}}
  bill: {on: View, offer: {channel: push, kind: service}}
`

// TestCampaignsPause: a pause reaches all partitions through their logs. What is
// pending is judged when it is due, as paused. A resume ends it.
func TestCampaignsPause(t *testing.T) {
	t.Parallel()
	n := startCampaigns(t, pausedSet)
	url := n.natsURL()
	ctl := func(args ...string) string {
		t.Helper()
		return offerctl(t, append([]string{"campaigns", "--nats", url}, args...)...)
	}
	const users = 24 // some in each partition
	in := map[int]bool{}
	send := func(name, at string) {
		t.Helper()
		var b strings.Builder
		for u := range users {
			in[event.Partition(fmt.Sprint("u:u", u), n.conn.Partitions)] = true
			fmt.Fprintf(&b, `{"type":"track","event":%q,"userId":"u%d","messageId":"%[1]s %[3]s %[2]d","timestamp":"2026-04-01T%[3]s:00Z"}`+"\n", name, u, at)
		}
		offerctl(t, "replay", "--events", file(t, "e.jsonl", b.String()), "--to", "http://"+n.addr, "--server-key", "KEY")
		if err := n.caughtUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	offers := func(want string) {
		t.Helper()
		sent := map[string]int{}
		for p := range n.conn.Partitions {
			if err := n.conn.ScanOffers(t.Context(), p, func(r broker.Record) error {
				var o struct{ Campaign string }
				err := json.Unmarshal(r.Data, &o)
				sent[o.Campaign]++
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, id := range slices.Sorted(maps.Keys(sent)) {
			got = append(got, fmt.Sprint(id, " ", sent[id]))
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("sent: %s, want %s", s, want)
		}
	}

	send("View", "10:00")
	if len(in) != n.conn.Partitions {
		t.Fatalf("users are in partitions %v only", in)
	}
	offers("bill 24") // it outranks rows
	out := ctl("pause", "wait", "rows/b", "--why", "wrong price", "--by", "ada")
	has(t, out, "campaign rows/b paused\ncampaign wait paused\npaused in all 8 partitions after ")
	t.Log(strings.TrimSpace(out))
	has(t, ctl("pause", "wait", "--by", "bob"), "campaign wait is paused already: ada at ", ": wrong price\n", "paused in all 8 partitions")
	for out = ctl("list"); !strings.Contains(out, "  24  ") && t.Context().Err() == nil; out = ctl("list") { // until all that waits is in a checkpoint
	}
	t.Log("\n" + out)
	matches(t, out, "^set "+n.opt.set.Hash()+" is live since ", "^wait +web +advertising +24 +paused: ada at .*: wrong price$", "^rows +push +advertising +0 +live; row b paused: ada at ", "^bill +push +service +0 +live$")
	send("Other", "11:30") // due at 11:00
	offers("bill 24")
	has(t, offerctl(t, "explain", "u3", "wait", "--nats", url), "an operator has paused the campaign")

	has(t, ctl("pause", "--channel", "push", "--channel", "web", "--by", "ada"), "channel push: what is of kind service goes on: bill\n", "channel push paused\nchannel web paused\n")
	matches(t, ctl("list"), "^channel push: advertising is paused: ada at ", "^rows +push .* paused with its channel; row b paused: ", "^wait +web .* paused: ada at .*; paused with its channel$", "^bill .* live$")
	send("View", "12:00")
	send("Other", "13:30")
	offers("bill 48")

	has(t, ctl("resume", "wait", "rows", "--channel", "web", "--by", "bob"), "campaign rows is not paused\npaused by itself stays rows/b\n", "campaign wait resumed\nchannel web resumed\nresumed in all 8 partitions after ")
	send("View", "14:00")
	send("Other", "15:30")
	offers("bill 72, wait 24")
	has(t, ctl("resume", "wait"), "campaign wait is not paused\n")
	pauses, _, err := n.conn.Pauses(t.Context())
	if err != nil || pauses.Revision != 3 || len(pauses.Reasons) != 2 || pauses.Resumed["campaign wait"] != 3 || pauses.Resumed["channel web"] != 3 || len(pauses.Resumed) != 2 {
		t.Errorf("the record is %+v, %v", pauses, err)
	}
	out = ctl("history")
	t.Log("\n" + out)
	has(t, out, "  pauses 1  ada  8 of 8      paused campaign rows/b, campaign wait\n", "  pauses 2  ada  8 of 8      paused channel push, channel web\n", "  pauses 3  bob  8 of 8      resumed campaign wait, channel web\n")
	var v audit.Verdict
	if err := json.Unmarshal([]byte(offerctl(t, "verify", "--json", "--nats", url)), &v); err != nil || v.Wrong() != 0 || v.Offers != 96 {
		t.Errorf("%+v, %v", v, err)
	}

	// Nothing changes where a name is wrong.
	for args, want := range map[string]string{
		"pause wiat bill":          `the live set has no campaign wiat: did you mean "wait"?`,
		"pause rows/c":             "campaign rows has no row c: it has a, b",
		"pause --channel pus wait": `no campaign of the live set sends on channel pus: did you mean "push"?`,
		"resume nothing":           "the live set has no campaign nothing: it has bill, rows, wait",
		"show wait/a":              "campaign wait has no row a, nor any other",
		"export --set 00":          `begins with "00"`,
		"rollback":                 "which set was live before is not known",
	} {
		if _, errs := fails(t, 1, append([]string{"campaigns", "--nats", url}, strings.Fields(args)...)...); !strings.Contains(errs, want) {
			t.Errorf("%s: %s", args, errs)
		}
	}
	for args, want := range map[string]string{
		"": "no subcommand", "stop": "there is no subcommand", "list x": `unexpected argument "x"`, "show": "no campaign given", "pause": "nothing is named", "list --why x": "--why is not for list",
		"resume a --why x": "--why is not for resume", "pause a --wait -1s": "negative", "rollback x": "unexpected argument", "pause --channel= a": "empty"} {
		if _, errs := fails(t, 2, append([]string{"campaigns", "--nats", url}, strings.Fields(args)...)...); !strings.Contains(errs, want) {
			t.Errorf("%s: %s", args, errs)
		}
	}
	if _, errs := fails(t, 2, "campaigns", "--nats", url, "pause", "wait", "--why", "wrong\nprice"); !strings.Contains(errs, "not printed") {
		t.Errorf("a reason of two lines: %s", errs)
	}
	if now, _, err := n.conn.Pauses(t.Context()); err != nil || now.Revision != 3 {
		t.Errorf("the record is %+v, %v", now, err)
	}

	// Somebody else pauses meanwhile: neither pause is lost.
	c := &campaigns{std: stdio{strings.NewReader(""), io.Discard, io.Discard}, conn: n.conn, by: "ada", wait: time.Minute}
	times := 0
	if err := c.changePauses(t.Context(), "paused", []string{"wait"}, func(d *deployed) (*pausing, error) {
		if times++; times == 1 {
			has(t, ctl("pause", "rows/a"), "paused in all 8 partitions")
		}
		p := &pausing{pauses: d.pauses}
		p.pause(&p.pauses.Campaigns, "", "wait", "ada")
		return p, nil
	}); err != nil || times != 2 {
		t.Errorf("%d times, %v", times, err)
	}
	if now, _, err := n.conn.Pauses(t.Context()); err != nil || now.Revision != 5 || strings.Join(now.Campaigns, " ") != "rows/a rows/b wait" || len(now.Reasons) != 4 {
		t.Errorf("the record is %+v, %v", now, err)
	}

	// A partition without a worker gets it later, and is named.
	if err := n.rest(); err != nil {
		t.Fatal(err)
	}
	_, errs := fails(t, 1, "campaigns", "pause", "bill", "--wait", "50ms", "--nats", url)
	has(t, errs, "it is stored, but after 50ms paused only in 0 of 8 partitions\n  partition 0-7: no worker owns it")
	has(t, ctl("history"), "not yet               pauses 6  ", "0 of 8      paused campaign bill\n")
	has(t, ctl("list"), "no owner answers for partitions 0-7\n")
}

const rolledSet = `# views of a user
policies: {consent: none, quiet_hours: none}
features:
  views: {on: View, agg: count, within: 7d}
campaigns:
  # whoever looks often
  often:
    on: View
    if: views >= 100   # often
    offer: {channel: web}
    limits: [{max: 1, within: 24h}]
  gone: {on: View, unless: {on: Order Completed, within: 1h}, offer: {channel: web}}
`

// TestCampaignsRollback: a rollback finds a feature as if it had never been gone, and
// goes back in turn. Files come back as they were written.
func TestCampaignsRollback(t *testing.T) {
	t.Parallel()
	n := startCampaigns(t, rolledSet)
	url, first := n.natsURL(), n.opt.set.Hash()
	ctl := func(args ...string) string {
		t.Helper()
		return offerctl(t, append([]string{"campaigns", "--nats", url}, args...)...)
	}
	viewed := 0
	view := func() {
		t.Helper()
		viewed++
		postEvent(t, "http://"+n.addr+"/v1/track", fmt.Sprintf(`{"userId":"ada","event":"View","messageId":"m%d"}`, viewed))
		if err := n.caughtUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	views := func(want string) {
		t.Helper()
		var u struct{ Features map[string]json.RawMessage }
		if err := json.Unmarshal([]byte(offerctl(t, "user", "ada", "--nats", url)), &u); err != nil || string(u.Features["views"]) != want {
			t.Errorf("views is %s, %v, want %s", u.Features["views"], err, want)
		}
	}
	view()
	view()
	views("2")

	// The files, of which nobody has stored any yet.
	has(t, ctl("show", "often"), "campaign often of set "+first+": advertising on web\nlimits: 1 within 1d\nstate: live\n\n{\n", `"views >= 100"`)
	var def campaign.Definition
	if err := json.Unmarshal([]byte(ctl("export")), &def); err != nil || def.Hash() != first {
		t.Errorf("exported: %v", err)
	}
	if err := n.conn.PutFiles(t.Context(), first, []broker.SetFile{{Path: "c.yaml", Text: rolledSet}}); err != nil {
		t.Fatal(err)
	}
	has(t, ctl("show", "often"), "\n\n# c.yaml\n# whoever looks often\noften:\n  on: View\n  if: views >= 100 # often\n")
	if out := ctl("export", "--set", first[:6]); out != rolledSet {
		t.Errorf("exported:\n%s", out)
	}
	if err := n.conn.PutFiles(t.Context(), first, []broker.SetFile{{Path: "c.yaml", Text: rolledSet}, {Path: "below/t.csv", Text: "id\n1\n"}}); err != nil {
		t.Fatal(err)
	}
	if _, errs := fails(t, 2, "campaigns", "export", "--nats", url); !strings.Contains(errs, "the set has 2 files: name a directory") {
		t.Error(errs)
	}
	dir := filepath.Join(t.TempDir(), "new")
	ctl("export", "--to", dir)
	b, err := os.ReadFile(filepath.Join(dir, "c.yaml"))
	if _, errs := fails(t, 1, "campaigns", "export", "--to", dir, "--nats", url); err != nil || string(b) != rolledSet || !strings.Contains(errs, "nothing was written, because there is already ") {
		t.Errorf("%s%v %s", b, err, errs)
	}
	put(t, filepath.Join(dir, "c.yaml"), "mine")
	ctl("export", "--to", dir, "--force")
	if b, err := os.ReadFile(filepath.Join(dir, "below/t.csv")); err != nil || string(b) != "id\n1\n" {
		t.Errorf("%s%v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "c.yaml")); err != nil || string(b) != rolledSet {
		t.Errorf("%s%v", b, err)
	}

	// Another set, in which nothing counts views.
	other := file(t, "o.yaml", "policies: {consent: none, quiet_hours: none}\ncampaigns: {other: {on: View, offer: {channel: web}}, often: {on: Order Completed, offer: {channel: web}}}\n")
	offerctl(t, "apply", other, "--yes", "--by", "ada", "--nats", url)
	second := hashOf(t, other)
	old, err := loadSet("", file(t, "old.yaml", "features: {carts: {on: Product Added, agg: count, within: 7d}}\ncampaigns: {old: {on: View, if: carts > 1, offer: {channel: web}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	third, err := n.conn.PutSet(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	view()
	live, rev, err := n.conn.Live(t.Context())
	if err != nil || live.Previous == nil {
		t.Fatalf("%+v, %v", live, err)
	}
	live.Previous.Cancelled = 812
	if err := n.conn.PutLive(t.Context(), live, rev); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"campaigns", "rollback", "--nats", url}, stdio{strings.NewReader("no\n"), &out, &errs}); code != 1 {
		t.Errorf("exit %d, %s", code, errs.String())
	}
	has(t, out.String(), "back from set "+second+", live since ", ", by ada\nto set "+first+", which became live at ", "+ feature views: as it was, because it was kept\n", "+ campaign gone\n", "- campaign other: ", "that change has cancelled 812 pending, which stay cancelled: --backfill brings them back\n", "Make this live? [y/N] nothing changed\n")
	text := ctl("rollback", "--yes", "--by", "eve")
	t.Log("\n" + text)
	has(t, text, "set "+first+" is live\nin force in all 8 partitions\n")
	views("3")
	view()
	views("4")
	now, rev, err := n.conn.Live(t.Context())
	if err != nil || now.Set != first || now.By != "eve" || now.Previous == nil || now.Previous.Set != second || now.Previous.At == "" || now.Revision <= live.Revision {
		t.Errorf("%+v, %v", now, err)
	}

	// What makes a rollback unsafe or impossible.
	put := func(change func(l *broker.Live)) {
		t.Helper()
		l := now
		change(&l)
		if err := n.conn.PutLive(t.Context(), l, rev); err != nil {
			t.Fatal(err)
		}
		if _, rev, err = n.conn.Live(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(want ...string) {
		t.Helper()
		out, errs := fails(t, 1, "campaigns", "rollback", "--yes", "--nats", url)
		has(t, out+errs, want...)
	}
	put(func(l *broker.Live) {
		l.Backfill = &broker.Backfill{Set: second, Features: []string{"f"}, Campaigns: []string{"other"}}
	})
	refused("a backfill runs: eve asked for set "+second, "offerctl apply --abort")
	has(t, ctl("list"), "a backfill of set "+second+" runs: ", " of 8 partitions have caught up; features f; campaigns other\n") // the workers are at it
	put(func(l *broker.Live) { l.Revision += 5; l.Backfill = &broker.Backfill{Set: first} })
	refused("a backfill is going in force: eve made set "+first+" live", "8 of 8 partitions have not switched yet")
	has(t, ctl("list"), "it becomes live by a backfill: 0 of 8 partitions have switched\n")
	put(func(l *broker.Live) { l.Previous = &broker.Previous{Set: third} })
	refused("1 feature of the set would start empty: carts: ", "--backfill, or use --force")
	put(func(l *broker.Live) { l.Previous = nil })
	refused("which set was live before is not known")
	put(func(l *broker.Live) {})
	has(t, ctl("rollback", "--yes", "--by", "eve"), "set "+second+" is live\nin force in all 8 partitions\n")

	defer func() { // with a backfill: what was cancelled comes from the logs
		has(t, ctl("rollback", "--backfill", "--detach", "--overdue", "6h", "--yes", "--by", "eve"), "what that change has cancelled comes from the log again", "the backfill of set "+first+" has begun\n", "offerctl apply --go")
		l, _, err := n.conn.Live(t.Context())
		if err != nil || l.Set != second || l.Asked() != first || strings.Join(l.Backfill.Campaigns, " ") != "gone often" || l.Backfill.Overdue != "6h" || l.Previous.Set != first {
			t.Errorf("%+v, %v", l, err)
		}
		matches(t, ctl("history"), "eve +8 of 8 +set "+short(second)+" stays: a backfill was asked for or ended$")
	}()
	text = ctl("history")
	t.Log("\n" + text)
	matches(t, text, "8 of 8 +set "+short(second)+"; campaigns 1 added, 1 changed, 1 gone; features 1 gone$", "eve +8 of 8 +set "+short(first)+"; campaigns 1 added, 1 changed, 1 gone; features 1 added$")
	var last changeMade
	lines := strings.Split(strings.TrimSpace(ctl("history", "--json")), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Set != second || last.Before != first || last.By != "eve" || len(last.Partitions) != 8 || last.Changes == nil || last.Changes.Campaigns.Added != 1 {
		t.Errorf("%+v, %v", last, err)
	}
	var l campaignList
	if err := json.Unmarshal([]byte(ctl("list", "--json")), &l); err != nil || l.Set != second || len(l.Campaigns) != 2 || len(l.Answered) != 8 || l.By != "eve" {
		t.Errorf("%+v, %v", l, err)
	}
}

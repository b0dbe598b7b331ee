package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

const storesSet = `
facts: {stores: {file: stores.csv, fields: {city: string, floors: number}%s}}
campaigns: {c: {on: View, offer: {channel: web, data: {city: "{{ facts.stores[event.properties.store].city }}"}}}}
`

// stores writes a set with a fact that has a table.
func stores(t *testing.T, more, table string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	put(t, filepath.Join(dir, "set.yaml"), fmt.Sprintf(storesSet, more))
	put(t, filepath.Join(dir, "stores.csv"), table)
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTableApplied: apply loads the rows of a table into every partition, again if
// only the table has changed, and so does a node that makes a set live.
func TestTableApplied(t *testing.T) {
	first, err := loadSet("", stores(t, "", "key,city,floors\n7,Seoul,3\n"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", partitions: 3, addr: "127.0.0.1:0", writeKey: "KEY", set: first, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	seen := 0
	offers := func(want ...string) { // of a view by each of some users, who are in all partitions
		t.Helper()
		for u := range 12 {
			body := fmt.Sprintf(`{"event":"View","userId":"u%d","messageId":"m%d","properties":{"store":7}}`, u, seen)
			seen++
			r, err := http.NewRequest("POST", "http://"+n.addr+"/v1/track", strings.NewReader(body))
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
		if err := n.caughtUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		for p := range n.conn.Partitions {
			if err := n.conn.ScanOffers(t.Context(), p, func(r broker.Record) error {
				var o pipeline.Offer
				err := json.Unmarshal(r.Data, &o)
				counts[string(o.Data)]++
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		got := []string{}
		for data, n := range counts {
			got = append(got, fmt.Sprint(n, data))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("offers %q, want %q", got, want)
		}
	}
	offers(`12{"city":"Seoul"}`)

	dir := stores(t, "", "key,city,floors\n7,Busan,\n8,Jeju,2\n")
	url := n.natsURL()
	if text, code := ran(t, "apply", dir, "--nats", url); code != 1 || !strings.HasSuffix(text, "is live already\nload fact stores: 2 rows\nLoad the tables? [y/N] nothing changed\n") {
		t.Errorf("without an answer: exit %d, %s", code, text)
	}
	offers(`24{"city":"Seoul"}`)
	for range 2 {
		if text, code := ran(t, "apply", dir, "--yes", "--nats", url); code != 0 || !strings.HasSuffix(text, "\nload fact stores: 2 rows\nin force in all 3 partitions\n2 rows loaded into all 3 partitions\n") {
			t.Errorf("a changed table: exit %d, %s", code, text)
		}
	}
	offers(`12{"city":"Busan"}`, `24{"city":"Seoul"}`)
	dir = stores(t, ", max_age: 30d", "key,city,floors\n7,Jeju,2\n")
	if text, code := ran(t, "apply", dir, "--yes", "--nats", url); code != 0 || !strings.Contains(text, "~ facts.stores.max_age  none -> 30d\n") || !strings.Contains(text, "\nload fact stores: 1 row\nset ") || !strings.HasSuffix(text, "\n1 row loaded into all 3 partitions\n") {
		t.Errorf("a changed set: exit %d, %s", code, text)
	}
	offers(`12{"city":"Busan"}`, `12{"city":"Jeju"}`, `24{"city":"Seoul"}`)

	for _, c := range []struct{ flag, value, want string }{{"--wait", "0", "--wait 0 is not possible"}, {"--clock", "event", "fact stores has `file` and `max_age`"}} {
		if text, code := ran(t, "apply", dir, "--yes", c.flag, c.value, "--nats", url); code != 2 || !strings.Contains(text, c.want) {
			t.Errorf("%s %s: exit %d, %s", c.flag, c.value, code, text)
		}
	}
	if v, err := audit.Verify(t.Context(), n.conn, nil); err != nil || !v.OK() || v.Stored != 48 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestTableReplayed: under clock: event, a demo yields with a table what a backtest
// yields.
func TestTableReplayed(t *testing.T) {
	dir, out := stores(t, "", "key,city,floors\n7,Seoul,3\n"), t.TempDir()
	events := file(t, "events.jsonl", view(0, `"store":6`)+view(1, `"store":7`)+strings.Replace(view(2, `"store":"7"`), "ada", "bob", 1))
	want, got := filepath.Join(out, "want.jsonl"), filepath.Join(out, "got.jsonl")
	text := offerctl(t, "backtest", "--campaigns", dir, "--events", events, "--out", want)
	if !strings.HasPrefix(text, "3 events, 2 users, 0 duplicates, 0 rejected\n1 row of facts' tables, given at the first event\n") {
		t.Errorf("backtest: %s", text)
	}
	sane(t, offerctl(t, "demo", "--campaigns", dir, "--events", events, "--json", "--out", got, "--addr", "127.0.0.1:0"))
	if a, b := sortedLines(t, got), sortedLines(t, want); len(b) != 2 || !slices.Equal(a, b) {
		t.Errorf("demo %q, backtest %q", a, b)
	}
	if text, code := ran(t, "check", dir); code != 0 || !strings.HasPrefix(text, "ok: 1 campaign, 0 features, 1 row of facts in 1 file, set ") {
		t.Errorf("check: exit %d, %s", code, text)
	}
}

// TestTablePacks: each row is an event that a worker reads as the fact, in messages
// of a bounded size, and a repetition has the same bytes.
func TestTablePacks(t *testing.T) {
	def := &campaign.Definition{Clock: campaign.ClockBroker, Facts: []campaign.Fact{{Name: "a"}, {Name: "b"}}}
	for i := range 2500 {
		def.Facts[0].Rows = append(def.Facts[0].Rows, campaign.Row{ID: fmt.Sprint(i), Values: []byte(`{"n":1}`)})
		long := fmt.Sprintf(`{"s":%q}`, strings.Repeat("x", i%1000))
		def.Facts[1].Rows = append(def.Facts[1].Rows, campaign.Row{ID: "é\"" + fmt.Sprint(i), Values: []byte(long)})
	}
	const now = "2026-01-02T03:04:05Z"
	packs := tablePacks(def, now)
	var keys []string
	var dec event.Decoder
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	for _, p := range packs {
		lines := bytes.Split(p, []byte("\n"))
		if len(p) > tableBytes || len(lines) > tableEvents {
			t.Errorf("a message of %d bytes with %d rows", len(p), len(lines))
		}
		for _, line := range lines {
			ev, err := dec.Admit(line, 0)
			if err != nil || ev.Type != event.Fact || !ev.HasID || ev.Timestamp != at || ev.ReceivedAt != at {
				t.Fatalf("%s: %+v, %v", line, ev, err)
			}
			keys = append(keys, ev.Key)
		}
	}
	if len(keys) != 5000 || keys[0] != "f:a:0" || keys[4999] != "f:b:é\"2499" || len(packs) < 5 {
		t.Errorf("%d rows in %d messages, from %q", len(keys), len(packs), keys[0])
	}
	if !slices.EqualFunc(packs, tablePacks(def, now), bytes.Equal) {
		t.Error("a repetition has other bytes")
	}
	shipped, err := loadOrShipped("", "")
	if err != nil || tableRows(shipped) != 0 {
		t.Errorf("the shipped set has tables, which its first start must load: %v", err)
	}
}

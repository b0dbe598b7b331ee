package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

// TestApplyBackfillWorker: with a worker, a feature that is new starts full after
// apply --backfill, and offers that are overdue go out or not as told. What was asked
// for and given up changes nothing.
func TestApplyBackfillWorker(t *testing.T) {
	t.Parallel()
	first, err := loadSet("", file(t, "set.yaml", changeHead+`campaigns: {one: {on: Other, offer: {channel: web}}}`))
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", partitions: 2, addr: "127.0.0.1:0", writeKey: "KEY", set: first, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	for u := range 6 {
		for i := range 3 {
			r, err := http.NewRequest("POST", "http://"+n.addr+"/v1/track", strings.NewReader(fmt.Sprintf(`{"event":"View","userId":"u%d","messageId":"m%d-%d"}`, u, u, i)))
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
	}
	if err := n.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	feature := func(name string) (all string) {
		t.Helper()
		for u := range 6 {
			var user struct {
				Features map[string]json.RawMessage `json:"features"`
			}
			if err := json.Unmarshal([]byte(offerctl(t, "user", fmt.Sprint("u", u), "--nats", n.natsURL())), &user); err != nil {
				t.Fatal(err)
			}
			all += " " + string(user.Features[name])
		}
		return all
	}
	after := file(t, "set.yaml", changeHead+`
features: {views: {on: View, agg: count, within: 1h}}
campaigns:
  one: {on: Other, offer: {channel: web}}
  away: {on: View, if: [views >= 3], unless: {on: Order, within: 1ms}, offer: {channel: push}}
`)
	args := []string{"apply", after, "--backfill", "--yes", "--nats", n.natsURL()}
	if out := offerctl(t, append(args, "--detach")...); !strings.Contains(out, "has begun\n") {
		t.Errorf("%s", out)
	}
	if out := offerctl(t, "apply", "--abort", "--nats", n.natsURL()); !strings.Contains(out, "is given up in all 2 partitions; set "+first.Hash()+" stays live\n") {
		t.Errorf("%s", out)
	}
	out := offerctl(t, append(args, "--overdue", "now")...)
	if !strings.Contains(out, "away push: 6") || !strings.HasSuffix(out, "set "+hashOf(t, after)+" is live, by backfill\nin force in all 2 partitions\n") {
		t.Errorf("%s", out)
	}
	if err := n.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := feature("views"); got != strings.Repeat(" 3", 6) {
		t.Errorf("views:%s", got)
	}
	sent := 0
	for p := range 2 {
		if err := n.conn.ScanOffers(t.Context(), p, func(broker.Record) error { sent++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if sent != 6 {
		t.Errorf("%d offers went out, want 6", sent)
	}

	// A feature that was applied empty is filled later.
	b, err := os.ReadFile(after)
	if err != nil {
		t.Fatal(err)
	}
	later := file(t, "set.yaml", strings.Replace(string(b), "features: {", "features: {seen: {on: View, agg: count, within: 2h}, ", 1))
	offerctl(t, "apply", later, "--yes", "--nats", n.natsURL())
	if got := feature("seen"); strings.Contains(got, "3") {
		t.Errorf("seen without a backfill:%s", got)
	}
	offerctl(t, "apply", later, "--yes", "--backfill", "--overdue", "drop", "--nats", n.natsURL())
	if err := n.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := feature("seen"); got != strings.Repeat(" 3", 6) {
		t.Errorf("seen:%s", got)
	}
	statusOf(t, n.natsURL(), "the record is carried out everywhere, and no second fold is left", func(s statusJSON) bool {
		for _, p := range s.Partitions {
			if p.Revision != 7 || p.Second != nil && !p.Second.Switched {
				return false
			}
		}
		return true
	})
	if v, err := audit.Verify(t.Context(), n.conn, nil); err != nil || !v.OK() || v.Stored != 6 {
		t.Errorf("%+v, %v", v, err)
	}
}

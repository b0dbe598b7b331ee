package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/value"
)

// TestBacktestLog: a backtest of the live log gives what is stored, line for line, and
// with other campaigns what these would have done. It compares both, and says from
// where it begins if the log has lost its beginning.
func TestBacktestLog(t *testing.T) {
	t.Parallel()
	n := startShop(t)
	url := n.natsURL()
	const users = 12
	for i := range 5 { // at the fourth bag: an offer
		for u := range users {
			postEvent(t, "http://"+n.addr+"/v1/track", fmt.Sprintf(`{"userId":"u%d","event":"Product Viewed","properties":{"product_id":"b%d","category":"bag","brand":"acme","price":120}}`, u, i))
		}
	}
	offerctl(t, "verify", "--settle", "1m", "--nats", url) // all offers are stored
	var stored []string
	for p := range n.conn.Partitions {
		err := n.conn.ScanOffers(t.Context(), p, func(r broker.Record) error {
			if r.Chain == "withheld" {
				return nil
			}
			stored = append(stored, string(r.Data))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "offers")
	given := func() (all []string) {
		t.Helper()
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			all = append(all, strings.TrimSpace(line))
		}
		return all
	}
	text := offerctl(t, "backtest", "--nats", url, "--out", out)
	all := given()
	if !slices.IsSortedFunc(all, func(a, b string) int { return cmp.Compare(timeIn(t, a), timeIn(t, b)) }) {
		t.Errorf("the offers are not in the order of their times:\n%s", strings.Join(all, "\n"))
	}
	got := slices.DeleteFunc(all, func(line string) bool { return strings.Contains(line, `"withheld":true`) })
	slices.Sort(got)
	slices.Sort(stored)
	if !slices.Equal(got, stored) || len(got) < users/2 {
		t.Errorf("%d offers\n%s\nstored are %d\n%s", len(got), strings.Join(got, "\n"), len(stored), strings.Join(stored, "\n"))
	}
	if want := fmt.Sprintf("%d events, %d users, 0 duplicates, 0 rejected", 5*users, users); !strings.Contains(text, want) || !strings.Contains(text, "category-fan") {
		t.Errorf("%s\nwant %s", text, want)
	}

	other := file(t, "other.yaml", "campaigns:\n  seen:\n    on: Product Viewed\n    limits: [{max: 1, within: 1h}]\n    offer: {channel: web}\n")
	offerctl(t, "backtest", "--nats", url, "--campaigns", other, "--out", out)
	if got := given(); len(got) != users || !strings.Contains(got[0], `"campaign":"seen"`) {
		t.Errorf("with other campaigns:\n%s", strings.Join(got, "\n"))
	}
	asks := file(t, "asks.yaml", "items: {product: {key: product_id}}\nfeatures:\n  views: {per: product, on: Product Viewed, agg: count}\ncampaigns:\n  seen:\n    on: Product Viewed\n    if: views >= 1\n    offer: {channel: web}\n")
	if text := offerctl(t, "backtest", "--nats", url, "--campaigns", asks); !strings.Contains(text, "what these campaigns alone ask of items, budgets or pools stays pending") {
		t.Errorf("with campaigns that ask items:\n%s", text)
	}
	if text := offerctl(t, "backtest", "--nats", url, "--compare", other); !strings.Contains(text, "With "+other+" instead of those that were live") {
		t.Errorf("compared:\n%s", text)
	}
	var object struct{ Events, Users uint64 }
	if err := json.Unmarshal([]byte(offerctl(t, "backtest", "--nats", url, "--json")), &object); err != nil || object.Events != 5*users || object.Users != users {
		t.Errorf("%+v, %v", object, err)
	}
	if text, code := ran(t, "backtest", "--nats", url, "--events", "x"); code != 2 || !strings.Contains(text, "--events and --nats") {
		t.Errorf("exit %d: %s", code, text)
	}

	log, err := n.conn.JS.Stream(t.Context(), n.conn.Names.EventsStream(0))
	if err == nil {
		err = log.Purge(t.Context(), jetstream.WithPurgeSequence(2))
	}
	if err != nil {
		t.Fatal(err)
	}
	if text, code := ran(t, "backtest", "--nats", url); code != 1 || !strings.Contains(text, "partition 0: the log begins at message 2") {
		t.Errorf("without its beginning, exit %d: %s", code, text)
	}
}

func timeIn(t *testing.T, offer string) int64 {
	t.Helper()
	var o pipeline.Offer
	if err := json.Unmarshal([]byte(offer), &o); err != nil {
		t.Fatal(err)
	}
	at, err := value.ParseTime(o.Time)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

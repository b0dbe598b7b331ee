package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/audit"
)

// startShop starts a node with the campaigns of a web shop.
func startShop(t *testing.T) *node {
	t.Helper()
	set, err := loadSet("", "../../deploy/campaigns")
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", addr: "127.0.0.1:0", writeKey: "KEY", set: set, log: slog.New(slog.DiscardHandler)})
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

// fails runs a command that must fail, and returns its output.
func fails(t *testing.T, want int, args ...string) (out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	if code := run(t.Context(), args, stdio{strings.NewReader(""), &o, &e}); code != want {
		t.Fatalf("offerctl %s: exit %d, want %d\n%s%s", strings.Join(args, " "), code, want, o.String(), e.String())
	}
	return o.String(), e.String()
}

// TestVerifyCommand verifies while a worker runs, and after an offer was
// deleted.
func TestVerifyCommand(t *testing.T) {
	t.Parallel()
	n := startShop(t)
	const users = 20
	for u := range users {
		for i := range 4 { // four bags: an offer
			postEvent(t, "http://"+n.addr+"/v1/track", fmt.Sprintf(`{"userId":"u%d","event":"Product Viewed","properties":{"product_id":"b%d","category":"bag","brand":"acme","price":120}}`, u, i))
		}
	}
	verdict := func(out string) (v audit.Verdict) {
		t.Helper()
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return v
	}
	url := n.natsURL()
	v := verdict(offerctl(t, "verify", "--json", "--settle", "1m", "--nats", url))
	if v.Applied != 4*users || v.Offers < users || v.Stored != v.Offers || len(v.Partitions) != n.conn.Partitions || v.Wrong() != 0 {
		t.Errorf("%+v", v)
	}
	if out := offerctl(t, "verify", "--nats", url); !strings.Contains(out, "No differences") || len(strings.Split(out, "\n")) != n.conn.Partitions+5 {
		t.Errorf("%s", out)
	}

	offers, err := n.conn.JS.Stream(t.Context(), n.conn.Names.OffersStream())
	if err != nil {
		t.Fatal(err)
	}
	chains := map[string]int{} // 20 users in 8 partitions: some chain has two offers after its first
	for seq := uint64(1); ; seq++ {
		m, err := offers.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if chains[m.Subject]++; chains[m.Subject] == 2 && strings.HasPrefix(m.Subject, "offers.web.") {
			last, err := offers.GetLastMsgForSubject(t.Context(), m.Subject)
			if err != nil {
				t.Fatal(err)
			}
			if last.Sequence == seq {
				continue
			}
			if err := offers.DeleteMsg(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
			gone(t, n, m, verdict)
			return
		}
	}
}

func gone(t *testing.T, n *node, m *jetstream.RawStreamMsg, verdict func(string) audit.Verdict) {
	url := n.natsURL()
	out, _ := fails(t, 1, "verify", "--json", "--nats", url)
	v := verdict(out)
	if v.Missing != 1 || v.Wrong() != 1 || len(v.Examples) != 1 {
		t.Fatalf("%+v", v)
	}
	e := v.Examples[0]
	if e.What != "missing" || e.ID != m.Header.Get("ce-id") || fmt.Sprintf("%s.%d", e.Chain, e.Partition) != m.Subject || e.N != 2 || fmt.Sprint(e.S) != m.Header.Get("Offerstream-S") {
		t.Errorf("%+v, deleted was %s %v", e, m.Subject, m.Header)
	}
	out, _ = fails(t, 1, "verify", "--nats", url)
	if !strings.Contains(out, "1 offers are wrong: 1 missing") || !strings.Contains(out, e.ID) {
		t.Errorf("%s", out)
	}
	out, _ = fails(t, 1, "verify", "--json", "--partition", fmt.Sprint(e.Partition), "--partition", fmt.Sprint(e.Partition), "--nats", url)
	if v := verdict(out); v.Missing != 1 || len(v.Partitions) != 1 || v.Partitions[0].Partition != e.Partition {
		t.Errorf("that partition alone: %+v", v)
	}
	if v := verdict(offerctl(t, "verify", "--json", "--partition", fmt.Sprint((e.Partition+1)%n.conn.Partitions), "--nats", url)); v.Wrong() != 0 {
		t.Errorf("another partition alone: %+v", v)
	}
	if _, errs := fails(t, 2, "verify", "--partition", "99", "--nats", url); !strings.Contains(errs, "partitions 0 to 7") {
		t.Errorf("%s", errs)
	}
	if _, errs := fails(t, 1, "verify", "--prefix", "other", "--nats", url); !strings.Contains(errs, "there is no deployment") {
		t.Errorf("%s", errs)
	}
}

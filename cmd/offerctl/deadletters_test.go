package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// TestDeadLetters lists the dead letters of gateway and worker, and sends them
// again.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	n := startShop(t)
	url, api := n.natsURL(), "http://"+n.addr
	if out := offerctl(t, "deadletters", "list", "--nats", url); out != "no dead letters\n" {
		t.Errorf("%q", out)
	}
	postEvent(t, api+"/v1/batch", `{"batch":[{"type":"page","userId":"ada"},{"type":"page","messageId":"m-2"},{"type":"nonsense","userId":"bob"}]}`)
	for _, data := range []string{"\x1b[31mred", `{"type":"track","userId":7,"messageId":"m-3"}`} {
		if _, err := n.conn.JS.PublishMsg(t.Context(), &nats.Msg{Subject: n.conn.Names.EventsSubject(3, "in"), Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	log, err := n.conn.OpenGatewayLog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good := `{"type":"track","event":"Product Viewed","userId":"eve","messageId":"m-4"}` // as if a gateway had refused it by mistake
	again := `{"type":"track","event":"Product Viewed","userId":"eve","messageId":"m-5"}`
	if err := log.DeadLetters(t.Context(), "x", []pipeline.Dead{{Reason: "type", Detail: "none", Raw: []byte(again)}, {Reason: "json", Detail: "50% wrong", Raw: []byte(good)}}); err != nil {
		t.Fatal(err)
	}
	old := `{"type":"track","event":"Product Viewed","userId":"eve","messageId":"m-6"}` // as gateways stored it before they packed letters
	if _, err := n.conn.JS.PublishMsg(t.Context(), &nats.Msg{Subject: n.conn.Names.DeadGateway(), Header: nats.Header{"Offerstream-Reason": {"old"}, "Offerstream-Detail": {"it%20is%20old"}}, Data: []byte(old)}); err != nil {
		t.Fatal(err)
	}
	if err := n.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}

	list := func(args ...string) (all []shownLetter) {
		t.Helper()
		dec := json.NewDecoder(strings.NewReader(offerctl(t, append([]string{"deadletters", "list", "--json", "--nats", url}, args...)...)))
		for dec.More() {
			var l shownLetter
			if err := dec.Decode(&l); err != nil {
				t.Fatal(err)
			}
			all = append(all, l)
		}
		return all
	}
	var goodID string
	got := map[string]shownLetter{}
	for _, l := range list("--raw") {
		if l.Raw == good {
			goodID = l.ID
		}
		got[l.Reason+" "+l.User+" "+l.MessageID] = l
	}
	if len(got) != 7 {
		t.Fatalf("%+v", got)
	}
	for key, id := range map[string]string{"identity  m-2": "gateway/", "type bob ": "gateway/", "json  ": "3/1", "name 7 m-3": "3/2", "json eve m-4": "gateway/", "type eve m-5": "gateway/", "old eve m-6": "gateway/"} {
		l, ok := got[key]
		if !ok || !strings.HasPrefix(l.ID, id) || l.Detail == "" || l.Bytes != len(l.Raw) || (id == "3/1" || id == "3/2") != (l.Message > 0 && l.Logged != "") {
			t.Errorf("%s: %+v", key, l)
		}
		if at, err := time.Parse(time.RFC3339Nano, l.Stored); err != nil || time.Since(at) > time.Hour {
			t.Errorf("stored at %s: %v", l.Stored, err)
		}
	}
	if d := got["json eve m-4"].Detail; d != "50% wrong" {
		t.Errorf("detail %q", d)
	}
	for args, want := range map[string]int{"--partition 3": 2, "--partition 0": 0, "--gateway": 5, "--since 1h": 7, "--since 2100-01-01T00:00:00Z": 0, "--limit 2": 2, "--limit 3": 3, "--limit 0": 7, "--limit 1 --partition 3": 1} {
		if all := list(strings.Fields(args)...); len(all) != want {
			t.Errorf("%s: %d letters, want %d", args, len(all), want)
		}
	}
	if l := list("--limit", "1", "--partition", "3"); l[0].ID != "3/2" {
		t.Errorf("the newest is %+v", l)
	}
	out := offerctl(t, "deadletters", "list", "--limit", "7", "--nats", url)
	if strings.Contains(out, "\x1b") || !strings.Contains(out, "user eve") || !strings.Contains(out, "50% wrong") || !strings.Contains(out, "the newest 7") {
		t.Errorf("%q", out)
	}

	accepted := func() uint64 { return n.counter("offerstream_gateway_events_accepted_total") }
	before := accepted()
	replay := func(args ...string) []string {
		return append([]string{"deadletters", "replay", "--nats", url, "--to", api, "--write-key", "KEY"}, args...)
	}
	if out := offerctl(t, replay("--id", goodID, "--dry-run")...); !strings.Contains(out, "1 would be sent") || accepted() != before {
		t.Errorf("%s", out)
	}
	if out := offerctl(t, replay("--id", goodID)...); !strings.Contains(out, goodID+"  sent") || !strings.Contains(out, "1 sent, 0 not sent") || accepted() != before+1 {
		t.Errorf("%s", out)
	}
	if seq, part, packed := strings.Cut(goodID, "."); !packed || part != "2" || got["type eve m-5"].ID != seq+".1" || strings.Contains(got["old eve m-6"].ID, ".") {
		t.Errorf("the ids are %s, %s, %s", goodID, got["type eve m-5"].ID, got["old eve m-6"].ID)
	}
	if out := offerctl(t, replay("--id", got["old eve m-6"].ID, "--id", got["type eve m-5"].ID)...); !strings.Contains(out, "2 sent, 0 not sent") || accepted() != before+3 {
		t.Errorf("%s", out)
	}
	out, _ = fails(t, 1, replay("--all")...)
	if !strings.Contains(out, "3 sent, 4 not sent") || !strings.Contains(out, "3/2  not sent: name: ") || accepted() != before+6 {
		t.Errorf("%s", out)
	}
	if all := list(); len(all) != 7 {
		t.Errorf("%d letters afterwards, want 7", len(all))
	}
	out, _ = fails(t, 1, replay("--id", "3/99", "--id", "3/1")...)
	if !strings.Contains(out, "3/99  not found") || !strings.Contains(out, "3/1  not sent") {
		t.Errorf("%s", out)
	}
	if _, errs := fails(t, 1, replay("--id", goodID, "--write-key", "wrong")...); !strings.Contains(errs, "401") {
		t.Errorf("%s", errs)
	}
	if err := n.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out := offerctl(t, "user", "eve", "--nats", url); !strings.Contains(out, "Product Viewed") && !strings.Contains(out, "features") {
		t.Errorf("%s", out)
	}
	offerctl(t, "verify", "--nats", url)
	for _, args := range [][]string{{"deadletters"}, {"deadletters", "drop"}, {"deadletters", "list", "--all"}, {"deadletters", "list", "--gateway", "--partition", "1"}, {"deadletters", "list", "--partition", "99", "--nats", url},
		{"deadletters", "list", "--since", "yesterday"}, {"deadletters", "list", "--limit", "-1"}, replay(), replay("--all", "--id", "1/1"), replay("--id", "one"), replay("--id", "1/1", "--gateway"), replay("--id", "1/1.1"), replay("--id", "gateway/1.0"), {"deadletters", "replay", "--all"}} {
		fails(t, 2, args...)
	}
}

// TestDeadLetterOfItem: a dead letter of an event about an item names the item, and no
// user.
func TestDeadLetterOfItem(t *testing.T) {
	t.Parallel()
	letter := broker.DeadLetter{Source: "gateway", Number: 1, Reason: "name", Detail: "x", Raw: []byte(`{"type":"item","kind":"product","id":7,"userId":"ann","messageId":"m"}`)}
	for asJSON, want := range map[bool]string{false: "messageId m  item product/7\n", true: `"message_id":"m","item":"product/7","raw":`} {
		var out strings.Builder
		d := letters{std: stdio{out: &out}, asJSON: asJSON}
		if err := d.show(&letter); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%v, shown as %s", err, out.String())
		}
	}
}

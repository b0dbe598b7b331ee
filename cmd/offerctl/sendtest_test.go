package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

// TestSendTest sends a test offer through a running deployment: a sender gets it on
// its subject in the form of a real one, and nothing else has changed: neither the
// stream of offers, nor what is known of the user, nor any count.
func TestSendTest(t *testing.T) {
	def, err := config.LoadCampaigns(writeFile(t, "c.yaml", `version: 1
policies: {consent: {push: none}, quiet_hours: none}
features: {views: {on: Product Viewed, agg: count}}
campaigns:
  view:
    on: Product Viewed
    offer: {channel: web, kind: service, expires: 1h, data: {views: "{{ views }}", of: "{{ event.properties.product_id }}"}}
    limits: [{max: 1, within: 24h}]
  left:
    on: Product Added
    unless: {on: Order Completed, match: product_id, within: 1h}
    offer: {channel: push, data: {product: "{{ event.properties.product_id }}"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", addr: "127.0.0.1:0", writeKey: "KEY", set: def, log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	receive := func(sub *nats.Subscription) *nats.Msg {
		t.Helper()
		m, err := sub.NextMsg(time.Minute)
		if err != nil {
			t.Fatalf("nothing came on %s: %v", sub.Subject, err)
		}
		return m
	}
	var subs [2]*nats.Subscription
	for i, subject := range []string{"offers.>", "offers-test.>"} {
		if subs[i], err = n.conn.NC.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
	}
	offers, tests := subs[0], subs[1]
	postEvent(t, "http://"+n.addr+"/v1/track", `{"messageId":"v1","userId":"ada","event":"Product Viewed","properties":{"product_id":"b1"}}`)
	postEvent(t, "http://"+n.addr+"/v1/track", `{"messageId":"a1","userId":"ada","event":"Product Added","properties":{"product_id":"b2"}}`)
	real := receive(offers)
	if err := n.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	url := n.natsURL()
	known := func() string {
		v, err := audit.Verify(t.Context(), n.conn, nil)
		if err != nil || !v.OK() || v.Stored != 1 {
			t.Errorf("%+v, %v", v, err)
		}
		st, err := n.conn.JS.Stream(t.Context(), n.conn.Names.OffersStream())
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(offerctl(t, "user", "ada", "--nats", url), v.Applied, st.CachedInfo().State.LastSeq, n.counter("offerstream_worker_evaluations_total"), n.counter("offerstream_gateway_events_accepted_total"))
	}
	before := known()

	out := offerctl(t, "send-test", "view", "--user", "ada", "--event", `{"messageId":"v1","properties":{"product_id":"b1"}}`, "--nats", url)
	m := receive(tests)
	if m.Subject != "offers-test.web" || m.Header.Get("ce-test") != "true" {
		t.Errorf("%s %q", m.Subject, m.Header)
	}
	ours := func(m *nats.Msg) (names []string) {
		for name := range maps.Keys(m.Header) {
			if strings.HasPrefix(name, "ce-") && name != "ce-test" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	if a, b := ours(m), ours(real); !slices.Equal(a, b) || m.Header.Get("ce-type") != real.Header.Get("ce-type") || len(m.Header) != len(a)+1 {
		t.Errorf("a test offer has the headers %q, a real one %q", m.Header, real.Header)
	}
	var sent, went pipeline.Offer
	if err := errors.Join(json.Unmarshal(m.Data, &sent), json.Unmarshal(real.Data, &went)); err != nil {
		t.Fatal(err)
	}
	if sent.ID == went.ID || !sent.Test || went.Test {
		t.Errorf("the test offer %+v, the real one %+v", sent, went)
	}
	var user pipeline.User
	if err := json.Unmarshal([]byte(offerctl(t, "user", "ada", "--nats", url)), &user); err != nil {
		t.Fatal(err)
	}
	if !parsed(t, sent.Time).After(parsed(t, user.Now)) {
		t.Errorf("the test offer is of %s, log time is %s: it would have expired where little happens", sent.Time, user.Now)
	}
	went.ID, went.Time, went.Expires, went.Test = sent.ID, sent.Time, sent.Expires, true
	if want, err := went.AppendJSON(nil); err != nil || !bytes.Equal(m.Data, want) {
		t.Errorf("the test offer is\n%s\nwant\n%s", m.Data, want)
	}
	for _, want := range []string{"offers-test.web\n", "ce-test: true\n", "\n" + string(m.Data) + "\n", "Rendered with the event given (track Product Viewed).", "limits: the campaign has sent the user as many as it may"} {
		if !strings.Contains(out, want) {
			t.Errorf("send-test prints\n%s\nwithout %s", out, want)
		}
	}

	offerctl(t, "send-test", "left", "--user", "ada", "--nats", url)
	if m = receive(tests); m.Subject != "offers-test.push" || !bytes.Contains(m.Data, []byte(`"event":"a1","key":"b2"`)) || !bytes.Contains(m.Data, []byte(`"data":{"product":"b2"}`)) {
		t.Errorf("%s %s", m.Subject, m.Data)
	}
	if out = offerctl(t, "send-test", "view", "--user", "a-1", "--anonymous", "--event", `{"properties":{"product_id":"x"}}`, "--nats", url); !strings.Contains(out, `"user":"a-1","anonymous":true`) || !strings.Contains(out, "Nothing is known about the anonymousId a-1") {
		t.Error(out)
	}
	if m = receive(tests); !bytes.Contains(m.Data, []byte(`"data":{"of":"x","views":0}`)) {
		t.Errorf("%s %s", m.Subject, m.Data)
	}
	for want, args := range map[string][]string{
		"no campaign vew: did you mean view?":                                   {"vew", "--user", "ada"},
		`pass --event '{"properties":{"product_id":"..."}}'`:                    {"view", "--user", "ada"},
		"no user given: say for whom with --user U":                             {"view"},
		"0 campaigns given: name exactly one":                                   {"--user", "ada"},
		"--event is not JSON":                                                   {"view", "--user", "ada", "--event", "{product_id: 1}"},
		"--event: it is an event of user bob: leave userId and anonymousId out": {"view", "--user", "ada", "--event", `{"userId":"bob"}`},
	} {
		var errs bytes.Buffer
		if code := run(t.Context(), append([]string{"send-test", "--nats", url}, args...), stdio{strings.NewReader(""), io.Discard, &errs}); code == 0 || !strings.Contains(errs.String(), want) {
			t.Errorf("%q: exit %d, %s, want %s", args, code, errs.String(), want)
		}
	}
	bad := broker.Query{Key: "u", Render: &pipeline.RenderQuery{Campaign: "view"}} // no key of a user: must not end the worker
	if _, err := askOwner(t.Context(), n.conn, bad); err == nil || !strings.Contains(err.Error(), "panicked in the worker") {
		t.Error(err)
	}
	if after := known(); after != before {
		t.Errorf("a test offer has changed what is known:\n%s\nbefore\n%s", after, before)
	}
}

func parsed(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

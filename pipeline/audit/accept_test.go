package audit

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// accepting returns options with which a test accepts a loss in partition 0.
func accepting(t *testing.T, url string) AcceptOptions {
	return AcceptOptions{Why: "a test", Dir: t.TempDir(), Log: quiet(), Lost: func(Example) {}, Connect: connecting(url)}
}

// TestAcceptRefuses: an acceptance whose numbers could have been given out before
// is refused, with a way out, and changes nothing.
func TestAcceptRefuses(t *testing.T) {
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 1)
	refused := func(opt AcceptOptions, want ...string) {
		t.Helper()
		_, err := Accept(within(t), c, opt)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("error %v, want %q", err, w)
			}
		}
		if seq, _, err := c.LastAccept(within(t), 0); err != nil || seq != 0 {
			t.Errorf("an acceptance is in the log, as message %d, %v", seq, err)
		}
	}
	for off, want := range map[time.Duration]string{2 * time.Hour: " ahead of the clock of NATS", -2 * time.Hour: " behind the clock of NATS"} {
		opt := accepting(t, ns.ClientURL())
		opt.Now = func() int64 { return time.Now().Add(off).UnixNano() }
		refused(opt, want, "let NTP set both clocks and start this command again")
	}
	m := &nats.Msg{Subject: "offers.web.0", Header: nats.Header{"Offerstream-N": {"18446744073709551615"}, "Offerstream-S": {"1"}, "Offerstream-K": {"0"}, "Offerstream-T": {"5"}}}
	if _, err := c.JS.PublishMsg(within(t), m); err != nil {
		t.Fatal(err)
	}
	refused(accepting(t, ns.ClientURL()), "chain offers.web.0 ends with record 18446744073709551615", "delete message 1 from stream OFFERS")
	later := pipeline.Position{S: 1, G: time.Now().Add(time.Hour).UnixNano()}
	if _, err := c.PublishMails(within(t), 0, []pipeline.Effect{{Chain: pipeline.MailChain(0), Pos: later, Mail: []byte("mark")}}, 0); err != nil {
		t.Fatal(err)
	}
	refused(accepting(t, ns.ClientURL()), "it has been set back", "wait until it is past that")
}

// TestAcceptUnfinished: if an acceptance was interrupted after it was recorded and
// is not started again, a worker that can read the whole log publishes its marks,
// and goes on after them.
func TestAcceptUnfinished(t *testing.T) {
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, views(t, 1))
	dir := t.TempDir()
	w := start(t, ns.ClientURL(), dir)
	w.inForce(t, hash)
	publish(t, c, []scripted{{0, view(1, "ada")}, {0, view(2, "ada")}})
	w.applied(t, c)
	w.stop(t)
	after := pipeline.AfterAll(time.Now().UnixNano())
	if _, err := c.AppendAccept(within(t), 0, 0, pipeline.Acceptance{Chains: map[string]uint64{"offers.web": 2}, After: after, Why: "a test"}); err != nil {
		t.Fatal(err)
	}
	w = start(t, ns.ClientURL(), dir)
	publish(t, c, []scripted{{0, view(3, "ada")}})
	w.applied(t, c)
	var got []uint64
	if err := c.ScanOffers(within(t), 0, func(r broker.Record) error { got = append(got, r.Pos.N); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 4 || got[2] != after+1 || got[3] != after+2 {
		t.Errorf("the chain has the numbers %d, want 1, 2, the mark %d and %d", got, after+1, after+2)
	}
	verified(t, c)
}

// TestAcceptGrants: after a log is lost as a whole, what its budgets and pools had
// granted counts again, as the stored offers name it.
func TestAcceptGrants(t *testing.T) {
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 1)
	def := views(t, 1)
	def.Campaigns[0].Budget = &campaign.Budget{Offers: 3}
	def.Campaigns[0].Offer.Coupon = &campaign.Coupon{Pool: "spring"}
	def.Campaigns[0].Offer.Data = []byte(`{"code":"{{ coupon.code }}"}`)
	hash := apply(t, c, def)
	dir := t.TempDir()
	w := start(t, ns.ClientURL(), dir)
	w.inForce(t, hash)
	codes := scripted{0, event.AppendCodes(nil, "spring", []string{"A", "B", "C", "D"}, `"messageId":"codes"`)}
	out := func() (all []string) { // users and their codes
		err := c.ScanOffers(within(t), 0, func(r broker.Record) error {
			if broker.IsMarkID(r.ID) {
				return nil
			}
			var o pipeline.Offer
			err := json.Unmarshal(r.Data, &o)
			all = append(all, o.User+" "+o.Coupon.Code)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	reach := func(want int, users ...string) {
		t.Helper()
		for i, user := range users {
			publish(t, c, []scripted{{0, view(want+i, user)}})
		}
		await(t, "all offers", func() bool { return len(out()) >= want })
	}
	publish(t, c, []scripted{codes})
	reach(2, "ada", "bob")
	w.stop(t)
	if err := c.JS.DeleteStream(within(t), c.Names.EventsStream(0)); err != nil {
		t.Fatal(err)
	}
	c = connect(t, ns.ClientURL(), 1)
	publish(t, c, []scripted{{0, view(1, "cyd")}})
	done, err := Accept(within(t), c, accepting(t, ns.ClientURL()))
	if want := map[string]int{"c:again": 2, "p:spring": 2}; err != nil || !maps.Equal(done.Recounted, want) || done.Unread > 0 {
		t.Fatalf("%v are counted again, %d are not known, want %v: %v", done.Recounted, done.Unread, want, err)
	}
	w = start(t, ns.ClientURL(), dir)
	w.inForce(t, hash)
	publish(t, c, []scripted{codes})
	reach(3, "dan")
	w.applied(t, c)
	_, before, err := c.Extent(within(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, c, []scripted{{0, view(1, "eve")}})
	await(t, "a refusal", func() bool { return w.Status()[0].Seq >= before+3 }) // the event, what it asks, and the answer
	w.applied(t, c)
	verified(t, c)
	if got, want := strings.Join(out(), ", "), "ada A, bob B, dan C"; got != want {
		t.Errorf("offers %q, want %s", got, want)
	}
	if done, err = Accept(within(t), c, accepting(t, ns.ClientURL())); err == nil || done.Seq > 0 {
		t.Errorf("it is accepted while a worker lives: %+v", done)
	}
	w.stop(t)
	await(t, "the lease's end", func() bool { leases, err := c.Leases(within(t)); return err == nil && len(leases) == 0 })
	if done, err = Accept(within(t), c, accepting(t, ns.ClientURL())); err != nil || len(done.Recounted) > 0 {
		t.Errorf("%v are counted again although the log has all: %v", done.Recounted, err)
	}
}

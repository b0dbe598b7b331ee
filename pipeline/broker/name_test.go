package broker

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline"
)

func TestNames(t *testing.T) {
	for _, c := range []struct{ prefix, stream, bucket, in, offer, withheld, dead, gateway, query string }{
		{"", "EVENTS-3", "CAMPAIGNS", "events.3.in", "offers.sms.3", "withheld.3", "dead.3", "dead.gateway", "query.3"},
		{"x", "X-EVENTS-3", "X-CAMPAIGNS", "x.events.3.in", "x.offers.sms.3", "x.withheld.3", "x.dead.3", "x.dead.gateway", "x.query.3"},
	} {
		n := Names{c.prefix}
		for _, p := range [][2]string{
			{n.EventsStream(3), c.stream}, {n.CampaignsBucket(), c.bucket}, {n.EventsSubject(3, "in"), c.in},
			{n.OfferSubject("sms", 3), c.offer}, {n.ChainSubject("offers.sms", 3), c.offer}, {n.ChainSubject("withheld", 3), c.withheld},
			{n.DeadSubject(3), c.dead}, {n.ChainSubject("dead", 3), c.dead}, {n.DeadGateway(), c.gateway}, {n.QuerySubject(3), c.query},
			{n.ChainStream("dead"), n.DeadStream()}, {n.ChainStream("offers.sms"), n.OffersStream()},
			{n.WithheldSubject(3), c.withheld}, {n.ChainStream("withheld"), n.OffersStream()},
			{n.PageSubject(3), strings.Replace(c.withheld, "withheld", "page", 1)}, {n.ChainStream("page"), n.OffersStream()}, {n.chainOf(n.PageSubject(3)), "page"},
			{n.ChainSubject("events.5.from", 3), strings.Replace(c.in, "3.in", "5.from.3", 1)}, {n.ChainStream("events.5.from"), n.EventsStream(5)},
			{n.chainOf(c.offer), "offers.sms"}, {n.chainOf(c.withheld), "withheld"}, {n.chainOf(c.dead), "dead"},
		} {
			if p[0] != p[1] {
				t.Errorf("prefix %q: got %s, want %s", c.prefix, p[0], p[1])
			}
		}
		for got, want := range map[string]string{
			n.GroupBucket(): "GROUP", n.groupStream(): "KV_GROUP", n.leaseSubject("a"): "$KV.GROUP.member.a",
			n.SnapshotsBucket(): "SNAPSHOTS", n.snapshotsStream(): "OBJ_SNAPSHOTS", n.snapshotSubject("*"): "$O.SNAPSHOTS.M.*", n.pieceSubject("3.1.x"): "$O.SNAPSHOTS.C.3.1.x", n.StatusSubject(): "query.status", n.GatewaysSubject(): "query.gateways",
			n.CouponsSubject(3): "query.coupons.3", n.ListenSubject(): "query.listen", n.NoticesSubject("a1"): "query.listen.a1",
		} {
			if c.prefix == "x" {
				want = strings.NewReplacer("GROUP", "X-GROUP", "SNAPSHOTS", "X-SNAPSHOTS", "query", "x.query").Replace(want)
			}
			if got != want {
				t.Errorf("prefix %q: got %s, want %s", c.prefix, got, want)
			}
		}
		if !slices.Contains(n.EventsSubjects(3), c.in) {
			t.Errorf("prefix %q: %v has not %s", c.prefix, n.EventsSubjects(3), c.in)
		}
	}
}

func TestKinds(t *testing.T) {
	c := &Conn{Partitions: 8}
	for subject, want := range map[string]pipeline.Message{
		"events.3.in": {Kind: pipeline.In}, "x.events.3.accept": {Kind: pipeline.Accept},
		"events.3.from.0": {Kind: pipeline.From}, "x.events.3.from.7": {Kind: pipeline.From, From: 7},
		"events.3.from.8": {}, "events.3.from.-1": {}, "events.3.from.01": {}, "events.3.from.x": {}, "events.3.7": {}, "7": {}, "": {},
	} {
		if kind, from := c.kindOf(subject); kind != want.Kind || from != want.From {
			t.Errorf("%s is of kind %d, from %d", subject, kind, from)
		}
	}
}

func TestPrefix(t *testing.T) {
	for _, good := range []string{"", "x", "shop-2", "a_b"} {
		if err := (Names{good}).check(); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"X", "x.y", "*", ">", "ä", "x y", "-x", "2x", "offers", "offers-test", "$JS", "a123456789012345678901234567890123"} {
		var no *Refusal
		if err := (Names{bad}).check(); !errors.As(err, &no) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

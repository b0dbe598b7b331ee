package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// meetingSet has campaigns that read only their user, each on a channel of its own, and
// others whose users meet at items, budgets and a pool. ownCampaigns are the former.
const meetingSet = `
zone: Europe/Vienna
items:
  product: {key: product_id}
features:
  views:    {on: Product Viewed, by: product_id, agg: count, within: 30m}
  looking:  {on: Product Viewed, agg: dwell, within: 30m}
  viewers:  {per: product, on: Product Viewed, agg: distinct, of: event.user, within: 1h}
  partners: {per: product, on: Order Completed, agg: together, half_life: 30d}
  prices:   {per: product, on: Price Changed, agg: last, of: event.properties.price}
  watchers: {per: product, on: Watched, agg: users, remove_on: [Order Completed]}
policies:
  consent: none
  quiet_hours: none
campaigns:
  fan:
    on: Product Viewed
    if: ["views[event.properties.product_id] >= 3"]
    limits: [{max: 2, within: 1h}]
    offer: {channel: web, data: {n: "{{ views[event.properties.product_id] }}"}}
  stays:
    on: Product Viewed
    if: ['looking >= duration("90s")']
    offer: {channel: desk, data: {product: "{{ event.properties.product_id }}"}}
  left:
    on: Product Added
    unless: {on: Order Completed, match: product_id, within: 40m}
    offer: {channel: push, data: {product: "{{ event.properties.product_id }}"}}
  busy:
    on: Product Viewed
    if: viewers >= 3
    offer: {channel: app, kind: service, data: {n: "{{ viewers }}", was: "{{ before.viewers }}"}}
  partner:
    on: Product Added
    if: partners.size() > 0
    unless: {on: Order Completed, match: product_id, within: 20m}
    offer: {channel: mail, data: {partner: "{{ partners[0].key }}"}}
  cheaper:
    on: Price Changed
    if: [before.prices != null, prices < before.prices]
    to: watchers
    offer: {channel: sms, kind: service, data: {price: "{{ prices }}"}}
  first:
    on: Order Completed
    budget: {offers: 40}
    offer: {channel: post, kind: service, coupon: {pool: spring}, data: {code: "{{ coupon.code }}"}}
  rebate:
    on: Order Completed
    budget: {value: 900, within: 2h, of: event.properties.price}
    offer: {channel: letter, kind: service}
`

var ownCampaigns = []string{"fan", "left", "stays"}

// A meeting makes the events of shoppers who meet.
type meeting struct {
	*rand.Rand
	at      int64 // time of the next event
	made    int
	claimed map[string]bool // keys of users and visitors whom a login joins, or tries to
}

func newMeeting(t *testing.T) *meeting {
	t.Helper()
	seed := *verifySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e9
	}
	t.Logf("go test ./pipeline/audit -run '^%s$' -seed %d", t.Name(), seed)
	return &meeting{rand.New(rand.NewPCG(seed, 5)), time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC).UnixNano(), 0, map[string]bool{}}
}

// next returns an event and the key of its entity.
func (m *meeting) next() (key string, line []byte) {
	m.at += int64(m.IntN(20_000)) * int64(time.Millisecond)
	m.made++
	product := func() map[string]any {
		return map[string]any{"product_id": fmt.Sprint("p", m.IntN(6)), "price": 5 * (1 + m.IntN(20))}
	}
	visitor, user := fmt.Sprint("v", m.IntN(30)), fmt.Sprint("u", m.IntN(40))
	e := map[string]any{"type": "track", "properties": product(), "messageId": fmt.Sprint("m", m.made), "timestamp": value.FormatTime(m.at)}
	if m.IntN(3) == 0 {
		key, e["anonymousId"] = event.UserKey(visitor, true), visitor
	} else {
		key, e["userId"] = event.UserKey(user, false), user
	}
	switch n := m.IntN(100); {
	case n < 4: // a third of the people log in
		user, visitor = fmt.Sprint("u", m.IntN(12)), fmt.Sprint("v", m.IntN(12))
		key = event.UserKey(user, false)
		delete(e, "properties")
		e["type"], e["userId"], e["anonymousId"] = "identify", user, visitor
		if n == 0 {
			delete(e, "anonymousId")
			e["type"], e["previousId"] = "alias", visitor
		}
		m.claimed[key], m.claimed[event.UserKey(visitor, true)] = true, true
	case n < 8:
		id := fmt.Sprint("p", m.IntN(6))
		key = event.ItemKey("product", id)
		delete(e, "userId")
		delete(e, "anonymousId")
		e["type"], e["kind"], e["id"], e["event"] = "item", "product", id, "Price Changed"
	case n < 14:
		e["event"] = "Watched"
	case n < 30:
		e["event"] = "Product Added"
	case n < 45:
		e["event"], e["properties"] = "Order Completed", map[string]any{"products": []any{product(), product()}, "price": 10 + m.IntN(200)}
	default:
		e["event"] = "Product Viewed"
	}
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return key, line
}

// codes is an event that brings codes for the pool of meetingSet.
func (m *meeting) codes(n int) []byte {
	var codes []string
	for i := range n {
		codes = append(codes, fmt.Sprint("code-", i))
	}
	return event.AppendCodes(nil, "spring", codes, fmt.Sprintf(`"messageId":"codes","timestamp":%q`, value.FormatTime(m.at)))
}

// ownOffers are those that campaigns which read only their user give to people whom no
// login joins, sorted.
func (m *meeting) ownOffers(offers []pipeline.Offer) (own []string) {
	for i := range offers {
		if o := &offers[i]; slices.Contains(ownCampaigns, o.Campaign) && !m.claimed[o.Entity()] {
			b, err := o.AppendJSON(nil)
			if err != nil {
				panic(err)
			}
			own = append(own, string(b))
		}
	}
	slices.Sort(own)
	return own
}

// storedOffers are the stored offers.
func storedOffers(t *testing.T, c *broker.Conn) (all []pipeline.Offer) {
	t.Helper()
	for p := range c.Partitions {
		err := c.ScanOffers(within(t), p, func(r broker.Record) error {
			if r.Chain == "page" {
				return nil
			}
			var o pipeline.Offer
			err := json.Unmarshal(r.Data, &o)
			all = append(all, o)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestPartitionsOfMeetings runs the same events over different numbers of partitions,
// as a replay sends them: the offers are always those of the logs, and what campaigns
// give that read only their user are those of a backtest.
func TestPartitionsOfMeetings(t *testing.T) {
	t.Parallel()
	m := newMeeting(t)
	def := setOf(t, meetingSet)
	def.Clock = campaign.ClockEvent
	type stamped struct {
		key  string
		line []byte
	}
	lines := []stamped{{pipeline.PoolKey("spring"), m.codes(30)}}
	for range 3000 {
		key, line := m.next()
		lines = append(lines, stamped{key, fmt.Appendf(nil, `{"logTime":%q,%s`, value.FormatTime(m.at), line[1:])})
	}
	b, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var given []pipeline.Offer
	for _, l := range lines {
		if err := b.Line(l.line, func(o *pipeline.Offer) { given = append(given, *o) }); err != nil {
			t.Fatal(err)
		}
	}
	want := m.ownOffers(given)
	for _, partitions := range []int{1, 3, 8} {
		t.Run(fmt.Sprint("P=", partitions), func(t *testing.T) {
			ns := startNATS(t, t.TempDir())
			c := connect(t, ns.ClientURL(), partitions)
			hash := apply(t, c, def)
			w := start(t, ns.ClientURL(), t.TempDir())
			w.inForce(t, hash)
			packs := map[int][]byte{}
			for i, l := range lines {
				p := event.Partition(l.key, partitions)
				packs[p] = append(append(packs[p], l.line...), '\n')
				if i%50 == 49 {
					for p, data := range packs {
						publish(t, c, []scripted{{p, data}})
					}
					clear(packs)
				}
				if i%100 == 99 { // else all events would stand in the logs before the first answer
					w.applied(t, c)
				}
			}
			for p := range partitions {
				publish(t, c, []scripted{{p, fmt.Appendf(packs[p], `{"type":"clock","timestamp":%q}`, value.FormatTime(m.at))}})
			}
			w.applied(t, c)
			v := verified(t, c)
			got := storedOffers(t, c)
			if own := m.ownOffers(got); !slices.Equal(own, want) || len(own) < 100 {
				t.Errorf("%d offers that depend on one user, the backtest has %d, or others", len(own), len(want))
			}
			counts := map[string]int{}
			for i := range got {
				counts[got[i].Campaign]++
			}
			if counts["first"] > 30 {
				t.Errorf("%d codes went out, there are 30", counts["first"])
			}
			if len(counts) != len(def.Campaigns) || v.Mails.Given == 0 {
				t.Errorf("offers of %v; %+v", slices.Sorted(maps.Keys(counts)), v.Mails)
			}
			t.Logf("%v, %+v", counts, v.Mails)
		})
	}
}

// TestVerifyMeetings verifies again and again while shoppers shop, log in, ask items and
// are granted codes: each time, the offers and the mails are those of the logs.
func TestVerifyMeetings(t *testing.T) {
	t.Parallel()
	const partitions = 3
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), partitions)
	replace := []string{"within: 40m", "within: 2s", "within: 20m", "within: 1s", `"90s"`, `"1s"`, "{value: 900, within: 2h", "{value: 900, within: 1s"}
	hash := apply(t, c, setOf(t, meetingSet, replace...))
	w := start(t, ns.ClientURL(), t.TempDir())
	other := start(t, ns.ClientURL(), t.TempDir())
	await(t, "set in force", func() bool {
		if w.Ready() != nil || other.Ready() != nil {
			return false
		}
		for p, s := range w.Status() { // one of the two may own all
			if s.Set != hash && other.Status()[p].Set != hash {
				return false
			}
		}
		return true
	})
	m := newMeeting(t)
	publish(t, c, []scripted{{event.Partition(pipeline.PoolKey("spring"), partitions), m.codes(200)}})
	over, ended := make(chan struct{}), make(chan error, 1)
	lag := func() (most uint64) { // so that no verification waits long, however slow the machine is
		for p := range partitions {
			_, last, err := c.Extent(t.Context(), p)
			if at := max(w.Status()[p].Seq, other.Status()[p].Seq); err == nil && last > at {
				most = max(most, last-at)
			}
		}
		return most
	}
	go func() { ended <- m.shop(c, partitions, lag, over) }()
	var last Verdict
	for n := 0; n < 3 || last.Applied < 1000; n++ {
		await(t, "more events", func() bool {
			applied := uint64(0)
			for p := range partitions {
				applied += max(w.Status()[p].Applied, other.Status()[p].Applied)
			}
			return applied > last.Applied+100
		})
		v, err := Verify(within(t), c, &VerifyOptions{Settle: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if !v.OK() || v.Trimmed > 0 || v.Mails.Trimmed > 0 {
			t.Errorf("%+v", v)
		}
		if v.Applied <= last.Applied || v.Mails.Given <= last.Mails.Given {
			t.Errorf("nothing happens between two verifications: %+v, %+v", last.Sums, v.Sums)
		}
		last = v
	}
	close(over)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", last.Sums)
	campaigns := map[string]bool{}
	for _, o := range storedOffers(t, c) {
		campaigns[o.Campaign] = true
	}
	if len(campaigns) != strings.Count(meetingSet, "offer:") {
		t.Errorf("offers only of %v", slices.Sorted(maps.Keys(campaigns)))
	}
}

// shop publishes events of now, until it is over, while the workers do not lag behind.
func (m *meeting) shop(c *broker.Conn, partitions int, lag func() uint64, over chan struct{}) error {
	beat := time.NewTicker(10 * time.Millisecond)
	defer beat.Stop()
	for {
		events := 4
		if lag() > 100 {
			events = 0
		}
		for range events {
			key, line := m.next()
			var e map[string]any
			if err := json.Unmarshal(line, &e); err != nil {
				return err
			}
			e["timestamp"] = value.FormatTime(time.Now().UnixNano())
			e["receivedAt"] = e["timestamp"]
			line, err := json.Marshal(e)
			if err != nil {
				return err
			}
			if err := c.NC.PublishMsg(&nats.Msg{Subject: c.Names.EventsSubject(event.Partition(key, partitions), "in"), Data: line}); err != nil {
				return err
			}
		}
		select {
		case <-over:
			return c.NC.Flush()
		case <-beat.C:
		}
	}
}

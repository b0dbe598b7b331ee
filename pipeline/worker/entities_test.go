package worker

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// market is a set whose entities send mails, with campaigns that read only their user on
// channels of their own.
func market(clock string) *campaign.Definition {
	offer := func(channel string, data string) campaign.OfferSpec {
		return campaign.OfferSpec{Channel: channel, Kind: campaign.Service, Data: []byte(data)}
	}
	return &campaign.Definition{
		Engine: pipeline.Engine, Clock: clock, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
		Forget: campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown},
		Items:  []campaign.Item{{Kind: "product", Key: "product_id"}},
		Features: []campaign.Feature{
			{Name: "seen", On: []string{"Product Viewed"}, Agg: "count"},
			{Name: "stay", On: []string{"Product Viewed"}, Agg: "dwell"},
			{Name: "viewers", Per: "product", On: []string{"Product Viewed"}, Agg: "distinct", Of: "event.user"},
			{Name: "watchers", Per: "product", On: []string{"Watched"}, RemoveOn: []string{"Unwatched"}, Agg: "users", Keep: 10_000},
		},
		Campaigns: []campaign.Campaign{
			{ID: "again", On: []string{"Product Viewed"}, If: []string{"seen >= 3"}, Offer: offer("own", `{"n":"{{ seen }}"}`)},
			{ID: "away", On: []string{"Product Viewed"}, Unless: &campaign.Unless{On: []string{"Order Completed"}, Within: 2 * time.Second}, Offer: offer("late", `{}`)},
			{ID: "busy", On: []string{"Product Viewed"}, If: []string{"viewers >= 2"}, Offer: offer("web", `{"n":"{{ viewers }}","before":"{{ before.viewers }}"}`)},
			{ID: "first", On: []string{"Order Completed"}, Offer: offer("app", `{}`), Budget: &campaign.Budget{Offers: 1000}},
			{ID: "looks", On: []string{"Product Viewed"}, If: []string{`stay >= duration("1s")`}, Offer: offer("looks", `{}`)},
			{ID: "price", On: []string{"Price Changed"}, Users: "watchers", Offer: offer("push", `{"n":"{{ event.properties.price }}"}`)},
		},
	}
}

// A crowd makes the events of a market, in packs by partition.
type crowd struct {
	partitions int
	clock      string
	now        int64 // under clock: event
	n          int
	packs      []scripted
	lines      [][]byte // all events, for a backtest
}

// says adds an event of an entity.
func (m *crowd) says(key, format string, args ...any) {
	m.n++
	stamp := fmt.Sprintf(`"receivedAt":%q`, value.FormatTime(time.Now().UnixNano()))
	if m.clock == campaign.ClockEvent {
		m.now += 1e8
		stamp = fmt.Sprintf(`"timestamp":%q`, value.FormatTime(m.now))
	}
	line := fmt.Appendf(nil, `{"messageId":"m%d",%s,%s}`, m.n, stamp, fmt.Sprintf(format, args...))
	m.lines = append(m.lines, line)
	p := event.Partition(key, m.partitions)
	for i := range m.packs {
		if q := &m.packs[i]; q.p == p && len(q.data) < 50_000 {
			q.data = append(append(q.data, line...), '\n')
			return
		}
	}
	m.packs = append(m.packs, scripted{p, append(line, '\n')})
}

// does adds a track event of a user ("u:x") or a visitor ("a:x").
func (m *crowd) does(key, name, product string) {
	id := "userId"
	if key[0] == 'a' {
		id = "anonymousId"
	}
	m.says(key, `"type":"track",%q:%q,"event":%q,"properties":{"product_id":%q,"price":%d}`, id, key[2:], name, product, m.n)
}

func (m *crowd) identify(user, visitor string) {
	m.says("u:"+user, `"type":"identify","userId":%q,"anonymousId":%q,"traits":{}`, user, visitor)
}

func (m *crowd) alias(user, visitor string) {
	m.says("u:"+user, `"type":"alias","userId":%q,"previousId":%q`, user, visitor)
}

// reprices adds an event about an item, of no person.
func (m *crowd) reprices(product string) {
	m.says(event.ItemKey("product", product), `"type":"item","kind":"product","id":%q,"event":"Price Changed","properties":{"product_id":%q,"price":%d}`, product, product, m.n)
}

// take publishes what has been said.
func (m *crowd) take(t *testing.T, c *broker.Conn) {
	t.Helper()
	publish(t, c, m.packs)
	m.packs = nil
}

// nothingWaits waits until the owners have applied all of the logs, also what they have
// sent to each other meanwhile.
func nothingWaits(t *testing.T, c *broker.Conn, ws ...*running) {
	t.Helper()
	ends := func() (all []uint64) {
		for p := range c.Partitions {
			_, last, err := c.Extent(t.Context(), p)
			if err != nil {
				return nil
			}
			all = append(all, last)
		}
		return all
	}
	await(t, "all applied", func() bool {
		before := ends()
		for p, last := range before {
			owned := false
			for _, w := range ws {
				st := w.Status()
				if len(st) <= p {
					return false
				}
				if st[p].Stopped != "" {
					t.Fatalf("partition %d: %s", p, st[p].Stopped)
				}
				owned = owned || st[p].Owned && st[p].Seq >= last && st[p].Waiting == 0
			}
			if !owned {
				return false
			}
		}
		return before != nil && slices.Equal(before, ends())
	})
}

// went returns how many offers of each campaign went out, by campaign and user.
func went(t *testing.T, c *broker.Conn) map[string]map[string]int {
	t.Helper()
	got := map[string]map[string]int{}
	for raw, n := range stored(t, c) {
		var o pipeline.Offer
		if err := json.Unmarshal([]byte(raw), &o); err != nil {
			t.Fatal(err)
		}
		if got[o.Campaign] == nil {
			got[o.Campaign] = map[string]int{}
		}
		got[o.Campaign][o.Entity()] += n
	}
	return got
}

func sum(by map[string]int) (n int) {
	for _, k := range by {
		n += k
	}
	return n
}

// TestEntities runs a market over several partitions and workers: campaigns that read
// only their user give the offers of a backtest, however many partitions there are, and
// a replay of the logs gives all offers and mails.
func TestEntities(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 3, 8} {
		t.Run(fmt.Sprint(partitions, " partitions"), func(t *testing.T) {
			t.Parallel()
			ns := startNATS(t, t.TempDir(), -1)
			c := connect(t, ns.ClientURL(), partitions)
			def := market(campaign.ClockEvent)
			hash := apply(t, c, def)
			a := start(t, ns.ClientURL(), t.TempDir(), nil)
			a.inForce(t, hash)
			b := start(t, ns.ClientURL(), t.TempDir(), nil)
			owned(t, []*running{a, b}, partitions, 0)
			rng := rand.New(rand.NewPCG(7, 7))
			m := &crowd{partitions: partitions, clock: campaign.ClockEvent, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano()}
			for i := range 1500 {
				user, product := fmt.Sprint("u:", rng.IntN(40)), fmt.Sprint("p", rng.IntN(6))
				switch rng.IntN(10) {
				case 0:
					m.reprices(product)
				case 1, 2:
					m.does(user, "Watched", product)
				case 3:
					m.does(user, "Unwatched", product)
				case 4, 5:
					m.does(user, "Order Completed", product)
				default:
					m.does(user, "Product Viewed", product)
				}
				if i%20 == 0 {
					m.take(t, c)
				}
			}
			m.take(t, c)
			for p := range partitions { // all timers fire
				publish(t, c, []scripted{{p, fmt.Appendf(nil, `{"type":"clock","timestamp":%q}`, value.FormatTime(m.now+1e11))}})
			}
			nothingWaits(t, c, a, b)
			back, problems := pipeline.NewBacktest(def)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			want := map[string]int{}
			take := func(o *pipeline.Offer) {
				if o.Campaign == "again" || o.Campaign == "away" || o.Campaign == "looks" {
					want[asJSON(t, o)]++
				}
			}
			for _, line := range append(m.lines, fmt.Appendf(nil, `{"type":"clock","timestamp":%q}`, value.FormatTime(m.now+1e11))) {
				if err := back.Line(line, take); err != nil {
					t.Fatal(err)
				}
			}
			got := stored(t, c)
			maps.DeleteFunc(got, func(raw string, _ int) bool {
				return !strings.Contains(raw, `"again"`) && !strings.Contains(raw, `"away"`) && !strings.Contains(raw, `"looks"`)
			})
			same(t, got, want)
			by := went(t, c)
			if len(want) == 0 || sum(by["busy"]) == 0 || sum(by["price"]) == 0 || sum(by["first"]) == 0 {
				t.Errorf("%d offers are the user's own, of the others went out %v", len(want), by)
			}
			v := verified(t, c)
			t.Logf("%d offers, %+v", v.Offers, v.Mails)
		})
	}
}

// TestManyWatchers lets the price of one product go out to more users than one step
// reaches, while the worker is killed.
func TestManyWatchers(t *testing.T) {
	t.Parallel()
	const partitions, watchers = 8, 2500
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), partitions)
	hash := apply(t, c, market(campaign.ClockBroker))
	dir := t.TempDir()
	w := start(t, ns.ClientURL(), dir, nil)
	w.inForce(t, hash)
	m := &crowd{partitions: partitions}
	for i := range watchers {
		m.does(fmt.Sprint("u:", i), "Watched", "p1")
	}
	m.take(t, c)
	nothingWaits(t, c, w)
	w.stop(t)
	kill := killing(t, ns.ClientURL(), dir)
	m.reprices("p1")
	m.does("u:0", "Price Changed", "p1") // of a user: the same
	m.take(t, c)
	for range 4 {
		kill()
	}
	w = start(t, ns.ClientURL(), dir, nil)
	w.inForce(t, hash)
	nothingWaits(t, c, w)
	got := went(t, c)["price"]
	if len(got) != watchers || sum(got) != 2*watchers {
		t.Errorf("%d users got %d offers, want %d and %d", len(got), sum(got), watchers, 2*watchers)
	}
	verified(t, c)
}

// killing returns a function that runs a worker in a process of its own for a moment, and
// kills it.
func killing(t *testing.T, url, dir string) (kill func()) {
	rng := moments(t)
	return func() {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "OFFERSTREAM_TEST_URL="+url, "OFFERSTREAM_TEST_DIR="+dir)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(100+rng.IntN(500)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
	}
}

// TestBudgetExact lets ten thousand users of eight partitions ask for a thousand offers at
// once, while the worker is killed.
func TestBudgetExact(t *testing.T) {
	t.Parallel()
	const partitions, users = 8, 10_000
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), partitions)
	hash := apply(t, c, market(campaign.ClockBroker))
	dir := t.TempDir()
	w := start(t, ns.ClientURL(), dir, nil)
	w.inForce(t, hash)
	w.stop(t)
	m := &crowd{partitions: partitions}
	for i := range users {
		m.does(fmt.Sprint("u:", i), "Order Completed", "p1")
	}
	m.take(t, c)
	kill := killing(t, ns.ClientURL(), dir)
	for range 8 {
		kill()
	}
	w = start(t, ns.ClientURL(), dir, nil)
	w.inForce(t, hash)
	nothingWaits(t, c, w)
	if got := went(t, c)["first"]; len(got) != 1000 || sum(got) != 1000 {
		t.Errorf("%d users got %d offers, want 1000", len(got), sum(got))
	}
	verified(t, c)
}

// TestMerge lets visitors log in: with another worker, with none, with what they do
// meanwhile, with several users, and with what waits for both.
func TestMerge(t *testing.T) {
	t.Parallel()
	const partitions = 4
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), partitions)
	hash := apply(t, c, market(campaign.ClockBroker))
	dirs := []string{t.TempDir(), t.TempDir()}
	begin := func(dir string) *running { return start(t, ns.ClientURL(), dir, nil) }
	a := begin(dirs[0])
	a.inForce(t, hash)
	b := begin(dirs[1])
	owners := owned(t, []*running{a, b}, partitions, 0)
	for len(slices.Compact(slices.Collect(maps.Values(owners)))) == 1 { // one of the two owns all
		b.stop(t)
		dirs[1] = t.TempDir() // a worker with another name
		b = begin(dirs[1])
		owners = owned(t, []*running{a, b}, partitions, 0)
	}
	m := &crowd{partitions: partitions}
	// pair returns a user and a visitor who are with different workers.
	n := 0
	pair := func() (user, visitor string) {
		for {
			n++
			user, visitor = fmt.Sprint("user", n), fmt.Sprint("visitor", n)
			if owners[event.Partition("u:"+user, partitions)] != owners[event.Partition("a:"+visitor, partitions)] {
				return user, visitor
			}
		}
	}
	views := func(key string, times int) {
		for range times {
			m.does(key, "Product Viewed", fmt.Sprint("p", m.n)) // each of its own product: nobody else has seen it
		}
	}
	all := func(ws ...*running) {
		m.take(t, c)
		nothingWaits(t, c, ws...)
	}

	// What the visitor did before login counts after it; once, though the alias comes twice.
	u1, v1 := pair()
	views("a:"+v1, 2)
	m.does("a:"+v1, "Watched", "watched1")
	all(a, b)
	m.identify(u1, v1)
	m.alias(u1, v1)
	m.alias(u1, v1)
	all(a, b)
	views("u:"+u1, 1)
	all(a, b)
	m.reprices("watched1")
	all(a, b)

	// The visitor's worker is away, and the visitor goes on.
	u2, v2 := pair()
	views("a:"+v2, 1)
	all(a, b)
	away := owners[event.Partition("a:"+v2, partitions)]
	stays, dir := b, dirs[0]
	if away == b {
		stays, dir = a, dirs[1]
	}
	away.stop(t)
	m.alias(u2, v2)
	views("a:"+v2, 1)
	views("u:"+u2, 1)
	m.take(t, c)
	back := begin(dir)
	owners = owned(t, []*running{stays, back}, partitions, 0)
	a, b = stays, back
	nothingWaits(t, c, a, b)
	views("u:"+u2, 1) // the fourth of both
	all(a, b)

	// The visitor goes on while it is merged.
	u3, v3 := pair()
	for range 10 {
		views("a:"+v3, 1)
		m.take(t, c)
	}
	m.identify(u3, v3)
	for range 10 {
		views("a:"+v3, 1)
		m.take(t, c)
	}
	all(a, b)

	// Two users claim one visitor: one of them gets it.
	u4, v4 := pair()
	u5, _ := pair()
	views("a:"+v4, 2)
	m.identify(u4, v4)
	m.identify(u5, v4)
	all(a, b)
	views("u:"+u4, 1)
	views("u:"+u5, 1)
	all(a, b)

	// What waits for both: the absence of the later event, and the dwell of the later view.
	u6, v6 := pair()
	views("u:"+u6, 1)
	m.take(t, c)
	views("a:"+v6, 1)
	m.identify(u6, v6)
	all(a, b)
	await(t, "absences and dwells", func() bool { return sum(went(t, c)["away"]) >= 5+1 && went(t, c)["looks"]["u:"+u6] > 0 })
	all(a, b)

	got := went(t, c)
	count := func(campaign, key string, want int) {
		t.Helper()
		if n := got[campaign][key]; n != want {
			t.Errorf("%s: %s got %d offers, want %d", campaign, key, n, want)
		}
	}
	count("again", "u:"+u1, 1)
	count("again", "a:"+v1, 0)
	count("price", "u:"+u1, 1)
	count("price", "a:"+v1, 0)
	if n := got["again"]["u:"+u2]; n < 1 || n > 2 { // the third view may have come before the record, which triggers nothing
		t.Errorf("again: u:%s got %d offers, want 1 or 2", u2, n)
	}
	if n := got["again"]["u:"+u3] + got["again"]["a:"+v3]; n != 18 {
		t.Errorf("%s and %s got %d offers, want 18", u3, v3, n)
	}
	if four, five := got["again"]["u:"+u4], got["again"]["u:"+u5]; four+five != 1 {
		t.Errorf("%s got %d offers and %s %d, want 1 together", u4, four, u5, five)
	}
	count("away", "u:"+u6, 1)
	count("away", "a:"+v6, 0)
	count("looks", "a:"+v6, 0)
	verified(t, c)
}

package audit

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
	"offerstream/pipeline/worker"
)

const shopSet = `
clock: broker
zone: Europe/Vienna
policies:
  consent: none
  quiet_hours: {channels: [sms], from: "21:00", to: "08:00", then: hold}
  caps: [{channels: [sms, push], max: 3, within: 6h}]
  holdout: 15%
features:
  views:   {on: Product Viewed, by: category, agg: count, within: 30m}
  looking: {on: Product Viewed, agg: dwell, within: 30m}
campaigns:
  fan:
    on: Product Viewed
    if: ["views[event.properties.category] >= 3"]
    limits: [{max: 1, within: 1h}]
    offer: {channel: web, data: {n: "{{ views[event.properties.category] }}"}}
  stays:
    on: Product Viewed
    if: ['looking >= duration("90s")']
    offer: {channel: web, data: {category: "{{ event.properties.category }}"}}
  left:
    on: Product Added
    unless: {on: Order Completed, within: 40m}
    offer: {channel: push, data: {c: "{{ event.properties.category }}"}}
  thanks:
    on: Order Completed
    offer: {channel: sms}
`

// setOf reads a set, with replacements in its text.
func setOf(t *testing.T, text string, replace ...string) *campaign.Definition {
	t.Helper()
	path := filepath.Join(t.TempDir(), "set.yaml")
	if err := os.WriteFile(path, []byte(strings.NewReplacer(replace...).Replace(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	def, err := config.LoadCampaigns(path)
	if err != nil {
		t.Fatal(err)
	}
	return def
}

func compiled(t *testing.T, def *campaign.Definition) *pipeline.Set {
	t.Helper()
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

// A night is a deployment in which people shopped from the afternoon to the next
// morning, by the clock of its worker, which has ended. The live set has changed
// meanwhile.
type night struct {
	conn          *broker.Conn
	before, after *campaign.Definition
	stored        offersOf
	pause         map[int]uint64 // the last message of each partition before an hour without events
}

// offersOf are the records of offers on each chain, in order, by partition and
// chain: position, id and data.
type offersOf map[string][]string

func (o offersOf) add(p int, chain string, pos pipeline.Position, id string, data []byte) {
	name := fmt.Sprintf("%s.%d", chain, p)
	o[name] = append(o[name], fmt.Sprintf("%+v %s %s", pos, id, data))
}

// after are the records that follow the cursors of the partitions.
func (o offersOf) after(cursors map[int]pipeline.Cursor) offersOf {
	left := offersOf{}
	for name, all := range o {
		chain, number, _ := strings.Cut(name, ".")
		if strings.HasPrefix(name, "offers.") {
			channel, rest, _ := strings.Cut(number, ".")
			chain, number = "offers."+channel, rest
		}
		p, err := strconv.Atoi(number)
		if err != nil {
			panic(err)
		}
		for _, r := range all {
			var n uint64
			if _, err := fmt.Sscanf(r, "{N:%d", &n); err != nil {
				panic(err)
			}
			if n > cursors[p].Chains[chain].Last.N {
				left[name] = append(left[name], r)
			}
		}
	}
	return left
}

// of are the records of some users, without their positions.
func (o offersOf) of(users ...string) (own []string) {
	for _, records := range o {
		for _, r := range records {
			for _, u := range users {
				if strings.Contains(r, fmt.Sprintf(`"user":%q`, u)) {
					_, r, _ = strings.Cut(r, "}")
					own = append(own, r)
					break
				}
			}
		}
	}
	slices.Sort(own)
	return own
}

func (o offersOf) equal(t *testing.T, what string, want offersOf) {
	t.Helper()
	for name := range want {
		if !slices.Equal(o[name], want[name]) {
			t.Errorf("%s: %s has\n%s\nwant\n%s", what, name, strings.Join(o[name], "\n"), strings.Join(want[name], "\n"))
		}
	}
	for name := range o {
		if want[name] == nil {
			t.Errorf("%s: %s has %d records, want none", what, name, len(o[name]))
		}
	}
}

func newNight(t *testing.T, partitions int) *night {
	t.Helper()
	seed := *verifySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e9
	}
	t.Logf("go test ./pipeline/audit -run '^%s$' -seed %d", t.Name(), seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	ns := startNATS(t, t.TempDir())
	n := &night{conn: connect(t, ns.ClientURL(), partitions), before: setOf(t, shopSet), stored: offersOf{}, pause: map[int]uint64{}}
	n.after = setOf(t, shopSet, "within: 40m", "within: 20m", ">= 3", ">= 4", "  thanks:", "  added:\n    on: Product Added\n    limits: [{max: 2, within: 2h}]\n    offer: {channel: web}\n  thanks:")
	var clock atomic.Int64
	clock.Store(time.Date(2026, 3, 1, 16, 0, 0, 0, time.UTC).UnixNano())
	hash := apply(t, n.conn, n.before)
	w := start(t, ns.ClientURL(), t.TempDir(), func(o *worker.Options) { o.Now = clock.Load })
	w.inForce(t, hash)
	const steps = 240
	for i := range steps {
		clock.Add(int64(time.Duration(20+rng.IntN(200)) * time.Second))
		if i == steps/2 {
			w.inForce(t, apply(t, n.conn, n.after))
		}
		packs := map[int][]byte{}
		for j := range 1 + rng.IntN(6) {
			user := fmt.Sprint("u", rng.IntN(14))
			name := []string{"Product Viewed", "Product Viewed", "Product Viewed", "Product Added", "Order Completed"}[rng.IntN(5)]
			p := event.Partition("u:"+user, partitions)
			packs[p] = fmt.Appendf(packs[p], `{"type":"track","event":%q,"userId":%q,"messageId":"m%d-%d","properties":{"category":%q},"receivedAt":%q}`+"\n",
				name, user, i, j, []string{"bag", "hat"}[rng.IntN(2)], value.FormatTime(clock.Load()))
		}
		for p, data := range packs {
			publish(t, n.conn, []scripted{{p, data}})
		}
		if i%40 == 39 {
			w.applied(t, n.conn)
			for p := range partitions {
				if _, last, err := n.conn.Extent(within(t), p); err != nil {
					t.Fatal(err)
				} else if i < 100 {
					n.pause[p] = last
				}
			}
			clock.Add(int64(time.Hour)) // nobody shops
			w.ticked(t, n.conn, clock.Load())
		}
	}
	clock.Store(time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC).UnixNano())
	w.ticked(t, n.conn, clock.Load())
	w.applied(t, n.conn)
	w.stop(t)
	for p := range partitions {
		err := n.conn.ScanOffers(within(t), p, func(r broker.Record) error {
			n.stored.add(p, r.Chain, r.Pos, r.ID, r.Data)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// ticked waits until what is due at a time by the worker's clock has fired.
func (r *running) ticked(t *testing.T, c *broker.Conn, at int64) {
	t.Helper()
	r.applied(t, c)
	await(t, "ticks", func() bool {
		for p := range r.Status() {
			due, ok := r.nextDue(t, c, p)
			if ok && due <= at {
				return false
			}
		}
		return true
	})
}

// nextDue is when something is due next by a fold of the partition's log as it is.
func (r *running) nextDue(t *testing.T, c *broker.Conn, p int) (due int64, ok bool) {
	t.Helper()
	err := Replay(within(t), c, ReplayOptions{Partitions: []int{p}, End: func(_ int, f *pipeline.Fold, _ Replayed) error {
		due, ok = f.NextDue()
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return due, ok
}

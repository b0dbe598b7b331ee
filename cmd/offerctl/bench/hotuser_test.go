package bench

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

var hotEvents = flag.Int("hot-events", 4_000, "of one user in TestHotUser, and as many of ordinary users")

// TestHotUser folds in turn a bot's events, a million per minute, and the same
// number of events of ordinary users. It logs how much more the bot's events
// cost. They should cost at most twice as much; the test does not check this,
// because it would not be reliable on every machine.
func TestHotUser(t *testing.T) {
	if testing.Short() {
		t.Skip("a measurement, of one goroutine")
	}
	shipped, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	const few = 10
	for _, set := range []struct {
		name string
		def  *campaign.Definition
	}{{"the shipped campaigns", shipped}, {"1,000 campaigns", generatedCampaigns(1000)}} {
		for _, kinds := range [][]string{nil, {"Product Viewed", "Product Added", "Product Removed"}, {"Product Viewed"}, {"Product Added"}} {
			t.Run(fmt.Sprintf("%s %v", set.name, kinds), func(t *testing.T) {
				packs := [][][]byte{hotPacks(*hotEvents, 100_000, 0, kinds...), hotPacks(*hotEvents, 1, 0, kinds...), hotPacks(*hotEvents, 1, few, kinds...)}
				took := make([][]time.Duration, len(packs))
				for range 3 {
					for i, p := range packs {
						took[i] = append(took[i], foldHot(t, set.def, p, *hotEvents))
					}
				}
				for i := range took {
					slices.Sort(took[i])
				}
				ratio := func(i int) float64 { return float64(took[i][1]) / float64(took[0][1]) }
				t.Logf("an event of ordinary users %v, of one with 8,000 products %.2f times that, with %d products %.2f times", took[0][1], ratio(1), few, ratio(2))
			})
		}
	}
}

// hotPacks returns n events of a number of users in packs of 15. If kinds are
// named, there are only these; if products is not 0, the events are about that
// number of products.
func hotPacks(n, users, products int, kinds ...string) (packs [][]byte) {
	gen := newGenerator(1, users)
	var lines []string
	for id := 0; id < n; {
		line := string(gen.next(nil))
		of := len(kinds) == 0
		for _, k := range kinds {
			of = of || strings.Contains(line, `"event":"`+k+`"`)
		}
		if !of {
			continue
		}
		if len(lines) < products {
			lines = append(lines, line)
		} else if products > 0 { // one of these again, with a new id
			line = strings.Replace(lines[id%products], `"messageId":"`, `"messageId":"`+strconv.Itoa(id)+"-", 1)
		}
		if id%15 == 0 {
			packs = append(packs, nil)
		}
		last := &packs[len(packs)-1]
		*last = append(append(*last, line...), '\n')
		id++
	}
	return packs
}

// foldHot folds packs at a rate of a million events per minute of log time, and
// returns the time per event.
func foldHot(t *testing.T, def *campaign.Definition, packs [][]byte, events int) time.Duration {
	t.Helper()
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	fold, err := pipeline.NewFold(pipeline.Cursor{Set: set.Hash(), Epoch: 1}, func(string) (*pipeline.Set, error) { return set, nil }, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	began, stored := time.Now(), time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano()
	for i, pack := range packs {
		stored += int64(15 * time.Minute / 1_000_000)
		if err := fold.Begin(pipeline.Message{Seq: uint64(i + 1), Stored: stored, Kind: pipeline.In, Data: pack}); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = fold.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, applied, _, _ := fold.At(); applied != uint64(events) {
		t.Fatalf("%d events applied, want %d", applied, events)
	}
	return time.Since(began) / time.Duration(events)
}

// TestHeavyUser folds, through a cache and a store with checkpoints as in a
// worker, events of ordinary users between tiny events of others: of one who
// holds a product, of one who has sent megabytes and holds all bytes that the
// default bounds allow, of those who hold thousands of keys under bounds that
// allow them, and of a hundred such users in turn, who do not fit into the cache
// together. It logs how much more the ordinary users wait because of the heavy
// ones, and how much is written. Under the default bounds one heavy user should
// make them wait at most twice as long; the test does not check this, because it
// would not be reliable on every machine.
func TestHeavyUser(t *testing.T) {
	if testing.Short() {
		t.Skip("a measurement, of one goroutine")
	}
	def, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	def.Features = append(def.Features, campaign.Feature{Name: "heavy_products", On: []string{"Product Viewed"}, Agg: "count", By: "event.properties.product_id"},
		campaign.Feature{Name: "heavy_values", On: []string{"Heavy"}, Agg: "distinct", By: "category", Of: "item.product_id"})
	slices.SortFunc(def.Features, func(a, b campaign.Feature) int { return strings.Compare(a.Name, b.Name) })
	manyKeys := *def
	manyKeys.Bounds.Keys = 4096
	const rounds = 3
	var light []time.Duration
	for _, users := range []struct {
		name        string
		def         *campaign.Definition
		users, hold int // how many, and products each
		fill        [][]byte
	}{
		{"one who holds 1 product", def, 1, 1, nil}, {"one who holds 60 products", def, 1, 60, nil}, {"one who has sent 12 MB", def, 1, 60, heavyEvents()},
		{"one who holds 400 products", &manyKeys, 1, 400, nil}, {"one who holds 4,000 products", &manyKeys, 1, 4000, nil}, {"a hundred who hold 4,000 products", &manyKeys, 100, 4000, nil},
	} {
		var took []time.Duration
		var work heavyWork
		for range rounds {
			work = foldHeavy(t, users.def, users.users, users.hold, users.fill, *hotEvents/users.users+200)
			took = append(took, work.perEvent)
		}
		slices.Sort(took)
		if light == nil {
			light = took
		}
		t.Logf("beside %s: %v for an event, %.2f times that beside the first; %d checkpoints of %d bytes on average", users.name, took[1], float64(took[1])/float64(light[1]), work.checkpoints, work.bytes/max(work.checkpoints, 1))
	}
}

// heavyWork is what an ordinary user's event and another's tiny event cost.
type heavyWork struct {
	perEvent           time.Duration
	checkpoints, bytes int
}

// heavyEvents are 256 traits and 128 values of 31 KB each, of user heavy-0.
func heavyEvents() (events [][]byte) {
	x := strings.Repeat("x", 31_000)
	for i := range 256 {
		events = append(events, fmt.Appendf(nil, `{"type":"identify","userId":"heavy-0","messageId":"i%d","traits":{"t%d":"%s"}}`+"\n", i, i, x))
	}
	for i := range 128 {
		events = append(events, fmt.Appendf(nil, `{"type":"track","event":"Heavy","userId":"heavy-0","messageId":"h%d","properties":{"category":"c%d","product_id":"%d%s"}}`+"\n", i, i%60, i, x))
	}
	return events
}

func foldHeavy(t *testing.T, def *campaign.Definition, users, hold int, fill [][]byte, events int) (w heavyWork) {
	t.Helper()
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	store, err := state.Open(t.TempDir(), state.Options{MemTable: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	cache := checkpoint.NewCache(store, 16<<20, checkpoint.Lookups{}) // a worker's with 16 partitions
	writer := checkpoint.NewWriter(cache, 1)
	fold, err := pipeline.NewFold(pipeline.Cursor{Set: set.Hash(), Epoch: 1}, func(string) (*pipeline.Set, error) { return set, nil }, cache)
	if err != nil {
		t.Fatal(err)
	}
	commit := func() {
		if err := errors.Join(writer.Encode(fold.Cursor()), writer.Commit()); err != nil {
			t.Fatal(err)
		}
		writer.Done()
		w.checkpoints++
		w.bytes += writer.Bytes()
	}
	seq, stored, last := uint64(0), time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano(), time.Now()
	take := func(data []byte) {
		seq++
		stored += int64(time.Millisecond)
		cache.Expect(data)
		if err := fold.Begin(pipeline.Message{Seq: seq, Stored: stored, Kind: pipeline.In, Data: data}); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = fold.Next(); err != nil {
				t.Fatal(err)
			}
			fold.Effects()
			if more && cache.Full(1) {
				commit()
			}
		}
		if cache.Full(1) || time.Since(last) > time.Second {
			commit()
			last = time.Now()
		}
	}
	tiny := func(user, product int) []byte {
		return fmt.Appendf(nil, `{"type":"track","event":"Product Viewed","userId":"heavy-%d","messageId":"%d-%d","properties":{"product_id":"%078d"}}`+"\n", user, seq, product, product)
	}
	for first := 0; first < hold; first += 50 {
		var pack []byte
		for p := first; p < min(first+50, hold); p++ {
			pack = append(pack, tiny(0, p)...)
		}
		take(pack)
	}
	for _, e := range fill {
		take(e)
	}
	commit()
	record, _, _, err := store.Entity("u:heavy-0", nil)
	if err != nil {
		t.Fatal(err)
	}
	for user := 1; user < users; user++ { // the others hold the same
		b := store.NewBatch()
		b.Put(fmt.Sprint("u:heavy-", user), record, nil)
		if err := store.Commit(b, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	w = heavyWork{}
	gen := newGenerator(1, 10_000)
	began := time.Now()
	for i := range events {
		take(append(gen.next(nil), '\n'))
		take(tiny(i%users, i%min(hold, 300)))
	}
	commit()
	w.perEvent = time.Since(began) / time.Duration(events)
	return w
}

package bench

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
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

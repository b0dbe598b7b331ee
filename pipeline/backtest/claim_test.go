package backtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/oracle"
)

// claiming is an input with claims at random places: identify events that name one of
// its visitors, and aliases. Some visitors do what the input's users did, so that there
// is something to claim.
func claiming(rng *rand.Rand, lines [][]byte) (out [][]byte, claims int) {
	share := rng.IntN(4) // of the lines, out of 10; none now and then
	for i, line := range lines {
		var ev map[string]any
		if json.Unmarshal(line, &ev) == nil && ev["userId"] != nil && rng.IntN(3) == 0 {
			delete(ev, "userId")
			ev["anonymousId"] = fmt.Sprintf("a%d", rng.IntN(4))
			if changed, err := json.Marshal(ev); err == nil {
				line = changed
			}
		}
		out = append(out, line)
		if rng.IntN(10) >= share || ev == nil || ev["userId"] == nil && ev["anonymousId"] == nil {
			continue
		}
		user := fmt.Sprint(ev["userId"])
		if ev["userId"] == nil || rng.IntN(4) == 0 {
			user = fmt.Sprintf("u%d", rng.IntN(3))
		}
		visitor, id := fmt.Sprintf("a%d", rng.IntN(5)), rng.IntN(3*len(lines)) // an id twice now and then
		claim := fmt.Sprintf(`{"type":"identify","userId":%q,"anonymousId":%q,"messageId":"i%d","traits":{"n":%d}`, user, visitor, id, i)
		if rng.IntN(3) == 0 {
			claim = fmt.Sprintf(`{"type":"alias","userId":%q,"previousId":%q,"messageId":"i%d"`, user, visitor, id)
		}
		if at, ok := ev["timestamp"].(string); ok && rng.IntN(4) > 0 {
			claim += fmt.Sprintf(`,"timestamp":%q`, at)
		}
		out = append(out, []byte(claim+"}"))
		claims++
	}
	return out, claims
}

// TestClaims compares Run with the simple model where visitors become users: random
// campaigns, and claims at random places of random events.
func TestClaims(t *testing.T) {
	t.Parallel()
	offers, claims := 0, 0
	for s := *seed; s < *seed+uint64(*seeds); s++ {
		rng := rand.New(rand.NewPCG(s, 17))
		c := oracle.Random(s)
		set := compile(t, c.Set)
		lines, n := claiming(rng, c.Events)
		want := sequential(t, set, lines)
		offers, claims = offers+len(want.offers), claims+n
		for _, n := range []struct{ workers, batch int }{{1, 512}, {2, 7}, {3, 1}, {5, 40}} {
			compare(t, parallel(t, set, lines, n.workers, n.batch, Options{}), want)
			if t.Failed() {
				t.Fatalf("%d workers, batches of %d: go test ./pipeline/backtest -run TestClaims -seeds=1 -seed=%d", n.workers, n.batch, s)
			}
		}
	}
	if offers == 0 || claims == 0 {
		t.Errorf("%d offers, %d claims", offers, claims)
	}
}

// TestClaimsOfPeriods compares From and To with the simple model where visitors become
// users before, in and after the period.
func TestClaimsOfPeriods(t *testing.T) {
	t.Parallel()
	periods := 0
	for s := *seed; s < *seed+uint64(*seeds); s++ {
		rng := rand.New(rand.NewPCG(s, 18))
		c := oracle.Random(s)
		set := compile(t, c.Set)
		lines, _ := claiming(rng, c.Events)
		times := logTimes(t, set, lines)
		if len(times) == 0 || times[0] < 0 || times[len(times)-1] > 4e18 {
			continue
		}
		periods++
		from := times[rng.IntN(len(times))] + rng.Int64N(3) - 1
		to := max(from, times[rng.IntN(len(times))]+rng.Int64N(3)-1)
		want := periodOf(t, set, lines, from, to)
		for _, n := range []struct{ workers, batch int }{{1, 512}, {2, 3}, {3, 5}} {
			got := parallel(t, set, lines, n.workers, n.batch, Options{From: from, To: to})
			for id, of := range got.result.Campaigns {
				if g, w := text(t, of.Counts), text(t, want.counts[id]); g != w {
					t.Errorf("%s:\n got %s\nwant %s", id, g, w)
				}
			}
			if g, w := strings.Join(got.offers, "\n"), strings.Join(want.offers, "\n"); g != w {
				t.Errorf("offers:\n%s\nwant:\n%s", g, w)
			}
			if g, w := got.result.Features, want.features; g != w {
				t.Errorf("features: %v, want %v", g, w)
			}
			if t.Failed() {
				t.Fatalf("%d workers, batches of %d: go test ./pipeline/backtest -run TestClaimsOfPeriods -seeds=1 -seed=%d", n.workers, n.batch, s)
			}
		}
	}
	if periods == 0 {
		t.Error("no period was compared")
	}
}

// TestConserved: every evaluation has one outcome or is pending in the one shard that all
// users have come into, however many moved between them; the others have nothing left.
func TestConserved(t *testing.T) {
	t.Parallel()
	moved := 0
	for s := *seed; s < *seed+uint64(*seeds)/4; s++ {
		rng := rand.New(rand.NewPCG(s, 20))
		c := oracle.Random(s)
		set := compile(t, c.Set)
		lines, _ := claiming(rng, c.Events)
		shards := make([]*shard, 3)
		for i := range shards {
			var err error
			if shards[i], err = newShard(set, i, Options{}); err != nil {
				t.Fatal(err)
			}
		}
		r := &runner{size: 4, shards: shards, stamper: newStamper(0, true)}
		if err := r.run(t.Context(), 2, source(lines)); err != nil {
			t.Fatal(err)
		}
		for i, one := range shards {
			if err := one.core.Conserved(); err != nil {
				t.Errorf("seed %d, shard %d: %v", s, i, err)
			}
			if r.stamper.joined && i > 0 {
				moved++
				if counts, features := one.core.Counts(); one.core.Users() > 0 || features != (pipeline.Counts{}) || slices.ContainsFunc(slices.Collect(maps.Values(counts)), func(n pipeline.Counts) bool { return n != pipeline.Counts{} }) {
					t.Errorf("seed %d, shard %d has %d users and counted %v, %v", s, i, one.core.Users(), counts, features)
				}
			}
		}
	}
	if moved == 0 {
		t.Error("no shard was joined to another")
	}
}

// TestItems compares Run with the simple model on the shipped campaigns about items,
// budgets and pools, with the events of their scenarios mixed and with claims.
func TestItems(t *testing.T) {
	t.Parallel()
	var all config.Scenarios
	files, err := config.FindScenarios("../../deploy/campaigns", "../testdata/scenarios")
	if err != nil {
		t.Fatal(err)
	}
	sets, offers := 0, 0
	for _, name := range files {
		f, err := all.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range f.Scenarios {
			if !s.Set.Whole() || s.Set.Definition().Clock != campaign.ClockEvent {
				continue
			}
			sets++
			rng := rand.New(rand.NewPCG(uint64(i), 19))
			var lines [][]byte
			for _, e := range s.Events {
				for range 1 + rng.IntN(2) {
					lines = append(lines, e.JSON)
				}
			}
			lines, _ = claiming(rng, lines)
			want := sequential(t, s.Set, lines)
			offers += len(want.offers)
			compare(t, parallel(t, s.Set, lines, 1+rng.IntN(3), 1+rng.IntN(9), Options{}), want)
			if t.Failed() {
				t.Fatalf("%s: %s\n%s", name, s.Name, slices.Concat(lines...))
			}
		}
	}
	if sets == 0 || offers == 0 {
		t.Errorf("%d sets, %d offers", sets, offers)
	}
}

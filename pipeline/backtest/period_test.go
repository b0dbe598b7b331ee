package backtest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
)

// TestPeriod compares From and To with the simple model, to which clock events tell
// the same: one just before From, and one at To instead of what comes after it.
func TestPeriod(t *testing.T) {
	t.Parallel()
	fewer, pending := 0, uint64(0)
	for s := *seed; s < *seed+uint64(*seeds); s++ {
		rng := rand.New(rand.NewPCG(s, 7))
		c := oracle.Random(s)
		set := compile(t, c.Set)
		times := logTimes(t, set, c.Events)
		if len(times) == 0 || times[0] < 0 || times[len(times)-1] > 4e18 { // a clock event cannot say every such time
			continue
		}
		from := times[rng.IntN(len(times))] + rng.Int64N(3) - 1
		to := max(from, times[rng.IntN(len(times))]+rng.Int64N(3)-1)
		want := periodOf(t, set, c.Events, from, to)
		fewer += want.before
		for _, n := range []struct{ workers, batch int }{{1, 512}, {3, 5}} {
			got := parallel(t, set, c.Events, n.workers, n.batch, Options{From: from, To: to})
			for id, of := range got.result.Campaigns {
				pending += of.Pending()
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
			if r := got.result; r.Last != want.last || r.First != max(from, times[0]) {
				t.Errorf("from %d to %d, want %d to %d", r.First, r.Last, max(from, times[0]), want.last)
			}
			if t.Failed() {
				t.Fatalf("%d workers, batches of %d, from %s to %s: go test ./pipeline/backtest -run TestPeriod -seeds=1 -seed=%d", n.workers, n.batch, value.FormatTime(from), value.FormatTime(to), s)
			}
		}
	}
	if fewer == 0 || pending == 0 {
		t.Errorf("%d offers lie before the periods, %d evaluations were pending", fewer, pending)
	}
}

// logTimes are the log times of the events among the lines.
func logTimes(t *testing.T, set *pipeline.Set, lines [][]byte) (times []int64) {
	b, err := set.Backtest()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if err := b.Line(line, func(*pipeline.Offer) {}); err != nil {
			t.Fatal(err)
		}
		if b.Lines > 0 && b.Refused == nil {
			times = append(times, b.LogTime())
		}
	}
	return times
}

// A period is what the simple model gives of a part of log time.
type period struct {
	offers   []string
	counts   map[string]pipeline.Counts // by campaign
	features pipeline.Counts
	before   int // offers
	last     int64
}

func periodOf(t *testing.T, set *pipeline.Set, lines [][]byte, from, to int64) *period {
	t.Helper()
	b, err := set.Backtest()
	if err != nil {
		t.Fatal(err)
	}
	p := &period{counts: map[string]pipeline.Counts{}}
	begun := false
	take := func(line []byte) {
		if err := b.Line(line, func(o *pipeline.Offer) {
			if begun {
				p.offers = append(p.offers, text(t, o))
			} else {
				p.before++
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	clock := func(at int64) { take(fmt.Appendf(nil, `{"type":"clock","timestamp":%q}`, value.FormatTime(at))) }
	var before map[string]pipeline.Counts
	var features pipeline.Counts
	begin := func() {
		if before, features = b.Counts(); !begun {
			begun = true
		}
	}
	probe, err := set.Backtest() // is ahead by one event
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if err := probe.Line(line, func(*pipeline.Offer) {}); err != nil {
			t.Fatal(err)
		}
		next := probe.LogTime()
		if !begun && probe.Refused == nil && next >= from {
			if b.Lines > 0 {
				clock(from - 1)
			}
			begin()
		}
		if next > to {
			if b.Lines > 0 {
				clock(to)
			}
			break
		}
		take(line)
	}
	if !begun {
		begin()
	}
	counts, after := b.Counts()
	for id, n := range counts {
		name, _, _ := strings.Cut(id, "/")
		was := before[id]
		n.Evaluated -= was.Evaluated - was.Pending()
		for o := range n.Ended {
			n.Ended[o] -= was.Ended[o]
		}
		n.Missing, n.Errors, n.Bounds = n.Missing-was.Missing, n.Errors-was.Errors, n.Bounds-was.Bounds
		p.counts[name] = p.counts[name].Plus(n)
	}
	after.Missing, after.Errors, after.Bounds = after.Missing-features.Missing, after.Errors-features.Errors, after.Bounds-features.Bounds
	p.features, p.last = after, b.LogTime()
	return p
}

package backtest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/oracle"
)

var (
	seeds = flag.Int("seeds", 100, "how many seeds TestRandom runs")
	seed  = flag.Uint64("seed", 1, "the first seed that TestRandom runs")
)

// A found is what a run gives: its offers and counts, as text.
type found struct {
	offers  []string
	refused []string
	counts  string
	result  *Result
}

// sequential is what the simple model gives: one fold, event by event.
func sequential(t *testing.T, set *pipeline.Set, lines [][]byte) found {
	t.Helper()
	b, err := set.Backtest()
	if err != nil {
		t.Fatal(err)
	}
	var f found
	failed := failures{}
	b.Failures(failed.add)
	reached := map[string]map[string]bool{}
	number := map[uint64]int{} // of lines that are not empty
	for i, line := range lines {
		before := b.Lines
		err := b.Line(line, func(o *pipeline.Offer) {
			f.offers = append(f.offers, text(t, o))
			if o.Withheld {
				return
			}
			name, _, _ := strings.Cut(o.Campaign, "/")
			if reached[name] == nil {
				reached[name] = map[string]bool{}
			}
			reached[name][map[bool]string{false: "u:", true: "a:"}[o.Anon]+o.User] = true
		})
		if err != nil {
			t.Fatal(err)
		}
		if number[b.Lines] = i + 1; b.Lines > before && b.Refused != nil {
			f.refused = append(f.refused, fmt.Sprintf("%d: %v", i+1, b.Refused))
		}
	}
	if err := b.Conserved(); err != nil {
		t.Error(err)
	}
	r := &Result{Lines: b.Lines, Events: b.Applied, Users: uint64(b.UserCount()), Duplicates: b.Duplicates(), Rejected: b.Rejected, Loaded: b.Loaded, Last: b.LogTime()}
	for _, j := range b.Jumps {
		r.Jumps = append(r.Jumps, pipeline.Jump{Line: uint64(number[j.Line]), From: j.From, To: j.To})
	}
	r.Campaigns = map[string]*Campaign{}
	for _, d := range set.Definition().Campaigns {
		r.Campaigns[d.ID] = &Campaign{Users: reached[d.ID], Failures: failed.most(d.ID)}
		if len(d.Rows) > 0 {
			r.Campaigns[d.ID].Rows = map[string]pipeline.Counts{}
		}
	}
	counts, features := b.Counts()
	r.Features, r.Failures = features, failed.most("")
	for id, c := range r.Campaigns {
		c.Failures = failed.most(id)
	}
	for id, n := range counts {
		name, row, _ := strings.Cut(id, "/")
		c := r.Campaigns[name]
		c.Counts = c.Counts.Plus(n)
		if row != "" {
			c.Rows[id] = n
		}
	}
	f.result, f.counts = r, summary(t, r)
	return f
}

// parallel is what Run gives.
func parallel(t *testing.T, set *pipeline.Set, lines [][]byte, workers, batch int, opt Options) found {
	t.Helper()
	var f found
	opt.Workers = workers
	opt.Offer = func(o *pipeline.Offer) error { f.offers = append(f.offers, text(t, o)); return nil }
	opt.Refused = func(line int, err error) { f.refused = append(f.refused, fmt.Sprintf("%d: %v", line, err)) }
	r, err := run(t.Context(), set, source(lines), opt, batch)
	if err != nil {
		t.Fatal(err)
	}
	f.result, f.counts = r, summary(t, r)
	return f
}

// source gives the lines, in memory that it uses again.
func source(lines [][]byte) func() ([]byte, error) {
	var buf []byte
	return func() ([]byte, error) {
		if len(lines) == 0 {
			return nil, io.EOF
		}
		buf = append(buf[:0], lines[0]...)
		lines = lines[1:]
		return buf, nil
	}
}

// summary is a result as text, without what the simple model does not find out.
func summary(t *testing.T, r *Result) string {
	c := *r
	c.Set, c.First, c.Campaigns = "", 0, map[string]*Campaign{}
	for id, of := range r.Campaigns {
		c.Campaigns[id] = &Campaign{Counts: of.Counts, Rows: of.Rows, Users: of.Users, Failures: of.Failures}
	}
	out := text(t, c)
	for _, id := range slices.Sorted(maps.Keys(c.Campaigns)) { // whose own fields the methods of Counts hide
		of := c.Campaigns[id]
		out += fmt.Sprintf("\n%s: %s %v %+v", id, text(t, of.Rows), of.Users, of.Failures)
	}
	return out
}

func text(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// compare checks that the two give the same, in the same order.
func compare(t *testing.T, got, want found) {
	t.Helper()
	for _, c := range []struct {
		what      string
		got, want []string
	}{{"offer", got.offers, want.offers}, {"refused line", got.refused, want.refused}, {"count", strings.Split(got.counts, "\n"), strings.Split(want.counts, "\n")}} {
		for i := range max(len(c.got), len(c.want)) {
			g, w := "nothing", "nothing"
			if i < len(c.got) {
				g = c.got[i]
			}
			if i < len(c.want) {
				w = c.want[i]
			}
			if g != w {
				t.Errorf("%s %d:\n got %s\nwant %s", c.what, i, g, w)
				break
			}
		}
	}
}

// TestRandom compares Run with the simple model on random campaigns and random
// events, with different numbers of shards and sizes of batches.
func TestRandom(t *testing.T) {
	t.Parallel()
	offers, loaded := 0, uint64(0)
	for s := *seed; s < *seed+uint64(*seeds); s++ {
		c := oracle.Random(s)
		set := compile(t, c.Set)
		want := sequential(t, set, c.Events)
		offers, loaded = offers+len(want.offers), loaded+want.result.Loaded
		for _, n := range []struct{ workers, batch int }{{1, 512}, {2, 7}, {3, 1}, {5, 40}} {
			compare(t, parallel(t, set, c.Events, n.workers, n.batch, Options{}), want)
			if t.Failed() {
				t.Fatalf("%d workers, batches of %d: go test ./pipeline/backtest -run TestRandom -seeds=1 -seed=%d", n.workers, n.batch, s)
			}
		}
	}
	if offers == 0 || loaded == 0 {
		t.Errorf("%d offers, %d rows of tables", offers, loaded)
	}
}

// TestScenarios compares Run with the simple model on the scenarios of the
// language's rules and of the shipped campaigns.
func TestScenarios(t *testing.T) {
	t.Parallel()
	var all config.Scenarios
	files, err := config.FindScenarios("../testdata/scenarios", "../../deploy/campaigns")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := all.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range f.Scenarios {
			t.Run(filepath.Base(name)+"/"+s.Name, func(t *testing.T) {
				var lines [][]byte
				for _, e := range s.Events {
					lines = append(lines, e.JSON)
				}
				compare(t, parallel(t, s.Set, lines, 3, 2, Options{}), sequential(t, s.Set, lines))
			})
		}
	}
}

func compile(t *testing.T, canonical []byte) *pipeline.Set {
	t.Helper()
	def, err := campaign.ParseDefinition(bytes.TrimSpace(canonical))
	if err != nil {
		t.Fatal(err)
	}
	def.Clock, def.Engine = campaign.ClockEvent, pipeline.Engine
	for i := range def.Facts { // of the generator's, which have no tables
		def.Facts[i].Rows = []campaign.Row{{ID: "seoul", Values: []byte(`{"dust":80,"sky":"clear","warning":true}`)}, {ID: "busan", Values: []byte(`{"dust":20}`)}}
	}
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

// TestFactsCountOnce: what goes wrong with a fact counts once, although every shard
// takes the fact.
func TestFactsCountOnce(t *testing.T) {
	t.Parallel()
	set := compile(t, []byte(strings.Replace(everyView, `"campaigns"`, `"facts":[{"name":"stock","fields":[{"name":"n","type":"number"}]}],"campaigns"`, 1)))
	const most = 100_000   // keys of one fact
	n, keys := 0, most+7-2 // two are in the table
	next := func() ([]byte, error) {
		if n++; n > keys {
			return nil, io.EOF
		}
		return fmt.Appendf(nil, `{"type":"fact","fact":"stock","key":"k%d","values":{"n":1},"timestamp":"2026-01-01T00:00:00Z"}`, n), nil
	}
	r, err := Run(t.Context(), set, next, Options{Workers: 3})
	if err != nil || r.Features.Bounds != 7 || r.Events != uint64(keys) || r.Users != 0 || r.Loaded != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

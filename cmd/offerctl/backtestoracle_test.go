package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/oracle"
)

var (
	backtestSeeds = flag.Int("backtest-seeds", 30, "how many seeds TestBacktestOracle runs")
	backtestSeed  = flag.Uint64("backtest-seed", 1, "the first seed that TestBacktestOracle runs")
)

// refusedLines are lines that are no events, and the reason of each.
var refusedLines = [][2]string{
	{"{", "json"}, {"[1,2]", "json"}, {"null", "json"}, {`{"type":"track"`, "json"}, {"\xff", "json"}, {`"text"`, "json"},
	{`{"type":"buy","userId":"u1","timestamp":"2026-03-01T00:00:00Z"}`, "type"}, {`{"userId":"u1"}`, "type"},
	{`{"type":"track","userId":"u1","timestamp":"2026-03-01T00:00:00Z"}`, "name"},
	{`{"type":"page","name":"x","timestamp":"2026-03-01T00:00:00Z"}`, "identity"},
	{`{"type":"track","event":"x","userId":"a\u0007b","timestamp":"2026-03-01T00:00:00Z"}`, "user"},
	{`{"type":"track","event":"x","userId":"u1","timestamp":"2026-03-01T00:00:00"}`, "timestamp"},
	{`{"type":"track","event":"x","userId":"u1","timestamp":""}`, "timestamp"}, {`{"type":"clock"}`, "timestamp"},
	{`{"type":"track","event":"x","userId":"u1","timestamp":"2026-03-01T00:00:00Z","properties":"none"}`, "fields"},
	{`{"type":"track","event":"x","userId":"u1","timestamp":"2026-03-01T00:00:00Z","properties":{"x":"` + strings.Repeat("y", 33<<10) + `"}}`, "size"},
}

// A backtestCase is a random case, and a file of its events.
type backtestCase struct {
	oracle.Case
	file    bytes.Buffer
	refused map[string]uint64 // lines that were added, by reason
}

// newBacktestCase adds to a random case what files hold besides: lines that are no
// events, clock events, old lines again, and to its file line breaks of other systems.
func newBacktestCase(seed uint64) *backtestCase {
	rng := rand.New(rand.NewPCG(seed, 16))
	c := &backtestCase{Case: oracle.Random(seed), refused: map[string]uint64{}}
	c.Controls, c.Partitions = nil, 0 // a file has none
	of := c.Events
	c.Events = nil
	refused := func() {
		l := refusedLines[rng.IntN(len(refusedLines))]
		c.refused[l[1]]++
		c.Events = append(c.Events, []byte(l[0]))
	}
	if rng.IntN(3) == 0 { // before there is a log time
		c.Events = append(c.Events, []byte(`{"type":"page","userId":"u1","messageId":"early"}`), []byte(`{"type":"fact","fact":"weather","key":"seoul","values":{}}`))
		c.refused["timestamp"] += 2
	}
	for i, line := range of {
		switch rng.IntN(40) {
		case 0:
			refused()
		case 1:
			var ev struct{ Timestamp any }
			if json.Unmarshal(of[rng.IntN(len(of))], &ev); ev.Timestamp == nil || seed%3 > 0 && i > 0 {
				json.Unmarshal(line, &ev)
			}
			if at, ok := ev.Timestamp.(string); ok {
				c.Events = append(c.Events, fmt.Appendf(nil, `{"type":"clock","timestamp":%q}`, at))
			}
		case 2:
			c.Events = append(c.Events, of[rng.IntN(i+1)])
		}
		c.Events = append(c.Events, line)
	}
	for i, line := range c.Events {
		if i == 0 && seed%2 == 0 || rng.IntN(60) == 0 {
			c.file.WriteString("\uFEFF")
		}
		switch rng.IntN(30) {
		case 0:
			c.file.WriteString("\n")
		case 1:
			c.file.WriteString(" \t\r\n")
		case 2:
			c.file.WriteString("  ")
		}
		c.file.Write(line)
		switch {
		case i == len(c.Events)-1 && rng.IntN(2) == 0: // no line break at the end
		case rng.IntN(2) == 0:
			c.file.WriteString("\r\n")
		default:
			c.file.WriteString("\n")
		}
	}
	return c
}

// write writes the events to a file, which may be gzipped.
func (c *backtestCase) write(t *testing.T, name string, zipped bool) {
	t.Helper()
	text := c.file.Bytes()
	if zipped {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(text)
		z.Close()
		text = b.Bytes()
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestBacktestOracle runs the command, but for the reading of the set, over files of
// random events, and compares its object and its file of offers with the oracle, and
// with the core what the oracle does not count.
func TestBacktestOracle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	events, out := filepath.Join(dir, "events"), filepath.Join(dir, "offers")
	for seed := *backtestSeed; seed < *backtestSeed+uint64(*backtestSeeds); seed++ {
		c := newBacktestCase(seed)
		c.write(t, events, seed%3 == 0)
		want, err := c.Run()
		if err != nil {
			t.Fatal(err)
		}
		def, err := campaign.ParseDefinition(c.Set)
		if err != nil {
			t.Fatal(err)
		}
		core, problems := pipeline.NewBacktest(def)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, line := range c.Events {
			if err := core.Line(line, func(*pipeline.Offer) {}); err != nil {
				t.Fatal(err)
			}
		}
		for _, workers := range []int{1, 2, 3, 7}[seed%2*2:][:2] {
			var text, errs bytes.Buffer
			std := stdio{strings.NewReader(""), &text, &errs}
			b := &backtestRun{std: std, def: def, out: out, json: true, rows: true}
			source := fileSource(events, std)
			err := b.run(t.Context(), events, func(ctx context.Context, def *campaign.Definition, opt backtest.Options) (*backtested, error) {
				opt.Workers = workers
				return source(ctx, def, opt)
			}, nil)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			c.compare(t, core, want, text.Bytes(), out)
			if t.Failed() {
				t.Fatalf("%d workers: go test ./cmd/offerctl -run TestBacktestOracle -backtest-seeds=1 -backtest-seed=%d", workers, seed)
			}
		}
	}
}

// compare compares the object and the file of offers with what is wanted.
func (c *backtestCase) compare(t *testing.T, core *pipeline.Backtest, want oracle.Result, text []byte, out string) {
	t.Helper()
	var got backtestObject
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if got.Events != core.Applied || got.Users != uint64(core.UserCount()) || got.Duplicates != uint64(want.Duplicates) || got.Lines != core.Lines {
		t.Errorf("%d events, %d users, %d duplicates, %d lines; want %d, %d, %d, %d", got.Events, got.Users, got.Duplicates, got.Lines, core.Applied, core.UserCount(), want.Duplicates, core.Lines)
	}
	if sum(got.Rejected) != uint64(want.Rejected) || fmt.Sprint(got.Rejected) != fmt.Sprint(core.Rejected) {
		t.Errorf("rejected %v, want %v, %d in all", got.Rejected, core.Rejected, want.Rejected)
	}
	for reason, n := range c.refused {
		if got.Rejected[reason] < n {
			t.Errorf("rejected %v, of them at least %d because of %s", got.Rejected, n, reason)
		}
	}
	counts, _ := core.Counts()
	units := map[string]bool{}
	for id := range want.Evaluations {
		units[id] = true
	}
	shown := map[string]*campaignObject{}
	for id, o := range got.Campaigns {
		all := map[string]int{}
		for unit := range units {
			if name, _, _ := strings.Cut(unit, "/"); name == id {
				all["evaluations"] += want.Evaluations[unit]
				for word, n := range want.Counts[unit] {
					all[strings.ReplaceAll(word, " ", "_")] += n
				}
			}
		}
		compareCounts(t, id, o, all)
		for row, o := range o.Rows {
			shown[id+"/"+row] = o
		}
		if o.Rows == nil {
			shown[id] = o
		}
	}
	for unit := range units {
		all := map[string]int{"evaluations": want.Evaluations[unit]}
		for word, n := range want.Counts[unit] {
			all[strings.ReplaceAll(word, " ", "_")] += n
		}
		if o := shown[unit]; o == nil && want.Evaluations[unit] > 0 {
			t.Errorf("%s: not shown, want %v", unit, all)
		} else if o != nil {
			compareCounts(t, unit, o, all)
			if n := counts[unit]; o.Missing != n.Missing || o.Errors != n.Errors || o.Bounds != n.Bounds {
				t.Errorf("%s: %d, %d and %d, want %d, %d and %d", unit, o.Missing, o.Errors, o.Bounds, n.Missing, n.Errors, n.Bounds)
			}
		}
	}
	reached, lines := map[string]map[string]bool{}, bytes.Split(bytes.TrimSpace(read(t, out)), []byte("\n"))
	if len(lines[0]) == 0 {
		lines = nil
	}
	for i := range max(len(lines), len(want.Offers)) {
		g, w := "nothing", "nothing"
		if i < len(lines) {
			g = string(lines[i])
		}
		if i < len(want.Offers) {
			w = plainJSON(want.Offers[i])
			if o := &want.Offers[i]; !o.Withheld {
				name, _, _ := strings.Cut(o.Campaign, "/")
				if reached[name] == nil {
					reached[name] = map[string]bool{}
				}
				reached[name][fmt.Sprint(o.Anon, o.User)] = true
			}
		}
		if g != w {
			t.Errorf("offer %d:\n got %s\nwant %s", i, g, w)
			break
		}
	}
	for id, o := range got.Campaigns {
		if *o.UsersReached != len(reached[id]) {
			t.Errorf("%s: %d users reached, want %d", id, *o.UsersReached, len(reached[id]))
		}
	}
}

// plainJSON is JSON as the command writes it.
func plainJSON(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func compareCounts(t *testing.T, id string, o *campaignObject, want map[string]int) {
	t.Helper()
	got := map[string]int{"evaluations": int(o.Evaluations), "fired": int(o.Fired), "withheld": int(o.Withheld), "cancelled": int(o.Cancelled), "superseded": int(o.Superseded), "pending": int(o.Pending)}
	for word, n := range o.Suppressed {
		got[word] += int(n)
	}
	for word := range want {
		got[word] += 0
	}
	for word, n := range got {
		if n != want[word] {
			t.Errorf("%s: %s is %d, want %d", id, word, n, want[word])
		}
	}
	o.sum(t, id)
}

// sum checks that each evaluation has one outcome.
func (o *campaignObject) sum(t *testing.T, id string) {
	t.Helper()
	if n := o.Fired + o.Withheld + o.Cancelled + o.Superseded + o.Pending + sum(o.Suppressed); n != o.Evaluations {
		t.Errorf("%s: %d evaluations, %d outcomes", id, o.Evaluations, n)
	}
}

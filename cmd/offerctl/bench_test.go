package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
)

// TestBench runs each kind of bench at a tiny size: what it finds means
// nothing, that it ends and what it says do.
func TestBench(t *testing.T) {
	for _, one := range []struct {
		name string
		set  func(*benchRun)
		has  string // keys, above 0
	}{
		{"all", func(*benchRun) {}, `worker_per_s ratio_cold cpu_us_per_event allocs_per_event peak_mb half_per_s p50_ms offers
			bytes_per_user cache_p50_us memory_p50_us disk_p50_us`},
		{"campaigns", func(b *benchRun) { b.campaigns = 10 }, "worker_per_s raw_per_s campaigns cpu_us_per_event allocs_per_event peak_mb"},
		{"gateway", func(b *benchRun) { b.gatewayOnly = true }, "ratio_batch p50_ms p99_ms p999_ms gateway_per_s bare_per_s gateway_cpu_us_per_event"},
		{"group", func(b *benchRun) { b.groupOnly = true }, `hand_overs hand_over_p50 hand_over_p99 restart_ms take_over_ms standby_ms p99_ms snapshot_p99 snapshots
			rebuild_s restore_s snapshot_mb restore_mb_per_s read_mb_per_s`},
		{"backtest", func(b *benchRun) { b.backtestOnly = true }, "events_per_s seconds peak_mb decode_per_s offers users"},
	} {
		t.Run(one.name, func(t *testing.T) {
			b := benchRun{std: stdio{strings.NewReader(""), io.Discard, io.Discard}, events: 2000, users: 200, rounds: 1, lookupUsers: 2000,
				search: liveSearch{from: 400, tries: 2, hold: 200 * time.Millisecond, windows: 3, window: 300 * time.Millisecond},
				turns:  gatewayTurns{round: 1, turn: 100 * time.Millisecond, open: 300 * time.Millisecond}, groupTurn: 2500 * time.Millisecond}
			one.set(&b)
			found, err := b.measure(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(found)
			if err != nil {
				t.Fatal(err)
			}
			var object map[string]any
			if err := json.Unmarshal(text, &object); err != nil {
				t.Fatal(err)
			}
			if n := len(keys(object, "ratio")); n != 1 || object["ratio"] == nil {
				t.Errorf("%d keys are called ratio, one at the top is to be", n)
			}
			for _, name := range append(strings.Fields(one.has), "ratio") {
				values := keys(object, name)
				for _, v := range values {
					if v, ok := v.(float64); !ok || v <= 0 {
						t.Errorf("%s is %v", name, v)
					}
				}
				if len(values) == 0 {
					t.Errorf("%s is not in %s", name, text)
				}
			}
			if r, ok := found.(*benchReport); ok && b.campaigns == 0 && (r.Lookups.Users != 2000 || len(r.Packs) != len(packSizes)) {
				t.Errorf("%+v", r)
			}
			var out bytes.Buffer
			found.print(&out)
			t.Log(out.String())
		})
	}
}

// keys are the values under the keys of that name, at any depth.
func keys(v any, name string) (found []any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			found = append(found, keys(x, name)...)
			if k == name {
				found = append(found, x)
			}
		}
	case []any:
		for _, x := range v {
			found = append(found, keys(x, name)...)
		}
	}
	return found
}

// One stall of the machine is one window's.
func TestByWindow(t *testing.T) {
	var offers []liveOffer
	start := time.Now()
	for i := range 500 {
		o := liveOffer{due: start.Add(time.Duration(i) * 10 * time.Millisecond), took: time.Duration(i%100+1) * time.Millisecond}
		if i >= 250 && i < 260 {
			o.took = time.Second
		}
		offers = append(offers, o)
	}
	if p50, p99, p999 := byWindow(offers, time.Second); p50 != 51 || p99 != 100 || p999 != 100 {
		t.Errorf("p50 %v, p99 %v, p99.9 %v", p50, p99, p999)
	}
}

// TestBenchStores lets a worker go on with the state that bench made: an event
// adds to it, so that all that was there has been taken as the worker's own.
func TestBenchStores(t *testing.T) {
	set, err := loadOrShipped("", "")
	if err != nil {
		t.Fatal(err)
	}
	opt := nodeOptions{dir: t.TempDir(), addr: "127.0.0.1:0", writeKey: "KEY", set: set, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	n, err := startNode(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	s := benchStores{dir: filepath.Join(opt.dir, "worker"), partitions: n.conn.Partitions, users: 300}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.fill(set); err != nil {
		t.Fatal(err)
	}
	user := benchKey(299)
	before := storedBytes(t, s, user)
	if n, err = startNode(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	postEvent(t, "http://"+n.addr+"/v1/track", `{"userId":"user-299","event":"Product Viewed","properties":{"product_id":"new","category":"new","brand":"new","price":1}}`)
	if err := n.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if after := storedBytes(t, s, user); after <= before {
		t.Errorf("the user's state had %d bytes, with one more event %d", before, after)
	}
}

func storedBytes(t *testing.T, s benchStores, key string) int {
	t.Helper()
	st, err := s.open(pipeline.Partition(key, s.partitions))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	b, found, err := st.Entity(key, nil)
	if err != nil || !found {
		t.Fatalf("%s: found %v: %v", key, found, err)
	}
	return len(b)
}

// TestBenchEvents holds the events to what bench says of them: half match a
// trigger, of few campaigns or of many. Sessions end with the last of them, which all are; the shares of
// those that move features are logged.
func TestBenchEvents(t *testing.T) {
	shipped, err := loadOrShipped("", "")
	if err != nil {
		t.Fatal(err)
	}
	if match, _ := matching(t, shipped, 20_000); match < .48 || match > .52 {
		t.Errorf("%.3f of the events match a trigger, half are to", match)
	}
	for _, k := range []int{10, 1000, 2000} { // 2000 is as 25,000, and compiles in a second
		if match, met := matching(t, benchCampaigns(k), 2000); match < .48 || match > .52 || met < 1 || met > 3 {
			t.Errorf("of %d campaigns %.3f of the events match one, half are to; an event meets %.2f of them, a few are to", k, match, met)
		}
	}
}

// matching says what share of the events match some campaign's event and
// where, and how many campaigns an event matches on average.
func matching(t *testing.T, def *pipeline.Definition, n int) (share, evaluated float64) {
	t.Helper()
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	fold, err := pipeline.NewFold(pipeline.Cursor{Set: set.Hash(), Epoch: 1}, func(string) (*pipeline.Set, error) { return set, nil }, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	gen, before, matches, features := newBenchEvents(1, 1000), uint64(0), 0, 0
	names, dwells := map[string]bool{}, false
	for _, f := range def.Features {
		for _, name := range append(f.On, f.RemoveOn...) {
			names[name] = true
		}
		dwells = dwells || f.Agg == "dwell"
	}
	last := map[string]string{}
	for i := range n {
		raw := gen.next(nil)
		var ev struct{ UserID, Event string }
		if err := json.Unmarshal(raw, &ev); err != nil {
			t.Fatal(err)
		}
		if names[ev.Event] || dwells && last[ev.UserID] == "Product Viewed" {
			features++
		}
		last[ev.UserID] = ev.Event
		m := pipeline.Message{Seq: uint64(i + 1), Stored: int64(i+1) * 1e6, Kind: pipeline.In, Data: raw}
		if err := fold.Begin(m); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = fold.Next(); err != nil {
				t.Fatal(err)
			}
		}
		now, campaigns := uint64(0), map[string]pipeline.Counts(nil)
		campaigns, _ = fold.Counts()
		for _, c := range campaigns {
			now += c.Evaluated
		}
		if now > before {
			matches++
		}
		before = now
	}
	share, evaluated = float64(matches)/float64(n), float64(before)/float64(n)
	t.Logf("%d campaigns: %.3f of the events match, %.2f campaigns an event; %.3f of the events move a feature, all of them the session", len(def.Campaigns), share, evaluated, float64(features)/float64(n))
	return share, evaluated
}

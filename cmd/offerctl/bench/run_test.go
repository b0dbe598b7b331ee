package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain makes the test binary also serve as the parts of a bench.
func TestMain(m *testing.M) {
	if is, err := RunPart(plainBacktest); is {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestBench runs each kind of bench at a tiny size. The figures mean nothing; the
// test checks that it ends and reports them all.
func TestBench(t *testing.T) {
	built := sync.OnceValue(func() string { return buildOfferctl(t) })
	for _, one := range []struct {
		name string
		set  func(*Run)
		has  string // keys, above 0
	}{
		{"all", func(*Run) {}, `worker_per_s ratio_cold cpu_us_per_event allocs_per_event peak_mb half_per_s p50_ms offers
			bytes_per_user cache_p50_us memory_p50_us disk_p50_us`},
		{"worker", func(b *Run) { b.WorkerOnly = true }, "worker_per_s raw_per_s bare_per_s cpu_us_per_event offers"},
		{"pack", func(b *Run) { b.Pack = 15 }, "worker_per_s raw_per_s bare_per_s cpu_us_per_event pack pack_mean offers"},
		{"campaigns", func(b *Run) { b.Campaigns = 10 }, "worker_per_s raw_per_s campaigns cpu_us_per_event allocs_per_event peak_mb"},
		{"many campaigns", func(b *Run) { b.Campaigns = 250 }, "worker_per_s ratio_to_10 worker_10_per_s load_seconds bytes_per_campaign"},
		{"rows", func(b *Run) { b.Campaigns, b.Rows = 250, true }, "worker_per_s ratio_to_10 worker_10_per_s load_seconds bytes_per_campaign"},
		{"gateway", func(b *Run) { b.GatewayOnly = true }, `ratio_batch p50_ms p99_ms p999_ms gateway_per_s bare_per_s gateway_cpu_us_per_event
			ratio_to_base per_s base_per_s base_cpu_us_per_event`},
		{"page", func(b *Run) { b.PageOnly = true }, `p50_ms p99_ms offers streams event_p99_ms list_p50_ms list_p99_ms idle idle_mb`},
		{"group", func(b *Run) { b.GroupOnly = true }, `hand_overs hand_over_p50 hand_over_p99 restart_ms take_over_ms standby_ms p99_ms snapshot_p99 snapshots
			rebuild_s restore_s snapshot_mb restore_mb_per_s read_mb_per_s`},
		{"items", func(b *Run) { b.ItemsOnly, b.Partitions, b.Watchers = true, 3, 500 }, `without_per_s with_per_s cpu_us_per_event allocs_per_event peak_mb mail_messages_per_event offers hot_per_s hot_cost_ratio
			half_per_s p50_ms p99_ms plain_p50_ms plain_p99_ms watchers first_offer_s last_offer_s fan_peak_mb`},
		{"burst", func(b *Run) { b.BurstOnly = true }, `offers seconds offers_per_s seconds_fsync offers_per_s_fsync peak_mb held_peak_mb
			worker_cpu_us_per_offer nats_cpu_us_per_offer worker_cpu_us_per_offer_fsync nats_cpu_us_per_offer_fsync`},
		{"idle", func(b *Run) { b.IdleOnly, b.program = true, built() }, `events_per_s cpu_percent p50_ms p99_ms`},
		{"backtest", func(b *Run) { b.BacktestOnly = true }, "events_per_s seconds peak_mb decode_per_s offers users"},
	} {
		t.Run(one.name, func(t *testing.T) {
			var b Run
			var found Finding
			var object map[string]any
			var lacking []string
			for ms := time.Millisecond; ; ms *= 4 { // a machine may be too slow for such short turns
				b = Run{Events: 2000, Users: 200, Rounds: 1, LookupUsers: 2000,
					search: liveSearch{from: 400, tries: 2, hold: 200 * ms, periods: 3, period: 300 * ms},
					turns:  gatewayTurns{round: 1, turn: 100 * ms, forms: 1, form: 50 * ms, open: 300 * ms}, groupTurn: 2500 * ms, idleTurn: 300 * ms,
					page: pageLoad{idle: 20, streams: 100, hold: 300 * ms, offers: 400, events: 100, lists: 100}}
				one.set(&b)
				var err error
				if found, err = b.Measure(t.Context()); err != nil {
					t.Fatal(err)
				}
				text, err := json.Marshal(found)
				if err != nil {
					t.Fatal(err)
				}
				object = nil
				if err := json.Unmarshal(text, &object); err != nil {
					t.Fatal(err)
				}
				lacking = nil
				for _, name := range append(strings.Fields(one.has), "ratio") {
					values := keys(object, name)
					for _, v := range values {
						if v, ok := v.(float64); !ok || v <= 0 {
							lacking = append(lacking, fmt.Sprintf("%s is %v", name, v))
						}
					}
					if len(values) == 0 {
						lacking = append(lacking, fmt.Sprintf("%s is not in %s", name, text))
					}
				}
				if len(lacking) == 0 || ms > 10*time.Millisecond {
					break
				}
				t.Logf("once more, with turns four times as long: %q", lacking)
			}
			for _, l := range lacking {
				t.Error(l)
			}
			if n := len(keys(object, "ratio")); n != 1 || object["ratio"] == nil {
				t.Errorf("%d keys are called ratio, one at the top is to be", n)
			}
			if r, ok := found.(*workerReport); ok && b.Campaigns == 0 && !b.WorkerOnly && b.Pack == 0 && (r.Lookups.Users != 2000 || len(r.Packs) != len(packSizes)) {
				t.Errorf("%+v", r)
			}
			if r, ok := found.(*workerReport); ok && b.Pack > 0 && (r.PackMean > float64(b.Pack) || r.PackMean < float64(b.Pack)/2) {
				t.Errorf("%.1f events per message, want %d", r.PackMean, b.Pack)
			}
			if r, ok := found.(*gatewayReport); ok {
				got := slices.Sorted(maps.Keys(r.Tokens))
				got = append(got, slices.Sorted(maps.Keys(r.Dialects))...)
				if want := "hmac_batch hmac_single jwt_batch jwt_single cloudevents_batch jitsu_single posthog_batch rudder_batch segment_single"; strings.Join(got, " ") != want {
					t.Errorf("the forms are %s", got)
				}
			}
			var out bytes.Buffer
			found.Print(&out)
			t.Log(out.String())
		})
	}
}

// buildOfferctl builds the program that bench --idle starts: the test binary has none of
// its commands.
func buildOfferctl(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "offerctl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "offerstream/cmd/offerctl").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// keys returns the values under all keys with a name, at any depth.
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

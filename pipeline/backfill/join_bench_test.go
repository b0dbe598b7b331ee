package backfill

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// BenchmarkJoin says how long the pause at a switch is: the join of 100,000 users
// that have 8 events each, and of which a tenth waits for an absence, on disk.
//
//	go test ./pipeline/backfill -run '^$' -bench Join -benchtime 1x
func BenchmarkJoin(b *testing.B) {
	const users, events = 100_000, 8
	def, err := campaign.ParseDefinition([]byte(`{"clock":"broker","lateness":3600000000000,"forget":{"known":3600000000000000},
		"features":[
			{"name":"views","on":["Product Viewed"],"agg":"count","within":86400000000000},
			{"name":"categories","on":["Product Viewed"],"agg":"count","by":"category"},
			{"name":"cart","on":["Product Viewed"],"agg":"list","key":"product_id","fields":["product_id","price"],"keep":20},
			{"name":"spent","on":["Product Viewed"],"agg":"sum","of":"event.properties.price"}],
		"campaigns":[{"id":"away","on":["Product Viewed"],"where":"event.properties.price > 90.0","unless":{"on":["Order Completed"],"within":3600000000000},
			"offer":{"channel":"web","kind":"service","data":{"n":"{{ views }}"}}}]}`))
	if err != nil {
		b.Fatal(err)
	}
	def.Engine, def.Bounds = pipeline.Engine, campaign.DefaultBounds
	n, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	less := *def
	less.Features, less.Campaigns = def.Features[:2:2], nil
	before, problems := pipeline.Compile(&less)
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	s := &scene{before: before, n: n}
	s.add(pipeline.Control, 1, fmt.Sprintf(`{"set":%q,"engine":%d,"revision":1}`, less.Hash(), pipeline.Engine))
	for i := range events {
		for first := 0; first < users; first += 50 {
			var pack []byte
			for u := range 50 {
				u += first
				pack = fmt.Appendf(pack, `{"type":"track","event":"Product Viewed","userId":"user-%d","messageId":"m-%d-%d","properties":{"product_id":"p%d","category":"c%d","price":%d.5}}`+"\n", u, u, i, u*i%5000, i%4, (u+i)%100)
			}
			s.add(pipeline.In, int64(i+1)*1e9, string(pack))
		}
	}
	for range b.N {
		b.StopTimer()
		open := func(memTable int64) checkpoint.Store {
			store, err := state.Open(b.TempDir(), state.Options{Identity: state.Identity{Partitions: 1}, MemTable: memTable})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { store.Close() })
			return store
		}
		live, second := open(64<<20), open(16<<20)
		writer := func(f *pipeline.Fold, cache *checkpoint.Cache, epoch uint32) (commit func()) {
			w := checkpoint.NewWriter(cache, epoch)
			return func() {
				if err := w.Encode(f.Cursor()); err != nil {
					b.Fatal(err)
				}
				if err := w.Commit(); err != nil {
					b.Fatal(err)
				}
				w.Done()
			}
		}
		cache := checkpoint.NewCache(live, 128<<20, checkpoint.Lookups{})
		f, err := pipeline.NewFold(pipeline.Cursor{}, s.sets, cache)
		if err != nil {
			b.Fatal(err)
		}
		commit := writer(f, cache, 0)
		two, err := Begin(second, def.Hash(), Options{Sets: s.sets, CacheBytes: 64 << 20})
		if err != nil {
			b.Fatal(err)
		}
		fold := func(m pipeline.Message) {
			cache.Expect(m.Data)
			if err := f.Begin(m); err != nil {
				b.Fatal(err)
			}
			for more := true; more; {
				if more, err = f.Next(); err != nil {
					b.Fatal(err)
				}
			}
			if cache.Full(2) {
				commit()
			}
		}
		for _, m := range s.log {
			fold(m)
			if err := two.take(m); err != nil {
				b.Fatal(err)
			}
		}
		if err := two.Commit(); err != nil {
			b.Fatal(err)
		}
		fold(s.switchTo(f.Cursor(), "now"))
		commit()
		runtime.GC()
		b.StartTimer()
		start, cpu := time.Now(), cpuTime(b)
		joined, err := (&Join{Fold: f, Live: live, Second: two, Cores: runtime.GOMAXPROCS(0)}).Run(b.Context())
		if err != nil || joined != users {
			b.Fatal(joined, err)
		}
		took := time.Since(start)
		b.ReportMetric(float64(joined)/took.Seconds(), "users/s")
		b.ReportMetric((cpuTime(b)-cpu).Seconds()*100_000/float64(joined), "cpu_s/100,000_users")
		b.ReportMetric(took.Seconds()*100_000/float64(joined), "s/100,000_users")
	}
}

// cpuTime is what the process has taken of all cores.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

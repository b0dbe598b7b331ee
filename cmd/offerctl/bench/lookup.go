package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/state"
)

// A lookupReport has the times to find a user's state, by where it is:
//
//	cache   decoded, in a map with as many users as the worker's cache has
//	memory  just written, in one of Badger's memtables
//	pages   in a table that the operating system has in memory
//	disk    in a table that it does not have in memory, if it can be made to drop it
//
// All but the first include the decoding, which a worker needs too.
type lookupReport struct {
	Users      int     `json:"users"`
	PerUser    float64 `json:"bytes_per_user"` // on disk
	Encoded    float64 `json:"encoded_bytes_per_user"`
	CacheP50   float64 `json:"cache_p50_us"`
	CacheP99   float64 `json:"cache_p99_us"`
	CacheP999  float64 `json:"cache_p999_us"`
	MemoryP50  float64 `json:"memory_p50_us"`
	MemoryP99  float64 `json:"memory_p99_us"`
	MemoryP999 float64 `json:"memory_p999_us"`
	PagesP50   float64 `json:"pages_p50_us"`
	PagesP99   float64 `json:"pages_p99_us"`
	PagesP999  float64 `json:"pages_p999_us"`
	DiskP50    float64 `json:"disk_p50_us"`
	DiskP99    float64 `json:"disk_p99_us"`
	DiskP999   float64 `json:"disk_p999_us"`
	DiskN      int     `json:"disk_lookups"`
	DiskWaits  int64   `json:"disk_waits"` // page faults among them that read the disk
}

const coldPrefix = "cold"

// lookups makes the state of many users and measures the time to find one. Then
// it measures a worker on this state whose cache holds a hundredth of the users.
func (b *Run) lookups(ctx context.Context, def *campaign.Definition, r *workerReport) error {
	b.say("state: preparing")
	if err := b.prepare(ctx, coldPrefix, def); err != nil {
		return err
	}
	conn, err := b.connect(ctx, coldPrefix)
	if err != nil {
		return err
	}
	partitions := conn.Partitions
	conn.Close()
	s := userStores{dir: b.preparedBy(coldPrefix), prefix: coldPrefix, partitions: partitions, users: b.LookupUsers}
	b.say("state: writing %d users", s.users)
	encoded, err := s.fill(def)
	if err != nil {
		return err
	}
	b.say("state: looking users up")
	r.Lookups = &lookupReport{}
	p := part{Role: "lookup", URL: b.url, Prefix: coldPrefix, Dir: s.dir, Partitions: partitions, Users: s.users}
	if err := p.into(ctx, r.Lookups); err != nil {
		return err
	}
	r.Lookups.Encoded = encoded

	return b.cold(ctx, s, encoded, r)
}

// cold measures a worker whose cache holds a hundredth of the users.
func (b *Run) cold(ctx context.Context, s userStores, encoded float64, r *workerReport) error {
	decoded := float64(b.LookupUsers) * (4*encoded + 512) // bytes, as the worker's cache counts them
	p := part{Role: "work", URL: b.url, Prefix: coldPrefix, Dir: s.dir, Cache: int64(decoded / 100), Keep: true}
	var rates, ratios []float64
	for i := range b.Rounds {
		b.say("state: round %d of %d with %d users", i+1, b.Rounds, s.users)
		gen := newGenerator(uint64(100+i), b.LookupUsers)
		gen.even = true
		if _, err := b.send(ctx, coldPrefix, gen, b.coldEvents()); err != nil {
			return err
		}
		work, err := p.result(ctx)
		if err != nil {
			return err
		}
		if want := uint64(i+1) * uint64(b.coldEvents()); work.Events != want {
			return fmt.Errorf("bench: %d events applied of %d", work.Events, want)
		}
		raw, err := b.rawOfSome(ctx)
		if err != nil {
			return err
		}
		rate := float64(b.coldEvents()) / work.Seconds
		rates, ratios = append(rates, rate), append(ratios, rate/raw)
		r.ColdPeakMB = max(r.ColdPeakMB, float64(work.Peak)/1e6)
	}
	r.Cold, r.RatioCold = median(rates), median(ratios)
	return nil
}

// coldEvents returns the number of events in a round with many users.
func (b *Run) coldEvents() int { return min(b.Events, 200_000) }

// lookup measures lookups in stores that no other process has open.
func (p part) lookup(out io.Writer) error {
	s := userStores{dir: p.Dir, prefix: p.Prefix, partitions: p.Partitions, users: p.Users}
	r := lookupReport{Users: p.Users}
	bytes, err := tables(p.Dir, func(*os.File) error { return nil })
	if err != nil {
		return err
	}
	r.PerUser = float64(bytes) / float64(p.Users)
	stores := make([]*state.Store, s.partitions)
	for i := range stores {
		if stores[i], err = s.open(i); err != nil {
			return err
		}
		defer stores[i].Close()
	}
	l := lookups{stores: stores, rng: rand.New(rand.NewPCG(8, 8)), users: p.Users}
	if err := l.measure(p.Dir, &r); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

// measure looks users up from disk, from pages, from Badger's memory and from a
// map, in this order.
func (l *lookups) measure(dir string, r *lookupReport) error {
	if _, err := tables(dir, dropPages); err != nil {
		return err
	}
	before := majorFaults()
	n := max(l.users/100, 100)
	lat, err := l.find(n)
	if err != nil {
		return err
	}
	r.DiskN, r.DiskWaits = n, majorFaults()-before
	r.DiskP50, r.DiskP99, r.DiskP999 = micros(lat)

	if _, err := tables(dir, func(f *os.File) error { _, err := io.Copy(io.Discard, f); return err }); err != nil {
		return err
	}
	if lat, err = l.find(5 * n); err != nil {
		return err
	}
	r.PagesP50, r.PagesP99, r.PagesP999 = micros(lat)

	if err := l.rewrite(2 * n); err != nil {
		return err
	}
	if lat, err = l.find(5 * n); err != nil {
		return err
	}
	r.MemoryP50, r.MemoryP99, r.MemoryP999 = micros(lat)

	if lat, err = l.cached(5*n, 20*n); err != nil {
		return err
	}
	r.CacheP50, r.CacheP99, r.CacheP999 = micros(lat)
	return nil
}

type lookups struct {
	stores []*state.Store
	rng    *rand.Rand
	users  int
	just   []string // keys that were just written; if set, only these are looked up
	buf    []byte
}

func (l *lookups) key() string {
	if l.just != nil {
		return l.just[l.rng.IntN(len(l.just))]
	}
	return userKey(l.rng.IntN(l.users))
}

// get reads and decodes a user like the worker's cache.
func (l *lookups) get(key string) (*pipeline.Entity, error) {
	b, _, found, err := l.stores[event.Partition(key, len(l.stores))].Entity(key, l.buf)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("bench: there is no user %s", key)
	}
	l.buf = b
	return pipeline.DecodeEntity(key, b)
}

func (l *lookups) find(n int) ([]time.Duration, error) {
	lat := make([]time.Duration, 0, n)
	for range n {
		key := l.key()
		start := time.Now()
		if _, err := l.get(key); err != nil {
			return nil, err
		}
		lat = append(lat, time.Since(start))
	}
	return lat, nil
}

// rewrite writes n users again, unchanged.
func (l *lookups) rewrite(n int) error {
	var keys []string
	for range n {
		keys = append(keys, l.key())
	}
	for p, st := range l.stores {
		cursor, err := st.Cursor()
		if err != nil {
			return err
		}
		b := st.NewBatch()
		for _, key := range keys {
			if event.Partition(key, len(l.stores)) != p {
				continue
			}
			bytes, pieces, _, err := st.Entity(key, nil)
			if err != nil {
				return err
			}
			b.Put(key, bytes, pieces)
			if !st.Limit().Admits(b.Entries()*2, b.Bytes()*2) {
				if err := st.Commit(b, cursor); err != nil {
					return err
				}
				b.Reset()
			}
		}
		if err := st.Commit(b, cursor); err != nil {
			return err
		}
	}
	l.just = keys
	return nil
}

// cached looks up n users in a map of decoded users. The worker's own metric
// would not do: it also counts lookups of a user that was just found, and its
// buckets are coarse.
func (l *lookups) cached(users, n int) ([]time.Duration, error) {
	l.just = nil
	m := make(map[string]*pipeline.Entity, users)
	var keys []string
	for range users {
		key := l.key()
		e, err := l.get(key)
		if err != nil {
			return nil, err
		}
		m[key] = e
		keys = append(keys, key)
	}
	lat := make([]time.Duration, 0, n)
	for range n {
		key := keys[l.rng.IntN(len(keys))]
		start := time.Now()
		e := m[key]
		empty := e == nil || e.Empty() // reads the entity's memory
		lat = append(lat, time.Since(start))
		if empty {
			return nil, fmt.Errorf("bench: user %s is not in the map", key)
		}
	}
	return lat, nil
}

func majorFaults() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return int64(u.Majflt)
}

func micros(lat []time.Duration) (p50, p99, p999 float64) {
	us := func(q float64) float64 { return float64(quantile(lat, q)) / 1e3 }
	return us(.5), us(.99), us(.999)
}

func (r *lookupReport) Print(w io.Writer) {
	fmt.Fprintf(w, "\nlookups among %d users, %.0f bytes each on disk, %.0f encoded; in us:  p50      p99    p99.9\n", r.Users, r.PerUser, r.Encoded)
	row := func(what string, a, b, c float64) { fmt.Fprintf(w, "%-60s %8.1f %8.1f %8.1f\n", what, a, b, c) }
	row("decoded, in a map as large as the cache", r.CacheP50, r.CacheP99, r.CacheP999)
	row("just written, in Badger's memory, and decoding", r.MemoryP50, r.MemoryP99, r.MemoryP999)
	row("in a table that the system has in memory, and decoding", r.PagesP50, r.PagesP99, r.PagesP999)
	row(fmt.Sprintf("from disk, and decoding (%d of %d waited for it)", r.DiskWaits, r.DiskN), r.DiskP50, r.DiskP99, r.DiskP999)
}

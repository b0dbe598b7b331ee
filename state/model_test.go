package state

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var seed = flag.Uint64("seed", 0, "seed of the random tests; 0: by the clock")

// rnd returns a seeded random source and logs its seed.
func rnd(t *testing.T) *rand.Rand {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-args -seed=%d", s)
	return rand.New(rand.NewPCG(s, 1))
}

// A model is a store in maps, too simple to be wrong.
type model struct {
	entities map[string]string
	due      map[string]int64
	pieces   map[string]Pieces // in which the store has an entity
	cursor   string
}

func newModel() *model {
	return &model{entities: map[string]string{}, due: map[string]int64{}, pieces: map[string]Pieces{}}
}

// step makes commit n, whose content depends on seed and n alone. If b is not
// nil, step writes the commit into b as well.
func (m *model) step(seed, n uint64, b *Batch) {
	r := rand.New(rand.NewPCG(seed, n))
	touched, large := map[string]bool{}, r.IntN(8) == 0
	for range r.IntN(60) {
		key := fmt.Sprintf("u:%d", r.IntN(500))
		if large {
			key = fmt.Sprintf("u:%d", r.IntN(5))
		}
		if touched[key] { // one batch must not change the timer of a key twice
			continue
		}
		touched[key] = true
		if due, ok := m.due[key]; ok {
			delete(m.due, key)
			if b != nil {
				b.Unschedule(due, key)
			}
		}
		if r.IntN(5) == 0 {
			delete(m.entities, key)
			if b != nil {
				b.Delete(key, m.pieces[key])
				delete(m.pieces, key)
			}
			continue
		}
		value := make([]byte, r.IntN(600))
		for i := range value {
			value[i] = byte(r.Uint32())
		}
		if large { // one in a commit, so that the commit is not too big
			value, large = m.grown(r, key, value), false
		}
		m.entities[key] = string(value)
		if b != nil {
			m.pieces[key] = b.Put(key, value, m.pieces[key])
		}
		if r.IntN(3) == 0 {
			m.due[key] = r.Int64()
			if b != nil {
				b.Schedule(m.due[key], key)
			}
		}
	}
	m.cursor = fmt.Sprint(n)
}

// grown puts value into an entity that it makes large, or that it lets be so, at
// a random place.
func (m *model) grown(r *rand.Rand, key string, value []byte) []byte {
	old := []byte(m.entities[key])
	for i := 0; len(old) < 40_000; i++ {
		old = fmt.Appendf(old, "%d ", r.Uint64())
	}
	if len(old) > 70_000 {
		old = old[r.IntN(20_000):]
	}
	at := r.IntN(len(old))
	return slices.Concat(old[:at], value, old[at:])
}

// load reads in which pieces the store has the entities.
func (m *model) load(s *Store) error {
	for key := range m.entities {
		_, pieces, _, err := s.Entity(key, nil)
		if err != nil {
			return err
		}
		m.pieces[key] = pieces
	}
	return nil
}

// compare returns an error if the store differs from the model.
func (m *model) compare(s *Store) error {
	cursor, err := s.Cursor()
	if err != nil {
		return err
	}
	if string(cursor) != m.cursor {
		return fmt.Errorf("cursor %q, want %q", cursor, m.cursor)
	}
	for i := range 500 {
		key := fmt.Sprintf("u:%d", i)
		got, _, ok, err := s.Entity(key, nil)
		if err != nil {
			return err
		}
		if want, is := m.entities[key]; ok != is || string(got) != want {
			return fmt.Errorf("%s: %d bytes, %v, want %d, %v", key, len(got), ok, len(want), is)
		}
	}
	due := map[string]int64{}
	if err := s.Timers(func(at int64, key string) error { due[key] = at; return nil }); err != nil {
		return err
	}
	if !maps.Equal(due, m.due) {
		return fmt.Errorf("%d timers, want %d, or others", len(due), len(m.due))
	}
	r, err := s.Check(func(key string, _ []byte) (int64, error) {
		if at, ok := m.due[key]; ok {
			return at, nil
		}
		return Never, nil
	})
	if err == nil && (r.Entities != len(m.entities) || r.Timers != len(m.due)) {
		err = fmt.Errorf("check counts %+v, want %d and %d", r, len(m.entities), len(m.due))
	}
	return err
}

func TestModel(t *testing.T) {
	t.Parallel()
	r := rnd(t)
	seed := r.Uint64()
	dir, m := t.TempDir(), newModel()
	s := open(t, dir)
	defer func() { s.Close() }()
	b := s.NewBatch()
	for n := uint64(1); n <= 600; n++ {
		b.Reset()
		m.step(seed, n, b)
		if err := s.Commit(b, []byte(m.cursor)); err != nil {
			t.Fatal(err)
		}
		if r.IntN(40) > 0 {
			continue
		}
		if r.IntN(2) == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
			b = s.NewBatch()
		}
		if err := m.compare(s); err != nil {
			t.Fatalf("after %d commits: %v", n, err)
		}
	}
}

package state

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
)

// TestEntities reads all entities in order, from any key on, of a store and of a
// memory: large ones in one piece, no timers and notes. What is committed meanwhile
// is not seen.
func TestEntities(t *testing.T) {
	r := rnd(t)
	s := openLarge(t, t.TempDir())
	defer s.Close()
	m := NewMemory(s.Limit())
	values, held := map[string][]byte{}, map[string]Pieces{}
	change := func(n int) *Batch {
		b := s.NewBatch()
		for range n {
			key, size := fmt.Sprintf("u:%d", r.IntN(300)), r.IntN(500)
			if r.IntN(50) == 0 {
				size = 40_000 + r.IntN(50_000)
			}
			values[key] = random(r, size)
			held[key] = b.Put(key, values[key], held[key])
			b.Schedule(r.Int64(), key)
		}
		b.Note("since", []byte("u:note"))
		return b
	}
	for range 5 {
		b := change(60)
		if err := errors.Join(s.Commit(b, []byte("x")), m.Commit(b, []byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	keys := slices.Sorted(maps.Keys(values))
	for name, read := range map[string]func(after string, fn func(key string, b []byte, pieces Pieces) error) error{"store": s.Entities, "memory": m.Entities} {
		for _, after := range []string{"", keys[0], keys[len(keys)/2], keys[len(keys)/2] + "0", "u", keys[len(keys)-1]} {
			want := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k <= after })
			var got []string
			err := read(after, func(key string, b []byte, pieces Pieces) error {
				got = append(got, key)
				if !bytes.Equal(b, values[key]) || !slices.Equal(pieces, held[key]) {
					t.Errorf("%s: %s has %d bytes in %d pieces, want %d in %d", name, key, len(b), len(pieces), len(values[key]), len(held[key]))
				}
				return nil
			})
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s after %q: %v, want %v: %v", name, after, got, want, err)
			}
		}
		enough := errors.New("enough")
		if err := read("", func(string, []byte, Pieces) error { return enough }); err != enough {
			t.Errorf("%s: got %v", name, err)
		}
	}

	// Entity and Commit go on meanwhile.
	before := maps.Clone(values)
	var all sync.WaitGroup
	begun := make(chan struct{})
	var once sync.Once
	all.Go(func() {
		n := 0
		err := s.Entities("", func(key string, b []byte, _ Pieces) error {
			once.Do(func() { close(begun) })
			n++
			if !bytes.Equal(b, before[key]) {
				return fmt.Errorf("%s is of a later commit", key)
			}
			return nil
		})
		if err != nil || n != len(before) {
			t.Errorf("%d entities, want %d: %v", n, len(before), err)
		}
	})
	<-begun
	for range 20 {
		if err := s.Commit(change(20), []byte("y")); err != nil {
			t.Fatal(err)
		}
		if _, _, found, err := s.Entity(keys[0], nil); !found || err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
}

package state

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// fill commits users of 300 bytes each.
func fill(b *testing.B, users int) *Store {
	s, err := Open(b.TempDir(), Options{Identity: testIdentity})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	batch, value := s.NewBatch(), make([]byte, 300)
	for u := range users {
		batch.Put(fmt.Sprintf("u:%d", u), value)
		if batch.Entries() == 5000 || u == users-1 {
			if err := s.Commit(batch, []byte("{}")); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	return s
}

func BenchmarkEntity(b *testing.B) {
	const users = 300_000
	s := fill(b, users)
	r := rand.New(rand.NewPCG(1, 1))
	keys := make([]string, 4096)
	for i := range keys {
		keys[i] = fmt.Sprintf("u:%d", r.IntN(users))
	}
	var buf []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		var ok bool
		var err error
		if buf, ok, err = s.Entity(keys[i%len(keys)], buf); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkCommit says what one entity costs in commits of so many.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := fill(b, 100_000)
			r := rand.New(rand.NewPCG(1, 1))
			batch, value := s.NewBatch(), make([]byte, 300)
			b.ReportAllocs()
			for b.Loop() {
				batch.Put(fmt.Sprintf("u:%d", r.IntN(100_000)), value)
				if batch.Entries() == n {
					if err := s.Commit(batch, []byte("{}")); err != nil {
						b.Fatal(err)
					}
					batch.Reset()
				}
			}
		})
	}
}

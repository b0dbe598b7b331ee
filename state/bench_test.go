package state

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// fill makes a store with users of size bytes each.
func fill(b *testing.B, users, size int) *Store {
	s, err := Open(b.TempDir(), Options{Identity: testIdentity})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	batch, value := s.NewBatch(), make([]byte, size)
	r := rand.NewChaCha8([32]byte{})
	for u := range users {
		r.Read(value)
		batch.Put(fmt.Sprintf("u:%d", u), value, nil)
		if !s.Limit().Admits(batch.Entries()+1, batch.Bytes()+size+100) || u == users-1 {
			if err := s.Commit(batch, []byte("{}")); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	if err := s.db.Flatten(1); err != nil { // so that no compaction runs during the benchmark
		b.Fatal(err)
	}
	return s
}

func BenchmarkEntity(b *testing.B) {
	const users = 300_000
	s := fill(b, users, 300)
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
		if buf, _, ok, err = s.Entity(keys[i%len(keys)], buf); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkCommit measures the cost of one entity in commits of several sizes.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := fill(b, 100_000, 300)
			r := rand.New(rand.NewPCG(1, 1))
			batch, value := s.NewBatch(), make([]byte, 300)
			b.ReportAllocs()
			for b.Loop() {
				batch.Put(fmt.Sprintf("u:%d", r.IntN(100_000)), value, nil)
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

var snapshotUsers = flag.Int("users", 20_000, "users in the benchmarks of snapshots")

func BenchmarkSnapshot(b *testing.B) {
	s := fill(b, *snapshotUsers, 2400)
	var info SnapshotInfo
	for b.Loop() {
		var err error
		if info, err = s.Snapshot(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(info.Bytes)
}

// BenchmarkBeside measures how long it takes to read 100 users and to commit
// them, one after the other, alone and while snapshots are taken without pause.
func BenchmarkBeside(b *testing.B) {
	for _, commits := range []bool{false, true} {
		for _, snapshots := range []bool{false, true} {
			b.Run(fmt.Sprintf("commits=%v/snapshots=%v", commits, snapshots), func(b *testing.B) {
				beside(b, fill(b, *snapshotUsers, 2400), commits, snapshots)
			})
		}
	}
}

func beside(b *testing.B, s *Store, commits, snapshots bool) {
	var stop atomic.Bool
	var taken float64
	done := make(chan error)
	go func() {
		var err error
		for snapshots && err == nil && !stop.Load() {
			_, err = s.Snapshot(io.Discard)
			taken++
		}
		done <- err
	}()
	r, batch, value := rand.New(rand.NewPCG(1, 1)), s.NewBatch(), make([]byte, 2400)
	var buf []byte
	var read, committed []float64 // ms
	since := func(t time.Time) float64 { return float64(time.Since(t).Microseconds()) / 1000 }
	for b.Loop() {
		batch.Reset()
		from := time.Now()
		for range 100 {
			key := fmt.Sprintf("u:%d", r.IntN(*snapshotUsers))
			buf, _, _, _ = s.Entity(key, buf)
			batch.Put(key, value, nil)
		}
		read = append(read, since(from))
		if !commits {
			continue
		}
		from = time.Now()
		if err := s.Commit(batch, []byte("{}")); err != nil {
			b.Fatal(err)
		}
		committed = append(committed, since(from))
	}
	stop.Store(true)
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	report := func(name string, ms []float64) {
		slices.Sort(ms)
		b.ReportMetric(ms[len(ms)/2], name+"-p50-ms")
		b.ReportMetric(ms[len(ms)*99/100], name+"-p99-ms")
		b.ReportMetric(ms[len(ms)-1], name+"-max-ms")
	}
	report("read", read)
	if commits {
		report("commit", committed)
	}
	b.ReportMetric(taken, "snapshots")
}

func BenchmarkRestore(b *testing.B) {
	var snapshot bytes.Buffer
	full := fill(b, *snapshotUsers, 2400)
	if _, err := full.Snapshot(&snapshot); err != nil {
		b.Fatal(err)
	}
	full.Close()
	o := Options{Identity: testIdentity}
	for _, open := range []bool{false, true} {
		b.Run(fmt.Sprintf("open=%v", open), func(b *testing.B) {
			b.SetBytes(int64(snapshot.Len()))
			dir := filepath.Join(b.TempDir(), "restored")
			for b.Loop() {
				if _, err := Restore(dir, o, bytes.NewReader(snapshot.Bytes())); err != nil {
					b.Fatal(err)
				}
				if open {
					s, err := Open(dir, o)
					if err != nil {
						b.Fatal(err)
					}
					s.Close()
				}
				b.StopTimer()
				Discard(dir)
				b.StartTimer()
			}
		})
	}
}

package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

var testOptions = Options{Identity: testIdentity, MemTable: 1 << 20}

// snapshot takes a snapshot and checks its size.
func snapshot(t *testing.T, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	info, err := s.Snapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	if info.Bytes != int64(b.Len()) {
		t.Fatalf("it counts %d bytes of %d", info.Bytes, b.Len())
	}
	return b.Bytes()
}

// pad writes so many notes that a snapshot has several pieces, with entities
// in the first and timers in the last, and a restored directory two tables.
func pad(t *testing.T, s *Store, seed uint64) {
	t.Helper()
	for i := range pads {
		commit(t, s, "0", func(b *Batch) { b.Note(fmt.Sprint(i), padding(seed, i)) })
	}
}

const pads = 16

func padding(seed uint64, i int) []byte {
	return random(rand.New(rand.NewPCG(seed, uint64(i))), 100_000)
}

// random returns n random bytes.
func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// A gate blocks a snapshot's first piece until it is opened.
type gate struct {
	bytes.Buffer
	reached, open chan struct{}
}

func (g *gate) Write(b []byte) (int, error) {
	if g.Len() == 0 {
		close(g.reached)
		<-g.open
	}
	return g.Buffer.Write(b)
}

// TestSnapshot: a snapshot that is taken while commits go on (before it, during
// its first piece and during the rest) is the state of one commit, and a
// restored store takes further commits as the original does.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	r := rnd(t)
	seed := r.Uint64()
	s, m, n := open(t, t.TempDir()), newModel(), uint64(0)
	defer s.Close()
	pad(t, s, seed)
	b := s.NewBatch()
	steps := func(s *Store, count int) {
		for range count {
			n++
			b.Reset()
			m.step(seed, n, b)
			if err := s.Commit(b, []byte(m.cursor)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 5 {
		steps(s, 1+r.IntN(100))
		from := n
		out := &gate{reached: make(chan struct{}), open: make(chan struct{})}
		var info SnapshotInfo
		done := make(chan error)
		go func() {
			var err error
			info, err = s.Snapshot(out)
			done <- err
		}()
		for running := true; running; {
			select {
			case <-out.reached:
				running = false
			default:
				steps(s, 1)
			}
		}
		to := n
		steps(s, 20)
		close(out.open)
		for running := true; running; {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				running = false
			default:
				steps(s, 1)
			}
		}
		at := restored(t, out.Bytes(), info, seed)
		if at < from || at > to {
			t.Errorf("taken between commits %d and %d it is of %d", from, to, at)
		}
		if err := m.compare(s); err != nil {
			t.Fatal(err)
		}
	}
}

// restored restores a snapshot, compares the store with the model, and makes
// further commits. It returns the number of the snapshot's last commit.
func restored(t *testing.T, b []byte, taken SnapshotInfo, seed uint64) uint64 {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "b")
	info, err := Restore(dir, testOptions, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(info) != fmt.Sprint(taken) {
		t.Errorf("restored %v, taken %v", info, taken)
	}
	s := open(t, dir)
	defer func() { s.Close() }()
	m, n, err := caughtUp(s, seed)
	if err == nil {
		err = m.compare(s)
	}
	if err != nil {
		t.Fatalf("restored at %d: %v", n, err)
	}
	if info.Entities != len(m.entities) || info.Timers != len(m.due) || string(info.Cursor) != m.cursor ||
		info.Identity != testIdentity || info.Bytes != int64(len(b)) {
		t.Errorf("%+v, of %d bytes at commit %s with %d entities and %d timers", info, len(b), m.cursor, len(m.entities), len(m.due))
	}
	for i := range pads {
		if note, err := s.Note(fmt.Sprint(i)); err != nil || !bytes.Equal(note, padding(seed, i)) {
			t.Fatalf("note %d has %d bytes, %v", i, len(note), err)
		}
	}
	batch := s.NewBatch()
	for i := n + 1; i < n+100; i++ {
		batch.Reset()
		m.step(seed, i, batch)
		if err := s.Commit(batch, []byte(m.cursor)); err != nil {
			t.Fatal(err)
		}
		if i == n+50 {
			s.Close()
			s = open(t, dir)
			batch = s.NewBatch()
		}
	}
	s.Close()
	s = open(t, dir)
	if err := m.compare(s); err != nil {
		t.Fatalf("restored at %d, and gone on: %v", n, err)
	}
	return n
}

// TestSnapshotOfNothing: a store without a commit can be snapshotted and
// restored.
func TestSnapshotOfNothing(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	dir := filepath.Join(t.TempDir(), "restored")
	if info, err := Restore(dir, testOptions, bytes.NewReader(snapshot(t, s))); err != nil || info.Cursor != nil {
		t.Fatal(info, err)
	}
	s = open(t, dir)
	defer s.Close()
	if c, err := s.Cursor(); c != nil || err != nil {
		t.Errorf("cursor %q, %v", c, err)
	}
	commit(t, s, "one", func(b *Batch) { b.Put("u:1", []byte("first"), nil) })
}

// TestSnapshotErrors: a damaged store does not become a snapshot, and an error
// of the writer is returned.
func TestSnapshotErrors(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string][]string{
		"record":      {"eu:1", string(appendFrame(nil, []byte("eu:2"), nil))},
		"unknown key": framed("x", ""),
		"identity":    framed("m", "x"),
		"cursor":      framed("c", "x"),
	} {
		s := open(t, t.TempDir())
		if err := s.db.Update(func(t *badger.Txn) error { return t.Set([]byte(bad[0]), []byte(bad[1])) }); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Snapshot(io.Discard); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
		s.Close()
	}
	s, err := Open(t.TempDir(), Options{Identity: testIdentity, MemTable: 64 << 20}) // whose commits can hold a header that is too long
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	full := errors.New("full")
	if _, err := s.Snapshot(failing{full}); !errors.Is(err, full) {
		t.Errorf("%v, want the writer's", err)
	}
	commit(t, s, "long", func(b *Batch) {})
	if err := s.Commit(s.NewBatch(), make([]byte, maxHeader)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(io.Discard); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("with a cursor of %d bytes: %v", maxHeader, err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Read([]byte) (int, error)  { return 0, f.err }

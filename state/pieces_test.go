package state

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// openLarge opens a store whose commits can hold an entity of 400 KB.
func openLarge(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{Identity: testIdentity, MemTable: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPieces changes a large entity at random places, now and then so much that
// it is stored whole, and removes it. Each state is read back, and nothing of an
// older state is left.
func TestPieces(t *testing.T) {
	r, dir := rnd(t), t.TempDir()
	s := openLarge(t, dir)
	defer func() { s.Close() }()
	var value []byte
	var held Pieces
	for i := range 150 {
		switch at := r.IntN(len(value) + 1); {
		case i%50 == 49:
			value = nil
		case len(value) > 400_000 || r.IntN(10) == 0:
			value = slices.Clone(value[at:])
		default:
			value = slices.Concat(value[:at], random(r, r.IntN(1+r.IntN(100_000))), value[at:])
		}
		commit(t, s, "x", func(b *Batch) {
			if value == nil {
				b.Delete("u:1", held)
				held = nil
			} else {
				held = b.Put("u:1", value, held)
			}
			b.Put("u:12", []byte("whole"), nil)
		})
		if i%40 == 39 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openLarge(t, dir)
		}
		got, pieces, found, err := s.Entity("u:1", nil)
		if err != nil || found != (value != nil) || !bytes.Equal(got, value) || !slices.Equal(pieces, held) {
			t.Fatalf("state %d: %d bytes in %d pieces, found %v, want %d in %d: %v", i, len(got), len(pieces), found, len(value), len(held), err)
		}
		if (len(value) > wholeMost) != (held != nil) {
			t.Fatalf("%d bytes are in %d pieces", len(value), len(held))
		}
		if _, err := s.Check(nil); err != nil {
			t.Fatalf("state %d: %v", i, err)
		}
	}
}

// TestPieceSizes: pieces have the sizes that doc.go says, whatever the content.
func TestPieceSizes(t *testing.T) {
	r := rnd(t)
	for what, b := range map[string][]byte{
		"random": random(r, 1<<20), "zeros": make([]byte, 100_000), "text": []byte(strings.Repeat("a text ", 20_000)), "few": random(r, pieceLeast),
	} {
		n, whole := 0, []byte(nil)
		for piece, rest := cutPiece(b); len(piece) > 0; piece, rest = cutPiece(rest) {
			if len(piece) > pieceMost || len(piece) < pieceLeast && len(rest) > 0 {
				t.Errorf("%s: a piece of %d bytes", what, len(piece))
			}
			whole = append(whole, piece...)
			n++
		}
		if !bytes.Equal(whole, b) {
			t.Errorf("%s: the pieces are not the whole", what)
		}
		t.Logf("%s: %d pieces of %d bytes", what, n, len(b)/n)
	}
}

// TestSmallChange: some bytes more or less in an entity of 400 KB write some KB.
func TestSmallChange(t *testing.T) {
	r := rnd(t)
	s := openLarge(t, t.TempDir())
	defer s.Close()
	value := random(r, 400_000)
	var held Pieces
	commit(t, s, "x", func(b *Batch) { held = b.Put("u:1", value, nil) })
	most := 0
	for range 200 {
		at := r.IntN(len(value))
		if r.IntN(2) == 0 {
			value = slices.Concat(value[:at], random(r, 30), value[at:])
		} else {
			value = slices.Delete(value, at, min(at+30, len(value)))
		}
		commit(t, s, "x", func(b *Batch) {
			held = b.Put("u:1", value, held)
			most = max(most, b.Bytes())
		})
	}
	t.Logf("at most %d bytes, with a head of %d", most, len(held)*len(digest{}))
	if most > 60_000 {
		t.Errorf("a change of 30 bytes wrote %d", most)
	}
	if got := entity(t, s, "u:1"); got != string(value) {
		t.Error("another value is read")
	}
}

// TestDisk writes large entities again and again, anew each time. The disk holds
// what lives, and what Badger has not compacted yet; the value log is empty.
func TestDisk(t *testing.T) {
	t.Parallel()
	r, dir := rnd(t), t.TempDir()
	s := openLarge(t, dir)
	defer s.Close()
	const entities, size, times = 10, 400_000, 50
	held := make([]Pieces, entities)
	peak := int64(0)
	for i := range entities * times {
		value := make([]byte, size)
		rand.NewChaCha8([32]byte{byte(r.Uint32()), byte(i), byte(i >> 8)}).Read(value)
		commit(t, s, "x", func(b *Batch) {
			held[i%entities] = b.Put(fmt.Sprint("u:", i%entities), value, held[i%entities])
		})
		bytes, err := Bytes(dir)
		if err != nil {
			t.Fatal(err)
		}
		peak = max(peak, bytes)
	}
	t.Logf("%d MB written, of which %d MB live; the disk held at most %d MB", entities*times*size/1_000_000, entities*size/1_000_000, peak/1_000_000)
	if peak > 25*entities*size {
		t.Errorf("the disk held %d bytes, %d live", peak, entities*size)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil || len(logs) != 1 {
		t.Errorf("the value log has files %v, want one, which is empty: %v", logs, err)
	}
}

// TestLostPiece: a piece that is missing, of another entity, or left over is
// damage.
func TestLostPiece(t *testing.T) {
	r := rnd(t)
	value := random(r, 100_000)
	for what, harm := range map[string]func(t *badger.Txn, pieces Pieces) error{
		"missing": func(t *badger.Txn, p Pieces) error { return t.Delete(appendPieceKey(nil, "u:1", p[1])) },
		"another's": func(t *badger.Txn, p Pieces) error {
			return t.Set(appendPieceKey(nil, "u:1", p[1]), appendFrame(nil, appendPieceKey(nil, "u:2", p[1]), nil))
		},
		"cut": func(t *badger.Txn, p Pieces) error {
			k := appendPieceKey(nil, "u:1", p[1])
			return t.Set(k, appendFrame(nil, k, []byte("less")))
		},
		"left over": func(t *badger.Txn, p Pieces) error {
			k := appendPieceKey(nil, "u:2", p[1])
			return t.Set(k, appendFrame(nil, k, nil))
		},
		"no head": func(t *badger.Txn, p Pieces) error {
			k := appendEntityKey(nil, "u:1")
			return t.Set(k, appendVersion(headVersion, nil, k, []byte{1, 2, 3}))
		},
	} {
		s := openLarge(t, t.TempDir())
		var held Pieces
		commit(t, s, "x", func(b *Batch) { held = b.Put("u:1", value, nil) })
		if err := s.db.Update(func(t *badger.Txn) error { return harm(t, held) }); err != nil {
			t.Fatal(err)
		}
		commit(t, s, "y", func(*Batch) {}) // so that it is read
		if _, err := s.Check(nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: Check returns %v, want ErrDamaged", what, err)
		} else {
			t.Logf("%s: %.200v", what, err)
		}
		if _, _, _, err := s.Entity("u:1", nil); what != "left over" && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: Entity returns %v, want ErrDamaged", what, err)
		}
		s.Close()
	}
}

// TestOlder: a directory of format 1, in which entities are whole, opens, and has
// this binary's format from then on.
func TestOlder(t *testing.T) {
	dir := t.TempDir()
	s := openLarge(t, dir)
	whole := strings.Repeat("whole ", 20_000)
	err := s.db.Update(func(txn *badger.Txn) error {
		k := appendEntityKey(nil, "u:1")
		if err := txn.Set(k, appendFrame(nil, k, []byte(whole))); err != nil {
			return err
		}
		return txn.Set(identityKey, appendFrame(nil, identityKey, []byte(`{"format":1,"prefix":"x","partitions":8,"partition":3}`)))
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openLarge(t, dir)
	defer func() { s.Close() }()
	if got := entity(t, s, "u:1"); got != whole {
		t.Errorf("%d bytes are read", len(got))
	}
	commit(t, s, "x", func(b *Batch) { b.Put("u:1", []byte(whole+"!"), nil) })
	s.Close()
	s = openLarge(t, dir)
	if got := entity(t, s, "u:1"); got != whole+"!" {
		t.Errorf("%d bytes are read", len(got))
	}
	record, err := s.get(identityKey)
	if err != nil || !strings.Contains(string(record), `"format":2`) {
		t.Errorf("identity %s: %v", record, err)
	}
	if _, err := s.Check(nil); err != nil {
		t.Error(err)
	}
}

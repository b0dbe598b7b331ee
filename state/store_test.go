package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

var testIdentity = Identity{Prefix: "x", Partitions: 8, Partition: 3}

// open opens a store. Its lock lives as long as any process has the file open,
// and a child that another test starts has it for a moment, until it runs its
// own program: so this waits for such a moment's end.
func open(t *testing.T, dir string) *Store {
	t.Helper()
	syscall.ForkLock.RLock()
	//lint:ignore SA2001 it is enough to have waited
	syscall.ForkLock.RUnlock()
	s, err := Open(dir, Options{Identity: testIdentity, MemTable: 1 << 20, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func commit(t *testing.T, s *Store, cursor string, fill func(*Batch)) {
	t.Helper()
	b := s.NewBatch()
	fill(b)
	if err := s.Commit(b, []byte(cursor)); err != nil {
		t.Fatal(err)
	}
}

func entity(t *testing.T, s *Store, key string) string {
	t.Helper()
	b, _, ok, err := s.Entity(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return "none"
	}
	return string(b)
}

func timers(t *testing.T, s *Store) string {
	t.Helper()
	var l []string
	if err := s.Timers(func(due int64, key string) error {
		l = append(l, fmt.Sprintf("%s@%d", key, due))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(l, " ")
}

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, dir)
	if c, err := s.Cursor(); c != nil || err != nil {
		t.Fatalf("cursor of a new store: %q, %v", c, err)
	}
	if got := entity(t, s, "u:1"); got != "none" {
		t.Fatalf("entity in a new store: %s", got)
	}
	commit(t, s, "one", func(b *Batch) {
		b.Put("u:1", []byte("first"), nil)
		b.Put("u:2", []byte("second"), nil)
		b.Put("u:3", nil, nil)
		b.Schedule(5, "u:1")
		b.Schedule(-7, "u:2")
		b.Schedule(5, "a:1")
	})
	check := func(e1, e2, due, cursor string) {
		t.Helper()
		if got := entity(t, s, "u:1"); got != e1 {
			t.Errorf("u:1 is %q, want %q", got, e1)
		}
		if got := entity(t, s, "u:2"); got != e2 {
			t.Errorf("u:2 is %q, want %q", got, e2)
		}
		if got := entity(t, s, "u:3"); got != "" {
			t.Errorf("u:3 is %q, want it empty", got)
		}
		if got := timers(t, s); got != due {
			t.Errorf("timers are %q, want %q", got, due)
		}
		if got, err := s.Cursor(); string(got) != cursor || err != nil {
			t.Errorf("cursor is %q, %v, want %q", got, err, cursor)
		}
	}
	check("first", "second", "u:2@-7 a:1@5 u:1@5", "one")
	commit(t, s, "two", func(b *Batch) {
		b.Put("u:1", []byte("changed"), nil)
		b.Delete("u:2", nil)
		b.Unschedule(-7, "u:2")
		b.Unschedule(5, "u:1")
		b.Schedule(1<<62, "u:1")
	})
	want := fmt.Sprintf("a:1@5 u:1@%d", int64(1<<62))
	check("changed", "none", want, "two")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	check("changed", "none", want, "two")
}

// TestLimit: a batch that is too big is refused before anything is written, and
// Badger never refuses a batch that the limit admits.
func TestLimit(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	l := s.Limit()
	for _, size := range []int{1, 100, 5000, 30_000} {
		b := s.NewBatch()
		for i := 0; ; i++ {
			key := fmt.Sprintf("u:%d", i)
			if !l.Admits(b.Entries()+1, b.Bytes()+len(key)+1+frameBytes+size+entryOverhead) {
				break
			}
			b.Put(key, make([]byte, size), nil)
		}
		if err := s.Commit(b, nil); err != nil {
			t.Fatalf("%d entities of %d bytes: %v", b.Entries(), size, err)
		}
		b.Put("u:more", make([]byte, size), nil)
		b.Put("u:still", make([]byte, size), nil)
		if err := s.Commit(b, []byte("no")); !errors.Is(err, ErrTooBig) {
			t.Fatalf("one more of %d bytes: %v, want ErrTooBig", size, err)
		}
		if got := entity(t, s, "u:more"); got != "none" {
			t.Fatal("a refused batch was written")
		}
	}
}

func TestForeign(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	for _, id := range []Identity{
		{Prefix: "y", Partitions: 8, Partition: 3},
		{Prefix: "x", Partitions: 16, Partition: 3},
		{Prefix: "x", Partitions: 8, Partition: 4},
	} {
		if _, err := Open(dir, Options{Identity: id}); !errors.Is(err, ErrForeign) {
			t.Errorf("%v: %v, want ErrForeign", id, err)
		} else {
			t.Log(err)
		}
	}
	open(t, dir).Close() // unharmed
}

// TestNewer: a directory of a newer version is refused with ErrNewer, and not
// changed.
func TestNewer(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	newer, err := json.Marshal(label{format + 1, testIdentity})
	if err == nil {
		err = s.db.Update(func(txn *badger.Txn) error { return txn.Set(identityKey, appendFrame(nil, identityKey, newer)) })
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	for range 2 {
		if _, err := Open(dir, Options{Identity: testIdentity}); !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
			t.Errorf("got %v", err)
		}
	}
}

// TestFailed: after the disk has failed, commits return an error and do not
// hang, Close returns an error, and the directory counts as damaged from then on.
func TestFailed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	commit(t, s, "one", func(b *Batch) {})
	log := s.db.Opts().Logger
	for range 2 {
		log.Errorf("error flushing memtable to disk: %v, retrying", syscall.EIO)
	}
	if err := s.Commit(s.NewBatch(), []byte("two")); !errors.Is(err, ErrFailed) {
		t.Errorf("commit: %v", err)
	}
	if err := s.Close(); err != nil && !errors.Is(err, ErrFailed) {
		t.Errorf("close: %v", err)
	}
	if _, err := Open(dir, Options{Identity: testIdentity}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("open: %v", err)
	}
	s.db.Close() // waits for the Close that still runs: the real disk works
}

// TestInUse: a directory that is in use, or that may not be read, does not count
// as damaged, as it must not be discarded.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	if _, err := Open(dir, Options{Identity: testIdentity}); err == nil || errors.Is(err, ErrDamaged) {
		t.Fatalf("opened twice: %v", err)
	} else {
		t.Log(err)
	}
}

// TestBytes: Bytes counts the space used on disk, not the length of the files.
func TestBytes(t *testing.T) {
	if _, err := Bytes(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of no directory: %v", err)
	}
	dir := t.TempDir()
	s := open(t, dir)
	size := func() int64 {
		t.Helper()
		n, err := Bytes(dir)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := size()
	for i := range 40 {
		commit(t, s, "c", func(b *Batch) {
			for j := range 10 {
				b.Put(fmt.Sprint("u:", i, "/", j), make([]byte, 5_000), nil)
			}
		})
	}
	if after := size(); after < before+1_000_000 || after > 20_000_000 {
		t.Errorf("%d bytes, and %d with 2 MB in it", before, after)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if closed := size(); closed < 1_000_000 {
		t.Errorf("%d bytes when it is closed", closed)
	}
}

func TestDiscard(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	commit(t, s, "one", func(b *Batch) { b.Put("u:1", []byte("x"), nil) })
	s.Close()
	if err := os.Remove(filepath.Join(dir, "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Identity: testIdentity}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("without its MANIFEST: %v, want ErrDamaged", err)
	}
	if err := Discard(dir); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	if got := entity(t, s, "u:1"); got != "none" {
		t.Fatal("a discarded entity is back")
	}
}

func TestCheck(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	due := func(_ string, b []byte) (int64, error) {
		var d int64
		if _, err := fmt.Sscan(string(b), &d); err != nil || d == 0 {
			return Never, err
		}
		return d, nil
	}
	commit(t, s, "one", func(b *Batch) {
		b.Put("u:1", []byte("5"), nil)
		b.Put("u:2", []byte("0"), nil)
		b.Schedule(5, "u:1")
	})
	r, err := s.Check(due)
	if err != nil || r.Entities != 2 || r.Timers != 1 || r.Commit != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	for name, fill := range map[string]func(*Batch){
		"timer of nobody":   func(b *Batch) { b.Schedule(6, "u:3") },
		"two timers":        func(b *Batch) { b.Schedule(6, "u:1") },
		"timer not due":     func(b *Batch) { b.Schedule(6, "u:2") },
		"no timer":          func(b *Batch) { b.Unschedule(5, "u:1") },
		"unreadable entity": func(b *Batch) { b.Put("u:2", []byte("x"), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			defer s.Close()
			commit(t, s, "one", func(b *Batch) {
				b.Put("u:1", []byte("5"), nil)
				b.Put("u:2", []byte("0"), nil)
				b.Schedule(5, "u:1")
			})
			commit(t, s, "two", fill)
			if r, err := s.Check(due); !errors.Is(err, ErrDamaged) {
				t.Errorf("%+v, %v, want ErrDamaged", r, err)
			} else {
				t.Log(err)
			}
		})
	}
}

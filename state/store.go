package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/dgraph-io/badger/v4"
)

// ErrForeign means that a directory or snapshot belongs to another deployment
// or partition. Nothing was changed.
var ErrForeign = errors.New("state belongs to another deployment")

// ErrNewer means that only a newer binary can read a directory or snapshot.
// Nothing was changed.
var ErrNewer = errors.New("use the newer binary")

// A Store is one partition's state. Entity, Cursor and Timers are for one
// goroutine; Commit may run concurrently with them in another. Entities and
// Snapshot may run in any.
type Store struct {
	db     *badger.DB
	limit  Limit
	commit uint64 // number of the last commit

	failing *failure

	read  *badger.Txn // Entity reads from it until the next commit
	stale atomic.Bool // a commit is newer than read
	key   []byte
}

// Open opens the partition's directory, and makes it if it does not exist. It
// reads every table once to verify it.
//
// The error is ErrDamaged if the directory must be discarded, also because its
// disk has failed before; ErrForeign if it belongs to another partition or
// deployment; ErrNewer if a newer binary wrote it. Other errors come from the
// disk, or because another process has the directory open.
func Open(dir string, o Options) (_ *Store, err error) {
	if o.MemTable == 0 {
		o.MemTable = DefaultMemTable
	}
	if o.MemTable < 1<<20 {
		return nil, fmt.Errorf("open state %s: memtable of %d bytes, want at least 1 MB", dir, o.MemTable)
	}
	defer func() {
		if p := recover(); p != nil { // Badger panics on some torn files
			err = damaged("%v", p)
		}
		if err != nil {
			if strings.Contains(err.Error(), syscall.EIO.Error()) {
				err = errors.Join(err, recordFailure(dir, err.Error()))
			}
			err = fmt.Errorf("open state %s: %w", dir, err)
		}
	}()
	fresh, err := empty(dir)
	if err != nil {
		return nil, err
	}
	if err := verifyDir(dir); err != nil {
		return nil, err
	}
	failing := newFailure(dir)
	db, err := badger.Open(badgerOptions(dir, o, failing))
	if err != nil {
		if fresh || ours(err) {
			return nil, err
		}
		return nil, damaged("%v", err)
	}
	s := &Store{db: db, failing: failing}
	// A tenth is reserved for the cursor and the seals, which each commit adds.
	s.limit = Limit{
		Entries: int(db.MaxBatchCount())*9/10 - 4,
		Bytes:   int(db.MaxBatchSize()) * 9 / 10,
	}
	if fresh {
		err = s.create(o.Identity)
	} else {
		err = s.recognise(o.Identity)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// verifyDir verifies a directory as far as Badger itself does not, before Badger
// opens it.
func verifyDir(dir string) error {
	for _, verify := range [...]func(dir string) error{failedBefore, verifyTables, dropEmptyLogs, verifyLogs} {
		if err := verify(dir); err != nil {
			return err
		}
	}
	return nil
}

// Discard removes a partition's directory, and what a killed Restore has left
// beside it. The directory must not be open.
func Discard(dir string) error {
	if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(buildDir(dir))); err != nil {
		return fmt.Errorf("discard state: %w", err)
	}
	return nil
}

// Bytes returns the size of a partition's directory on disk, open or not.
// Badger counts it only as part of its metrics, which are off to save time.
func Bytes(dir string) (int64, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("size of state: %w", err)
	}
	sum := int64(0)
	for _, f := range files {
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // just removed
		}
		if err != nil {
			return 0, fmt.Errorf("size of state: %w", err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok { // Badger makes files longer than their content
			sum += st.Blocks * 512
		}
	}
	return sum, nil
}

// create writes the first commit, which has the identity. It is the only
// commit that is fsynced: a directory without an identity counts as damaged.
func (s *Store) create(id Identity) error {
	record, err := identityRecord(id)
	if err != nil {
		return err
	}
	err = s.db.Update(func(t *badger.Txn) error {
		if err := t.Set(identityKey, record); err != nil {
			return err
		}
		return s.advance(t, 0, nil)
	})
	if err != nil {
		return err
	}
	return s.db.Sync()
}

// format is the version of the layout in doc.go.
const format = 2

// A label identifies a directory or a snapshot.
type label struct {
	Format int `json:"format"`
	Identity
}

// identityRecord returns the record to store under identityKey.
func identityRecord(id Identity) ([]byte, error) {
	b, err := json.Marshal(label{format, id})
	return appendFrame(nil, identityKey, b), err
}

// recognise checks that the directory is the wanted one, and that no commit is
// lost.
func (s *Store) recognise(want Identity) error {
	b, err := s.get(identityKey)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return damaged("it has no identity")
	} else if err != nil {
		return err
	}
	var got label
	if err := json.Unmarshal(b, &got); err != nil {
		return damaged("identity: %v", err)
	}
	if got.Format > format {
		return fmt.Errorf("its format is %d and this binary knows %d: %w, or remove the directory", got.Format, format, ErrNewer)
	}
	if got.Identity != want {
		return fmt.Errorf("%w: it is of %v, and this is %v: point this worker elsewhere, or remove the directory", ErrForeign, got.Identity, want)
	}
	commit, _, err := s.cursor()
	if err != nil {
		return err
	}
	s.commit = commit
	if err := s.seals(commit); err != nil || got.Format == format {
		return err
	}
	return s.relabel(want)
}

// relabel gives a directory of an older format this one's, which has no other
// content than an older binary would write, but may have from now on.
func (s *Store) relabel(id Identity) error {
	record, err := identityRecord(id)
	if err != nil {
		return err
	}
	if err := s.db.Update(func(t *badger.Txn) error { return t.Set(identityKey, record) }); err != nil {
		return err
	}
	return s.db.Sync()
}

// seals checks that exactly one seal exists, that of the newest commit.
func (s *Store) seals(commit uint64) error {
	found := false
	err := s.scan(kindSeal, false, func(it *badger.Item) error {
		n, ok := splitSealKey(it.Key())
		if !ok || n != commit {
			return damaged("commit %d is the newest, but the commit after %d is lost", commit, n)
		}
		found = true
		return nil
	})
	if err == nil && !found {
		err = damaged("commit %d has no seal", commit)
	}
	return err
}

// Entity returns the entity's bytes, appended to dst[:0], and whether the
// entity exists. If the entity is large, it also returns its pieces. It reads
// the state of the last commit that returned.
func (s *Store) Entity(key string, dst []byte) ([]byte, Pieces, bool, error) {
	if s.read == nil || s.stale.Load() {
		s.stale.Store(false)
		if s.read != nil {
			s.read.Discard()
		}
		s.read = s.db.NewTransaction(false)
	}
	s.key = appendEntityKey(s.key[:0], key)
	item, err := s.read.Get(s.key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return dst[:0], nil, false, nil
	} else if err != nil {
		return nil, nil, false, fmt.Errorf("read %s: %w", key, err)
	}
	length, pieces := 0, Pieces(nil)
	err = item.Value(func(record []byte) (err error) {
		if isHead(record) {
			length, pieces, err = openHead(s.key, record)
			return err
		}
		payload, err := openFrame(s.key, record)
		dst = append(dst[:0], payload...)
		return err
	})
	if err == nil && pieces != nil {
		dst, err = pieces.join(key, length, dst, within(s.read))
	}
	if err != nil {
		return nil, nil, false, fmt.Errorf("read %s: %w", key, err)
	}
	return dst, pieces, true, nil
}

// within returns a function that reads records in a transaction.
func within(t *badger.Txn) func(k []byte, use func(record []byte) error) (bool, error) {
	return func(k []byte, use func(record []byte) error) (bool, error) {
		item, err := t.Get(k)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		return true, item.Value(use)
	}
}

// Entities calls fn with each entity whose key is above after, in the order of keys,
// until fn fails. b is valid until fn returns; pieces are those of Entity. It reads
// the state of the last commit before it began, may run concurrently with Entity and
// Commit, also of fn, and must have returned before Close. While it runs, replaced
// records keep their disk space.
func (s *Store) Entities(after string, fn func(key string, b []byte, pieces Pieces) error) error {
	var k, buf []byte
	return s.db.View(func(t *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.PrefetchValues = false
		o.Prefix = []byte{kindEntity}
		it := t.NewIterator(o)
		defer it.Close()
		for it.Seek(appendEntityKey(nil, after)); it.Valid(); it.Next() {
			k = append(k[:0], it.Item().Key()...)
			key := string(k[1:])
			if key == after {
				continue
			}
			err := it.Item().Value(func(record []byte) error {
				return openEntity(key, k, record, &buf, within(t), fn)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// openEntity calls fn with the entity whose record is under k. If it is in pieces,
// they are joined in buf.
func openEntity(key string, k, record []byte, buf *[]byte, get func(k []byte, use func(record []byte) error) (bool, error), fn func(key string, b []byte, pieces Pieces) error) error {
	if !isHead(record) {
		b, err := openFrame(k, record)
		if err != nil {
			return err
		}
		return fn(key, b, nil)
	}
	length, pieces, err := openHead(k, record)
	if err == nil {
		*buf, err = pieces.join(key, length, *buf, get)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return fn(key, *buf, pieces)
}

// Cursor returns the bytes that the last commit was given, nil before the
// first.
func (s *Store) Cursor() ([]byte, error) {
	_, b, err := s.cursor()
	if len(b) == 0 {
		return nil, err
	}
	return b, err
}

func (s *Store) cursor() (uint64, []byte, error) {
	b, err := s.get(cursorKey)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil, damaged("it has no cursor")
	} else if err != nil {
		return 0, nil, err
	}
	return splitCursor(b)
}

// Note returns a note's bytes, nil when there is none.
func (s *Store) Note(name string) ([]byte, error) {
	b, err := s.get(appendNoteKey(nil, name))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	return b, err
}

// Timers calls fn for each timer, the earliest first, until fn fails.
func (s *Store) Timers(fn func(due int64, key string) error) error {
	return s.scan(kindTimer, false, func(it *badger.Item) error {
		due, key, ok := splitTimerKey(it.Key())
		if !ok {
			return damaged("timer key %q", it.Key())
		}
		return fn(due, key)
	})
}

// Limit returns the largest size of one commit.
func (s *Store) Limit() Limit { return s.limit }

// Commit writes the batch and the cursor in one transaction: all of it or
// nothing. After ErrTooBig nothing is written. After any other error the
// outcome is unknown: close the store, open it again, and read the cursor.
func (s *Store) Commit(b *Batch, cursor []byte) error {
	if n := b.bytes + len(cursor); !s.limit.Admits(len(b.ops), n) {
		return fmt.Errorf("%w: %d entries and %d bytes, at most %d and %d", ErrTooBig,
			len(b.ops), n, s.limit.Entries, s.limit.Bytes)
	}
	t := s.db.NewTransaction(true)
	defer t.Discard()
	for i := range b.ops {
		o := &b.ops[i]
		var err error
		if o.delete {
			err = t.Delete(o.key)
		} else {
			err = t.Set(o.key, o.record)
		}
		if errors.Is(err, badger.ErrTxnTooBig) {
			return ErrTooBig
		} else if err != nil {
			return fmt.Errorf("commit %q: %w", o.key, err)
		}
	}
	if err := s.advance(t, s.commit+1, cursor); err != nil {
		return fmt.Errorf("commit cursor: %w", err)
	}
	if err := s.failing.err(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	done := make(chan error, 1)
	t.CommitWith(func(err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	case <-s.failing.come: // the commit may never end
		return fmt.Errorf("commit: %w", s.failing.err())
	}
	s.commit++
	s.stale.Store(true)
	return nil
}

// advance adds the cursor and the change of seals to a commit.
func (s *Store) advance(t *badger.Txn, commit uint64, cursor []byte) error {
	if commit > 0 {
		if err := t.Delete(appendSealKey(nil, commit-1)); err != nil {
			return err
		}
	}
	seal := appendSealKey(nil, commit)
	if err := t.Set(seal, appendFrame(nil, seal, nil)); err != nil {
		return err
	}
	return t.Set(cursorKey, appendFrame(nil, cursorKey, appendCursor(nil, commit, cursor)))
}

// Close writes the memtables to disk. The Store cannot be used afterwards.
func (s *Store) Close() error {
	if s.read != nil {
		s.read.Discard()
		s.read = nil
	}
	done := make(chan error, 1)
	go func() { done <- s.db.Close() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("close state: %w", err)
		}
		return nil
	case <-s.failing.come: // Badger waits for the disk, perhaps for ever
		return fmt.Errorf("close state: it stays open until the process ends: %w", s.failing.err())
	}
}

// get returns a copy of the payload under a key.
func (s *Store) get(key []byte) (payload []byte, err error) {
	err = s.db.View(func(t *badger.Txn) error {
		item, err := t.Get(key)
		if err != nil {
			return err
		}
		return item.Value(func(record []byte) error {
			p, err := openFrame(key, record)
			payload = append([]byte{}, p...)
			return err
		})
	})
	return payload, err
}

// scan calls fn for each key of a kind, in order, within one read transaction.
func (s *Store) scan(kind byte, values bool, fn func(*badger.Item) error) error {
	return s.db.View(func(t *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.PrefetchValues = values
		o.Prefix = []byte{kind}
		it := t.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if err := fn(it.Item()); err != nil {
				return err
			}
		}
		return nil
	})
}

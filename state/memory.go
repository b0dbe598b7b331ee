package state

import (
	"bytes"
	"encoding/gob"
	"io"
	"maps"
	"slices"
	"sync"
)

// A Memory is a partition's state in memory, for simulations. It behaves like a
// Store, and Forget simulates a power cut.
type Memory struct {
	limit Limit

	mu      sync.Mutex
	commits []moment // the newest last
}

// A moment is everything that is stored after one commit. Moments share their
// records, which never change.
type moment struct {
	records map[string][]byte
	cursor  []byte
}

// kept is the number of newest commits that Forget can remove.
const kept = 4

// NewMemory returns an empty Memory whose commits may be as large as l.
func NewMemory(l Limit) *Memory {
	return &Memory{limit: l, commits: []moment{{records: map[string][]byte{}}}}
}

// Forget removes the last n commits, at most as many as are kept. As after a
// power cut, an older, consistent state is left.
func (m *Memory) Forget(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commits = m.commits[:max(1, len(m.commits)-n)]
}

func (m *Memory) last() moment {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits[len(m.commits)-1]
}

func (m *Memory) get(key []byte) ([]byte, bool, error) {
	record, found := m.last().records[string(key)]
	if !found {
		return nil, false, nil
	}
	payload, err := openFrame(key, record)
	return payload, err == nil, err
}

func (m *Memory) Entity(key string, dst []byte) ([]byte, Pieces, bool, error) {
	k, records := appendEntityKey(nil, key), m.last().records
	record, found := records[string(k)]
	if !found {
		return dst[:0], nil, false, nil
	}
	if !isHead(record) {
		b, err := openFrame(k, record)
		return append(dst[:0], b...), nil, err == nil, err
	}
	length, pieces, err := openHead(k, record)
	if err != nil {
		return nil, nil, false, err
	}
	dst, err = pieces.join(key, length, dst, func(k []byte, use func([]byte) error) (bool, error) {
		record, found := records[string(k)]
		if !found {
			return false, nil
		}
		return true, use(record)
	})
	return dst, pieces, err == nil, err
}

// Entities is Store.Entities.
func (m *Memory) Entities(after string, fn func(key string, b []byte, pieces Pieces) error) error {
	var buf []byte
	records := m.last().records
	get := func(k []byte, use func([]byte) error) (bool, error) {
		record, found := records[string(k)]
		if !found {
			return false, nil
		}
		return true, use(record)
	}
	for _, k := range slices.Sorted(maps.Keys(records)) {
		if k[0] != kindEntity || k[1:] <= after {
			continue
		}
		if err := openEntity(k[1:], []byte(k), records[k], &buf, get, fn); err != nil {
			return err
		}
	}
	return nil
}

func (m *Memory) Cursor() ([]byte, error) { return m.last().cursor, nil }

func (m *Memory) Note(name string) ([]byte, error) {
	b, _, err := m.get(appendNoteKey(nil, name))
	return b, err
}

func (m *Memory) Timers(fn func(due int64, key string) error) error {
	records := m.last().records
	for _, k := range slices.Sorted(maps.Keys(records)) {
		if due, key, ok := splitTimerKey([]byte(k)); ok {
			if err := fn(due, key); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Memory) Limit() Limit { return m.limit }

func (m *Memory) NewBatch() *Batch { return new(Batch) }

func (m *Memory) Commit(b *Batch, cursor []byte) error {
	if !m.limit.Admits(len(b.ops), b.bytes+len(cursor)) {
		return ErrTooBig
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	records := maps.Clone(m.commits[len(m.commits)-1].records)
	for _, o := range b.ops {
		if o.delete {
			delete(records, string(o.key))
		} else {
			records[string(o.key)] = bytes.Clone(o.record)
		}
	}
	m.commits = append(m.commits, moment{records, bytes.Clone(cursor)})
	if len(m.commits) > kept+1 {
		m.commits = slices.Delete(m.commits, 0, 1)
	}
	return nil
}

// Snapshot writes the state of the last commit.
func (m *Memory) Snapshot(w io.Writer) (SnapshotInfo, error) {
	last := m.last()
	info := SnapshotInfo{Cursor: last.cursor, Entities: len(last.records)}
	return info, gob.NewEncoder(w).Encode(memorySnapshot{last.records, last.cursor})
}

type memorySnapshot struct {
	Records map[string][]byte
	Cursor  []byte
}

// Restore replaces the state with the one that Snapshot wrote.
func (m *Memory) Restore(r io.Reader) error {
	var s memorySnapshot
	if err := gob.NewDecoder(r).Decode(&s); err != nil {
		return damaged("%v", err)
	}
	if s.Records == nil {
		s.Records = map[string][]byte{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commits = []moment{{s.Records, s.Cursor}}
	return nil
}

func (m *Memory) Close() error { return nil }

package state

import "errors"

// ErrTooBig means that a batch exceeds what one transaction can hold. Nothing
// was written: the caller must commit in smaller batches.
var ErrTooBig = errors.New("commit is too big for one transaction")

// A Batch gathers the changes of one commit; NewBatch makes one. If a key is
// changed twice, the later change counts. Reset makes the batch ready for the
// next commit.
type Batch struct {
	ops   []op
	arena []byte // keys and records of ops
	bytes int    // size of ops as Badger counts it
	large int    // records of this size or more go to the value log; only their pointer counts
}

type op struct {
	key, record []byte
	delete      bool
}

// Badger counts each entry as 12 bytes more than its key and value (2 for
// flags, 10 for the version), and a record in the value log as 12 bytes.
const (
	entryOverhead = 12
	pointerBytes  = 12
)

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch { return &Batch{large: s.limit.Large} }

// Put writes an entity.
func (b *Batch) Put(key string, payload []byte) {
	k := b.cut(func(a []byte) []byte { return appendEntityKey(a, key) })
	b.add(op{key: k, record: b.cut(func(a []byte) []byte { return appendFrame(a, k, payload) })})
}

// Delete removes an entity.
func (b *Batch) Delete(key string) {
	b.add(op{key: b.cut(func(a []byte) []byte { return appendEntityKey(a, key) }), delete: true})
}

// Note writes a note: data that belongs to the cursor but changes seldom.
func (b *Batch) Note(name string, payload []byte) {
	k := appendNoteKey(nil, name)
	b.add(op{key: k, record: appendFrame(nil, k, payload)})
}

// Schedule adds a timer: entity key is due at time due.
func (b *Batch) Schedule(due int64, key string) {
	b.add(op{key: b.cut(func(a []byte) []byte { return appendTimerKey(a, due, key) })})
}

// Unschedule removes a timer.
func (b *Batch) Unschedule(due int64, key string) {
	b.add(op{key: b.cut(func(a []byte) []byte { return appendTimerKey(a, due, key) }), delete: true})
}

// Entries and Bytes are the batch's size, as a Limit counts it.
func (b *Batch) Entries() int { return len(b.ops) }
func (b *Batch) Bytes() int   { return b.bytes }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.ops)
	b.ops, b.arena, b.bytes = b.ops[:0], b.arena[:0], 0
}

func (b *Batch) add(o op) {
	b.ops = append(b.ops, o)
	n := len(o.record)
	if n >= b.large {
		n = pointerBytes
	}
	b.bytes += len(o.key) + n + entryOverhead
}

// cut lets fill append to the arena and returns the appended piece. If the
// arena is reallocated, earlier pieces stay in the old one.
func (b *Batch) cut(fill func([]byte) []byte) []byte {
	n := len(b.arena)
	b.arena = fill(b.arena)
	return b.arena[n:len(b.arena):len(b.arena)]
}

// A Limit is the largest size of one commit.
type Limit struct {
	Entries int // puts and deletes of entities, timers and notes
	Bytes   int // keys, records and 12 for each entry, and the cursor; a record of Large or more counts as 12
	Large   int // records of this many bytes or more go to the value log
}

// Admits reports whether a batch of that size can be committed.
func (l Limit) Admits(entries, bytes int) bool { return entries <= l.Entries && bytes <= l.Bytes }

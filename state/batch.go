package state

import "errors"

// ErrTooBig means that a batch exceeds what one transaction can hold. Nothing
// was written: the way on is a smaller step between commits.
var ErrTooBig = errors.New("commit is too big for one transaction")

// A Batch gathers what one commit writes; NewBatch makes one. Of two calls
// for one key the later counts. Reset makes it ready for the next.
type Batch struct {
	ops   []op
	arena []byte // keys and records of ops
	bytes int    // as Badger counts them
	large int    // records from this size on lie apart, and only their place counts
}

type op struct {
	key, record []byte
	delete      bool
}

// Badger adds two bytes of flags and ten of version to each entry it counts,
// and counts twelve for the place of a record that lies apart.
const (
	entryOverhead = 12
	placeBytes    = 12
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

// Note writes what belongs to the cursor but changes seldom.
func (b *Batch) Note(name string, payload []byte) {
	k := appendNoteKey(nil, name)
	b.add(op{key: k, record: appendFrame(nil, k, payload)})
}

// Schedule adds a timer: key is due at that time.
func (b *Batch) Schedule(due int64, key string) {
	b.add(op{key: b.cut(func(a []byte) []byte { return appendTimerKey(a, due, key) })})
}

// Unschedule removes a timer.
func (b *Batch) Unschedule(due int64, key string) {
	b.add(op{key: b.cut(func(a []byte) []byte { return appendTimerKey(a, due, key) }), delete: true})
}

// Entries and Bytes are its size as a Limit counts it.
func (b *Batch) Entries() int { return len(b.ops) }
func (b *Batch) Bytes() int   { return b.bytes }

// Reset empties it and keeps its memory.
func (b *Batch) Reset() {
	clear(b.ops)
	b.ops, b.arena, b.bytes = b.ops[:0], b.arena[:0], 0
}

func (b *Batch) add(o op) {
	b.ops = append(b.ops, o)
	n := len(o.record)
	if n >= b.large {
		n = placeBytes
	}
	b.bytes += len(o.key) + n + entryOverhead
}

// cut grows the arena by what fill appends and returns that piece. When the
// arena moves, pieces cut before keep the old one.
func (b *Batch) cut(fill func([]byte) []byte) []byte {
	n := len(b.arena)
	b.arena = fill(b.arena)
	return b.arena[n:len(b.arena):len(b.arena)]
}

// A Limit is what one commit may hold.
type Limit struct {
	Entries int // puts and deletes of entities and timers
	Bytes   int // their keys and records, and 12 each; of a record over Large its key and 24; and the cursor
	Large   int // records of this size and more lie in a file of their own
}

// Admits says whether a batch of that size can be committed.
func (l Limit) Admits(entries, bytes int) bool { return entries <= l.Entries && bytes <= l.Bytes }

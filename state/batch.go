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
}

type op struct {
	key, record []byte
	delete      bool
}

// Badger counts each entry as 12 bytes more than its key and value: 2 for
// flags, 10 for the version.
const entryOverhead = 12

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch { return new(Batch) }

// Put writes an entity. held are the pieces in which the store holds the entity
// already: what Entity, or the Put before, returned. Put returns the pieces in
// which the store will hold it; both are nil unless the entity is large.
func (b *Batch) Put(key string, payload []byte, held Pieces) Pieces {
	if len(payload) > wholeMost {
		return b.putPieces(key, payload, held)
	}
	b.drop(key, held, nil)
	k := b.cut(func(a []byte) []byte { return appendEntityKey(a, key) })
	b.add(op{key: k, record: b.cut(func(a []byte) []byte { return appendFrame(a, k, payload) })})
	return nil
}

func (b *Batch) putPieces(key string, payload []byte, held Pieces) (pieces Pieces) {
	there := make(map[digest]bool, len(held)+len(payload)/pieceLeast)
	for _, d := range held {
		there[d] = true
	}
	for piece, rest := cutPiece(payload); len(piece) > 0; piece, rest = cutPiece(rest) {
		d := digestOf(piece)
		pieces = append(pieces, d)
		if there[d] {
			continue
		}
		there[d] = true
		k := b.cut(func(a []byte) []byte { return appendPieceKey(a, key, d) })
		b.add(op{key: k, record: b.cut(func(a []byte) []byte { return appendFrame(a, k, piece) })})
	}
	b.drop(key, held, pieces)
	head := appendHead(nil, len(payload), pieces)
	k := b.cut(func(a []byte) []byte { return appendEntityKey(a, key) })
	b.add(op{key: k, record: b.cut(func(a []byte) []byte { return appendVersion(headVersion, a, k, head) })})
	return pieces
}

// drop removes the pieces that are held and no longer wanted.
func (b *Batch) drop(key string, held, wanted Pieces) {
	if len(held) == 0 {
		return
	}
	keep := make(map[digest]bool, len(wanted)+len(held))
	for _, d := range wanted {
		keep[d] = true
	}
	for _, d := range held {
		if !keep[d] {
			keep[d] = true // held may list it twice
			b.add(op{key: b.cut(func(a []byte) []byte { return appendPieceKey(a, key, d) }), delete: true})
		}
	}
}

// Delete removes an entity, of which the store holds these pieces.
func (b *Batch) Delete(key string, held Pieces) {
	b.drop(key, held, nil)
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
	b.bytes += len(o.key) + len(o.record) + entryOverhead
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
	Entries int // puts and deletes of entities, their pieces, timers and notes
	Bytes   int // keys, records and 12 for each entry, and the cursor
}

// Admits reports whether a batch of that size can be committed.
func (l Limit) Admits(entries, bytes int) bool { return entries <= l.Entries && bytes <= l.Bytes }

package checkpoint

import (
	"bytes"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
	"offerstream/state"
)

// A Cache holds decoded entities of one partition in front of its store. When
// they take more than max bytes, the least recently used ones leave; changed
// entities stay until they are committed. A cache is for one goroutine.
//
// Changes are numbered by generations, one for each checkpoint: an entity that
// was last changed in generation g may leave once checkpoint g is committed. A
// checkpoint is encoded bit by bit while the fold goes on, so that no event waits for
// all of it: an entity that the fold is about to change again is encoded before.
type Cache struct {
	store   Store
	max     int64
	lookups Lookups
	entries map[string]*cached
	newest  *cached // the head of the ring: newest.next is older, newest.prev is the oldest
	bytes   int64

	gen       uint64       // generation of the changes made now, from 1
	committed uint64       // the last committed generation
	dirty     []*cached    // the entities changed in gen
	changed   int          // estimated bytes of dirty
	batch     *state.Batch // takes the changes of the generation before gen; nil: it has all of them
	ending    []*cached    // the entities with these changes; batch has those before next, and perhaps later ones
	next      int
	expected  int // bytes of the message under way, which its steps may add
	buf       []byte
	count     uint64 // number of lookups
}

var _ pipeline.Entities = (*Cache)(nil)

// Lookups observe how long lookups take, in seconds. Either may be nil.
type Lookups struct {
	Cached prometheus.Observer // of one in 64 lookups of entities in the cache
	Stored prometheus.Observer // of all other lookups, which read from the store and decode
}

type cached struct {
	entity     *pipeline.Entity
	size       int          // bytes when last read or encoded
	pieces     state.Pieces // in which the store or the batch under way has it
	wrote      int          // bytes that its last change took in a batch
	due        int64        // its timer in the store or in the batch under way
	stored     bool         // it has a record in the store or in the batch under way
	gen        uint64       // the generation in which it was last changed; 0: unchanged
	encoded    uint64       // the last generation whose changes are in a batch
	prev, next *cached
}

// Estimates in bytes. If one is too low, a checkpoint may be too big for a
// transaction and must be made anew.
const (
	decodedFactor = 2       // memory of an entity, as a multiple of its encoded bytes
	decodedExtra  = 768     // and in addition to that
	growth        = 128     // how much one change may add to an entity's encoded bytes, in addition to what the message has
	ordinary      = 1 << 10 // bytes of an event that adds no more than growth
	firstGrowth   = 512     // and its first change in addition to that
)

// NewCache makes an empty cache in front of a store. It holds about max bytes of
// decoded entities, and more only if they are not committed yet.
func NewCache(store Store, max int64, lookups Lookups) *Cache {
	none := prometheus.ObserverFunc(func(float64) {})
	if lookups.Cached == nil {
		lookups.Cached = none
	}
	if lookups.Stored == nil {
		lookups.Stored = none
	}
	return &Cache{store: store, max: max, lookups: lookups, entries: map[string]*cached{}, gen: 1}
}

// Entity returns the entity with a key, a new one if there is none, and counts it
// as changed. The error is pipeline.ErrNewer if a newer version has written its
// record, and state.ErrDamaged if the record cannot be decoded for another
// reason.
func (c *Cache) Entity(key string) (*pipeline.Entity, error) {
	e := c.entries[key]
	c.count++
	if e != nil {
		if c.count%64 == 0 { // a look at the clock costs as much as the lookup
			start := time.Now()
			e = c.entries[key]
			c.lookups.Cached.Observe(time.Since(start).Seconds())
		}
		c.touch(e)
	} else {
		c.evict() // before the load, so that the loaded entity does not leave at once
		var err error
		if e, err = c.load(key); err != nil {
			return nil, err
		}
	}
	c.encodeBefore(e)
	if e.gen != c.gen {
		e.gen = c.gen
		c.dirty = append(c.dirty, e)
		c.changed += e.cost() + len(key)
		if !e.stored {
			c.changed += firstGrowth
		}
	}
	c.changed += growth
	return e.entity, nil
}

// Read returns the entity, a new one if there is none, and keeps it in memory. It
// does not count as changed, though the set in force may change how it is held. The
// entity that Entity returned last stays valid: it has changes that are not
// committed, and so does not leave.
func (c *Cache) Read(key string) (*pipeline.Entity, error) {
	if e := c.entries[key]; e != nil {
		c.touch(e)
		c.encodeBefore(e)
		return e.entity, nil
	}
	c.evict()
	e, err := c.load(key)
	if err != nil {
		return nil, err
	}
	return e.entity, nil
}

// cost estimates how much a change takes in a batch. Of an entity in pieces, only
// those that have changed are written: about as many as the last time.
func (e *cached) cost() int {
	if e.wrote == 0 {
		return e.size
	}
	return min(e.size, 2*e.wrote)
}

// Expect announces a message. If its events are large, all of their bytes may get
// into entities, with each of the message's steps; ordinary ones add no more than
// growth.
func (c *Cache) Expect(message []byte) {
	c.changed += c.expected
	c.expected = max(len(message)-ordinary*(1+bytes.Count(message, []byte{'\n'})), 0)
}

// Look returns the entity; a new one if there is none. Its errors are those of
// Entity. It changes nothing in the cache, whatever people look at: it keeps
// nothing, removes nothing, counts nothing, and a cached entity leaves no later
// because it was looked at.
func (c *Cache) Look(key string) (*pipeline.Entity, error) {
	if e := c.entries[key]; e != nil {
		return e.entity, nil
	}
	b, pieces, found, err := c.store.Entity(key, nil) // not into c.buf, which would stay as large as the largest user looked at
	if err != nil {
		return nil, err
	}
	e, err := decode(key, b, pieces, found)
	if err != nil {
		return nil, err
	}
	return e.entity, nil
}

func (c *Cache) read(key string) (*cached, error) {
	start := time.Now()
	b, pieces, found, err := c.store.Entity(key, c.buf)
	c.lookups.Stored.Observe(time.Since(start).Seconds())
	if err != nil {
		return nil, err
	}
	c.buf = b
	return decode(key, b, pieces, found)
}

// decode makes an entry of a record, or of a new entity if none was found.
func decode(key string, b []byte, pieces state.Pieces, found bool) (*cached, error) {
	if !found {
		return &cached{entity: pipeline.NewEntity(key), due: pipeline.NoDue}, nil
	}
	entity, err := Decode(key, b)
	if err != nil {
		return nil, err
	}
	return &cached{entity: entity, size: len(b), pieces: pieces, due: entity.Due(), stored: true}, nil
}

// Decode decodes an entity's record. Its errors are those of Cache.Entity.
func Decode(key string, b []byte) (*pipeline.Entity, error) {
	entity, err := pipeline.DecodeEntity(key, b)
	if err != nil {
		return nil, notNewer(err)
	}
	return entity, nil
}

// Clear lets all entities leave, after the store has been changed. None may have
// changes that are not committed.
func (c *Cache) Clear() { clear(c.entries); c.newest, c.bytes = nil, 0 }

func (c *Cache) load(key string) (*cached, error) {
	key = strings.Clone(key) // the fold's key is valid only as long as its event
	e, err := c.read(key)
	if err != nil {
		return nil, err
	}
	c.entries[key] = e
	c.bytes += weight(e)
	c.push(e)
	return e, nil
}

func weight(e *cached) int64 {
	return int64(decodedFactor*e.size + 2*len(e.entity.Key) + decodedExtra)
}

// evict removes the least recently used entities that have no uncommitted
// changes. It looks at no more than 16, so that it stays fast in a cache full of
// changes.
func (c *Cache) evict() {
	for e, looks := c.oldest(), 0; c.bytes > c.max && c.newest != nil && looks < 16; looks++ {
		newer := e.prev
		if e.gen <= c.committed {
			c.unlink(e)
			delete(c.entries, e.entity.Key)
			c.bytes -= weight(e)
		} else {
			c.touch(e) // so that the next call looks at others
		}
		e = newer
	}
}

// begin ends the generation of the changes made now, and lets encode put them into
// the batch. It returns that generation.
func (c *Cache) begin(b *state.Batch) uint64 {
	c.batch, c.next = b, 0
	c.ending, c.dirty = c.dirty, c.ending[:0]
	c.changed = 0
	ended := c.gen
	c.gen++
	return ended
}

// encode puts the changes of the generation that has ended into its batch, until it has
// put about so many bytes. It reports whether the batch has all of them.
func (c *Cache) encode(most int) (done bool) {
	if c.batch == nil {
		return true
	}
	for had := c.batch.Bytes(); c.next < len(c.ending); c.next++ {
		if c.batch.Bytes()-had >= most {
			return false
		}
		c.encodeBefore(c.ending[c.next])
		c.ending[c.next] = nil
	}
	c.batch, c.ending = nil, c.ending[:0]
	return true
}

// encodeBefore encodes an entity that may be changed, if the batch under way lacks it.
func (c *Cache) encodeBefore(e *cached) {
	ending := c.gen - 1
	if c.batch == nil || e.gen != ending || e.encoded == ending {
		return
	}
	e.encoded = ending
	b, key, due := c.batch, e.entity.Key, e.entity.Due()
	before := b.Bytes()
	c.bytes -= weight(e)
	if e.entity.Empty() {
		if e.stored {
			b.Delete(key, e.pieces)
		}
		e.size, e.pieces, e.stored = 0, nil, false
	} else {
		c.buf = e.entity.AppendBinary(c.buf[:0])
		e.pieces = b.Put(key, c.buf, e.pieces)
		e.size, e.stored = len(c.buf), true
	}
	e.wrote = b.Bytes() - before
	c.bytes += weight(e)
	if e.due != due {
		if e.due != pipeline.NoDue {
			b.Unschedule(e.due, key)
		}
		if due != pipeline.NoDue {
			b.Schedule(due, key)
		}
		e.due = due
	}
}

// MaxShrink is the largest useful argument of Full: with it a checkpoint follows
// each step.
const MaxShrink = 1 << 20

// Full reports whether the changes should be stored soon: they take about half of
// what one transaction of the store can hold, divided by shrink. shrink is 1, and
// larger if checkpoints were too big before.
func (c *Cache) Full(shrink int) bool {
	limit := c.store.Limit()
	return len(c.dirty) >= limit.Entries/6/shrink || c.changed+c.expected >= limit.Bytes/2/shrink
}

// The entries form a ring in the order of last use.

func (c *Cache) push(e *cached) {
	if c.newest == nil {
		e.prev, e.next = e, e
	} else {
		e.next, e.prev = c.newest, c.newest.prev
		e.prev.next, e.next.prev = e, e
	}
	c.newest = e
}

func (c *Cache) unlink(e *cached) {
	e.prev.next, e.next.prev = e.next, e.prev
	if c.newest == e {
		c.newest = e.next
		if c.newest == e {
			c.newest = nil
		}
	}
	e.prev, e.next = nil, nil
}

func (c *Cache) touch(e *cached) {
	if c.newest != e {
		c.unlink(e)
		c.push(e)
	}
}

func (c *Cache) oldest() *cached {
	if c.newest == nil {
		return nil
	}
	return c.newest.prev
}

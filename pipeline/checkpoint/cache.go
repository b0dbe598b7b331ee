package checkpoint

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
	"offerstream/state"
)

// A Cache holds decoded entities of one partition over its store, the least
// recently used leaving when they take more than max bytes. What has changed
// stays until it is committed. A cache is for one goroutine.
//
// Each checkpoint has a generation: an entity changed in generation g is in
// the store once checkpoint g is committed, and may leave then.
type Cache struct {
	store   Store
	max     int64
	lookups Lookups
	entries map[string]*cached
	newest  *cached // of the ring: newest.next is older, newest.prev the oldest
	bytes   int64

	gen       uint64 // of changes made now, from 1
	committed uint64 // what is in the store
	dirty     []*cached
	changed   int // bytes that dirty may take, as guessed
	buf       []byte
	count     uint64 // of lookups
}

var _ pipeline.Entities = (*Cache)(nil)

// Lookups observe how long lookups take, in seconds. One that is nil observes
// nothing.
type Lookups struct {
	Cached prometheus.Observer // of entities that are in the cache, one in 64
	Stored prometheus.Observer // of all others: they are read from the store and decoded
}

type cached struct {
	entity     *pipeline.Entity
	size       int    // bytes when last read or encoded
	due        int64  // its timer in the store, or in the batch on its way there
	stored     bool   // there is a record in the store, or on its way
	gen        uint64 // last changed in; 0: as in the store
	prev, next *cached
}

// What an entity takes in memory, as a multiple of its bytes, and beside
// them; and by how much a touch may make its bytes grow, and more the first
// one. All are guesses; too low a one costs a checkpoint that is too big for a
// transaction and is made anew.
const (
	decodedFactor = 2
	decodedExtra  = 768
	growth        = 128
	firstGrowth   = 512
)

// NewCache makes an empty cache over a store. It holds about max bytes of
// decoded entities, and beyond that only what is not committed yet.
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

// Entity returns the entity with a key, a new one if there is none, and counts
// it as changed. The error is pipeline.ErrNewer where a newer version wrote its
// record, and state.ErrDamaged where that cannot be decoded otherwise.
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
		c.evict() // before the load: what has just been read must not leave
		var err error
		if e, err = c.load(key); err != nil {
			return nil, err
		}
	}
	if e.gen != c.gen {
		e.gen = c.gen
		c.dirty = append(c.dirty, e)
		c.changed += e.size + len(key)
		if !e.stored {
			c.changed += firstGrowth
		}
	}
	c.changed += growth
	return e.entity, nil
}

// Look returns the entity without counting it as changed, a new one that is
// kept nowhere if there is none. Its errors are those of Entity.
func (c *Cache) Look(key string) (*pipeline.Entity, error) {
	if e := c.entries[key]; e != nil {
		return e.entity, nil
	}
	e, err := c.read(key)
	if err != nil {
		return nil, err
	}
	return e.entity, nil
}

func (c *Cache) read(key string) (*cached, error) {
	start := time.Now()
	b, found, err := c.store.Entity(key, c.buf)
	c.lookups.Stored.Observe(time.Since(start).Seconds())
	if err != nil {
		return nil, err
	}
	c.buf = b
	if !found {
		return &cached{entity: pipeline.NewEntity(key)}, nil
	}
	entity, err := pipeline.DecodeEntity(key, b)
	if err != nil {
		return nil, notNewer(err)
	}
	return &cached{entity: entity, size: len(b), due: entity.Due(), stored: true}, nil
}

func (c *Cache) load(key string) (*cached, error) {
	key = strings.Clone(key) // the fold's is valid as long as its event
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

// evict lets the oldest go that are in the store as they are. It looks at a
// few only, so that a cache full of changes costs no more.
func (c *Cache) evict() {
	for e, looks := c.oldest(), 0; c.bytes > c.max && c.newest != nil && looks < 16; looks++ {
		newer := e.prev
		if e.gen <= c.committed {
			c.unlink(e)
			delete(c.entries, e.entity.Key)
			c.bytes -= weight(e)
		} else {
			c.touch(e) // out of the way
		}
		e = newer
	}
}

// encode puts all that has changed into the batch and begins the next
// generation; it returns the one that ended.
func (c *Cache) encode(b *state.Batch) uint64 {
	for i, e := range c.dirty {
		key := e.entity.Key
		due := e.entity.Due()
		c.bytes -= weight(e)
		if e.entity.Empty() {
			if e.stored {
				b.Delete(key)
			}
			e.size, e.stored = 0, false
		} else {
			c.buf = e.entity.AppendBinary(c.buf[:0])
			b.Put(key, c.buf)
			e.size, e.stored = len(c.buf), true
		}
		c.bytes += weight(e)
		if e.due != due {
			if e.due != 0 {
				b.Unschedule(e.due, key)
			}
			if due != 0 {
				b.Schedule(due, key)
			}
			e.due = due
		}
		c.dirty[i] = nil
	}
	c.dirty, c.changed = c.dirty[:0], 0
	ended := c.gen
	c.gen++
	return ended
}

// MaxShrink is the largest value of use for Full: with it each step is followed
// by a checkpoint.
const MaxShrink = 1 << 20

// Full reports whether what has changed should be stored soon: it is about half
// of what one transaction of the store holds, divided by shrink. That is at
// least 1, and more where checkpoints were too big before.
func (c *Cache) Full(shrink int) bool {
	limit := c.store.Limit()
	return len(c.dirty) >= limit.Entries/6/shrink || c.changed >= limit.Bytes/2/shrink
}

// The ring of entries, by last use.

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

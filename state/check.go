package state

import (
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"
)

// A Report counts what Check found.
type Report struct {
	Commit   uint64 // number of the last commit
	Entities int
	Timers   int
	Bytes    int64 // size of the stored keys and records
}

// Check reads everything once and returns ErrDamaged for the first
// inconsistency: a record that does not match its checksum, a timer without
// its entity, an entity without its timer, a piece without its entity or the
// other way round, an unknown key. due decodes when an
// entity is due (Never: it is not); if due is nil, timers are not compared with
// entities.
func (s *Store) Check(due func(key string, payload []byte) (int64, error)) (Report, error) {
	var r Report
	timers := make(map[string]int64)
	err := s.db.View(func(t *badger.Txn) error {
		c := check{r: &r, timers: timers, pieces: map[string]bool{}, get: within(t), due: due}
		o := badger.DefaultIteratorOptions
		o.PrefetchSize = 100
		it := t.NewIterator(o)
		defer it.Close()
		for _, kind := range []byte{kindTimer, 0} { // timers first: entities are compared with them
			for it.Seek([]byte{kind}); it.Valid(); it.Next() {
				item := it.Item()
				if k := item.Key()[0]; kind == kindTimer && k != kindTimer {
					break
				}
				if err := c.item(item, kind == kindTimer); err != nil {
					return err
				}
			}
		}
		for k := range c.pieces {
			return damaged("piece %q is not there", k)
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	for key, at := range timers {
		return r, damaged("timer of %s at %d: no such entity is due then", key, at)
	}
	commit, _, err := s.cursor()
	if err != nil {
		return r, err
	}
	r.Commit = commit
	return r, s.seals(commit)
}

// A check reads each key once, timers first. Entities sort before pieces.
type check struct {
	r      *Report
	timers map[string]int64 // those whose entities have not been read
	pieces map[string]bool  // the keys that entities list and that have not been read
	get    func(k []byte, use func(record []byte) error) (bool, error)
	due    func(string, []byte) (int64, error)
	buf    []byte
}

// item checks one key and its value: timers alone, or all others.
func (c *check) item(item *badger.Item, timer bool) error {
	key := item.Key()
	if timer {
		return c.r.timer(key, c.timers)
	}
	switch key[0] {
	case kindTimer:
		return nil
	case kindPiece:
		if !c.pieces[string(key)] {
			return damaged("piece %q belongs to no entity", key)
		}
		delete(c.pieces, string(key))
	case kindIdentity, kindCursor, kindSeal, kindNote, kindEntity:
	case '!': // Badger's own
		return nil
	default:
		return damaged("unknown key %q", key)
	}
	return item.Value(func(record []byte) error {
		if key[0] == kindEntity || key[0] == kindPiece {
			c.r.Bytes += int64(len(key) + len(record))
		}
		if key[0] == kindEntity {
			return c.entity(key, record)
		}
		_, err := openFrame(key, record)
		return err
	})
}

// entity checks an entity, and adds its pieces to those that must follow.
func (c *check) entity(key, record []byte) error {
	c.r.Entities++
	if !isHead(record) {
		payload, err := openFrame(key, record)
		if err != nil {
			return err
		}
		return checkDue(string(key[1:]), payload, c.timers, c.due)
	}
	length, pieces, err := openHead(key, record)
	if err != nil {
		return err
	}
	for _, d := range pieces {
		c.pieces[string(appendPieceKey(nil, string(key[1:]), d))] = true
	}
	if c.buf, err = pieces.join(string(key[1:]), length, c.buf, c.get); err != nil {
		return fmt.Errorf("entity %s: %w", key[1:], err)
	}
	return checkDue(string(key[1:]), c.buf, c.timers, c.due)
}

// timer checks a timer's key, and adds the timer to timers.
func (r *Report) timer(key []byte, timers map[string]int64) error {
	at, entity, ok := splitTimerKey(key)
	if !ok {
		return damaged("timer key %q", key)
	}
	if _, twice := timers[entity]; twice {
		return damaged("%s has two timers", entity)
	}
	timers[entity] = at
	r.Timers++
	r.Bytes += int64(len(key))
	return nil
}

// Never is when an entity is due that has no timer.
const Never = math.MinInt64

// checkDue compares an entity with its timer, which it removes from timers.
func checkDue(entity string, payload []byte, timers map[string]int64, due func(string, []byte) (int64, error)) error {
	at, scheduled := timers[entity]
	delete(timers, entity)
	if due == nil {
		return nil
	}
	want, err := due(entity, payload)
	if err != nil {
		return fmt.Errorf("%w: entity %s: %w", ErrDamaged, entity, err)
	}
	if scheduled != (want != Never) || scheduled && at != want {
		return damaged("%s is due at %d, its timer says %d", entity, want, at)
	}
	return nil
}

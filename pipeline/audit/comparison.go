package audit

import (
	"context"
	"slices"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// A record is what is kept of an offer to compare it.
type record struct {
	seq  uint64 // in the offers stream, of a stored one
	pos  pipeline.Position
	id   string
	hash uint64 // of its data
}

// A comparison holds what is stored on one chain against what the fold gives,
// in step. Both are in the fold's order, so the next one given is the next one
// stored; what is stored and not given yet stays in a window. An offer given
// is looked for there by its id; what is then left was not to be stored.
//
//	given     1  2  3  4           4 is given, and not stored: missing
//	stored    1  2  2  3  x        2 is left, which was given: double; x: extra
type comparison struct {
	*verification
	name string
	walk *broker.ChainWalk
	from uint64 // number of the first record that is looked at

	window []record
	here   map[string]int // ids in the window, and how often
	oldest uint64         // of the records that the chain still has: what is given before it was trimmed
	later  bool           // a record of a later message is stored: what is not, will not be
	over   bool           // what is not stored is no longer waited for
	seen   uint64         // seq of the last that was read
	at     uint64         // and of the last that was compared, to begin with the oldest

	ids   map[uint64]bool // hashes of the ids given, the newest maxIDs
	order []uint64        // the same as a ring
	first int             // the ring's oldest, once it is full
}

// Bounds of what a comparison keeps: of records stored and not given, and of
// ids given, as many as a chain keeps records.
const (
	maxWindow = 1024
	maxIDs    = 100_000
)

// given takes the next offer that the fold gives on the chain.
func (c *comparison) given(ctx context.Context, g record) error {
	c.sums.Offers++
	c.remember(g.id)
	i, err := c.find(ctx, g)
	switch {
	case err != nil:
		return err
	case i >= 0:
		c.compare(g, c.take(i))
	case g.pos.N < c.oldest:
		c.sums.Trimmed++
	default:
		c.wrong(&c.sums.Missing, "missing", c.name, g, "it is not stored")
	}
	return nil
}

// compare holds a stored record against the one that the log gives.
func (c *comparison) compare(g, r record) {
	wrong := func(detail string, args ...any) {
		c.wrong(&c.sums.Different, "different", c.name, g, detail, args...)
	}
	switch {
	case r.id != g.id:
		wrong("stored in its place is offer %q", r.id)
	case r.pos != g.pos:
		wrong("it is stored as %+v, the log gives %+v", r.pos, g.pos)
	case r.hash != g.hash:
		wrong("it is stored with other data than the log gives")
	case r.seq < c.at:
		wrong("it is stored before one that comes earlier")
	}
	c.at = max(c.at, r.seq)
}

// find is the index in the window of the record that is to be compared with
// one given, -1 where there is none.
func (c *comparison) find(ctx context.Context, g record) (int, error) {
	for c.here[g.id] == 0 && g.pos.N >= c.oldest && !c.over {
		if len(c.window) >= maxWindow && !c.makeRoom(g) {
			break
		}
		some, err := c.read(ctx)
		if err != nil {
			return -1, err
		}
		if some {
			continue
		}
		if c.later || slices.ContainsFunc(c.window, func(r record) bool { return r.pos.N >= g.pos.N }) {
			break // what comes now comes behind it
		}
		more, err := c.wait(ctx)
		if err != nil {
			return -1, err
		}
		c.over = !more
	}
	if c.here[g.id] > 0 {
		return slices.IndexFunc(c.window, func(r record) bool { return r.id == g.id }), nil
	}
	if g.pos.N >= c.oldest && c.oldest > 0 {
		oldest, seq, err := c.walk.Oldest(ctx)
		if err != nil {
			return -1, err
		}
		if seq > c.at { // what was compared last is gone, and some behind it may have been trimmed before it was read
			c.oldest = max(c.oldest, oldest)
		}
	}
	if g.pos.N < c.oldest {
		return -1, nil
	}
	return slices.IndexFunc(c.window, func(r record) bool { return r.pos.N == g.pos.N && !c.gave(r.id) }), nil
}

// read takes a few more records into the window, and says whether any came.
func (c *comparison) read(ctx context.Context) (some bool, err error) {
	for {
		stored, seq, err := c.walk.Next(ctx)
		if err != nil || seq == 0 {
			return some, err
		}
		some, c.seen, c.left = true, seq, c.opt.Settle
		if stored.Pos.N < c.from {
			continue
		}
		later, err := c.isLater(ctx, stored.Pos)
		if err != nil {
			return some, err
		}
		if later {
			c.later = true
		} else {
			c.sums.Stored++
			c.window = append(c.window, record{seq, stored.Pos, stored.ID, xxhash.Sum64(stored.Data)})
			c.here[stored.ID]++
		}
		if !c.walk.Fetched() {
			return true, nil
		}
	}
}

// take takes a record out of the window.
func (c *comparison) take(i int) record {
	r := c.window[i]
	if i == 0 {
		c.window = c.window[1:]
	} else {
		c.window = slices.Delete(c.window, i, i+1)
	}
	if c.here[r.id]--; c.here[r.id] == 0 {
		delete(c.here, r.id)
	}
	return r
}

// makeRoom takes out of the window what cannot be given any more, as its
// number has passed or is far off, and says whether there is room then.
func (c *comparison) makeRoom(g record) bool {
	for i := 0; i < len(c.window); {
		if n := c.window[i].pos.N; n < g.pos.N || n > g.pos.N+2*maxWindow {
			c.stray(c.take(i))
		} else {
			i++
		}
	}
	return len(c.window) < maxWindow
}

// stray counts a record that is stored and was not to be.
func (c *comparison) stray(r record) {
	if c.gave(r.id) {
		c.wrong(&c.sums.Duplicate, "double", c.name, r, "it is stored once more")
	} else if r.pos.S > c.end {
		c.wrong(&c.sums.Extra, "extra", c.name, r, "it is stored, and the log ends at message %d", c.newest)
	} else {
		c.wrong(&c.sums.Extra, "extra", c.name, r, "it is stored, and the log does not give it")
	}
}

// remember notes an id that was given.
func (c *comparison) remember(id string) {
	h := xxhash.Sum64String(id)
	if len(c.order) < maxIDs {
		c.order = append(c.order, h)
	} else {
		delete(c.ids, c.order[c.first])
		c.order[c.first] = h
		c.first = (c.first + 1) % maxIDs
	}
	c.ids[h] = true
}

// finish looks at what is stored behind the last one given, as far as the
// chain goes now.
func (c *comparison) finish(ctx context.Context) error {
	last := uint64(0)
	if !c.over { // else what is there has come too late
		var err error
		if last, err = c.walk.Last(ctx); err != nil {
			return err
		}
	}
	for some := true; ; {
		for len(c.window) > 0 {
			c.stray(c.take(0))
		}
		if c.seen >= last || !some {
			return nil
		}
		var err error
		if some, err = c.read(ctx); err != nil {
			return err
		}
	}
}

package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/coupon"
)

// A record is what a comparison keeps of an offer.
type record struct {
	seq  uint64 // its sequence in the offers stream, if it is stored
	pos  pipeline.Position
	id   string
	hash uint64 // hash of its data
}

// A comparison compares the offers stored on one chain with those that the fold
// gives, as the fold goes on. Both are in the fold's order, so the next one given
// should be the next one stored. Stored offers that are not given yet are in
// unmatched, where an offer that is given is looked up by its id. Offers that
// remain unmatched should not be stored.
//
//	given     1  2  3  4           4 is given but not stored: missing
//	stored    1  2  2  3  x        a second 2 remains: double; x was never given: extra
type comparison struct {
	*verification
	name string
	walk *broker.ChainWalk
	from uint64 // number of the first record to compare

	unmatched []record
	here      map[string]int // how often each id is in unmatched
	oldest    uint64         // number of the oldest record that the chain still has: earlier ones have been trimmed
	later     bool           // a record of a message after the log's end is stored: missing ones will not come any more
	over      bool           // missing records are no longer waited for
	seen      uint64         // sequence of the last record read
	at        uint64         // sequence of the last record compared; at first that of the oldest

	ids   map[uint64]bool // hashes of the newest maxIDs ids given
	order []uint64        // the same hashes as a ring
	first int             // index of the ring's oldest, once the ring is full
}

// Bounds of what a comparison keeps.
const (
	maxUnmatched = 1024    // records stored and not given yet
	maxIDs       = 100_000 // ids given: as many as a chain keeps records
)

// given compares the next offer that the fold gives on the chain.
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

// compare compares a stored record with the one that the log gives.
func (c *comparison) compare(g, r record) {
	wrong := func(detail string, args ...any) {
		c.wrong(&c.sums.Different, "different", c.name, g, detail, args...)
	}
	switch {
	case r.id != g.id:
		wrong("offer %q is stored in its place", r.id)
	case r.pos != g.pos:
		wrong("it is stored as %+v, the log gives %+v", r.pos, g.pos)
	case r.hash != g.hash:
		wrong("it is stored with other data than the log gives")
	case r.seq < c.at:
		wrong("it is stored before an offer that precedes it")
	}
	c.at = max(c.at, r.seq)
}

// find returns the index in unmatched of the record to compare with g, -1 if
// there is none.
func (c *comparison) find(ctx context.Context, g record) (int, error) {
	for c.here[g.id] == 0 && g.pos.N >= c.oldest && !c.over {
		if len(c.unmatched) >= maxUnmatched && !c.makeRoom(g) {
			break
		}
		some, err := c.read(ctx)
		if err != nil {
			return -1, err
		}
		if some {
			continue
		}
		if c.later || slices.ContainsFunc(c.unmatched, func(r record) bool { return r.pos.N >= g.pos.N }) {
			break // records that are still to come follow g
		}
		more, err := c.wait(ctx)
		if err != nil {
			return -1, err
		}
		c.over = !more
	}
	if c.here[g.id] > 0 {
		return slices.IndexFunc(c.unmatched, func(r record) bool { return r.id == g.id }), nil
	}
	if g.pos.N >= c.oldest && c.oldest > 0 {
		oldest, seq, err := c.walk.Oldest(ctx)
		if err != nil {
			return -1, err
		}
		if seq > c.at { // the record compared last has been trimmed, and so may records after it have been before they were read
			c.oldest = max(c.oldest, oldest)
		}
	}
	if g.pos.N < c.oldest {
		return -1, nil
	}
	return slices.IndexFunc(c.unmatched, func(r record) bool { return r.pos.N == g.pos.N && !c.gave(r.id) }), nil
}

// read reads a few more records into unmatched, and reports whether any came.
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
			c.unmatched = append(c.unmatched, record{seq, stored.Pos, stored.ID, c.hash(stored.Data, stored.Granted)})
			c.here[stored.ID]++
		}
		if !c.walk.Fetched() {
			return true, nil
		}
	}
}

// hash is the hash of a stored record's data and grants. Without keys the log gives
// placeholders: so a stored code counts as one, wherever it is in the data.
func (c *comparison) hash(data []byte, granted string) uint64 {
	if c.opt.Coupons == nil {
		data = withPlaceholder(data)
	}
	return xxhash.Sum64(append(data, granted...))
}

// withPlaceholder returns an offer's JSON with the placeholder instead of its
// coupon's code, in the code's address and in texts too.
func withPlaceholder(data []byte) []byte {
	if !bytes.Contains(data, []byte(`"coupon":{`)) {
		return data
	}
	var o struct {
		Coupon struct{ Code string }
	}
	if json.Unmarshal(data, &o) != nil || !coupon.IsCode(o.Coupon.Code) {
		return data
	}
	return bytes.ReplaceAll(data, []byte(o.Coupon.Code), []byte(coupon.Placeholder))
}

// take removes a record from unmatched and returns it.
func (c *comparison) take(i int) record {
	r := c.unmatched[i]
	if i == 0 {
		c.unmatched = c.unmatched[1:]
	} else {
		c.unmatched = slices.Delete(c.unmatched, i, i+1)
	}
	if c.here[r.id]--; c.here[r.id] == 0 {
		delete(c.here, r.id)
	}
	return r
}

// makeRoom removes records from unmatched that cannot be given any more, as
// their number has passed or is far away, and reports whether there is room then.
func (c *comparison) makeRoom(g record) bool {
	for i := 0; i < len(c.unmatched); {
		if n := c.unmatched[i].pos.N; n < g.pos.N || n > g.pos.N+2*maxUnmatched {
			c.stray(c.take(i))
		} else {
			i++
		}
	}
	return len(c.unmatched) < maxUnmatched
}

// stray counts a stored record that should not be stored.
func (c *comparison) stray(r record) {
	if c.gave(r.id) {
		c.wrong(&c.sums.Duplicate, "double", c.name, r, "it is stored once more")
	} else if r.pos.S > c.end {
		c.wrong(&c.sums.Extra, "extra", c.name, r, "it is stored, but the log ends at message %d", c.newest)
	} else {
		c.wrong(&c.sums.Extra, "extra", c.name, r, "it is stored, but the log does not give it")
	}
}

// remember records an id that was given.
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

// finish reads the records after the last one given, up to the chain's present
// end, and counts all that remain unmatched.
func (c *comparison) finish(ctx context.Context) error {
	last := uint64(0)
	if !c.over { // otherwise the remaining records have come too late
		var err error
		if last, err = c.walk.Last(ctx); err != nil {
			return err
		}
	}
	for some := true; ; {
		for len(c.unmatched) > 0 {
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

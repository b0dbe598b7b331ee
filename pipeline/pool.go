package pipeline

import (
	"fmt"
	"slices"

	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A pool is what the entity of a pool of codes holds. The codes lie in entities of
// their own, "p:" + the pool + "#" + a number, each of which holds those of one import
// event, so that a grant writes little.
type pool struct {
	first, next uint64   // the numbers of the chunk from which codes are taken, and of the next one to be filled
	taken       int      // codes that were taken from the first chunk
	imported    uint64   // codes ever
	given       uint64   // codes that are granted now
	out         []string // codes that a lost log has given out (recount.go): they may be in a chunk, or come again with an import
	returned    []string // codes that were given back, which go out again after all others
	lent        lent     // as a budget's
}

// chunkKey is the key of the entity that holds a chunk of a pool's codes.
func chunkKey(pool string, n uint64) string { return fmt.Sprintf("%s#%d", pool, n) }

// importKey is the key of the entity that remembers an import event, for ever: a file
// that is imported once more brings no code twice, however long it is and however late
// it comes.
func importKey(pool, id string) string { return pool + "#=" + id }

// left is how many codes can be granted.
func (p *pool) left() uint64 { return p.imported - min(p.given, p.imported) }

// takeCodes applies an event that brings codes for a pool.
func (f *Fold) takeCodes(ev *event.Event, now int64) error {
	known, err := f.ents.Entity(importKey(ev.Key, ev.ID))
	if err != nil {
		return err
	}
	if known.seq > 0 {
		f.step.duplicates++
		return nil
	}
	known.seq, known.last = 1, now
	e, err := f.ents.Entity(ev.Key)
	if err != nil {
		return err
	}
	e.bind(f.step.live)
	codes := ev.Codes()
	if e.pool == nil {
		e.pool = &pool{}
	}
	e.seq++
	e.last = now
	n := e.pool.next
	e.pool.next++
	e.pool.imported += uint64(len(codes))
	chunk, err := f.ents.Entity(chunkKey(ev.Key, n))
	if err != nil {
		return err
	}
	chunk.seq, chunk.last, chunk.codes = 1, now, codes
	return nil
}

// atPool applies one request, return or withdrawal at a pool of codes.
func (s *step) atPool(kind byte, g grant, answers *list) {
	e := s.entity
	if e.pool == nil {
		e.pool = &pool{}
	}
	p := e.pool
	switch kind {
	case spendRequest:
		code, ok := s.takeCode(p)
		if ok {
			e.seq++
			e.last = s.now
			p.given++
			g.at, g.code = s.now, code
			p.lent.add(g)
		}
		answers.add(func(w *value.Writer) { w.Byte(truth(ok)); g.append(w) })
	case spendReturn, spendWithdraw:
		g, ok := p.lent.take(g)
		if !ok || g.code == "" || slices.Contains(p.returned, g.code) {
			return
		}
		if p.given > 0 {
			p.given--
		}
		switch i := slices.Index(p.out, g.code); {
		case i >= 0: // it comes in its turn, or somebody else has it
			p.out = slices.Delete(p.out, i, i+1)
		case g.code != coupon.Placeholder:
			p.returned = append(p.returned, g.code)
		}
	case spendKeep:
		p.lent.keep(g.ref)
	}
}

// takeCode takes the pool's next code. A file has no codes: where a backtest asks a
// pool, the code is a placeholder.
func (s *step) takeCode(p *pool) (code string, ok bool) {
	if s.unnumbered && p.imported == 0 {
		return coupon.Placeholder, true
	}
	for p.first < p.next {
		key := chunkKey(s.entity.Key, p.first)
		chunk, err := s.read(key)
		if err != nil {
			return "", false
		}
		if p.taken < len(chunk.codes) {
			p.taken++
			if code = chunk.codes[p.taken-1]; !p.isOut(code) {
				return code, true
			}
			continue
		}
		s.emptied = append(s.emptied, key)
		p.first, p.taken = p.first+1, 0
	}
	for len(p.returned) > 0 {
		code = p.returned[0]
		if p.returned = slices.Delete(p.returned, 0, 1); !p.isOut(code) {
			return code, true
		}
	}
	return "", false
}

// isOut reports whether a lost log has given a code out, which is passed over once.
func (p *pool) isOut(code string) bool {
	i := slices.Index(p.out, code)
	if i >= 0 {
		p.out = slices.Delete(p.out, i, i+1)
	}
	return i >= 0
}

// clearChunks empties the chunks whose codes are all taken.
func (f *Fold) clearChunks() {
	for _, key := range f.step.emptied {
		e, err := f.ents.Entity(key)
		if err != nil {
			f.err = err
			return
		}
		*e = Entity{Key: e.Key, scheduled: e.scheduled, loaded: e.loaded}
	}
	f.step.emptied = f.step.emptied[:0]
}

func (p *pool) append(w *value.Writer) {
	w.Uint(p.first)
	w.Uint(p.next)
	w.Len(p.taken)
	w.Uint(p.imported)
	w.Uint(p.given)
	w.Len(len(p.returned))
	for _, code := range p.returned {
		w.Text(code)
	}
	w.Len(len(p.out))
	for _, code := range p.out {
		w.Text(code)
	}
	p.lent.append(w)
}

func readPool(r *value.Reader) *pool {
	return &pool{first: r.Uint(), next: r.Uint(), taken: int(r.Uint()), imported: r.Uint(), given: r.Uint(), returned: readList(r, 1, r.Text), out: readList(r, 1, r.Text), lent: readLent(r)}
}

func appendGrants(w *value.Writer, all []grant) {
	w.Len(len(all))
	for i := range all {
		all[i].append(w)
	}
}

func readGrants(r *value.Reader) []grant { return readList(r, 8, func() grant { return readGrant(r) }) }

// A PoolState is what is stored of a pool of codes.
type PoolState struct {
	Imported uint64 `json:"imported"` // codes ever
	Given    uint64 `json:"given"`    // codes that are granted now
	Left     uint64 `json:"left"`
}

// Pool shows a pool of codes.
func (f *Fold) Pool(name string) (PoolState, error) {
	e, err := f.ents.Look(poolPrefix + name)
	if err != nil || e.pool == nil {
		return PoolState{}, err
	}
	return PoolState{e.pool.imported, e.pool.given, e.pool.left()}, nil
}

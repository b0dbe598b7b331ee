package window

import (
	"math"

	"offerstream/pipeline/value"
)

// push adds an entry at the end of the list.
func (l *userList) push(key string, t int64) {
	last := len(l.pieces) - 1
	if last < 0 || len(l.pieces[last].b)+userHead+len(key) > pieceBytes {
		last++
		l.add(last)
	}
	l.resize(l.held + 1)
	l.put(keySum(key), l.pieces[last].push(key, t))
}

// push adds an entry at the end of a piece, and returns its place.
func (p *piece) push(key string, t int64) (place uint32) {
	place = p.place(len(p.b))
	p.b = appendUser(p.b, t, key)
	p.n, p.live, p.least = p.n+1, p.live+userHead+len(key), min(p.least, t)
	return place
}

// remove removes the entry at an offset of a piece. The caller clears its slot,
// and then calls tidy.
func (p *piece) remove(offset int) {
	length := le.Uint16(p.b[offset+8:])
	le.PutUint16(p.b[offset+8:], length|userRemoved)
	p.n, p.live = p.n-1, p.live-userHead-int(length)
	if offset == p.first {
		p.first += userHead + int(length)
	}
}

// tidy removes a piece that holds no entry, and writes one anew of which half was
// removed.
func (l *userList) tidy(p *piece) {
	switch i := l.index(p); {
	case p.n == 0:
		l.drop(i)
	case p.live*2 > len(p.b):
	case i > 0 && l.pieces[i-1].live+p.live <= pieceBytes:
		l.rewrite(i-1, i+1, 0, "")
	default:
		l.rewrite(i, i+1, 0, "")
	}
}

// rewrite writes the pieces from index i up to j anew, without the entries that were
// removed. The entry at the place renamed, whose slot is cleared, gets the key to; 0:
// none.
func (l *userList) rewrite(i, j int, renamed uint32, to string) {
	at, size := j, 0
	for _, old := range l.pieces[i:j] {
		size += old.live
	}
	p := l.add(at)
	p.b = make([]byte, 0, min(size+len(to), pieceBytes))
	for _, old := range l.pieces[i:j] {
		old.each(func(offset int, t int64, key string) bool {
			place := old.place(offset)
			isRenamed := place == renamed
			if isRenamed {
				key = to
			}
			if len(p.b)+userHead+len(key) > pieceBytes {
				at++
				p = l.add(at)
			}
			if sum := keySum(key); isRenamed {
				l.put(sum, p.push(key, t))
			} else {
				l.table[l.slotOf(sum, place)] = uint64(p.push(key, t))<<32 | uint64(sum)
			}
			return true
		})
	}
	for range j - i {
		l.drop(i)
	}
}

// AddUser adds an entity key, with its prefix, at the end of a list of users, or moves it there, with
// the event time t. It returns how often a bound was reached: beyond Shape.Entries,
// the first leaves.
func (f *Shape) AddUser(st *State, key string, t, now int64) (reached uint64) {
	if f.Left(t, now) {
		return 0
	}
	if len(key) > MaxKey {
		return 1
	}
	l := st.list()
	if _, place, ok := l.find(key); ok {
		if p, offset := l.at(place); p == l.pieces[len(l.pieces)-1] && offset+userHead+len(key) == len(p.b) {
			putWord(p.b[offset:], 0, t)
			p.least = min(p.least, t)
			return 0
		}
		f.RemoveUser(st, key)
	}
	if int(st.keys) >= f.Entries || f.Within > 0 && value.Minus(now, l.dropped) >= int64(f.Within)/64 {
		f.dropUsers(st, f.cutoff(now))
		l.dropped = now
	}
	for ; st.keys > 0 && int(st.keys) >= f.Entries; reached++ {
		f.removeFirstUser(st)
	}
	l.push(key, t)
	st.keys++
	return reached
}

// RemoveUser removes a key from a list of users, and returns whether it was there.
func (f *Shape) RemoveUser(st *State, key string) bool {
	l := st.list()
	slot, place, ok := l.find(key)
	if !ok {
		return false
	}
	p, offset := l.at(place)
	l.clear(slot)
	p.remove(offset)
	l.tidy(p)
	st.keys--
	return true
}

// removeFirstUser removes the first key of a list that has one.
func (f *Shape) removeFirstUser(st *State) {
	p := st.list().pieces[0]
	for {
		_, key, removed, next := readUser(p.b, p.first)
		if !removed {
			f.RemoveUser(st, key)
			return
		}
		p.first = next
	}
}

// dropUsers removes the entries at or before cutoff.
func (f *Shape) dropUsers(st *State, cutoff int64) {
	l := st.list()
	for i := len(l.pieces) - 1; i >= 0; i-- {
		p := l.pieces[i]
		if p.least > cutoff {
			continue
		}
		p.least = math.MaxInt64
		before := p.n
		p.each(func(offset int, t int64, key string) bool {
			if t > cutoff {
				p.least = min(p.least, t)
				return true
			}
			l.clear(l.slotOf(keySum(key), p.place(offset)))
			p.remove(offset)
			st.keys--
			return true
		})
		if p.n < before {
			l.tidy(p)
		}
	}
}

// RenameUser gives the place of the key from, with its time, to the key to, and
// returns whether from was there. If to is in the list too, from leaves, and to keeps
// its place with the later time. If neither is there, to comes to the end with the
// event time t.
func (f *Shape) RenameUser(st *State, from, to string, t, now int64) (was bool) {
	f.dropUsers(st, f.cutoff(now))
	l := st.list()
	slot, place, was := l.find(from)
	_, other, there := l.find(to)
	switch {
	case from == to || len(to) > MaxKey:
	case !was && !there:
		f.AddUser(st, to, t, now)
	case was && there:
		p, offset := l.at(place)
		q, at := l.at(other)
		putWord(q.b[at:], 0, max(word(q.b[at:], 0), word(p.b[offset:], 0)))
		f.RemoveUser(st, from)
	case was:
		p, _ := l.at(place)
		i := l.index(p)
		l.clear(slot)
		l.rewrite(i, i+1, place, to)
	}
	return was
}

// UserCount is the number of users in a list at now. Here and in Users, st may be
// nil.
func (f *Shape) UserCount(st *State, now int64) (n int) {
	switch cutoff := f.cutoff(now); {
	case st == nil:
	case f.Within == 0:
		n = int(st.keys)
	default:
		st.eachPiece(func(p *piece) bool {
			n += p.later(cutoff)
			return true
		})
	}
	return n
}

// later is the number of entries later than cutoff.
func (p *piece) later(cutoff int64) (n int) {
	if p.least > cutoff {
		return p.n
	}
	p.each(func(_ int, t int64, _ string) bool {
		if t > cutoff {
			n++
		}
		return true
	})
	return n
}

// HasUser reports whether a key is in a list at now. The state may be nil.
func (f *Shape) HasUser(st *State, key string, now int64) bool {
	if st == nil {
		return false
	}
	l := st.list()
	_, place, ok := l.find(key)
	if !ok {
		return false
	}
	p, offset := l.at(place)
	t, _, removed, _ := readUser(p.b, offset)
	return !removed && t > f.cutoff(now)
}

// Users calls fn with the keys of a list at now, in its order, until it returns
// false; i counts them from 0, and the first from are passed over. The keys are
// valid until the state changes.
func (f *Shape) Users(st *State, now int64, from int, fn func(i int, key string) bool) {
	if st == nil {
		return
	}
	cutoff, i, more := f.cutoff(now), 0, true
	st.eachPiece(func(p *piece) bool {
		if p.least > cutoff && i+p.n <= from {
			i += p.n
			return true
		}
		p.each(func(_ int, t int64, key string) bool {
			if t > cutoff {
				if i >= from {
					more = fn(i, key)
				}
				i++
			}
			return more
		})
		return more
	})
}

// eachPiece calls fn with the pieces of a list until it returns false. A list that
// nothing has changed since it was read is one piece, about whose times nothing is
// known.
func (s *State) eachPiece(fn func(p *piece) bool) {
	if s.users == nil {
		fn(&piece{b: s.b, n: int(s.keys), live: len(s.b), least: math.MinInt64})
		return
	}
	for _, p := range s.users.pieces {
		if !fn(p) {
			return
		}
	}
}

// appendUsers appends the entries of the list to a record.
func (l *userList) appendUsers(b []byte) []byte {
	for _, p := range l.pieces {
		p.each(func(_ int, t int64, key string) bool {
			b = appendUser(b, t, key)
			return true
		})
	}
	return b
}

// size is the number of bytes that appendUsers appends.
func (l *userList) size() (n int) {
	for _, p := range l.pieces {
		n += p.live
	}
	return n
}

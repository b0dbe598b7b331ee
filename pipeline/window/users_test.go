package window

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/traits"

	"offerstream/pipeline/value"
)

// A slowUser is an entry of a list of users that is a mere slice.
type slowUser struct {
	key string
	t   int64
}

type slowUsers []slowUser

func (s *slowUsers) drop(f *Shape, now int64) {
	*s = slices.DeleteFunc(*s, func(u slowUser) bool { return f.Left(u.t, now) })
}

func (s *slowUsers) find(key string) int {
	return slices.IndexFunc(*s, func(u slowUser) bool { return u.key == key })
}

func (s *slowUsers) remove(key string) bool {
	i := s.find(key)
	if i >= 0 {
		*s = slices.Delete(*s, i, i+1)
	}
	return i >= 0
}

func (s *slowUsers) add(f *Shape, key string, t, now int64) (reached uint64) {
	if f.Left(t, now) {
		return 0
	}
	s.drop(f, now)
	s.remove(key)
	for ; len(*s) >= f.Entries; reached++ {
		*s = (*s)[1:]
	}
	*s = append(*s, slowUser{key, t})
	return reached
}

func (s *slowUsers) rename(f *Shape, from, to string, t, now int64) bool {
	s.drop(f, now)
	i, j := s.find(from), s.find(to)
	switch {
	case from == to:
	case i >= 0 && j >= 0:
		(*s)[j].t = max((*s)[j].t, (*s)[i].t)
		s.remove(from)
	case i >= 0:
		(*s)[i].key = to
	case j < 0:
		s.add(f, to, t, now)
	}
	return i >= 0
}

// stored is a state as it is after it was stored and read.
func stored(t testing.TB, st *State) *State {
	var w value.Writer
	st.Append(&w)
	r := value.Reader{B: bytes.Clone(w.B)}
	read := ReadState(&r)
	if err := r.Done(); err != nil {
		t.Fatal(err)
	}
	return &read
}

// sound checks that the table and the pieces of a list are what its entries say.
func (l *userList) sound() error {
	held := 0
	for i, p := range l.pieces {
		n, live := 0, 0
		for offset := 0; offset < len(p.b); {
			at, key, removed, next := readUser(p.b, offset)
			if !removed {
				n, live = n+1, live+next-offset
				if _, place, ok := l.find(key); !ok || place != p.place(offset) {
					return fmt.Errorf("%s is not found at its place", key)
				}
				if at < p.least || offset < p.first {
					return fmt.Errorf("%s of %d lies before %d, or is passed over", key, at, p.least)
				}
			}
			offset = next
		}
		held += n
		if n != p.n || live != p.live || n == 0 || len(p.b) > pieceBytes || live*2 <= len(p.b) || l.byID[p.id] != p {
			return fmt.Errorf("piece %d holds %d, %d bytes of %d; it says %d and %d", i, n, live, len(p.b), p.n, p.live)
		}
	}
	if held != l.held || len(l.free)+len(l.pieces) != len(l.byID) {
		return fmt.Errorf("%d are held, and %d in the table", held, l.held)
	}
	return nil
}

// TestUsers holds a list of users to a slice, through all that changes it, with few
// short keys and with many long ones, whose list has several pieces.
func TestUsers(t *testing.T) {
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 5))
	for round := range 60 {
		f := Shape{Aggregate: users, Entries: 1 + rng.IntN(40), Within: time.Duration(rng.Int64N(2) * rng.Int64N(300))}
		keys, long, acts := 60, 20, 400
		if round%6 == 0 {
			f.Entries, f.Within, keys, long, acts = 300+rng.IntN(300), f.Within*40, 700, 900, 6000
		}
		st, model, now := &State{}, slowUsers{}, int64(1000)
		key := func() string {
			n := rng.IntN(keys)
			return fmt.Sprint("u:", n, strings.Repeat("x", n*7%long))
		}
		for act := range acts {
			now += rng.Int64N(4)
			at := now - rng.Int64N(100)*rng.Int64N(2)
			var got, want string
			switch n := rng.IntN(20); {
			case n < 12:
				k := key()
				got, want = fmt.Sprint("add ", f.AddUser(st, k, at, now)), fmt.Sprint("add ", model.add(&f, k, at, now))
			case n < 15:
				f.Drop(st, now)
				model.drop(&f, now)
				k := key()
				got, want = fmt.Sprint("remove ", f.RemoveUser(st, k)), fmt.Sprint("remove ", model.remove(k))
			case n < 18:
				from, to := key(), key()
				got, want = fmt.Sprint("rename ", f.RenameUser(st, from, to, at, now)), fmt.Sprint("rename ", model.rename(&f, from, to, at, now))
			case n < 19:
				st = stored(t, st)
			}
			read := now + rng.Int64N(2)*rng.Int64N(100)
			shown := slices.Clone(model)
			shown.drop(&f, read)
			from := rng.IntN(len(shown) + 2)
			next := from
			f.Users(st, read, from, func(i int, key string) bool {
				if i != next || i >= len(shown) || shown[i].key != key {
					t.Fatalf("round %d, act %d: %d is %s", round, act, i, key)
				}
				next++
				return i < from+20
			})
			size := f.Read(st, "", read).(traits.Sizer).Size()
			if got != want || next < min(len(shown), from+20) || f.UserCount(st, read) != len(shown) || size != types.Int(len(shown)) || f.Has(st, "", read) != (len(shown) > 0) {
				t.Fatalf("round %d, act %d: %s, want %s; %d of %d after %d, %d in all", round, act, got, want, next, len(shown), from, f.UserCount(st, read))
			}
			if st.users != nil && act%16 == 0 {
				if err := st.users.sound(); err != nil {
					t.Fatalf("round %d, act %d: %v", round, act, err)
				}
			}
		}
		if st.Size() != (Size{}) {
			t.Fatalf("a list of users counts %v", st.Size())
		}
	}
}

// TestManyUsers: at most entries, of longest keys, that come in any order: no piece
// is left with little in it.
func TestManyUsers(t *testing.T) {
	rng := rand.New(rand.NewPCG(*seed, 6))
	f, st := Shape{Aggregate: users, Entries: 5000}, &State{}
	for i := range 30_000 {
		f.AddUser(st, longUser(rng.IntN(6000)), int64(i), int64(i))
		if i%3 == 0 {
			f.RemoveUser(st, longUser(rng.IntN(6000)))
		}
	}
	if most := 4*st.users.size()/pieceBytes + 2; len(st.users.pieces) > most || len(st.users.byID) > 2*most {
		t.Errorf("%d pieces, %d ids, at most %d are needed", len(st.users.pieces), len(st.users.byID), most)
	}
	if err := st.users.sound(); err != nil {
		t.Error(err)
	}
}

// TestUserOfLongKey: a key beyond the bound is not added, and counted.
func TestUserOfLongKey(t *testing.T) {
	f, st := Shape{Aggregate: users, Entries: 5}, &State{}
	if f.AddUser(st, strings.Repeat("x", MaxKey+1), 0, 0) != 1 || f.UserCount(st, 0) != 0 || f.UserCount(nil, 0) != 0 {
		t.Error("it was added")
	}
}

func longUser(i int) string { return fmt.Sprintf("u:%0512d", i) }

func manyUsers(n int, key func(i int) string) (*Shape, *State) {
	f, st := &Shape{Aggregate: users, Entries: n, Within: 1 << 40}, &State{}
	for i := range n {
		f.AddUser(st, key(i), int64(i), int64(i))
	}
	return f, st
}

// BenchmarkUsers: a list of 100,000 of the longest keys.
func BenchmarkUsers(b *testing.B) {
	const n = 100_000
	f, st := manyUsers(n, longUser)
	keys := make([]string, n+n/2)
	for i := range keys {
		keys[i] = longUser(i * 7919 % len(keys))
	}
	now := int64(n)
	b.Run("add", func(b *testing.B) { // of every three, two are in the list
		for i := 0; b.Loop(); i++ {
			now++
			f.AddUser(st, keys[i%len(keys)], now, now)
		}
	})
	b.Run("remove", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			now++
			f.RemoveUser(st, keys[i%len(keys)])
			f.AddUser(st, keys[i%len(keys)], now, now)
		}
	})
	b.Run("rename", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			f.RenameUser(st, keys[i%len(keys)], keys[(i+len(keys)/2)%len(keys)], now, now)
		}
	})
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			f.UserCount(st, now+1<<40-n/2)
		}
	})
	b.Run("first", func(b *testing.B) { // the first act after the list was read
		var w value.Writer
		st.Append(&w)
		for b.Loop() {
			r := value.Reader{B: w.B}
			read := ReadState(&r)
			f.RemoveUser(&read, "")
		}
	})
}

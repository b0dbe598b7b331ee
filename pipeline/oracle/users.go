package oracle

import (
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/cespare/xxhash/v2"
)

// addUser puts a user at the end of the users of an item.
func (s *state) addUser(now int64, e entry) {
	in := &window{within: s.f.Within}
	if !in.in(e.at, now) {
		return
	}
	s.dropUsers(now)
	s.users = slices.DeleteFunc(s.users, func(o entry) bool { return o.key == e.key })
	s.users = append(s.users, e)
	s.keepUsers()
}

func (s *state) keepUsers() {
	keep := s.f.Keep
	if keep == 0 {
		keep = keepUsers
	}
	if len(s.users) > keep {
		s.users = s.users[1:]
		s.folds = true
	}
}

func (s *state) dropUsers(now int64) { s.users = s.liveUsers(now) }

// liveUsers returns the users in the window, in the order of the list.
func (s *state) liveUsers(now int64) []entry {
	in := &window{within: s.f.Within}
	return slices.DeleteFunc(slices.Clone(s.users), func(e entry) bool { return !in.in(e.at, now) })
}

// removeKey takes rows out of a list, or a user out of the users.
func (s *state) removeKey(key string) {
	s.users = slices.DeleteFunc(s.users, func(e entry) bool { return e.key == key })
	for _, w := range s.keys {
		w.exact = slices.DeleteFunc(w.exact, func(e *entry) bool { return s.f.Agg == "list" && e.listKey == key })
	}
}

// rename puts a user in the place of a visitor. Where the user is there too, the
// visitor goes; where neither is, the user comes to the end.
func (s *state) rename(from, to string, at, now int64) {
	s.dropUsers(now)
	place := func(key string) int {
		return slices.IndexFunc(s.users, func(e entry) bool { return e.key == key })
	}
	a, u := place(from), place(to)
	switch {
	case a >= 0 && u >= 0:
		s.users[u].at = max(s.users[u].at, s.users[a].at)
		s.users = slices.Delete(s.users, a, a+1)
	case a >= 0:
		s.users[a].key = to
	case u < 0:
		s.addUser(now, entry{key: to, at: at})
	}
}

// readUsers returns the users in the window.
func (s *state) readUsers(now int64) ref.Val {
	var all []ref.Val
	for _, e := range s.liveUsers(now) {
		all = append(all, types.String(e.key))
	}
	return listOf(all)
}

// sample adds a value to the distinct values of an item. When there are too many,
// only those stay whose hash begins with one zero more.
func (w *window) sample(e *entry) {
	if i := slices.IndexFunc(w.exact, func(o *entry) bool { return o.text == e.text }); i >= 0 {
		if w.exact[i].before(e) < 0 {
			w.exact = slices.Delete(w.exact, i, i+1)
			w.insert(e)
		}
		return
	}
	if len(w.exact) == 0 {
		w.zeros = 0
	}
	for len(w.exact) >= sampleOf && w.sampled(e) {
		w.zeros++
		w.exact = slices.DeleteFunc(w.exact, func(o *entry) bool { return !w.sampled(o) })
	}
	if w.sampled(e) {
		w.insert(e)
	}
}

// sampled reports whether a value is among those that are held.
func (w *window) sampled(e *entry) bool {
	return w.zeros == 0 || xxhash.Sum64String(e.text)>>(64-w.zeros) == 0
}

package oracle

import "cel.dev/cel-go/common/types/ref"

// A feed is what one step tells an item.
type feed struct {
	kind  *itemKind
	key   string
	who   string // the user whose event it is; "": of no person
	event *event
	now   int64
	item  ref.Val // the first of the event's items with the key

	entries map[*feature][]entry
	removed map[*feature][]string // keys of rows, or users
	renames []listing             // what becomes of a visitor
	from    string                // who becomes
	to      string                // whom

	questions []*evaluation // they wait for the answer
	told      []*evaluation // of campaigns with `to`

	full    bool             // the item had reached the bound on entries
	evicted map[*feature]int // how many entries leave because of the bound on bytes
}

// updates reports whether the feed changes the item.
func (fd *feed) updates() bool {
	return len(fd.entries) > 0 || len(fd.removed) > 0 || len(fd.renames) > 0 || fd.event != nil && fd.event.typ == "item"
}

// feeds returns what an event tells items: kind by kind in the set's order, and
// within a kind in the order in which the event names them.
func (w *world) feeds(u *user, ev *event) []*feed {
	var all []*feed
	for _, k := range w.set.Items {
		if ev.typ == "item" && ev.itemKind != k.Kind {
			continue
		}
		for i, raw := range ev.items() {
			fields, _ := raw.(*object)
			key, ok := property(fields, k.Key)
			if ok && len(key) > maxKey {
				w.out.meet("item's key too long")
				ok = false
			}
			if !ok {
				continue
			}
			fd := find(all, k, key)
			if fd == nil {
				fd = &feed{kind: k, key: key, event: ev, now: ev.now, item: fromJSON(raw), entries: map[*feature][]entry{}, removed: map[*feature][]string{}}
				if u != nil {
					fd.who = u.key
				}
				all = append(all, fd)
			}
			sc := &scope{world: w, user: u, event: ev, now: ev.now, pos: ev.pos, item: fromJSON(raw)}
			for _, f := range w.set.Features {
				if f.Per == k.Kind {
					f.feed(fd, sc, fields, i)
				}
			}
		}
	}
	return all
}

func find(feeds []*feed, k *itemKind, key string) *feed {
	for _, fd := range feeds {
		if fd.kind == k && fd.key == key {
			return fd
		}
	}
	return nil
}

// feed adds to a feed what an item of the event removes from a feature, and adds to
// it.
func (f *feature) feed(fd *feed, sc *scope, fields *object, i int) {
	ev := sc.event
	if ev.matches(f.RemoveOn) {
		if f.Agg == "users" {
			if fd.who != "" {
				fd.removed[f] = []string{fd.who}
			}
		} else if key, ok := property(fields, f.Key); ok {
			fd.removed[f] = append(fd.removed[f], key)
		}
	}
	if !ev.matches(f.On) || !f.where.holds(sc) {
		return
	}
	e := entry{at: ev.time, item: i}
	switch f.Agg {
	case "users":
		if e.key = fd.who; fd.who != "" {
			fd.entries[f] = []entry{e}
		}
		return
	case "together":
		if len(fd.entries[f]) == 0 { // once an event
			fd.entries[f] = others(fd, ev)
			if len(fd.entries[f]) == 0 {
				delete(fd.entries, f)
			}
		}
		return
	}
	ok := true
	switch {
	case f.By == "":
	case isBare(f.By):
		e.key, ok = property(fields, f.By)
	default:
		v, err := f.by.eval(sc)
		if ok = err == nil; ok {
			e.key, ok = keyText(v)
		}
	}
	if ok && len(e.key) <= maxKey && f.fillRow(&e, sc, fields) {
		fd.entries[f] = append(fd.entries[f], e)
	}
}

// others returns a touch of each other item of the event.
func others(fd *feed, ev *event) (out []entry) {
	seen := map[string]bool{fd.key: true}
	for i, raw := range ev.items() {
		fields, _ := raw.(*object)
		if key, ok := property(fields, fd.kind.Key); ok && len(key) <= maxKey && !seen[key] {
			seen[key] = true
			out = append(out, entry{key: key, at: ev.time, item: i})
		}
	}
	return out
}

func (s *state) applyFeed(fd *feed) {
	for _, key := range fd.removed[s.f] {
		s.removeKey(key)
	}
	if !fd.full || s.f.Agg == "users" {
		for _, e := range fd.entries[s.f] {
			s.add(fd.now, e)
		}
	}
	for _, l := range fd.renames {
		if l.feature == s.f {
			s.rename(fd.from, fd.to, l.at, fd.now)
		}
	}
	for range fd.evicted[s.f] {
		s.drop(fd.now)
		s.evict()
	}
}

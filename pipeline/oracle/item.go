package oracle

import "cel.dev/cel-go/common/types/ref"

// The bounds of items where the set has none of its own.
const (
	forgetItem  = 1095 * day
	itemBytes   = 4 << 20
	itemEntries = 65536
	keepUsers   = 10_000
)

// sampleOf is how many distinct values an item holds. A test makes it smaller.
var sampleOf = 16384

// An item holds everything about one item: the messages that changed it. All else
// is computed from them.
type item struct {
	w    *world
	kind *itemKind
	key  string
	log  []*feed
	ring []ringed // of events about the item
	last int64    // log time of the last update

	added int // number of entries ever added
}

func (w *world) item(k *itemKind, key string) *item {
	entity := entityOf(k.Kind, key)
	it := w.items[entity]
	if it == nil {
		it = &item{w: w, kind: k, key: key}
		w.items[entity] = it
	}
	after := k.Forget
	if after == 0 {
		after = forgetItem
	}
	if len(it.log) > 0 && minus(w.now, it.last) >= after {
		w.out.meet("item forgotten")
		it.log, it.ring, it.added = nil, nil, 0
	}
	return it
}

// itemEvent applies an event about an item, of no person.
func (w *world) itemEvent(ev *event) {
	k := w.set.kind(ev.itemKind)
	if k == nil {
		w.out.meet("item of no kind")
		return
	}
	w.steps++
	it := w.item(k, ev.itemID)
	if repeats(it.ring, ev) {
		w.out.Duplicates++
		return
	}
	it.ring = append(it.ring, ringed{ev.id, ev.now})
	w.out.meet("item event")
	fd := w.feeds(nil, ev)[0]
	for _, c := range w.set.running {
		if c.Users == "" || c.about != k {
			continue
		}
		for _, entry := range c.entries {
			sc := &scope{world: w, campaign: c, event: ev, now: ev.now, pos: ev.pos}
			if ev.matches(entry.On) && entry.where.holds(sc) {
				fd.told = append(fd.told, &evaluation{campaign: c, entry: entry, event: ev, id: ev.id, at: ev.now, key: fd.key, item: fd.item})
				break
			}
		}
	}
	it.take(fd)
}

// take is the step of an item: it takes what it is told, then it answers, then it
// turns to the users who wait for it.
func (it *item) take(fd *feed) {
	all := append(append([]*evaluation{}, fd.questions...), fd.told...)
	for _, e := range all {
		e.before = it.read(e.campaign.reads.before)
	}
	if fd.updates() {
		it.apply(fd)
	}
	for _, e := range all {
		e.frozen = it.read(e.campaign.reads.now)
	}
	if len(fd.questions) > 0 {
		questions := fd.questions
		it.w.deliver(fd.who, func(u *user) { u.answered(questions) })
	}
	it.recipients(fd)
}

// apply adds a feed to the log.
func (it *item) apply(fd *feed) {
	if len(fd.renames) == 0 || len(it.log) == 0 {
		it.last = it.w.now
	}
	for f, entries := range fd.entries {
		for i := range entries {
			entries[i].pos = len(it.log)
		}
		it.w.out.meet("fed: " + f.Agg)
	}
	fd.full = true // as long as what it adds is not in
	it.log = append(it.log, fd)
	fd.full = it.added >= itemEntries && it.held() >= itemEntries
	for _, entries := range fd.entries {
		it.added += len(entries)
	}
	it.evict(fd)
}

// held counts the entries in all windows.
func (it *item) held() int {
	n := 0
	for _, f := range it.features() {
		s := it.state(f)
		for _, w := range s.keys {
			n += w.held(it.w.now)
		}
		n += len(s.top)
	}
	return n
}

// features returns the features of the item's kind, by name.
func (it *item) features() (out []*feature) {
	for _, f := range it.w.set.Features {
		if f.Per == it.kind.Kind {
			out = append(out, f)
		}
	}
	return out
}

// state folds all that the item was told into a feature.
func (it *item) state(f *feature) *state {
	s := &state{f: f, keys: map[string]*window{}}
	for _, fd := range it.log {
		s.applyFeed(fd)
	}
	return s
}

// read returns features as they are now.
func (it *item) read(names []string) map[string]ref.Val {
	out := map[string]ref.Val{}
	for _, name := range names {
		out[name] = it.state(it.w.language.features[name]).read(it.w.now)
	}
	return out
}

// evict notes in the newest feed which entries leave because of the bound on bytes.
func (it *item) evict(fd *feed) {
	most := it.w.set.Bounds.ItemBytes
	if most == 0 {
		most = itemBytes
	}
	fd.evicted = map[*feature]int{}
	for {
		total, size := 0, 0
		var largest *feature
		for _, f := range it.features() {
			s := it.state(f)
			s.drop(fd.now)
			n := s.size()
			total += n
			if n > size {
				size, largest = n, f
			}
		}
		if total <= most {
			return
		}
		it.w.out.meet("bound on bytes of an item")
		fd.evicted[largest]++
	}
}

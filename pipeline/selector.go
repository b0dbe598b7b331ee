package pipeline

import (
	"encoding/binary"
	"maps"
	"slices"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"

	"github.com/valyala/fastjson"
)

// A selector maps an event to the numbers that it selects.
type selector struct {
	named  map[string]*selection       // by the names of track, system and item events
	beside map[string]*selection       // by the names of system and item events alone: those beside a `*`, which selects the others
	typed  [len(event.Types)]selection // all events of a type (event.Types, Selector)
	star   selection                   // all events that `*` selects
}

// A selection holds what one event name selects: with guards, only if the texts
// at their paths match; always, in any case.
type selection struct {
	guards []guard
	always []int32
}

// A guard selects numbers by the texts at some paths, usually one.
type guard struct {
	paths  [][]string
	found  map[string]span    // by the text, or by the key of several
	many   []int32            // the numbers under keys that have more than one
	adding map[string][]int32 // while the index is built
}

// A span is what a guard finds under a key: n numbers from many[at] on; if n is 1, at
// is the number. Most of thousands of keys have one.
type span struct{ at, n int32 }

// add adds number i under the names of its events, and under its guard if it has
// any. u is the unit whose it is; nil: a feature's.
func (s *selector) add(i int, on []string, g []equality, u *unit) {
	var keys []string
	if len(g) > 0 {
		keys = keysOf(g, u)
	}
	star := slices.Contains(on, "*")
	if star {
		s.star.add(i, g, keys)
	}
	for k, name := range on {
		t := event.Selected(name)
		switch {
		case name == "*" || slices.Contains(on[:k], name):
		case star && t != 0: // `*` selects all types that have a selector
		case star:
			selectionOf(&s.beside, name).add(i, g, keys)
		case t != 0:
			s.typed[t].add(i, g, keys)
		default:
			selectionOf(&s.named, name).add(i, g, keys)
		}
	}
}

func selectionOf(by *map[string]*selection, name string) *selection {
	if *by == nil {
		*by = map[string]*selection{}
	}
	if (*by)[name] == nil {
		(*by)[name] = &selection{}
	}
	return (*by)[name]
}

func (s *selection) add(i int, by []equality, keys []string) {
	if len(by) == 0 {
		s.always = append(s.always, int32(i))
		return
	}
	at := slices.IndexFunc(s.guards, func(g guard) bool {
		return slices.EqualFunc(g.paths, by, func(path []string, e equality) bool { return slices.Equal(path, e.path) })
	})
	if at < 0 {
		at = len(s.guards)
		g := guard{adding: map[string][]int32{}}
		for _, e := range by {
			g.paths = append(g.paths, e.path)
		}
		s.guards = append(s.guards, g)
	}
	for _, k := range keys {
		if is := s.guards[at].adding[k]; len(is) == 0 || is[len(is)-1] != int32(i) {
			s.guards[at].adding[k] = append(is, int32(i))
		}
	}
}

// finish makes the guards ready for use.
func (s *selector) finish() {
	s.star.finish()
	for i := range s.typed {
		s.typed[i].finish()
	}
	for _, by := range []map[string]*selection{s.named, s.beside} {
		for _, name := range slices.Sorted(maps.Keys(by)) {
			by[name].finish()
		}
	}
}

func (s *selection) finish() {
	for i := range s.guards {
		s.guards[i].finish()
	}
}

func (g *guard) finish() {
	g.found = make(map[string]span, len(g.adding))
	for _, key := range slices.Sorted(maps.Keys(g.adding)) {
		is := g.adding[key]
		if len(is) == 1 {
			g.found[key] = span{is[0], 1}
			continue
		}
		g.found[key] = span{int32(len(g.many)), int32(len(is))}
		g.many = append(g.many, is...)
	}
	g.many, g.adding = slices.Clip(g.many), nil
}

// each calls fn once with every number that the event selects.
func (s *selector) each(ev *event.Event, fn func(i int)) {
	if event.Types[ev.Type].Star {
		s.star.each(ev, fn)
	}
	s.typed[ev.Type].each(ev, fn)
	if named(ev) {
		s.named[ev.Name].each(ev, fn)
	}
	if ev.Type == event.System || ev.Type == event.Item {
		s.beside[ev.Name].each(ev, fn)
	}
}

func (s *selection) each(ev *event.Event, fn func(i int)) {
	if s == nil {
		return
	}
	for _, i := range s.always {
		fn(int(i))
	}
	for i := range s.guards {
		g := &s.guards[i]
		switch at := g.of(ev); at.n {
		case 0:
		case 1:
			fn(int(at.at))
		default:
			for _, n := range g.many[at.at : at.at+at.n] {
				fn(int(n))
			}
		}
	}
}

// of is what the guard finds for an event.
func (g *guard) of(ev *event.Event) span {
	if len(g.paths) == 1 {
		text, ok := textAt(ev, g.paths[0])
		if !ok {
			return span{}
		}
		return g.found[text]
	}
	var usual [128]byte
	key := usual[:0]
	for i, path := range g.paths {
		text, ok := textAt(ev, path)
		if !ok {
			return span{}
		}
		key = appendKey(key, text, i == len(g.paths)-1)
	}
	return g.found[string(key)]
}

// textAt is the text at a path of an event. It is valid as long as the event.
func textAt(ev *event.Event, path []string) (text string, ok bool) {
	v := ev.Get(path...)
	if v == nil || v.Type() != fastjson.TypeString {
		return "", false
	}
	return value.AliasText(v), true
}

// names are the events of an `on`.
type names struct {
	star  bool
	types [len(event.Types)]bool
	named []string
}

func namesOf(on []string) (n names) {
	for _, name := range on {
		switch t := event.Selected(name); {
		case name == "*":
			n.star = true
		case t != 0:
			n.types[t] = true
		default:
			n.named = append(n.named, name)
		}
	}
	return n
}

// have reports whether an event is one of them.
func (n *names) have(ev *event.Event) bool {
	return n.star && event.Types[ev.Type].Star || n.types[ev.Type] ||
		named(ev) && slices.Contains(n.named, ev.Name)
}

// endings are the events of all `unless` of a set. Most events are none of them.
type endings struct {
	star  bool
	types [len(event.Types)]bool
	named map[string]bool
}

func (e *endings) add(on []string) {
	n := namesOf(on)
	e.star = e.star || n.star
	for t, has := range n.types {
		e.types[t] = e.types[t] || has
	}
	for _, name := range n.named {
		if e.named == nil {
			e.named = map[string]bool{}
		}
		e.named[name] = true
	}
}

// have is names.have.
func (e *endings) have(ev *event.Event) bool {
	return e.star && event.Types[ev.Type].Star || e.types[ev.Type] || named(ev) && e.named[ev.Name]
}

// appendKey appends a text to a key that consists of several.
func appendKey(key []byte, text string, last bool) []byte {
	if !last { // so that no two combinations have the same key
		key = binary.AppendUvarint(key, uint64(len(text)))
	}
	return append(key, text...)
}

// named reports whether `on` selects the event by its name.
func named(ev *event.Event) bool {
	return ev.Type == event.Track || ev.Type == event.System || ev.Type == event.Item
}

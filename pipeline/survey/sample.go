package survey

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
)

// Bounds of what is remembered of a sample. What is beyond them is not told apart.
const (
	mostKinds  = 1000     // names of events
	mostNames  = 1000     // names of properties in one place of events of one name
	mostValues = 1000     // different values of a property of events of one name
	mostBytes  = 64 << 10 // of these values
)

// A sample is what occurs in some events.
type sample struct {
	wanted  []*wanted // the paths about which something is counted
	holders []place   // the objects whose members' names are counted
	kinds   map[kindKey]*kind
	n       uint64
}

// A place is an object or a value in an event. base is properties, traits, context,
// items (each of event.items) or event (its name and type).
type place struct {
	base  string
	names string // the path below, each name followed by \x00
}

func placeOf(base string, names []string) place {
	p := place{base: base}
	for _, n := range names {
		p.names += n + "\x00"
	}
	return p
}

func (p place) path() []string {
	if p.names == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(p.names, "\x00"), "\x00")
}

// parent is the object that holds the value.
func (p place) parent() (holder place, name string) {
	names := p.path()
	return placeOf(p.base, names[:len(names)-1]), names[len(names)-1]
}

// A wanted is a value about which something is counted.
type wanted struct {
	place
	literals map[string]bool // the keys (keyOf) of values with which it is compared
}

type kindKey struct {
	typ  event.Type
	name string
}

// A kind is the events of one name, or all of a type that `on` selects as one.
type kind struct {
	kindKey
	n, items uint64
	values   []stat              // by sample.wanted
	names    []map[string]uint64 // by sample.holders: in how many of them a member occurs
	judged   []*term             // those of triggers that name the kind
	found    []found             // the same for equalities, by path
}

// A stat is what is at one path in the events of a kind.
type stat struct {
	n                      uint64 // present, and not null
	nulls, texts, numerals uint64 // numerals are texts that are numbers
	numbers, bools         uint64
	least, most            float64           // of the numbers
	text                   string            // one of the texts, a numeral if there are
	values                 map[string]uint64 // the different values, by keyOf
	bytes                  int
	full                   bool              // there are more
	hits                   map[string]uint64 // of the literals
}

// kind is the kind of an event, nil if `on` cannot name it or there are too many.
func (s *sample) kind(ev *event.Event) (k *kind, isNew bool) {
	key := kindKey{typ: ev.Type}
	switch {
	case ev.Type == event.Track || ev.Type == event.System || ev.Type == event.Item:
		key.name = ev.Name
	case event.Types[ev.Type].Selector == "":
		return nil, false
	}
	if k = s.kinds[key]; k != nil {
		return k, false
	}
	if len(s.kinds) >= mostKinds {
		return nil, false
	}
	k = &kind{kindKey: key, values: make([]stat, len(s.wanted)), names: make([]map[string]uint64, len(s.holders))}
	s.kinds[key] = k
	return k, true
}

// add counts what an event has.
func (s *sample) add(k *kind, ev *event.Event) {
	k.n++
	items := ev.Items()
	k.items += uint64(len(items))
	for i, h := range s.holders {
		each(ev, h, func(v *fastjson.Value) {
			if v.Type() != fastjson.TypeObject {
				return
			}
			value.VisitFirst(v.GetObject(), func(name string, v *fastjson.Value) {
				if k.names[i] == nil {
					k.names[i] = map[string]uint64{}
				}
				if _, known := k.names[i][name]; known || len(k.names[i]) < mostNames {
					k.names[i][strings.Clone(name)]++
				}
			})
		})
	}
	for i, w := range s.wanted {
		if w.base == "event" {
			text := ev.Name
			if w.names == "type\x00" {
				text = ev.Type.String()
			}
			k.values[i].addText(w, text)
			continue
		}
		each(ev, w.place, func(v *fastjson.Value) { k.values[i].add(w, v) })
	}
}

// each calls fn with the values at a place of an event.
func each(ev *event.Event, p place, fn func(*fastjson.Value)) {
	switch p.base {
	case "items":
		for _, it := range ev.Items() {
			below(it, p.names, fn)
		}
	case "properties", "traits", "context":
		below(ev.Object(p.base), p.names, fn)
	}
}

func below(v *fastjson.Value, names string, fn func(*fastjson.Value)) {
	for names != "" {
		name, rest, _ := strings.Cut(names, "\x00")
		names = rest
		if name == expr.Each {
			for _, e := range v.GetArray() {
				below(e, rest, fn)
			}
			return
		}
		if v.Type() != fastjson.TypeObject {
			return
		}
		if v = v.Get(name); v == nil {
			return
		}
	}
	fn(v)
}

func (st *stat) add(w *wanted, v *fastjson.Value) {
	switch v.Type() {
	case fastjson.TypeNull:
		st.nulls++
		return
	case fastjson.TypeString:
		st.addText(w, value.AliasText(v))
		return
	case fastjson.TypeNumber:
		f := value.Number(v)
		if st.numbers++; st.numbers == 1 {
			st.least, st.most = f, f
		}
		st.least, st.most = min(st.least, f), max(st.most, f)
	case fastjson.TypeTrue, fastjson.TypeFalse:
		st.bools++
	}
	st.n++
	if key := keyOfJSON(v); key != "" {
		st.seen(w, key)
	}
}

func (st *stat) addText(w *wanted, text string) {
	st.n++
	st.texts++
	numeral := isNumeral(text)
	if st.texts == 1 || numeral && st.numerals == 0 {
		st.text = strings.Clone(value.CutText(text, mostShown))
	}
	if numeral {
		st.numerals++
	}
	if w.literals != nil && len(text) <= mostShown {
		st.seen(w, "s"+text)
	}
}

// seen counts a value that is compared with others.
func (st *stat) seen(w *wanted, key string) {
	if w.literals == nil {
		return
	}
	if w.literals[key] {
		if st.hits == nil {
			st.hits = map[string]uint64{}
		}
		st.hits[key]++
	}
	if n, known := st.values[key]; known {
		st.values[key] = n + 1
		return
	}
	if st.full = st.full || len(st.values) >= mostValues || st.bytes+len(key) > mostBytes; st.full {
		return
	}
	if st.values == nil {
		st.values = map[string]uint64{}
	}
	st.values[strings.Clone(key)] = 1
	st.bytes += len(key)
}

// plus is the sum of two stats.
func (st stat) plus(o stat) stat {
	if st.text == "" || st.numerals == 0 && o.numerals > 0 {
		st.text = o.text
	}
	switch {
	case st.numbers == 0:
		st.least, st.most = o.least, o.most
	case o.numbers > 0:
		st.least, st.most = min(st.least, o.least), max(st.most, o.most)
	}
	st.n, st.nulls, st.texts, st.numerals = st.n+o.n, st.nulls+o.nulls, st.texts+o.texts, st.numerals+o.numerals
	st.numbers, st.bools, st.full = st.numbers+o.numbers, st.bools+o.bools, st.full || o.full
	st.values, st.hits = sum(st.values, o.values), sum(st.hits, o.hits)
	return st
}

func sum(a, b map[string]uint64) map[string]uint64 {
	if len(a) == 0 {
		return b
	}
	a = maps.Clone(a)
	for k, n := range b {
		a[k] += n
	}
	return a
}

// keyOf tells apart texts, numbers and bools.
func keyOf(v any) string {
	switch v := v.(type) {
	case string:
		return "s" + v
	case float64:
		return "n" + value.FormatDouble(v)
	case bool:
		return "b" + strconv.FormatBool(v)
	}
	return ""
}

func keyOfJSON(v *fastjson.Value) string {
	switch v.Type() {
	case fastjson.TypeString:
		return "s" + value.AliasText(v)
	case fastjson.TypeNumber:
		if d, ok := value.Decimal(v); ok {
			return "n" + d
		}
	case fastjson.TypeTrue:
		return "btrue"
	case fastjson.TypeFalse:
		return "bfalse"
	}
	return ""
}

// mostShown bounds the texts that are shown, in bytes.
const mostShown = 256

// shown is a value by its key, as a campaign file has it.
func shown(key string) string {
	if strings.HasPrefix(key, "s") {
		return strconv.Quote(key[1:])
	}
	return key[1:]
}

// isNumeral reports whether a text is a number.
func isNumeral(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil && !strings.ContainsAny(text, "xXpPiInN_")
}

// label names a kind as `on` does.
func (k kindKey) label() string {
	if k.name != "" {
		return k.name
	}
	return k.typ.String()
}

// named are the kinds that `on` names, the most frequent first.
func (s *sample) named(on []string) (all []*kind) {
	for _, k := range s.kinds {
		if slices.ContainsFunc(on, func(name string) bool { return k.named(name) }) {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, byCount)
	return all
}

func byCount(a, b *kind) int {
	return cmp.Or(-cmp.Compare(a.n, b.n), cmp.Compare(a.typ, b.typ), cmp.Compare(a.name, b.name))
}

// named reports whether a name in `on` selects the kind.
func (k kindKey) named(name string) bool {
	switch t := event.Selected(name); {
	case name == "*":
		return event.Types[k.typ].Star
	case t != 0:
		return k.typ == t
	}
	return k.name != "" && k.name == name
}

package survey

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
)

// literalsOf are the keys (keyOf) of the values with which a reading compares for
// equality.
func literalsOf(r *reading, rows func(*campaign.Campaign) *rows) (keys []string) {
	if r.use.Op != expr.Equal && r.use.Op != expr.Key {
		return nil
	}
	for _, v := range r.use.Values {
		keys = append(keys, keyOf(v))
	}
	if r.use.Row != "" && r.rows != nil {
		keys = append(keys, slices.Sorted(maps.Keys(rows(r.rows).columns[r.use.Row]))...)
	}
	return keys
}

// reading looks for a property that never occurs, and for values that do not fit
// what is asked of them.
func (f *finder) reading(r *reading) {
	kinds := f.sample.named(r.target.on)
	n := events(kinds)
	if r.target.base == "items" {
		n = 0
		for _, k := range kinds {
			n += k.items
		}
	}
	i := slices.IndexFunc(f.sample.wanted, func(w *wanted) bool { return w.place == r.target.place })
	if n == 0 {
		if r.profile {
			f.profileless(r)
		}
		return
	}
	st := &r.stat
	for _, k := range kinds {
		*st = st.plus(k.values[i])
	}
	in := fmt.Sprintf("%s %s", thousands(n), eventsNamed(r.target.on, n))
	if r.target.base == "items" {
		in = fmt.Sprintf("%s of %s", count(n, "item"), eventsNamed(r.target.on, 2))
	}
	switch {
	case st.n == 0:
		f.absent(r, kinds, in, st)
	case f.textForNumber(r, st, in):
	default:
		f.value(r, st, in)
	}
}

// at makes a finding at a reading.
func (f *finder) at(r *reading, rule, key, what, hint string) {
	f.suspect[conjunctKey(r.path, r.use.Conjunct)] = true
	p := campaign.Problem{Path: r.path, Line: r.use.Line, Col: r.use.Col, What: what, Hint: hint}
	f.find(r.key(key), Finding{Rule: rule, Element: r.element, Problem: p})
}

// key tells apart what is found at a reading's place.
func (r *reading) key(what string) string {
	return strings.Join(r.target.on, "\x00") + "\x01" + r.target.base + "\x01" + r.target.names + "\x01" + what
}

func (f *finder) profileless(r *reading) {
	f.suspect[conjunctKey(r.path, r.use.Conjunct)] = true
	f.find("profile", Finding{Rule: PropertyNeverOccurs, Problem: campaign.Problem{Path: r.path, Line: r.use.Line, Col: r.use.Col,
		What: fmt.Sprintf("the sample has no identify event, so %s is never known", r.name()), Hint: "identify brings the traits of profile"}})
}

// absent finds that a property never occurs.
func (f *finder) absent(r *reading, kinds []*kind, in string, st *stat) {
	holder, name := r.target.parent()
	what := fmt.Sprintf("none of %s has %s", in, r.name())
	if st.nulls > 0 {
		f.at(r, PropertyNeverOccurs, "", fmt.Sprintf("%s is null in all of %s", r.name(), in), "")
		return
	}
	if f.foundAgain(PropertyNeverOccurs, r.key("")) {
		f.suspect[conjunctKey(r.path, r.use.Conjunct)] = true
		return
	}
	best := nearest(name, f.names(kinds, holder))
	elsewhere := func(kinds []*kind, base string) bool {
		return f.names(kinds, place{base: base})[name] > 0
	}
	hint := ""
	switch {
	case best != "":
		hint = fmt.Sprintf("did you mean %q?", best)
	case r.target.base == "properties" && elsewhere(kinds, "items"):
		hint = fmt.Sprintf("each of event.items has it: event.items.exists(i, i.%s == ...)", name)
	case r.target.base == "items" && elsewhere(kinds, "properties"):
		hint = fmt.Sprintf("it is a property of the event, not of its items: event.properties.%s", name)
	case r.target.base != "traits" && elsewhere(f.sample.named([]string{"identify"}), "traits"):
		hint = fmt.Sprintf("identify has it as a trait: profile.%s", name)
	case r.target.base == "traits" && !r.profile && elsewhere(f.sample.named([]string{"identify"}), "traits"):
		hint = fmt.Sprintf("only identify has traits: profile.%s", name)
	default:
		if names := f.names(kinds, holder); len(names) > 0 {
			hint = "known are " + frequent(names, func(name string) string { return name })
		}
	}
	f.at(r, PropertyNeverOccurs, "", what, hint)
}

// names are the members of an object, with how often they occur.
func (f *finder) names(kinds []*kind, holder place) map[string]uint64 {
	i := slices.Index(f.sample.holders, holder)
	var names map[string]uint64
	for _, k := range kinds {
		if i >= 0 {
			names = sum(names, k.names[i])
		}
	}
	return names
}

// textForNumber finds texts where a number is wanted.
func (f *finder) textForNumber(r *reading, st *stat, in string) bool {
	wants := r.use.Op == expr.Calculated
	for _, v := range r.use.Values {
		_, isNumber := v.(float64)
		wants = wants || isNumber && (r.use.Op == expr.Order || r.use.Op == expr.Equal && st.numbers > 0)
	}
	if !wants || st.texts == 0 {
		return false
	}
	what := fmt.Sprintf("a number is wanted, but %s is a text in %s of %s, such as %q", r.name(), thousands(st.texts), in, st.text)
	hint := "send numbers"
	if st.numerals == st.texts {
		hint = fmt.Sprintf("send numbers, or write double(%s)", r.written())
	}
	f.at(r, TextForNumber, "", what, hint)
	return true
}

// written is the path as the expression has it.
func (r *reading) written() string {
	if len(r.use.Path) == 0 {
		return r.name()
	}
	return strings.ReplaceAll(strings.Join(r.use.Path, "."), "."+expr.Each, "[...]")
}

// value finds that a value with which a property is compared never occurs.
func (f *finder) value(r *reading, st *stat, in string) {
	if r.use.Row != "" {
		f.rowValues(r, st, in)
		return
	}
	var never []string
	hint := ""
	for _, key := range r.literals {
		if st.hits[key] > 0 {
			continue
		}
		h, similar := f.instead(r, key, st)
		if r.use.Reversed && !similar {
			continue // what does not occur is rightly excluded
		}
		if never = append(never, shown(key)); hint == "" {
			hint = h
		}
	}
	if len(never) > 0 {
		f.at(r, ValueNeverMatches, strings.Join(never, "\x00"), fmt.Sprintf("%s is never %s in %s", r.name(), strings.Join(never, " or "), in), hint)
	}
}

// instead tells which value was probably meant. similar: it is much like that one.
func (f *finder) instead(r *reading, key string, st *stat) (hint string, similar bool) {
	literal := key[1:]
	if key[0] != 's' && (st.values["s"+literal] > 0 || st.texts == st.n) {
		return fmt.Sprintf("it is a text there: write %q", literal), true
	}
	if key[0] == 's' && r.use.Op != expr.Key { // a key is looked up by its text
		for _, other := range []string{"n" + literal, "b" + literal} {
			if st.values[other] > 0 {
				return fmt.Sprintf("it is no text there: write %s without quotes", literal), true
			}
		}
	}
	if key[0] == 's' && f.looked < mostLooked {
		f.looked++
		texts := map[string]uint64{}
		for k, n := range st.values {
			if strings.HasPrefix(k, "s") {
				texts[k[1:]] = n
			}
		}
		if best := nearestValue(literal, texts); best != "" {
			return fmt.Sprintf("did you mean %q (%s)?", best, times(texts[best])), true
		}
	}
	if r.use.Op == expr.Key && st.values["n"+literal] > 0 {
		return "", false
	}
	if len(st.values) == 0 {
		return "", false
	}
	place := r.key("")
	if f.frequent[place] == "" {
		f.frequent[place] = frequent(st.values, shown)
	}
	return "it is " + f.frequent[place], false
}

// mostLooked is for how many values of a set a similar one is looked for, because that
// takes about a millisecond each.
const mostLooked = 1000

// rowValues finds that the values of a column never occur: all of them, or some
// that are much like others that do.
func (f *finder) rowValues(r *reading, st *stat, in string) {
	keys := r.literals
	hits, tried := 0, 0
	var alike []string
	hint := ""
	for _, key := range keys {
		if st.hits[key] > 0 {
			hits++
			continue
		}
		if tried++; tried > mostTried || len(alike) == mostAlike {
			continue
		}
		if h, similar := f.instead(r, key, st); similar {
			if alike = append(alike, shown(key)); len(alike) == 1 {
				hint = h
			}
		}
	}
	column := "row." + r.use.Row
	switch {
	case len(alike) > 0:
		f.at(r, ValueNeverMatches, column, fmt.Sprintf("%s is never the value %s of %s in %s", r.name(), strings.Join(alike, " or "), column, in), hint)
	case hits == 0 && len(keys) > 0 && !r.use.Reversed:
		hint, _ = f.instead(r, keys[0], st)
		f.at(r, ValueNeverMatches, column, fmt.Sprintf("%s is none of the %s of %s in %s", r.name(), count(uint64(len(keys)), "value"), column, in), hint)
	}
}

// Bounds of the values of rows for which a similar one is looked for, because that
// takes long, and of those that a finding names.
const (
	mostTried = 64
	mostAlike = 3
)

// events is the number of events of some kinds.
func events(kinds []*kind) (n uint64) {
	for _, k := range kinds {
		n += k.n
	}
	return n
}

func (t *term) sum(kinds []*kind) (n uint64) {
	for _, k := range kinds {
		n += t.held[k]
	}
	return n
}

// Text is the conjunct's source.
func (t *term) Text() string { return t.x.Text }

// eventsNamed names n events of an `on`.
func eventsNamed(on []string, n uint64) string {
	if slices.Contains(on, "*") {
		return plural(n, "event")
	}
	names := make([]string, 0, len(on))
	for _, name := range slices.Compact(slices.Sorted(slices.Values(on))) {
		if t := event.Selected(name); t != 0 {
			name = "of type " + name
		}
		names = append(names, name)
	}
	if len(names) > 3 {
		names = append(names[:3], "...")
	}
	return plural(n, "event") + " " + strings.Join(names, ", ")
}

// frequent lists the most frequent names.
func frequent(names map[string]uint64, show func(string) string) string {
	sorted := slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return cmp.Or(-cmp.Compare(names[a], names[b]), strings.Compare(a, b))
	})
	var list []string
	for i, name := range sorted {
		if i == 5 {
			list = append(list, fmt.Sprintf("and %s more", thousands(uint64(len(sorted)-i))))
			break
		}
		list = append(list, show(name))
	}
	return strings.Join(list, ", ")
}

package oracle

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"cel.dev/cel-go/common/types/ref"
)

// A given is a fact as an event gives it.
type given struct {
	fact, key string
	values    *object
	at        int64 // its time, not after log time
	pos       int
}

// facts are all facts of an input, in the order of the log, for all users.
type facts struct {
	declared []*fact
	given    []given
}

// readFact checks that an event can be a fact. Its name and its key together are an
// id as users have one.
func (ev *event) readFact() error {
	name, named := id(ev.root.get("fact"))
	key, keyed := id(ev.root.get("key"))
	if !named || !keyed || name == "" || key == "" || strings.Contains(name, ":") {
		return errors.New("fact: no name or no key")
	}
	if both := name + ":" + key; len(both) > 512 || strings.ContainsFunc(both, unicode.IsControl) {
		return errors.New("fact: user")
	}
	switch v := ev.root.get("values").(type) {
	case *object:
	case []any:
		if len(v) > 0 {
			return errors.New("fact: fields")
		}
	default:
		return errors.New("fact: fields")
	}
	ev.name, ev.key = name, key
	return nil
}

// add keeps what an event gives.
func (fs *facts) add(ev *event) {
	fs.given = append(fs.given, given{ev.name, ev.key, ev.root.object("values"), min(ev.own, ev.now), ev.pos})
}

// read returns a fact as a map by key. In it are those that are not too old.
func (fs *facts) read(name string, sc *scope) (ref.Val, error) {
	i := slices.IndexFunc(fs.declared, func(f *fact) bool { return f.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("no fact %s", name)
	}
	f, newest := fs.declared[i], map[string]given{}
	for _, g := range fs.given {
		if old, ok := newest[g.key]; g.fact == name && g.pos < sc.pos && (!ok || g.at >= old.at) {
			newest[g.key] = g
		}
	}
	m := textMap{values: map[string]ref.Val{}}
	for key, g := range newest {
		if f.MaxAge > 0 && g.at <= minus(sc.now, f.MaxAge) {
			sc.in().out.meet("a fact that is too old")
		} else {
			sc.in().out.meet("a fact")
			m.values[key] = f.value(g.values)
		}
	}
	return m, nil
}

// value returns those of the declared fields that are there, whatever their type.
func (f *fact) value(values *object) ref.Val {
	m := textMap{values: map[string]ref.Val{}}
	for _, field := range f.Fields {
		if v, ok := values.vals[field.Name]; ok {
			m.values[field.Name] = fromJSON(v)
		}
	}
	return m
}

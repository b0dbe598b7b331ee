package oracle

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

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

// readFact checks that an event can be a fact.
func (ev *event) readFact() error {
	if ev.name = ev.root.text("fact"); ev.name == "" {
		return errors.New("name")
	}
	if key, ok := id(ev.root.get("key")); !ok || key == "" || len(key) > maxKey {
		return errors.New("fact: no key")
	}
	if _, ok := ev.root.get("values").(*object); !ok {
		return errors.New("fields: values is no object")
	}
	return nil
}

// add keeps what an event gives, if the set declares the fact.
func (fs *facts) add(ev *event) {
	key, _ := id(ev.root.get("key"))
	fs.given = append(fs.given, given{ev.name, key, ev.root.object("values"), min(ev.own, ev.now), ev.pos})
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
			sc.user.out.meet("a fact that is too old")
		} else {
			sc.user.out.meet("a fact")
			m.values[key] = f.value(g.values)
		}
	}
	return m, nil
}

// value returns the declared fields that are there and of the declared type.
func (f *fact) value(values *object) ref.Val {
	m := textMap{values: map[string]ref.Val{}}
	for _, field := range f.Fields {
		v, is := values.vals[field.Name], ""
		switch v.(type) {
		case string:
			is = "string"
		case json.Number:
			is = "number"
		case bool:
			is = "bool"
		}
		if is == field.Type {
			m.values[field.Name] = fromJSON(v)
		}
	}
	return m
}

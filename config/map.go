package config

import (
	"fmt"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// fields holds the keys of a map, each with the function that reads it.
type fields map[string]func(value)

// present holds the keys that a map has, with their values.
type present map[string]value

func (p present) has(name string) bool { _, ok := p[name]; return ok }

// fields reads a map with a fixed set of keys, and returns which keys it has. If
// it is a map of the language, the keys that it needs must be there.
func (v value) fields(what string, known fields) present {
	has := present{}
	if v.bad() {
		return has
	}
	if v.n.Kind != yaml.MappingNode {
		if m := noSpace.FindStringSubmatch(v.n.Value); m != nil && v.is() == "text" && plain(v.n) && known[m[2]] != nil {
			v.problemAt(spot{v.n.Line - 1, v.n.Column - 1 + len(m[2])}, "a space is missing after the colon", fmt.Sprintf("write %s: %s", m[2], m[3]))
			return has
		}
		v.wrong("a map", v.exampleOr(v.keysOf(what)))
		return has
	}
	table := tablesByName()[what]
	if table != nil {
		table.known(known)
	}
	last := v
	for k, c := range v.pairs {
		if table != nil {
			c.row = table.row(k)
		}
		has[k] = c
		read, ok := known[k]
		switch {
		case ok:
			read(c)
		case c.misspeltOf(v.n, k, known):
		case c.null() && v.n.Style&yaml.FlowStyle != 0:
			hint := "inside { } a comma begins a new key: put the text before it in quotes"
			if last.key != nil && slices.Contains([]string{"on", "fields", "remove_on", "channels"}, last.key.Value) {
				hint = fmt.Sprintf("inside { } a comma begins a new key: write %s: [%s, %s]", last.key.Value, last.n.Value, k)
			}
			c.problem(fmt.Sprintf("%q is not a key of %s", k, what), hint)
			v.l.silence(last.path) // YAML has cut the value before this one
		default:
			names := make([]string, 0, len(known))
			for name := range known {
				names = append(names, name)
			}
			if table != nil {
				v.l.mean(v.n, meantKey(k, names))
			}
			c.problemAt(start(c.key), fmt.Sprintf("%q is not a key of %s", k, what), keyHint(what, k, names))
		}
		last = c
	}
	if table != nil {
		for _, r := range table.rows {
			if r.absent == needed && !has.has(r.name) {
				v.needs(has, what, r.name, r.example)
			}
		}
	}
	return has
}

// exampleOr is the example of the value's key, or a hint if the tables have none.
func (v value) exampleOr(hint string) string {
	if v.row != nil && v.row.example != "" {
		return v.row.example
	}
	return hint
}

// pairs iterates over a map's keys, except those that are already reported.
func (v value) pairs(yield func(string, value) bool) {
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		k, n := v.n.Content[i], v.n.Content[i+1]
		if v.l.bad[k] {
			continue
		}
		if !yield(k.Value, v.child(k, n, k.Value)) {
			return
		}
	}
}

// named reads a map whose keys are names that the file's author chose.
func (v value) named(what string, read func(name string, c value)) {
	switch {
	case v.bad():
	case v.n.Kind != yaml.MappingNode:
		v.wrong("a map", v.exampleOr("write "+what+" by name"))
	default:
		for k, c := range v.pairs {
			read(k, c)
		}
	}
}

// elements reads a list.
func (v value) elements(hint string, read func(value)) {
	v.parts(hint, func(i int, n *yaml.Node) value { return v.child(nil, n, strconv.Itoa(i)) }, read)
}

// parts reads a list whose elements are made by part.
func (v value) parts(hint string, part func(i int, n *yaml.Node) value, read func(value)) {
	switch {
	case v.bad():
	case v.n.Kind != yaml.SequenceNode:
		v.wrong("a list", hint)
	case len(v.n.Content) == 0:
		v.problem("the list is empty", hint)
	default:
		for i, n := range v.n.Content {
			if c := part(i, n); !c.bad() {
				read(c)
			}
		}
	}
}

// needs reports required keys that are missing. keysAndHints has pairs of a key
// and an example.
func (v value) needs(has present, what string, keysAndHints ...string) {
	if v.bad() || v.is() != "a map" {
		return
	}
	for i := 0; i < len(keysAndHints); i += 2 {
		if !has.has(keysAndHints[i]) && !v.l.meant[v.n][keysAndHints[i]] {
			at := start(v.n)
			if v.key != nil {
				at = start(v.key)
			}
			v.l.problems = append(v.l.problems, Problem{v.file.name, at.line + 1, at.col + 1, fmt.Sprintf("%s needs `%s`", what, keysAndHints[i]), keysAndHints[i+1]})
		}
	}
}

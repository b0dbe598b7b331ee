package main

import (
	"fmt"
	"unicode/utf8"

	"github.com/valyala/fastjson"

	"offerstream/config"
	"offerstream/pipeline/value"
)

// rowEvent makes an event of a row of a CSV file, without its beginning. col is where
// the user's id stands.
func (l *userList) rowEvent(r *csvRow) (ev []byte, col int, p config.Problem) {
	var traits []byte
	ids := map[string]string{}
	col = 1
	for c, cell := range r.cells {
		name := l.header[c]
		switch {
		case !utf8.ValidString(cell):
			return nil, 1, l.problem(r.line, r.col(c), fmt.Sprintf("the cell of the column %q is not UTF-8 text", name), "save the file as UTF-8")
		case cell == "":
			continue
		case name == l.id:
			ids[userColumn], col = cell, r.col(c)
		case name == anonymousColumn:
			if ids[anonymousColumn] = cell; ids[userColumn] == "" {
				col = r.col(c)
			}
		default:
			traits = l.kind(c).append(appendName(traits, name), cell)
		}
	}
	switch {
	case len(ids) == 0:
		return nil, 1, l.problem(r.line, 1, "the row has no user", "fill in "+l.idNames())
	case len(traits) == 0:
		return nil, 1, l.problem(r.line, 1, "the row has no traits: all cells but the user's id are empty", "fill in one, or remove the row")
	}
	for _, name := range []string{userColumn, anonymousColumn} {
		if ids[name] != "" {
			ev = append(append(appendName(ev, name), quoteJSON(ids[name])...), ',')
		}
	}
	return closed(ev, traits), col, p
}

// idNames are the columns or members of which one must be there.
func (l *userList) idNames() string { return l.id + " or " + anonymousColumn }

// appendName appends the name of a member, after a comma unless it is the first.
func appendName(dst []byte, name string) []byte {
	if n := len(dst); n > 0 && dst[n-1] != ',' {
		dst = append(dst, ',')
	}
	return append(append(dst, quoteJSON(name)...), ':')
}

// closed adds the traits to an event.
func closed(ev, traits []byte) []byte {
	return append(append(append(ev, `"traits":{`...), traits...), '}', '}')
}

// A columnKind is what the cells of a column are in an event.
type columnKind string

const (
	textTrait   columnKind = "text"
	numberTrait columnKind = "number"
	boolTrait   columnKind = "bool"
	noTrait     columnKind = "always empty"
)

// kind is the kind of a column: as in the tables of facts, it is that of all its
// cells. Empty ones are absent here, and do not count.
func (l *userList) kind(c int) columnKind {
	switch col := l.columns[c]; col.Cells - col.Empty {
	case 0:
		return noTrait
	case col.Numbers:
		return numberTrait
	case col.Bools:
		return boolTrait
	}
	return textTrait
}

// append appends a cell that is not empty as JSON.
func (k columnKind) append(dst []byte, cell string) []byte {
	if k == textTrait {
		return append(dst, quoteJSON(cell)...)
	}
	return append(dst, cell...)
}

// objectEvent makes an event of a JSON object, without its beginning: it has the
// user's ids and the traits, or an object `traits`.
func (l *userList) objectEvent(line int, text []byte) (ev []byte, p config.Problem) {
	if p, wrong := l.wrongJSON(line, text); wrong {
		return nil, p
	}
	no := func(what, hint string) ([]byte, config.Problem) { return nil, l.problem(line, 1, what, hint) }
	var parser fastjson.Parser
	root, err := value.Parse(&parser, text)
	if err != nil {
		return no("this is not JSON: "+err.Error(), "write one object a line")
	}
	if root.Type() != fastjson.TypeObject {
		return no(fmt.Sprintf("a row is an object, this is %s", root.Type()), `write one object a line, such as {"userId":"ada","tier":"gold"}`)
	}
	o := root.GetObject()
	var traits []byte
	nested := root.Get("traits")
	if nested != nil && nested.Type() == fastjson.TypeObject {
		traits = appendMembers(traits, nested.GetObject(), nil)
	} else {
		nested = nil
		traits = appendMembers(traits, o, map[string]bool{l.id: true, anonymousColumn: true})
	}
	stray := ""
	value.VisitFirst(o, func(name string, _ *fastjson.Value) {
		if nested != nil && stray == "" && name != "traits" && name != l.id && name != anonymousColumn {
			stray = name
		}
	})
	if stray != "" {
		return no(fmt.Sprintf("beside `traits` stands %q", stray), "a row with `traits` has only "+l.idNames()+" besides: put it into traits, or send whole events with offerctl replay")
	}
	some := false
	for _, id := range [][2]string{{l.id, userColumn}, {anonymousColumn, anonymousColumn}} {
		v := root.Get(id[0])
		switch {
		case value.Absent(v) || v.Type() == fastjson.TypeString && value.AliasText(v) == "":
			continue
		case v.Type() != fastjson.TypeString && v.Type() != fastjson.TypeNumber:
			return no(fmt.Sprintf("%s is a text or a number, this is %s", id[0], v.Type()), "")
		}
		some = true
		ev = append(v.MarshalTo(appendName(ev, id[1])), ',')
	}
	switch {
	case !some:
		return no("the row has no user", "fill in "+l.idNames())
	case len(traits) == 0:
		return no("the row has no traits", `add one, such as "vip":true`)
	}
	return closed(ev, traits), p
}

// appendMembers appends the members of an object but some.
func appendMembers(dst []byte, o *fastjson.Object, but map[string]bool) []byte {
	value.VisitFirst(o, func(name string, v *fastjson.Value) {
		if !but[name] {
			dst = v.MarshalTo(appendName(dst, name))
		}
	})
	return dst
}

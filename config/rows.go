package config

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
)

// mostRows bounds the rows of a table.
const mostRows = 100_000

const rowHint = "a text, a number, true or false"

// rows reads for_each: a table in the file, or in a file beside it.
func (v value) rows() []campaign.Row {
	var rows []campaign.Row
	has := v.fields(forEach, fields{
		"rows": func(v value) { rows = v.list() },
		"file": func(v value) {
			v.tableFile(func(path string, b []byte) (warnings, problems Errors) {
				rows, warnings, problems = readTable(path, b)
				return warnings, problems
			})
		},
	})
	switch {
	case v.bad() || v.is() != "a map":
	case has.has("rows") && has.has("file"):
		c := has["file"]
		c.problemAt(start(c.key), "for_each has `rows` or `file`, not both", "keep one")
	case !has.has("rows") && !has.has("file"):
		v.needs(has, forEach, "rows", v.row.hint()+", or file")
	}
	return rows
}

// list reads rows that stand in the file. Its values are not registered as
// places: there may be very many, and the compiler reports none.
func (v value) list() []campaign.Row {
	var rows []campaign.Row
	if !v.bad() && v.n.Kind == yaml.SequenceNode && len(v.n.Content) > mostRows {
		v.atMost(len(v.n.Content), mostRows)
		return nil
	}
	lines := map[string]int{} // by id
	v.parts(v.row.hint(), func(_ int, n *yaml.Node) value { return v.unnamed(nil, n) }, func(v value) {
		if row, ok := v.oneRow(lines); ok {
			rows = append(rows, row)
		}
	})
	return rows
}

// unnamed returns a part of v that has no path of its own.
func (v value) unnamed(key, n *yaml.Node) value {
	return value{l: v.l, file: v.file, key: key, n: n, path: v.path, flow: v.flow || v.n.Style&yaml.FlowStyle != 0}
}

func (v value) oneRow(lines map[string]int) (campaign.Row, bool) {
	if v.n.Kind != yaml.MappingNode {
		v.wrong("a map", "a row such as {id: coffee, least: 3}")
		return campaign.Row{}, false
	}
	row := map[string]any{}
	id := ""
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		k := v.n.Content[i]
		if v.l.bad[k] {
			continue
		}
		c := v.unnamed(k, v.n.Content[i+1])
		switch name := k.Value; {
		case name == "id":
			id = c.rowID(lines)
			row[name] = id
		case !campaign.PropertyName(name):
			c.problemAt(start(k), fmt.Sprintf("%q is not the name of a column", name), "letters, digits, _ and -")
		default:
			row[name] = c.cell()
		}
	}
	if _, ok := row["id"]; !ok {
		v.problem("the row has no `id`", "id: coffee, another one in each row")
	}
	return campaign.Row{ID: id, Values: rowJSON(row)}, id != ""
}

// rowJSON writes a row's values as JSON with sorted keys.
func rowJSON(row map[string]any) json.RawMessage {
	b, err := json.Marshal(row)
	if err != nil { // cannot happen: the values are texts, bools and valid numbers
		panic("config: a row does not marshal: " + err.Error())
	}
	return b
}

// rowID reads an id. A number is taken as it is written.
func (v value) rowID(lines map[string]int) string {
	if v.bad() {
		return ""
	}
	if is := v.is(); is != "text" && is != "a number" {
		v.wrong("text", "an id of "+campaignIDHint)
		return ""
	}
	id := v.n.Value
	switch {
	case !campaignID.MatchString(id):
		v.problem(fmt.Sprintf("%q is not the id of a row", id), campaignIDHint)
		return ""
	case lines[id] > 0:
		v.problem(fmt.Sprintf("the id %q appears twice", id), fmt.Sprintf("it is already on line %d", lines[id]))
		return ""
	}
	lines[id] = v.n.Line
	return id
}

// jsonNumber is the form of a number in JSON.
var jsonNumber = lazyregexp.New(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// cell reads a value of a row: a text, a bool, or a number with its digits.
func (v value) cell() any {
	switch {
	case v.bad():
		return nil
	case v.n.Kind != yaml.ScalarNode || v.is() == "nothing" || v.is() == "null":
		v.wrong(rowHint, "without a value leave the column out of the row")
		return nil
	case !plain(v.n):
		return v.n.Value
	case jsonNumber.MatchString(v.n.Value):
		return json.Number(v.n.Value)
	}
	if at, ok := v.comment(); ok && at.col+1 < len(v.file.lines[at.line]) && v.file.lines[at.line][at.col+1] != ' ' {
		v.problemAt(at, "the text ends here, because YAML takes the rest for a comment", quoteIt+"; if it is a comment, put a space after the #")
	}
	x := v.jsonLiteral()
	if f, ok := x.(float64); ok && (math.IsInf(f, 0) || math.IsNaN(f)) {
		return nil // reported
	}
	return x
}

// tableFile opens a CSV file beside the campaign file, and reads it with read.
func (v value) tableFile(read func(path string, b []byte) (warnings, problems Errors)) {
	name := v.text(v.row.hint())
	if name == "" {
		return
	}
	path, b, err := v.l.open(v.file.name, name)
	if err != nil {
		v.problem(err.Error(), v.row.hint()+", a CSV file beside this file")
		return
	}
	warnings, problems := read(path, b)
	v.l.problems, v.l.warnings = append(v.l.problems, problems...), append(v.l.warnings, warnings...)
	if len(problems) > 0 {
		v.l.silence(v.path[:len(v.path)-2]) // the campaign, which may read any column
	}
}

// A tableUse says what the rows of a table are for.
type tableUse struct {
	id     string                                // the column with the ids, which differ from row to row
	column func(name string) (what, hint string) // what is wrong with the name of another column; "": nothing
	rest   string                                // what to do with more rows than mostRows
}

// forRows is the use in for_each.
var forRows = tableUse{"id", func(name string) (what, hint string) {
	if campaign.PropertyName(name) {
		return "", ""
	}
	return fmt.Sprintf("%q is not the name of a column", name), "the first line has the names of the columns: letters, digits, _ and -, without spaces around them"
}, "write another campaign for the rest"}

// columns checks the names of a table's columns. It returns the column with the ids.
func (u *tableUse) columns(header []string, at func(col int, what, hint string)) (id int, ok bool) {
	id, ok = -1, true
	seen := map[string]int{}
	for i, name := range header {
		if first, twice := seen[name]; twice {
			at(i, fmt.Sprintf("column %d is called %q, as column %d is", i+1, name, first+1), "rename one")
			ok = false
		} else if name == u.id {
			id = i
		} else if what, hint := u.column(name); what != "" {
			at(i, what, hint)
			ok = false
		}
		seen[name] = i
	}
	if id < 0 && ok {
		at(0, "there is no column `"+u.id+"`", "the first line has the names of the columns; these are "+strings.Join(header, ", "))
		ok = false
	}
	return id, ok
}

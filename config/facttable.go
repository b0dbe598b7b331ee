package config

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// forFact is the use of a table that holds a fact. Without declared fields, every
// column but the key is one.
func forFact(f *campaign.Fact) *tableUse {
	return &tableUse{"key", func(name string) (what, hint string) {
		switch {
		case !identifier.MatchString(name) || strings.HasPrefix(name, "__"):
			return fmt.Sprintf("%q is not a field's name", name), "the first line has the names of the columns: key, and fields of 1 to 64 letters, digits and _, a letter first"
		case slices.Contains(celWords, name):
			return fmt.Sprintf("%q means something else in an expression", name), "give the field another name"
		case len(f.Fields) > 0 && fieldOf(f, name) < 0:
			return fmt.Sprintf("the fact %s has no field %q", f.Name, name), "declare it in fields, or remove the column"
		}
		return "", ""
	}, "declare another fact for the rest"}
}

// fieldOf is the place of a field among the declared ones, -1 if it is none of them.
func fieldOf(f *campaign.Fact, name string) int {
	return slices.IndexFunc(f.Fields, func(d campaign.FactField) bool { return d.Name == name })
}

// readFacts reads the rows of a fact from a CSV file, and its fields if it declares
// none.
func readFacts(name string, b []byte, f *campaign.Fact) (warnings, problems Errors) {
	t := openTable(name, b, forFact(f))
	switch {
	case len(t.problems) > 0:
	case len(t.header) == 1:
		t.add(1, 1, "there is no column but `key`", "the other columns are the fields of the fact")
	case len(f.Fields) == 0:
		warnings = t.declare(f)
	default:
		for _, d := range f.Fields {
			if !slices.Contains(t.header, d.Name) {
				warnings = append(warnings, Problem{name, 1, 1, fmt.Sprintf("there is no column for the field %q of the fact %s", d.Name, f.Name), "all rows lack it"})
			}
		}
	}
	if len(t.problems) > 0 {
		return nil, t.problems
	}
	t.facts(f)
	return warnings, t.shown()
}

// declare makes the columns fields of the fact.
func (t *table) declare(f *campaign.Fact) (warnings Errors) {
	kinds, warnings := t.kinds()
	for c, name := range t.header {
		if c != t.id {
			of := [...]string{textColumn: campaign.FactText, numberColumn: campaign.FactNumber, boolColumn: campaign.FactBool}[kinds[c]]
			f.Fields = append(f.Fields, campaign.FactField{Name: name, Type: of})
		}
	}
	slices.SortFunc(f.Fields, func(a, b campaign.FactField) int { return strings.Compare(a.Name, b.Name) })
	return warnings
}

// facts reads the rows.
func (t *table) facts(f *campaign.Fact) {
	types := make([]string, len(t.header))
	for c, name := range t.header {
		if c != t.id {
			types[c] = f.Fields[fieldOf(f, name)].Type
		}
	}
	var dec event.Decoder
	seen := make(map[string]int, len(t.cells)) // the line of a key
	f.Rows = make([]campaign.Row, 0, len(t.cells))
	for i, cells := range t.cells {
		key := cells[t.id]
		if first, twice := seen[key]; twice {
			t.report(i, t.id, fmt.Sprintf("the key %q appears twice", key), fmt.Sprintf("it is already on line %d", first))
		}
		seen[key] = t.lines[i]
		values := make(map[string]any, len(cells))
		for c, cell := range cells {
			if c == t.id || cell == "" && types[c] != campaign.FactText {
				continue
			}
			switch {
			case types[c] == campaign.FactText:
				values[t.header[c]] = cell
			case types[c] == campaign.FactNumber && jsonNumber.MatchString(cell):
				values[t.header[c]] = json.Number(cell)
			case types[c] == campaign.FactBool && (cell == "true" || cell == "false"):
				values[t.header[c]] = cell == "true"
			default:
				t.report(i, c, fmt.Sprintf("%q is not a %s", cell, types[c]), "write one, or leave the cell empty, or declare the field "+t.header[c]+" as string")
			}
		}
		row := campaign.Row{ID: key, Values: rowJSON(values)}
		var wrong *event.Reject // the rules of the gateway for keys and sizes
		if _, err := dec.Admit(event.AppendFact(nil, f.Name, row.ID, row.Values, ""), 0); errors.As(err, &wrong) {
			t.report(i, t.id, wrong.Detail, "")
		}
		f.Rows = append(f.Rows, row)
	}
}

// tablesHash is a hash of the rows of all facts' tables, which the set's own hash
// leaves out; "" if there are none.
func tablesHash(d *campaign.Definition) string {
	h, some := sha256.New(), false
	for _, f := range d.Facts {
		for _, r := range f.Rows {
			some = true
			fmt.Fprintf(h, "%q %q %s\n", f.Name, r.ID, r.Values)
		}
	}
	if !some {
		return ""
	}
	return string(h.Sum(nil))
}

package config

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"unicode/utf8"

	"offerstream/pipeline/campaign"
)

// mostShown is how many mistakes of one table are reported.
const mostShown = 20

// openBeside reads a file that a campaign file names, from the same directory or
// below. It returns the file's path, for messages.
func openBeside(file, name string) (string, []byte, error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", nil, fmt.Errorf("%s is not beside the campaign file or below it", name)
	}
	full := filepath.Join(filepath.Dir(file), filepath.FromSlash(name))
	f, err := os.Open(full)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	b, err := readBounded(f)
	return full, b, err
}

// openIn is openBeside for a file system.
func openIn(fsys fs.FS) func(file, name string) (string, []byte, error) {
	return func(file, name string) (string, []byte, error) {
		f, err := fsys.Open(path.Join(path.Dir(file), name))
		if err != nil {
			return "", nil, err
		}
		defer f.Close()
		b, err := readBounded(f)
		return path.Join(path.Dir(file), name), b, err
	}
}

func readBounded(f fs.File) ([]byte, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", info.Name())
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read", info.Name(), info.Size(), maxFile)
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// A table is a CSV file while it is read.
type table struct {
	name     string
	use      *tableUse
	text     []byte
	csv      *csv.Reader
	header   []string
	id       int        // the column with the ids
	cells    [][]string // without the header
	lines    []int      // of cells
	problems Errors
}

// openTable reads the lines of a CSV file: a header, then one line a row. If it has
// problems, the rest of the table is not worth reading.
func openTable(name string, b []byte, use *tableUse) *table {
	t := &table{name: name, use: use, text: bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))}
	if i := invalid(t.text); i >= 0 {
		t.problems = Errors{{name, 1 + bytes.Count(t.text[:i], []byte("\n")), 1, "this line is not UTF-8 text", "save the file as UTF-8"}}
		return t
	}
	t.csv = csv.NewReader(bytes.NewReader(t.text))
	t.csv.FieldsPerRecord = -1
	t.read()
	return t
}

// readTable reads the rows of for_each. A column holds numbers if every cell is a
// JSON number, bools if every cell is true or false, else texts.
func readTable(name string, b []byte) (rows []campaign.Row, warnings, problems Errors) {
	t := openTable(name, b, &forRows)
	if len(t.problems) > 0 {
		return nil, nil, t.problems
	}
	id := t.id
	kinds, warnings := t.kinds()
	rows = make([]campaign.Row, 0, len(t.cells))
	seen := map[string]int{}
	for i, cells := range t.cells {
		switch first, twice := seen[cells[id]]; {
		case !campaignID.MatchString(cells[id]):
			t.report(i, id, fmt.Sprintf("%q is not the id of a row", cells[id]), campaignIDHint)
		case twice:
			t.report(i, id, fmt.Sprintf("the id %q appears twice", cells[id]), fmt.Sprintf("it is already on line %d", first))
		}
		seen[cells[id]] = t.lines[i]
		row := make(map[string]any, len(cells))
		for c, cell := range cells {
			switch kinds[c] {
			case numberColumn:
				row[t.header[c]] = json.Number(cell)
			case boolColumn:
				row[t.header[c]] = cell == "true"
			default:
				row[t.header[c]] = cell
			}
		}
		rows = append(rows, campaign.Row{ID: cells[id], Values: rowJSON(row)})
	}
	return rows, warnings, t.shown()
}

// shown are the problems that are reported.
func (t *table) shown() Errors {
	if n := len(t.problems); n > mostShown {
		return append(t.problems[:mostShown], Problem{t.name, t.problems[mostShown].Line, 1, fmt.Sprintf("there are %d mistakes more", n-mostShown), "mend these first"})
	}
	return t.problems
}

// read reads all lines.
func (t *table) read() {
	var err error
	if t.header, err = t.csv.Read(); errors.Is(err, io.EOF) {
		t.problems = append(t.problems, Problem{t.name, 1, 1, "the file is empty", "the first line has the names of the columns: " + t.use.id + ",category"})
		return
	} else if err != nil {
		t.wrong(err)
		return
	}
	var ok bool
	t.id, ok = t.use.columns(t.header, func(c int, what, hint string) {
		line, col := t.csv.FieldPos(c)
		t.add(line, col, what, hint)
	})
	if !ok {
		return
	}
	for {
		cells, err := t.csv.Read()
		switch {
		case errors.Is(err, io.EOF) && len(t.cells) == 0:
			t.add(1, 1, "the table has no rows", "")
			return
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			t.wrong(err)
			return
		case len(cells) != len(t.header):
			line, _ := t.csv.FieldPos(0)
			t.add(line, 1, fmt.Sprintf("the line has %d cells, the first line has %d", len(cells), len(t.header)), "put a cell with a comma in quotes")
		case len(t.cells) == mostRows:
			line, _ := t.csv.FieldPos(0)
			t.add(line, 1, fmt.Sprintf("there are more than %s rows", grouped(mostRows)), t.use.rest)
			return
		default:
			line, _ := t.csv.FieldPos(0)
			t.cells, t.lines = append(t.cells, cells), append(t.lines, line)
		}
		if len(t.problems) > mostShown {
			return
		}
	}
}

// wrong reports an error of the CSV reader.
func (t *table) wrong(err error) {
	var at *csv.ParseError
	if !errors.As(err, &at) {
		t.add(1, 1, err.Error(), "")
		return
	}
	t.add(at.Line, at.Column, "this is not CSV: "+at.Err.Error(), `put a cell with a quote or a comma in quotes, and double the quotes in it: "5"" pipe"`)
}

// add reports a mistake at a line and a byte of it, both from 1.
func (t *table) add(line, col int, what, hint string) {
	if len(t.problems) > mostShown { // it is only counted
		t.problems = append(t.problems, Problem{File: t.name, Line: line, Col: 1})
		return
	}
	text := t.text
	for range line - 1 {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	t.problems = append(t.problems, Problem{t.name, line, 1 + utf8.RuneCount(text[:min(max(col-1, 0), len(text))]), what, hint})
}

// report reports a mistake in a cell, by the line that its row begins on.
func (t *table) report(row, col int, what, hint string) {
	at := 1
	for _, cell := range t.cells[row][:col] {
		at += len(cell) + 1
	}
	t.add(t.lines[row], at, what, hint)
}

// The kinds of columns.
const (
	textColumn = iota
	numberColumn
	boolColumn
)

// kinds finds the kind of each column. It warns of a column that would hold
// numbers, if some of its cells were not empty.
func (t *table) kinds() (kinds []int, warnings Errors) {
	kinds = make([]int, len(t.header))
	for c, name := range t.header {
		if c == t.id {
			continue
		}
		var col Column
		gap := 0
		for i, cells := range t.cells {
			if col.Add(cells[c]); cells[c] == "" {
				gap = t.lines[i]
			}
		}
		switch col.Cells {
		case col.Numbers:
			kinds[c] = numberColumn
		case col.Bools:
			kinds[c] = boolColumn
		case col.Numbers + col.Empty:
			if col.Numbers > 0 {
				warnings = append(warnings, Problem{t.name, gap, 1, fmt.Sprintf("the column %q is text, because a cell in it is empty", name), "write a number there, if it is meant to hold numbers"})
			}
		}
	}
	return kinds, warnings
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"offerstream/config"
	"offerstream/pipeline/event"
)

// A userList is a list of users that is read twice: once for what must be known of
// all of it before its first event can be made (survey), and once for the events
// (each).
type userList struct {
	name string
	csv  bool   // else JSONL
	id   string // the column of the userId
	std  stdio

	content string // a hash of the file's content
	lines   int
	header  []string        // CSV
	columns []config.Column // CSV, of header
}

// The columns that say who a user is.
const (
	userColumn      = "userId"
	anonymousColumn = "anonymousId"
)

// A listedUser is a row as an event.
type listedUser struct {
	line  int // on which the row begins
	event []byte
}

// newUserList tells the list's format from its name.
func newUserList(name, id string, std stdio) (*userList, error) {
	l := &userList{name: name, id: id, std: std}
	switch plain := strings.TrimSuffix(name, ".gz"); {
	case name == "-":
		return nil, usagef("a list is read twice, first to check it, so it cannot be standard input: name a file")
	case strings.HasSuffix(plain, ".csv"):
		l.csv = true
	case !strings.HasSuffix(plain, ".jsonl"):
		return nil, usagef("%s is neither a .csv nor a .jsonl: give it the name of its format", name)
	}
	return l, nil
}

// open opens the list. sum sees all that is read of it.
func (l *userList) open() (in *input, sum hash.Hash, err error) {
	if in, err = openInput(l.name, l.std); err != nil {
		return nil, nil, err
	}
	sum = sha256.New()
	in.lines = bufio.NewReaderSize(io.TeeReader(in.lines, sum), maxLine)
	return in, sum, nil
}

// survey reads the list to its end. An error says that its rows cannot be told apart.
func (l *userList) survey(ctx context.Context) error {
	in, sum, err := l.open()
	if err != nil {
		return err
	}
	defer in.close()
	none := func(config.Problem) {}
	if l.csv {
		err = l.rows(ctx, in, none, func(r *csvRow) {
			for c, cell := range r.cells {
				l.columns[c].Add(cell)
			}
		})
	} else {
		err = l.objects(ctx, in, none, func(int, []byte) {})
	}
	l.content, l.lines = hex.EncodeToString(sum.Sum(nil)), in.n
	return err
}

// errListChanged means that the two readings of a list differ.
var errListChanged = errors.New("the file has changed while it was read: import it again, which begins anew")

// each calls fn with each row, in order, and refuse with what is wrong with those that
// cannot be used. An error of fn ends it.
func (l *userList) each(ctx context.Context, refuse func(config.Problem), fn func(listedUser) error) (err error) {
	in, sum, err := l.open()
	if err != nil {
		return err
	}
	defer in.close()
	in.progress = &progress{} // fn knows what is done
	stop, end := context.WithCancelCause(ctx)
	defer end(nil)
	var dec event.Decoder
	use := func(line, col int, ev []byte, p config.Problem) {
		if p.What == "" {
			ev = l.identified(line, ev)
			p = l.admitted(&dec, line, col, ev)
		}
		if p.What != "" {
			refuse(p)
		} else if err := fn(listedUser{line, ev}); err != nil {
			end(err)
		}
	}
	if l.csv {
		err = l.rows(stop, in, refuse, func(r *csvRow) {
			ev, col, p := l.rowEvent(r)
			use(r.line, col, ev, p)
		})
	} else {
		err = l.objects(stop, in, refuse, func(line int, text []byte) {
			ev, p := l.objectEvent(line, text)
			use(line, 1, ev, p)
		})
	}
	switch {
	case stop.Err() != nil:
		return context.Cause(stop)
	case err == nil && hex.EncodeToString(sum.Sum(nil)) != l.content:
		return errListChanged
	}
	return err
}

// identified gives an event its messageId: the same whenever this list is sent, and
// another one in every other list. A later list may say of a user what an earlier one
// has said, after a list between them has said something else: the events must differ,
// or the last one would be a duplicate of the first.
func (l *userList) identified(line int, ev []byte) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s:%d", l.content, line))
	return append(fmt.Appendf(nil, `{"type":"identify","messageId":"import-%x",`, sum[:16]), ev...)
}

// admitted judges an event as the gateway will.
func (l *userList) admitted(dec *event.Decoder, line, col int, ev []byte) config.Problem {
	_, err := dec.AdmitLive(ev, 0)
	var no *event.Reject
	switch {
	case err == nil:
		return config.Problem{}
	case !errors.As(err, &no):
		return config.Problem{File: l.name, Line: line, Col: 1, What: err.Error()}
	case no.Reason == "size":
		return config.Problem{File: l.name, Line: line, Col: 1, What: no.Detail, Hint: "leave out traits that no campaign reads, or split the row into several"}
	}
	return config.Problem{File: l.name, Line: line, Col: col, What: no.Detail}
}

// A csvRow is a row of a CSV file.
type csvRow struct {
	line  int
	cells []string
	col   func(c int) int // where a cell begins, in characters from 1
}

// rows reads a CSV file: its header, and each row. It refuses rows with another number
// of cells than the header.
func (l *userList) rows(ctx context.Context, in *input, refuse func(config.Problem), fn func(*csvRow)) error {
	lines := &rowReader{lineReader: lineReader{in: in}}
	r := csv.NewReader(lines)
	r.ReuseRecord, r.FieldsPerRecord = true, -1
	next := func() (*csvRow, error) {
		lines.begin()
		cells, err := r.Read()
		if err != nil {
			return nil, l.wrongCSV(err, lines)
		}
		line, _ := r.FieldPos(0)
		return &csvRow{line, cells, func(c int) int {
			at, col := r.FieldPos(c)
			return lines.column(at, col)
		}}, nil
	}
	head, err := next()
	if errors.Is(err, io.EOF) {
		return l.problem(1, 1, "the file is empty", "the first line has the names of the columns: userId,tier")
	}
	if err == nil {
		err = l.readHeader(head)
	}
	for err == nil {
		if err = ctx.Err(); err != nil {
			break
		}
		var row *csvRow
		if row, err = next(); err != nil {
			break
		}
		if len(row.cells) != len(l.header) {
			refuse(l.problem(row.line, 1, fmt.Sprintf("the row has %s, the first line has %d", count(len(row.cells), "cell"), len(l.header)), "put a cell with a comma in quotes"))
			continue
		}
		fn(row)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// readHeader checks the names of the columns.
func (l *userList) readHeader(head *csvRow) error {
	seen := map[string]bool{}
	traits := 0
	for c, name := range head.cells {
		at := func(what, hint string) error { return l.problem(head.line, head.col(c), what, hint) }
		switch {
		case !utf8.ValidString(name):
			return at("the name of this column is not UTF-8 text", "save the file as UTF-8")
		case name == "":
			return at(fmt.Sprintf("column %d has no name", c+1), "give it one, or remove the column")
		case seen[name]:
			return at(fmt.Sprintf("the column %q is there twice", name), "remove one")
		}
		seen[name] = true
		if name != l.id && name != anonymousColumn {
			traits++
		}
	}
	at := func(what, hint string) error { return l.problem(head.line, 1, what, hint) }
	switch named := l.id != userColumn; {
	case len(head.cells) == 1 && strings.ContainsAny(head.cells[0], ";\t|"):
		return at("the columns are not separated by commas", "save the file as CSV with commas")
	case named && !seen[l.id]:
		return at(fmt.Sprintf("there is no column %q, which --id names", l.id), "the columns are "+quotedList(head.cells))
	case !seen[l.id] && !seen[anonymousColumn]:
		return at("there is no column userId and none anonymousId", "name the column that has the userIds with --id; the columns are "+quotedList(head.cells))
	case traits == 0:
		return at("there is no column but the user's id", "the others are the traits: add one, such as vip with true in each row")
	}
	if l.header == nil {
		l.header, l.columns = slices.Clone(head.cells), make([]config.Column, len(head.cells))
	} else if !slices.Equal(l.header, head.cells) {
		return errListChanged
	}
	return nil
}

func quotedList(names []string) string {
	var b strings.Builder
	for i, name := range names {
		if i == 20 {
			fmt.Fprintf(&b, ", and %d more", len(names)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", name)
	}
	return b.String()
}

func (l *userList) problem(line, col int, what, hint string) config.Problem {
	return config.Problem{File: l.name, Line: line, Col: col, What: what, Hint: hint}
}

// errLongRow is the error of a row that is longer than anything that can be an event.
var errLongRow = fmt.Errorf("the row does not end within %d bytes", maxLine)

// wrongCSV tells where a CSV file is none.
func (l *userList) wrongCSV(err error, r *rowReader) error {
	var at *csv.ParseError
	switch {
	case errors.Is(err, errLongRow):
		return l.problem(r.from, 1, errLongRow.Error(), "close the quote that is left open in it")
	case errors.Is(err, errLongLine):
		return l.problem(r.in.n, 1, fmt.Sprintf("the line is longer than %d bytes", maxLine), "an event has at most 32 KB: remove the line")
	case errors.As(err, &at) && at.StartLine < at.Line:
		return l.problem(at.Line, r.column(at.Line, at.Column), "this is not CSV: "+at.Err.Error(), fmt.Sprintf("the row begins on line %d: close its quotes there, and double the quotes within a cell: \"5\"\" pipe\"", at.StartLine))
	case errors.As(err, &at):
		return l.problem(at.Line, r.column(at.Line, at.Column), "this is not CSV: "+at.Err.Error(), `put a cell with a quote or a comma in quotes, and double the quotes in it: "5"" pipe"`)
	}
	return err
}

// A rowReader passes lines to a CSV reader, and keeps those of the row that is read.
type rowReader struct {
	lineReader
	from int    // the line with which text begins
	text []byte // of the row so far
}

// begin begins the next row.
func (r *rowReader) begin() { r.from, r.text = r.in.n+1, r.text[:0] }

func (r *rowReader) Read(p []byte) (int, error) {
	n, err := r.lineReader.Read(p)
	if r.text = append(r.text, p[:n]...); len(r.text) > maxLine+1 {
		return 0, errLongRow
	}
	return n, err
}

// column is a byte of a line of the row, from 1, as a character.
func (r *rowReader) column(line, col int) int {
	text := r.text
	for range line - r.from {
		_, text, _ = bytes.Cut(text, []byte{'\n'})
	}
	text, _, _ = bytes.Cut(text, []byte{'\n'})
	return 1 + utf8.RuneCount(text[:min(max(col-1, 0), len(text))])
}

// objects reads a file with a JSON object a line. It refuses lines that are too long.
func (l *userList) objects(ctx context.Context, in *input, refuse func(config.Problem), fn func(line int, text []byte)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err == errLongLine:
			refuse(l.problem(in.n, 1, fmt.Sprintf("the line is longer than %d bytes", maxLine), "an event has at most 32 KB"))
		case err != nil:
			return err
		case len(bytes.TrimSpace(text)) > 0:
			fn(in.n, text)
		}
	}
}

// wrongJSON tells where a line is no JSON.
func (l *userList) wrongJSON(line int, text []byte) (p config.Problem, wrong bool) {
	var any json.RawMessage
	err := json.Unmarshal(text, &any)
	var at *json.SyntaxError
	if err == nil || !errors.As(err, &at) {
		return p, false
	}
	return l.problem(line, 1+utf8.RuneCount(text[:min(max(int(at.Offset)-1, 0), len(text))]), "this is not JSON: "+at.Error(), "write one object a line"), true
}

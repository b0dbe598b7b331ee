package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"offerstream/pipeline/event"
)

// An input is a file of lines, gzipped or not, that shows its progress.
type input struct {
	lines    *bufio.Reader
	file     *os.File
	size     int64 // of the file in bytes, 0 if unknown
	progress *progress
	n        int       // of the last line, from 1
	head     []byte    // the beginning of the first line that is not empty
	headAt   int       // its number
	opened   time.Time // for the progress
	events   bool      // nothing but events is of use: next gives up at the beginning if the file looks like something else
}

// openInput opens a file, or standard input for "-". A gzipped file is
// recognised by its first bytes, not by its name. Progress is shown on std.err
// if that is a terminal.
func openInput(path string, std stdio) (*input, error) {
	in := &input{opened: time.Now()}
	src := std.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		in.file, src = f, f
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			in.size = st.Size()
		}
	}
	in.progress = newProgress(std.err)
	buf := bufio.NewReaderSize(src, 1<<20)
	if head, _ := buf.Peek(2); len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(buf)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		buf = bufio.NewReaderSize(z, 1<<20)
	}
	in.lines = buf
	return in, nil
}

func (in *input) close() {
	in.progress.done()
	if in.file != nil {
		in.file.Close()
	}
}

// maxLine is the longest line in bytes. Nothing longer can be an event.
const maxLine = 1 << 20

// errLongLine is the error of next for a line that is longer than maxLine. The line
// is skipped: the next call returns the one after it.
var errLongLine = event.Rejectf("size", "the line is longer than %d bytes", maxLine)

// byteOrderMark is what editors on Windows begin a file with. It may also be within
// one, if files were joined.
var byteOrderMark = []byte("\uFEFF")

// next returns the next line without its line break and without a byte order mark,
// and io.EOF after the last one. The bytes are valid until the next call.
func (in *input) next() ([]byte, error) {
	if in.n == 0 && in.events {
		if err := in.glance(); err != nil {
			return nil, err
		}
	}
	line, err := in.lines.ReadSlice('\n')
	read := len(line)
	long := errors.Is(err, bufio.ErrBufferFull)
	line = bytes.TrimPrefix(bytes.TrimSuffix(line, []byte{'\n'}), byteOrderMark)
	if len(in.head) == 0 {
		in.head, in.headAt = headOf(line), in.n+1
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = in.lines.ReadSlice('\n')
	}
	if err != nil && (!errors.Is(err, io.EOF) || read == 0) {
		return nil, err
	}
	in.n++
	if in.n%4096 == 0 {
		in.report()
	}
	if long {
		return nil, errLongLine
	}
	return line, nil
}

// errEnough is what the function of each returns to end it before the file's end.
var errEnough = errors.New("enough of the file is read")

// each calls fn with each line that is not empty, without the white space around it.
// It adds to refused the lines of which fn says that they are no events, and those
// that are too long. Any other error of fn ends it.
func (in *input) each(ctx context.Context, refused *refusals, fn func(line []byte) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := in.next()
		switch line = bytes.TrimSpace(line); {
		case errors.Is(err, io.EOF):
			return nil
		case err == errLongLine:
			refused.add(in.n, err)
			continue
		case err != nil:
			return err
		case len(line) == 0:
			continue
		}
		if err = fn(line); err == nil {
			continue
		}
		if _, refuses := err.(*event.Reject); refuses {
			refused.add(in.n, err)
		} else if err == errEnough {
			return err
		} else {
			return fmt.Errorf("line %d: %w", in.n, err)
		}
	}
}

// headBytes is how much of the first line guess looks at, and glanceBytes how much
// of the file is looked at before the first line is read.
const (
	headBytes   = 512
	glanceBytes = 64 << 10
)

func headOf(line []byte) []byte {
	return bytes.Clone(bytes.TrimSpace(line[:min(len(line), headBytes)]))
}

var errArray = errors.New("a JSON array is no event")

// glance returns an error if the beginning of a long file holds no event and looks
// like something else: what follows is not worth reading.
func (in *input) glance() error {
	start, err := in.lines.Peek(glanceBytes)
	if err != nil {
		return nil // a short file: what is wrong with it is known when it has been read
	}
	looked, dec := *in, event.Decoder{}
	looked.head = nil
	var first error
	for n := 1; len(start) > 0; n++ {
		line, rest, whole := bytes.Cut(start, []byte{'\n'})
		start = rest
		if line = bytes.TrimSpace(bytes.TrimPrefix(line, byteOrderMark)); len(line) == 0 {
			continue
		}
		if len(looked.head) == 0 {
			looked.head, looked.headAt = headOf(line), n
		}
		if !whole {
			break
		}
		if _, err := dec.AdmitLine(line); err == nil {
			return nil
		} else if first == nil {
			first = err
		}
	}
	if first == nil && len(looked.head) > 0 && looked.head[0] == '[' {
		first = errArray
	}
	what := looked.guess()
	if first == nil || what == "" {
		return nil
	}
	return fmt.Errorf("%s (none of the first lines is an event; line %d: %w)", what, looked.headAt, first)
}

// cut reports whether the first line may also be an event of which a part is missing.
func (in *input) cut() bool {
	return len(in.head) > 0 && in.head[0] == '{' && !bytes.Contains(in.head, []byte(`"batch"`))
}

// guess tells what the input may be if its lines are no events, and what to do then;
// "" if it has no idea.
func (in *input) guess() string {
	h := in.head
	switch {
	case bytes.IndexByte(h, 0) >= 0 || bytes.HasPrefix(h, []byte("\xff\xfe")) || bytes.HasPrefix(h, []byte("\xfe\xff")):
		return "the file looks like UTF-16: convert it, for example with iconv -f UTF-16 -t UTF-8"
	case bytes.HasPrefix(h, []byte("PK\x03\x04")) || bytes.HasPrefix(h, []byte("\x28\xb5\x2f\xfd")):
		return "the file is compressed, and not with gzip: unpack it first"
	case len(h) == 0:
		return ""
	case h[0] == '[':
		return "the file looks like a JSON array: write each event on a line of its own, for example with jq -c '.[]'"
	case h[0] == '{' && bytes.Contains(h, []byte(`"batch"`)):
		return "the file looks like the body of a batch: write each event on a line of its own, for example with jq -c '.batch[]'"
	case h[0] == '{' && len(h) < headBytes && h[len(h)-1] != '}':
		return "the events look as if each took several lines: write each on a line of its own, for example with jq -c ."
	case h[0] != '{' && bytes.ContainsAny(h, ",;\t"):
		return "the file looks like CSV: offerctl import converts the exports that it knows to events"
	}
	return ""
}

// refusals counts the lines that are no events.
type refusals struct {
	n     uint64
	line  int   // the first one
	first error // why the first one was refused
	long  []int // the first lines that were skipped because of their length
}

// maxLong is how many lines are named that are too long.
const maxLong = 10

func (r *refusals) add(line int, err error) {
	if r.n++; r.n == 1 {
		r.line, r.first = line, err
	}
	if err == errLongLine && len(r.long) < maxLong {
		r.long = append(r.long, line)
	}
}

// all is the error for an input of which no line was an event, and for one that looks
// like something else from its first line on and of which most lines were none. It is
// nil if the input was empty.
func (r *refusals) all(in *input, accepted uint64) error {
	what := in.guess()
	few := accepted < r.n && r.line == in.headAt && what != "" && !in.cut()
	if r.n == 0 || accepted > 0 && !few {
		return nil
	}
	some := fmt.Sprintf("none of the %d lines is an event", r.n)
	switch {
	case accepted > 0:
		some = fmt.Sprintf("only %d of the %d lines is an event", accepted, accepted+r.n)
	case r.n == 1:
		some = "the only line is no event"
	}
	err := fmt.Errorf("%s; line %d: %w", some, r.line, r.first)
	if what != "" {
		err = fmt.Errorf("%s (%w)", what, err)
	}
	return err
}

// warnings name the lines that are too long, and tell what the input may be if
// already its first line was refused.
func (r *refusals) warnings(in *input) (all []string) {
	for _, n := range r.long {
		all = append(all, fmt.Sprintf("line %d is longer than %d bytes and was skipped", n, maxLine))
	}
	if what := in.guess(); r.n > 0 && r.line == in.headAt && what != "" {
		all = append(all, what)
	}
	return all
}

func (r *refusals) warn(w io.Writer, in *input) {
	for _, warning := range r.warnings(in) {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
}

// apart returns an error if the output of a command is one of the files that it
// reads, also by way of links: creating the output would empty that file, and
// appending to it would never end. - stands for standard input and output.
func apart(std stdio, out string, reads ...string) error {
	to := stat(out, std.out)
	if to == nil || !to.Mode().IsRegular() {
		return nil
	}
	for _, name := range reads {
		if from := stat(name, std.in); from != nil && os.SameFile(from, to) {
			return usagef("the output %s is the same file as the input %s: name another file", out, name)
		}
	}
	return nil
}

// stat describes a file, or for - a stream; nil if there is no such file.
func stat(name string, stream any) os.FileInfo {
	var st os.FileInfo
	var err error
	if f, ok := stream.(*os.File); name != "-" {
		st, err = os.Stat(name)
	} else if ok {
		st, err = f.Stat()
	}
	if err != nil {
		return nil
	}
	return st
}

func (in *input) report() {
	pos := int64(0)
	if in.file != nil && in.size > 0 {
		pos, _ = in.file.Seek(0, io.SeekCurrent)
	}
	in.progress.show("%s", progressOf(in.n, pos, in.size, time.Since(in.opened)))
}

// progressOf tells how far an input is after some time: a bar and the time left, if
// its size is known, the lines, and how many a second.
func progressOf(lines int, pos, size int64, took time.Duration) string {
	text := fmt.Sprintf("%d lines", lines)
	if s := took.Seconds(); s >= 1 {
		text += fmt.Sprintf("  %.0f/s", float64(lines)/s)
	}
	if pos <= 0 || size <= 0 {
		return text
	}
	const width = 20
	part := min(float64(pos)/float64(size), 1)
	done := int(part * width)
	text = fmt.Sprintf("[%s%s] %3.0f%%  %s", strings.Repeat("#", done), strings.Repeat(".", width-done), math.Floor(part*100), text)
	if took >= time.Second {
		text += fmt.Sprintf("  %s left", time.Duration(float64(took)*(1-part)/part).Round(time.Second))
	}
	return text
}

// progress is a line on a terminal that is overwritten. If the output is not a
// terminal, it shows nothing.
type progress struct {
	w     io.Writer
	last  time.Time
	shown bool
}

func newProgress(w io.Writer) *progress {
	if !terminal(w) {
		w = nil
	}
	return &progress{w: w}
}

// show writes the line, at most ten times a second.
func (p *progress) show(format string, args ...any) {
	if p.w == nil || time.Since(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.shown = time.Now(), true
	fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
}

// say writes the line at once, however recent the previous one is.
func (p *progress) say(format string, args ...any) {
	p.last = time.Time{}
	p.show(format, args...)
}

// done clears the line.
func (p *progress) done() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

func terminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

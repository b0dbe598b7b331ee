package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// An input is a file of lines, gzipped or not, that shows its progress.
type input struct {
	lines    *bufio.Reader
	file     *os.File
	size     int64 // of the file in bytes, 0 if unknown
	progress *progress
	n        int
}

// openInput opens a file, or standard input for "-". A gzipped file is
// recognised by its first bytes, not by its name. Progress is shown on std.err
// if that is a terminal.
func openInput(path string, std stdio) (*input, error) {
	in := &input{}
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

// next returns the next line without its line break, and io.EOF after the last
// one. The bytes are valid until the next call.
func (in *input) next() ([]byte, error) {
	line, err := in.lines.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("line %d is longer than %d bytes", in.n+1, maxLine)
	}
	if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
		return nil, err
	}
	in.n++
	if in.n%4096 == 0 {
		in.report()
	}
	if len(line) > 0 && line[len(line)-1] == '\n' {
		line = line[:len(line)-1]
	}
	return line, nil
}

func (in *input) report() {
	if in.file == nil || in.size == 0 {
		in.progress.show("%d lines", in.n)
		return
	}
	pos, _ := in.file.Seek(0, io.SeekCurrent)
	in.progress.show("%3d%%  %d lines", pos*100/in.size, in.n)
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

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// importCodes is `offerctl coupons import`.
func importCodes(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "coupons import POOL FILE [--nats URL]", `
Adds codes that the shop has made to a pool, from which campaigns take them:
coupon: {pool: POOL}. FILE, which may be gzipped, has one code a line, or is a CSV
with a column named code. A code has at most 128 bytes; a file at most 5,000,000
codes. A code that is in the file twice is an error that names both lines, and then
nothing is imported.

The codes go through the log of the pool's partition, and are given out in the order
of the file, those of an earlier file first. The same file again changes nothing: so
after an error, or Ctrl-C, import it again. A code that is in another file too is not
noticed, and would be given to two users: put new codes into a file of their own,
rather than at the end of one that is imported already.`,
		"offerctl coupons import spring codes.csv --nats nats://127.0.0.1:4222\nofferctl coupons left spring")
	n := fs.nats()
	rest, err := fs.parse(args)
	switch {
	case err != nil:
		return err
	case len(rest) != 2:
		return usagef("%s given: name the pool, and a file of codes", count(len(rest), "argument"))
	}
	i := &codeImport{std: std, pool: rest[0], file: rest[1], live: newProgress(std.err)}
	defer i.live.done()
	if err := checkPool(i.pool); err != nil {
		return err
	}
	if err := i.read(ctx); err != nil {
		return err
	}
	conn, err := n.connect(ctx, std)
	if err != nil {
		return err
	}
	defer conn.Close()
	return i.run(ctx, conn)
}

// checkPool refuses a name that cannot be a pool's.
func checkPool(name string) error {
	var dec event.Decoder
	_, err := dec.DecodeAs(event.AppendCodes(nil, name, []string{"x"}, ""), 0)
	return err
}

// Limits of an import: codes of a file, those of an event, and bytes of an event.
const (
	mostCodes       = 5_000_000
	codesOfEvent    = 1000
	codeBytes       = 28 << 10
	mostWrongCodes  = 20 // that are named
	codesAppliedFor = 30 * time.Second
)

// codeColumn is the column of a CSV that has the codes.
const codeColumn = "code"

// A codeImport is one run of the command.
type codeImport struct {
	std        stdio
	pool, file string
	live       *progress
	codes      []string
}

// read reads and checks the file.
func (i *codeImport) read(ctx context.Context) error {
	in, err := openInput(i.file, i.std)
	if err != nil {
		return err
	}
	defer in.close()
	r := codeReader{name: i.file, column: -1, seen: map[string]int{}}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			in.close()
			i.codes = r.codes
			return r.end(i.std.err)
		case err == errLongLine:
			r.wrong(in.n, "the line is longer than a code can be", "one code a line, of at most 128 bytes")
		case err != nil:
			return fmt.Errorf("%s: %w", i.file, err)
		default:
			if err := r.line(in.n, string(bytes.TrimSpace(line))); err != nil {
				return err
			}
		}
	}
}

// A codeReader reads the lines of a file of codes.
type codeReader struct {
	name   string
	header []string // of a CSV, its first line
	column int      // of a CSV, that of the codes; -1: there is one code a line
	begun  bool
	codes  []string
	seen   map[string]int // the line of each code
	refuse []config.Problem
	more   int // problems that are not named
}

func (r *codeReader) wrong(line int, what, hint string) {
	if len(r.refuse) == mostWrongCodes {
		r.more++
		return
	}
	r.refuse = append(r.refuse, config.Problem{File: r.name, Line: line, Col: 1, What: what, Hint: hint})
}

// line takes a line. An error says that there is no use in reading on.
func (r *codeReader) line(n int, text string) error {
	if text == "" {
		return nil
	}
	cells := []string{text}
	if !r.begun || r.column >= 0 {
		var err error
		if cells, err = csv.NewReader(strings.NewReader(text)).Read(); err != nil && r.column >= 0 {
			r.wrong(n, "this is not a line of a CSV: "+err.Error(), "put a cell with a quote in quotes, and double the quotes in it")
			return nil
		}
	}
	if !r.begun {
		r.begun = true
		r.column = slices.Index(cells, codeColumn)
		switch {
		case r.column >= 0:
			r.header = cells
			return nil
		case len(cells) > 1 || strings.ContainsAny(text, ";\t"):
			return config.Problem{File: r.name, Line: n, Col: 1, What: "the first line has several columns, and none is named code", Hint: "name the column that has the codes code, and separate columns by commas; or write one code a line"}
		}
		cells = []string{text}
	}
	switch {
	case r.column < 0:
		r.code(n, text)
	case len(cells) != len(r.header):
		r.wrong(n, fmt.Sprintf("the row has %s, the first line has %d", count(len(cells), "cell"), len(r.header)), "put a cell with a comma in quotes")
	default:
		r.code(n, strings.TrimSpace(cells[r.column]))
	}
	if len(r.codes) > mostCodes {
		return config.Problem{File: r.name, Line: n, Col: 1, What: fmt.Sprintf("the file has more than %d codes", mostCodes), Hint: "split it into several"}
	}
	return nil
}

// code takes a code.
func (r *codeReader) code(n int, code string) {
	switch first, twice := r.seen[code]; {
	case code == "":
		r.wrong(n, "the row has no code", "remove it")
	case len(code) > event.MaxCodeBytes:
		r.wrong(n, fmt.Sprintf("the code has %d bytes, at most %d are allowed", len(code), event.MaxCodeBytes), "one code a line")
	case !utf8.ValidString(code) || strings.ContainsFunc(code, unicode.IsControl):
		r.wrong(n, fmt.Sprintf("the code %q has characters that are not printed, or is not UTF-8", code), "save the file as UTF-8 text")
	case twice:
		r.wrong(n, fmt.Sprintf("the code %s is on line %d already", code, first), "remove one: two users would get it")
	default:
		r.seen[code] = n
		r.codes = append(r.codes, code)
	}
}

// end says what is wrong with the file.
func (r *codeReader) end(out io.Writer) error {
	switch {
	case len(r.refuse) > 0:
		for _, p := range r.refuse {
			fmt.Fprintln(onDisplay(out), p)
		}
		if r.more > 0 {
			fmt.Fprintf(out, "and %d more\n", r.more)
		}
		return fmt.Errorf("%s: nothing is imported: mend %s first", r.name, count(len(r.refuse)+r.more, "line"))
	case len(r.codes) == 0:
		return fmt.Errorf("%s has no codes", r.name)
	}
	return nil
}

// run appends the codes to the log of the pool's partition, and waits until its owner
// has applied them.
func (i *codeImport) run(ctx context.Context, conn *broker.Conn) error {
	before, errBefore := askPool(ctx, conn, i.pool)
	if err := i.sayUnused(ctx, conn); err != nil {
		return err
	}
	watch, end := context.WithCancel(ctx)
	defer end()
	log, err := conn.OpenGatewayLog(watch)
	if err != nil {
		return err
	}
	p := event.Partition(pipeline.PoolKey(i.pool), conn.Partitions)
	began := time.Now()
	done := 0
	for pack, codes := range codePacks(i.pool, i.codes, log.Clock(), value.FormatTime(began.UnixNano())) {
		if err := publishTable(ctx, log, p, pack); err != nil {
			return fmt.Errorf("%d of %d codes are imported: %w: import the file again, which adds only those that are missing", done, len(i.codes), err)
		}
		done += codes
		i.live.show("%s", progressOf(done, int64(done), int64(len(i.codes)), time.Since(began)))
	}
	i.live.say("waiting until the worker has them")
	after, err := i.applied(ctx, conn, p)
	i.live.done()
	out := onDisplay(i.std.out)
	if err != nil {
		fmt.Fprintf(out, "%s: %s are in the log of pool %s, and not seen in the pool yet: %v\n", i.file, count(len(i.codes), "code"), i.pool, err)
		return nil
	}
	fmt.Fprintf(out, "%s: %s imported into pool %s", i.file, count(len(i.codes), "code"), i.pool)
	if known := len(i.codes) - int(after.Imported-before.Imported); errBefore == nil && known > 0 {
		fmt.Fprintf(out, ", %d of them had been imported before", known)
	}
	fmt.Fprintf(out, "; of %d codes, %d are given and %d left\n", after.Imported, after.Given, after.Left)
	return nil
}

// sayUnused says that no campaign takes codes from the pool.
func (i *codeImport) sayUnused(ctx context.Context, conn *broker.Conn) error {
	def, err := liveDefinition(ctx, conn)
	if err != nil || def == nil {
		return err
	}
	pools := pipeline.Pools(def)
	if slices.Contains(pools, i.pool) {
		return nil
	}
	hint := ""
	if near := campaign.Nearest(i.pool, pools); near != "" {
		hint = fmt.Sprintf(": did you mean %q?", near)
	}
	i.live.done()
	fmt.Fprintf(onDisplay(i.std.err), "no campaign of the live set takes codes from pool %s%s\n", i.pool, hint)
	return nil
}

// applied waits until the owner of a partition has applied its log as it is now, and
// returns the pool.
func (i *codeImport) applied(ctx context.Context, conn *broker.Conn, p int) (is pipeline.PoolState, err error) {
	_, end, err := conn.Extent(ctx, p)
	if err != nil {
		return is, err
	}
	within, cancel := context.WithTimeout(ctx, codesAppliedFor)
	defer cancel()
	for {
		o, err := audit.Members(within, conn, 2*time.Second)
		if err == nil && o.Partitions[p].Answers && o.Partitions[p].Seq >= end {
			return askPool(ctx, conn, i.pool)
		}
		select {
		case <-within.Done():
			return is, fmt.Errorf("the owner of partition %d has not applied it within %s: see offerctl status", p, codesAppliedFor)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// codePacks yields messages with the events of an import, and how many codes each has.
// The messageId of an event is that of its pool and its codes, so that they count once.
func codePacks(pool string, codes []string, clock, now string) func(yield func(pack []byte, codes int) bool) {
	given := fmt.Sprintf(`"timestamp":%q,"receivedAt":%[1]q`, now)
	if clock == campaign.ClockEvent {
		given = fmt.Sprintf(`%s,"receivedAt":%q`, firstTime, now)
	}
	return func(yield func([]byte, int) bool) {
		var pack []byte
		held := 0
		for first := 0; first < len(codes); {
			next := eventEnd(codes, first)
			sum := sha256.Sum256(event.AppendCodes(nil, pool, codes[first:next], ""))
			line := event.AppendCodes(nil, pool, codes[first:next], fmt.Sprintf(`"messageId":"codes-%x",%s`, sum[:16], given))
			if held > 0 && len(pack)+1+len(line) > tableBytes {
				if !yield(pack, held) {
					return
				}
				pack, held = nil, 0
			}
			if held > 0 {
				pack = append(pack, '\n')
			}
			pack = append(pack, line...)
			held, first = held+next-first, next
		}
		if held > 0 {
			yield(pack, held)
		}
	}
}

// eventEnd is where the codes of the event end that begins with codes[first].
func eventEnd(codes []string, first int) int {
	size := 512 // of the rest of the event
	for k := first; k < min(first+codesOfEvent, len(codes)); k++ {
		quoted, _ := json.Marshal(codes[k]) // a text always marshals
		if size += len(quoted) + 1; size > codeBytes && k > first {
			return k
		}
	}
	return min(first+codesOfEvent, len(codes))
}

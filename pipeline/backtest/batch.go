package backtest

import (
	"bytes"
	"context"

	"offerstream/pipeline/event"
)

// Sizes of a batch. A batch ends with the line that passes batchBytes.
const (
	batchLines = 512
	batchBytes = 256 << 10
)

// A batch is some lines of the input, on their way through the stages.
type batch struct {
	size  int    // the most lines that it may have
	first int    // how many lines came before
	text  []byte // of all lines
	lines []line
	end   error // the error, or io.EOF, that came instead of the next line

	decoded chan struct{} // a value comes when decode is done

	// Set by stamp:
	events []stamped  // those of the lines that are events
	of     [][]uint32 // by shard: the events that it folds, indexes into events
	times  []int64    // the log time of each event
	tables bool       // the first event of the batch is the first of the input
	join   int        // the first event before which all users come into one shard; noJoin: none of the batch

	parted chan struct{} // a value comes when another shard than the first one has done what comes before join
	folded chan struct{} // a value comes when a shard is done
	offers [][]placed    // by shard
	errs   []error       // by shard
}

// noJoin is no index of an event.
const noJoin = -1

// A line is what decode finds out about a line. A shard decodes its event again, if it
// was not scanned.
type line struct {
	from, to int32 // its bytes in batch.text
	err      error // why it is refused
	own      int64 // the time that it brings, if has
	has      bool
	kind     event.Type
	shard    uint16 // of its user
	claims   bool   // it makes a visitor its user
	resumes  bool
	scanned  event.Scanned // if resumes
}

// empty reports whether the line has no bytes, not even refused ones.
func (l *line) empty() bool { return l.from == l.to && l.err == nil }

// A stamped is an event with its log time.
type stamped struct {
	line int32
	kind event.Type
}

func newBatch(size, shards int) *batch {
	return &batch{
		size:    size,
		decoded: make(chan struct{}, 1), folded: make(chan struct{}, shards), parted: make(chan struct{}, shards),
		of: make([][]uint32, shards), offers: make([][]placed, shards), errs: make([]error, shards),
	}
}

// readBatches fills batches until the input ends.
func readBatches(ctx context.Context, next func() ([]byte, error), empty <-chan *batch, full ...chan<- *batch) {
	for first := 0; ; {
		b, ok := take(ctx, empty)
		if !ok {
			return
		}
		b.first = first
		b.read(ctx, next)
		first += len(b.lines)
		end := b.end
		for _, to := range full {
			to <- b
		}
		if end != nil {
			return
		}
	}
}

// read fills the batch with lines.
func (b *batch) read(ctx context.Context, next func() ([]byte, error)) {
	b.text, b.lines = b.text[:0], b.lines[:0]
	for len(b.lines) < b.size && len(b.text) < batchBytes && ctx.Err() == nil {
		raw, err := next()
		b.lines = append(b.lines, line{from: int32(len(b.text))})
		l := &b.lines[len(b.lines)-1]
		if _, refused := err.(*event.Reject); refused {
			l.err = err
		} else if err != nil {
			b.lines, b.end = b.lines[:len(b.lines)-1], err
			return
		} else {
			b.text = append(b.text, bytes.TrimSpace(raw)...)
		}
		l.to = int32(len(b.text))
	}
}

// decodeBatches decodes batches until ctx ends.
func decodeBatches(ctx context.Context, full <-chan *batch) {
	var dec event.Decoder
	for {
		b, ok := take(ctx, full)
		if !ok {
			return
		}
		for i := range b.lines {
			if l := &b.lines[i]; l.from < l.to {
				l.decode(&dec, b.text[l.from:l.to], len(b.of))
			}
		}
		b.decoded <- struct{}{}
	}
}

// decode checks the line, and finds out what stamp must know of it.
func (l *line) decode(dec *event.Decoder, raw []byte, shards int) {
	ev, err := dec.AdmitLine(raw)
	if err != nil {
		l.err = err
		return
	}
	l.kind, l.own, l.has, l.shard = ev.Type, ev.Timestamp, ev.HasTimestamp, uint16(event.Partition(ev.Key, shards))
	if ev.Type == event.Clock && ev.HasLogTime { // that of other events is the log's from which they were exported
		l.own, l.has = ev.LogTime, true
	}
	_, l.claims = ev.Claims()
	l.scanned, l.resumes = dec.Scanned()
}

package audit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// maxSampleBytes bounds the events that a Sample holds in memory.
const maxSampleBytes = 128 << 20

// Sample calls fn with the newest n events of the log, over all partitions, the
// oldest first: in the order in which their messages were stored, by the clocks of
// the servers. It gives fewer if the log has fewer, or if n are larger than 128 MB.
// The log may hold lines that are no events, as other publishers than the gateway
// may write to it. Sample reads only the ends of the logs, and writes nothing.
func Sample(ctx context.Context, conn *broker.Conn, n int, fn func(raw []byte) error) error {
	s := sample{left: maxSampleBytes}
	for p := range conn.Partitions {
		first, last, err := conn.Extent(ctx, p)
		if err != nil {
			return err
		}
		s.ends = append(s.ends, &logEnd{partition: p, first: first, from: last + 1, reach: math.MaxInt64, span: uint64(n)/uint64(conn.Partitions) + 1})
	}
	for {
		e := s.shortest()
		if e == nil || s.since(e.reach) >= n {
			return s.newest(n, fn)
		}
		if err := s.extend(ctx, conn, e); err != nil {
			return fmt.Errorf("sample the log of partition %d: %w", e.partition, err)
		}
	}
}

// A sample holds the ends of the logs.
type sample struct {
	ends []*logEnd
	left int // how many bytes it may still take
}

// A logEnd is the end of a partition's log, as far back as it has been read.
type logEnd struct {
	partition int
	first     uint64 // the log's first message
	from      uint64 // the first message that has been read
	reach     int64  // the stored time of that message
	span      uint64 // how many messages to read next
	packs     []pack
}

// A pack is a message with events.
type pack struct {
	pipeline.Message
	events int
}

// shortest is the end that reaches back least, of those that can be extended; nil
// if there is none.
func (s *sample) shortest() (least *logEnd) {
	for _, e := range s.ends {
		if e.from > e.first && (least == nil || e.reach > least.reach) {
			least = e
		}
	}
	return least
}

// since is the number of events that have been read of messages stored after a time.
func (s *sample) since(stored int64) (n int) {
	for _, e := range s.ends {
		for _, m := range e.packs {
			if m.Stored > stored {
				n += m.events
			}
		}
	}
	return n
}

// extend reads more messages before the ones that have been read.
func (s *sample) extend(ctx context.Context, conn *broker.Conn, e *logEnd) error {
	end, from := e.from, max(e.first, e.from-min(e.span, e.from))
	var packs []pack
	began := false
	err := conn.ScanLog(ctx, e.partition, from, func(m pipeline.Message) error {
		if m.Seq >= end {
			return errEnough
		}
		if !began {
			began, e.reach = true, m.Stored
		}
		if m.Kind == pipeline.In {
			packs = append(packs, pack{m, lines(m.Data)})
			s.left -= len(m.Data)
		}
		for s.left < 0 && len(packs) > 0 { // leave out the oldest, and all that is older
			s.left += len(packs[0].Data)
			from = packs[0].Seq + 1
			e.first, packs = from, packs[1:]
		}
		if m.Seq+1 == end {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) && err != nil {
		return err
	}
	e.from, e.packs = from, append(packs, e.packs...)
	e.span *= 2
	return nil
}

// newest calls fn with the newest n events.
func (s *sample) newest(n int, fn func(raw []byte) error) error {
	var packs []pack
	for _, e := range s.ends {
		packs = append(packs, e.packs...)
	}
	slices.SortStableFunc(packs, func(a, b pack) int { return cmp.Compare(a.Stored, b.Stored) })
	over := s.since(math.MinInt64) - n
	for _, m := range packs {
		for line := range bytes.Lines(m.Data) {
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			if over--; over >= 0 {
				continue
			}
			if err := fn(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// lines is the number of events in a pack.
func lines(pack []byte) (n int) {
	for line := range bytes.Lines(pack) {
		if len(bytes.TrimSpace(line)) > 0 {
			n++
		}
	}
	return n
}

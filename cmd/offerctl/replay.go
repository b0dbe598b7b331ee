package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// replay is `offerctl replay`.
func replay(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "replay --events FILE[.gz] --to URL --server-key KEY [--rate N|max]", `
Sends a file of events through a real gateway: in order, in batches, with one
request in flight, and again if the gateway is overloaded. Each event carries the
log time that it has in a backtest, so under clock: event the offers are the same
as those of a backtest; a clock event at the end advances log time in every
partition. Under clock: broker the gateway drops the log times and the clock
event. A line that a backtest would refuse is counted and not sent.

Under clock: event a key of role server is needed, because a clock event is sent; it
is needed too for consent, redeemed coupons, events about items, and whatever else a
browser may not send. If the file has facts, the key needs the role feeder too. A key of role server
counts users as proved, as a backtest does; a write key does for files without such
events under clock: broker.`,
		"offerctl apply campaigns --yes --clock event\nofferctl replay --events events.jsonl --to http://127.0.0.1:8080 --server-key KEY --rate 1000")
	events := fs.String("events", "", "a `FILE` of events, one JSON object per line, may be gzipped; - for standard input")
	to := fs.String("to", "http://127.0.0.1:8080", "the gateway's `URL`")
	keys := fs.keys("")
	rate := fs.String("rate", "max", "`N` events per second, or max")
	if err := fs.none(args); err != nil {
		return err
	}
	key, err := keys.one()
	if err != nil {
		return err
	}
	if *events == "" || key == "" {
		return usagef("--events and --server-key (or --write-key) are both required")
	}
	perSecond, err := readRate(*rate)
	if err != nil {
		return err
	}
	in, err := openInput(*events, std)
	if err != nil {
		return err
	}
	defer in.close()
	s := newSender(*to, key)
	s.notify = func(err error) { in.progress.show("%d lines; waiting: %v", in.n, err) }
	start := time.Now()
	r := &replayer{sender: s, rate: perSecond}
	if err := r.run(ctx, in); err != nil {
		return fmt.Errorf("%s, line %d: %w", *events, in.n, err)
	}
	if err := r.refused.all(in, r.sent); err != nil {
		return fmt.Errorf("%s: %w", *events, err)
	}
	in.close()
	took := time.Since(start)
	fmt.Fprintf(std.out, "%d events sent in %.1f s (%.0f/s), %d retries", r.sent, took.Seconds(), float64(r.sent)/took.Seconds(), s.retries)
	if r.refused.n > 0 {
		fmt.Fprintf(std.out, "; %d lines are not valid events, the first is line %d: %v", r.refused.n, r.refused.line, r.refused.first)
	}
	fmt.Fprintln(std.out)
	r.refused.warn(std.out, in)
	return r.deniedErr()
}

// readRate reads events per second; 0 stands for max.
func readRate(text string) (float64, error) {
	if text == "max" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n > 0) {
		return 0, usagef("--rate %q is neither a number of events per second nor max", text)
	}
	return n, nil
}

// A replayer sends lines with the log time that they have in a backtest.
type replayer struct {
	*sender
	rate float64 // events per second, 0: as fast as possible

	logTime int64
	timed   bool // logTime is set
	dec     event.Decoder
	batch   [][]byte
	bytes   int
	sent    uint64
	refused refusals
	began   time.Time
}

func (r *replayer) run(ctx context.Context, in *input) error {
	r.began = time.Now()
	for {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == errLongLine {
			r.refused.add(in.n, err)
			continue
		}
		if err != nil {
			return err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		ev, err := r.stamp(line)
		if err != nil {
			r.refused.add(in.n, err)
			continue
		}
		if len(r.batch) > 0 && (len(r.batch) >= batchSize(r.rate) || r.bytes+len(ev) > batchBytes) {
			if err := r.flush(ctx); err != nil {
				return err
			}
			in.report()
		}
		r.batch = append(r.batch, ev)
		r.bytes += len(ev) + 1
	}
	if err := r.flush(ctx); err != nil || !r.timed {
		return err
	}
	end := fmt.Sprintf(`{"type":"clock","timestamp":%q}`, value.FormatTime(r.logTime))
	return r.sender.batch(ctx, [][]byte{[]byte(end)})
}

// batchSize returns the number of events per request at a rate, 0 for max. At a low
// rate there are few, so that they are spread over time.
func batchSize(rate float64) int {
	if rate == 0 {
		return batchEvents
	}
	return min(max(int(rate/20), 1), batchEvents)
}

// stamp adds to an event its log time, and its id if it has none: both must not
// depend on how the event is sent.
func (r *replayer) stamp(line []byte) ([]byte, error) {
	ev, err := r.dec.Admit(line, 0)
	if err != nil {
		return nil, err
	}
	if ev.HasTimestamp && (!r.timed || ev.Timestamp > r.logTime) {
		r.logTime, r.timed = ev.Timestamp, true
	}
	if !r.timed {
		return nil, errors.New("the event has no timestamp, and none came before it")
	}
	head := fmt.Sprintf(`{"logTime":%q,"messageId":`, value.FormatTime(r.logTime))
	out := append([]byte(head), quoteJSON(ev.ID)...)
	rest := bytes.TrimSpace(line[1:])
	if rest[0] != '}' {
		out = append(out, ',')
	}
	return append(out, rest...), nil
}

func (r *replayer) flush(ctx context.Context) error {
	if len(r.batch) == 0 {
		return nil
	}
	if r.rate > 0 {
		due := r.began.Add(time.Duration(float64(r.sent) / r.rate * float64(time.Second)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(due)):
		}
	}
	if err := r.sender.batch(ctx, r.batch); err != nil {
		return err
	}
	r.sent += uint64(len(r.batch))
	r.batch, r.bytes = r.batch[:0], 0
	return nil
}

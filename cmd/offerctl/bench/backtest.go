package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/valyala/fastjson"

	"offerstream/pipeline"
)

// Sizes of `bench --backtest`.
const (
	backtestPace = 10 * time.Millisecond // between the timestamps of two events: about 28 hours in all
	decodedPart  = 20                    // for comparison, one in 20 events is only decoded, and folded one by one
)

// A backtestReport is the result of `bench --backtest`.
type backtestReport struct {
	Events       int     `json:"events"`
	Users        int     `json:"users"` // that have events
	Campaigns    int     `json:"campaigns"`
	Offers       uint64  `json:"offers"`
	Ratio        float64 `json:"ratio"` // the rate, divided by that of only reading and decoding
	Rate         float64 `json:"events_per_s"`
	Seconds      float64 `json:"seconds"`
	PeakMB       float64 `json:"peak_mb"`
	MicrosEvent  float64 `json:"cpu_us_per_event"`
	AllocsEvent  float64 `json:"allocs_per_event"`
	Decode       float64 `json:"decode_per_s"`
	Cores        int     `json:"cores"`
	Sequential   float64 `json:"sequential_per_s"`   // the rate of one fold, event by event, with the first events only
	OfSequential float64 `json:"rate_of_sequential"` // the backtest's rate with these same events, divided by that
}

// backtest is `bench --backtest`. The command runs in a separate process and
// reads the events from a pipe, because a file of them would have gigabytes; this
// process makes them at the same time, on another core. Reading and decoding
// alone is measured on a file, so that only the decoding limits it.
func (b *Run) backtest(ctx context.Context) (*backtestReport, error) {
	path := filepath.Join(b.dir, "events.jsonl")
	some := b.Events / decodedPart
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	b.say("writing %d events to decode", some)
	if err := errors.Join(writeBacktest(f, b.Users, some), f.Close()); err != nil {
		return nil, err
	}
	decoded := 0.0
	decode := func() error {
		b.say("decoding %d events", some)
		d, err := part{Role: "decode", Dir: path}.result(ctx)
		decoded += d.Seconds
		return err
	}
	if err := decode(); err != nil { // once before and once after, because the machine's speed may change
		return nil, err
	}
	sequential, ratio, err := b.sequential(ctx, path, some)
	if err != nil {
		return nil, err
	}
	b.say("backtest of %d events", b.Events)
	run, err := b.piped(ctx)
	if err != nil {
		return nil, err
	}
	if err := decode(); err != nil {
		return nil, err
	}
	if run.Events != uint64(b.Events) {
		return nil, fmt.Errorf("bench: %d events applied of %d", run.Events, b.Events)
	}
	def, err := b.definition()
	if err != nil {
		return nil, err
	}
	n := float64(b.Events)
	r := &backtestReport{Events: b.Events, Users: run.Users, Campaigns: campaignsIn(def), Offers: run.Offers,
		Rate: n / run.Seconds, Seconds: run.Seconds, PeakMB: float64(run.Peak) / 1e6,
		MicrosEvent: run.CPU * 1e6 / n, AllocsEvent: float64(run.Allocs) / n, Decode: 2 * float64(some) / decoded,
		Cores: run.Cores, Sequential: sequential, OfSequential: ratio}
	r.Ratio = r.Rate / r.Decode
	return r, nil
}

// sequential compares one fold, which takes event by event, with the backtest of the
// same file.
func (b *Run) sequential(ctx context.Context, path string, events int) (rate, ratio float64, err error) {
	var seconds [2]float64
	for i, role := range [...]string{"sequential", "backtest"} {
		b.say("backtest of %d events, %s", events, [...]string{"one by one", "as usual"}[i])
		f, err := os.Open(path)
		if err != nil {
			return 0, 0, err
		}
		r, err := part{Role: role, Campaigns: b.Campaigns, Rows: b.Rows, Dir: b.dir, input: f}.result(ctx)
		if err == nil && r.Events != uint64(events) {
			err = fmt.Errorf("bench: %d events applied of %d", r.Events, events)
		}
		if err != nil {
			return 0, 0, err
		}
		seconds[i] = r.Seconds
	}
	return float64(events) / seconds[0], seconds[0] / seconds[1], nil
}

// piped runs the backtest part, with its events through a pipe.
func (b *Run) piped(ctx context.Context) (r result, err error) {
	from, to, err := os.Pipe()
	if err != nil {
		return r, err
	}
	made := make(chan error, 1)
	go func() { made <- errors.Join(writeBacktest(to, b.Users, b.Events), to.Close()) }()
	r, err = part{Role: "backtest", Campaigns: b.Campaigns, Rows: b.Rows, Dir: b.dir, input: from}.result(ctx)
	return r, errors.Join(err, <-made)
}

// writeBacktest writes the bench's events with timestamps, from which a backtest
// takes log time.
func writeBacktest(to io.Writer, users, events int) error {
	w := bufio.NewWriterSize(to, 1<<18)
	gen := newGenerator(1, users)
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	var line []byte
	for range events {
		line = at.AppendFormat(append(line[:0], `{"timestamp":"`...), time.RFC3339Nano)
		at = at.Add(backtestPace)
		line = append(line, `",`...)
		brace := len(line)
		line = gen.next(line)
		line = append(line[:brace], line[brace+1:]...)
		if _, err := w.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("bench: writing events: %w", err)
		}
	}
	return w.Flush()
}

// backtest does what `offerctl backtest --events - --out FILE` does.
func (p part) backtest(out io.Writer, run Backtest) error {
	def, err := (&Run{Campaigns: p.Campaigns, Rows: p.Rows}).definition()
	if err != nil {
		return err
	}
	m := measure()
	b, err := run(context.Background(), def, partInput, filepath.Join(p.Dir, "offers.jsonl"))
	if err != nil {
		return err
	}
	r := m.done()
	r.Events, r.Users, r.Cores = b.Events-b.Duplicates, int(b.Users), runtime.GOMAXPROCS(0)
	for _, c := range b.Campaigns {
		r.Offers += c.Ended[pipeline.Fired]
	}
	return json.NewEncoder(out).Encode(r)
}

// sequential does what backtest does with the simplest means: it reads a line, folds
// it, and writes its offers.
func (p part) sequential(out io.Writer) error {
	def, err := (&Run{Campaigns: p.Campaigns, Rows: p.Rows}).definition()
	if err != nil {
		return err
	}
	m := measure()
	b, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		return problems[0]
	}
	in, err := os.Open(partInput)
	if err != nil {
		return err
	}
	defer in.Close()
	to, err := os.Create(filepath.Join(p.Dir, "offers.jsonl"))
	if err != nil {
		return err
	}
	defer to.Close()
	offers := bufio.NewWriterSize(to, 1<<20)
	enc := json.NewEncoder(offers)
	lines := bufio.NewScanner(bufio.NewReaderSize(in, 1<<20))
	var wrong error
	for lines.Scan() {
		if err := b.Line(lines.Bytes(), func(o *pipeline.Offer) { wrong = errors.Join(wrong, enc.Encode(o)) }); err != nil {
			return err
		}
	}
	if err := errors.Join(wrong, lines.Err(), offers.Flush()); err != nil {
		return err
	}
	r := m.done()
	r.Events = b.Applied - b.Duplicates()
	return json.NewEncoder(out).Encode(r)
}

// decode reads and decodes the lines of a file, and does nothing else.
func (p part) decode(out io.Writer) error {
	m := measure()
	f, err := os.Open(p.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 1<<20)
	var parser fastjson.Parser
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return json.NewEncoder(out).Encode(m.done())
		}
		if err == nil {
			_, err = parser.ParseBytes(line)
		}
		if err != nil {
			return err
		}
	}
}

func (r *backtestReport) Print(w io.Writer) {
	fmt.Fprintf(w, "%d events of %d users, %d campaigns, %d offers\n\n", r.Events, r.Users, r.Campaigns, r.Offers)
	fmt.Fprintf(w, "backtest        %9.0f events/s   %6.1f s   %.2f us of CPU and %.1f allocations per event, at most %.0f MB\n", r.Rate, r.Seconds, r.MicrosEvent, r.AllocsEvent, r.PeakMB)
	fmt.Fprintf(w, "decoding alone  %9.0f events/s   the backtest reaches %.2f of that\n", r.Decode, r.Ratio)
	fmt.Fprintf(w, "event by event  %9.0f events/s   in one fold, with the first events only; the backtest reaches %.2f of that with these, on %d cores\n", r.Sequential, r.OfSequential, r.Cores)
	fmt.Fprintf(w, "\nThe events came through a pipe from another process, which made them at the same time on another core. Decoding alone reads a file with some of them.\n")
}

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/worker"
)

// A part is one process of a bench. The program starts itself again for each
// part, so that NATS, the measured program and the load generator are separate
// processes.
type part struct {
	Role   string // nats, read, work, worker, gateway, pages, bare, lookup, backtest, sequential, decode, load or serve
	Dir    string
	URL    string
	Prefix string
	Cache  int64

	Keep              bool          // for work: keep the state, to be used again
	Partitions, Users int           // for lookup
	Standbys          int           // for worker
	Metered           bool          // for nats and worker: the first line has an address that reports the resource usage
	Sync              bool          // for nats: it syncs each write (sync_interval: always)
	Clock             int64         // for worker: where its clock stands until morningPath is asked for; 0: it goes
	Snapshot          time.Duration // for worker: the time between two snapshots; 0: its default
	Campaigns         int           // for backtest and load; 0: the shipped ones
	Rows              bool          // for these: Run.Rows
	args              []string      // of the command line, for serve
	program           string        // that is started instead of this one
	log               *os.File      // instead of standard error
	input             *os.File      // the file that the part sees as partInput; closed here once the part runs
}

// partInput is the path of a part's input in its process.
const partInput = "/dev/fd/3"

// A result is the last line that a part prints.
type result struct {
	Seconds  float64 `json:"seconds"`
	Messages uint64  `json:"messages"`
	Events   uint64  `json:"events"`
	CPU      float64 `json:"cpu"`    // seconds
	Allocs   uint64  `json:"allocs"` // number of heap allocations
	Peak     int64   `json:"peak"`   // the most memory used, in bytes
	Users    int     `json:"users"`
	Offers   uint64  `json:"offers"`
	Cores    int     `json:"cores"`    // for backtest: how many it could use
	Heap     int64   `json:"heap"`     // for load: bytes by which the heap has grown
	Resident int64   `json:"resident"` // bytes of memory used now; 0 where that is not known
}

const partEnv = "OFFERSTREAM_BENCH_PART"

// A Backtest runs a set over a file of events and writes the offers to
// another, as `offerctl backtest` does.
type Backtest func(ctx context.Context, def *campaign.Definition, events, offers string) (*backtest.Result, error)

// RunPart runs a part if this process was started as one; otherwise it returns
// false. Every program that measures must call it first, because it is started
// again for each part. It also returns false in the part serve, which goes on as
// offerctl serve, by its command line.
func RunPart(backtest Backtest) (bool, error) {
	text := os.Getenv(partEnv)
	if text == "" {
		return false, nil
	}
	var p part
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return true, err
	}
	go func() { // ends the part when the bench ends, for whatever reason
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if p.Role == "serve" {
		_, err := serveMeter(os.Stdout)
		return err != nil, err
	}
	return true, p.run(os.Stdout, backtest)
}

// warnings logs to standard error, which a part shares with the bench.
var warnings = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))

func (p part) run(out io.Writer, backtest Backtest) error {
	switch p.Role {
	case "nats":
		return p.nats(out)
	case "read":
		return p.read(out)
	case "work":
		return p.work(out)
	case "worker":
		return p.worker(out)
	case "gateway", "pages", "bare":
		return p.takeEvents(out)
	case "lookup":
		return p.lookup(out)
	case "backtest":
		return p.backtest(out, backtest)
	case "sequential":
		return p.sequential(out)
	case "decode":
		return p.decode(out)
	case "load":
		return p.load(out)
	}
	return fmt.Errorf("no such part: %s", p.Role)
}

// start runs a part in a separate process, and returns its first line.
func (p part) start(ctx context.Context) (line string, stop func(), err error) {
	cmd, in, out, err := p.launch(ctx)
	if err != nil {
		return "", nil, err
	}
	stop = func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}
	line, err = firstLine(out)
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("bench part %s: %w", p.Role, err)
	}
	return line, stop, nil
}

// launch runs a part in a separate process, which ends when in is closed.
func (p part) launch(ctx context.Context) (cmd *exec.Cmd, in io.Closer, out io.Reader, err error) {
	self := p.program
	if self == "" {
		if self, err = os.Executable(); err != nil {
			return nil, nil, nil, err
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, nil, nil, err
	}
	cmd = exec.CommandContext(ctx, self, p.args...)
	cmd.Env = append(os.Environ(), partEnv+"="+string(text))
	if cmd.Stderr = os.Stderr; p.log != nil {
		cmd.Stderr = p.log
	}
	if p.input != nil {
		defer p.input.Close()
		cmd.ExtraFiles = []*os.File{p.input}
	}
	if in, err = cmd.StdinPipe(); err != nil {
		return nil, nil, nil, err
	}
	if out, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, nil, err
	}
	return cmd, in, out, cmd.Start()
}

func firstLine(r io.Reader) (string, error) {
	var b strings.Builder
	c := make([]byte, 1)
	for {
		n, err := r.Read(c)
		if n == 1 && c[0] == '\n' {
			return b.String(), nil
		}
		b.Write(c[:n])
		if err != nil {
			return "", err
		}
	}
}

// result runs a part to its end.
func (p part) result(ctx context.Context) (r result, err error) {
	err = p.into(ctx, &r)
	return r, err
}

// into runs a part to its end and decodes its result into r.
func (p part) into(ctx context.Context, r any) error {
	line, stop, err := p.start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := json.Unmarshal([]byte(line), r); err != nil {
		return fmt.Errorf("bench part %s printed %q: %w", p.Role, line, err)
	}
	return nil
}

func (p part) connect(ctx context.Context) (*broker.Conn, error) {
	return broker.Connect(ctx, broker.Options{URL: p.URL, Prefix: p.Prefix, Partitions: p.Partitions, Client: "offerctl-bench", Log: p.logger()})
}

// logger is where a part logs. One whose clock stands does not: it would only say so.
func (p part) logger() *slog.Logger {
	if p.Clock != 0 {
		return slog.New(slog.DiscardHandler)
	}
	return warnings
}

// read reads the logs of all partitions at the same time, and does nothing else.
func (p part) read(out io.Writer) error {
	ctx := context.Background()
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	m := measure()
	var all sync.WaitGroup
	counts, errs := make([]uint64, c.Partitions), make([]error, c.Partitions)
	for i := range c.Partitions {
		all.Go(func() {
			errs[i] = c.ScanLog(ctx, i, 0, func(pipeline.Message) error { counts[i]++; return nil })
		})
	}
	all.Wait()
	r := m.done()
	for _, n := range counts {
		r.Messages += n
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

// work lets a new worker catch up until everything in the logs is applied and
// every offer is stored.
func (p part) work(out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	worker.LimitHeap(p.Cache)
	w, err := worker.New(worker.Options{Dir: p.Dir, CacheBytes: p.Cache, Connect: p.connect, Log: warnings})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	m, err := untilCaughtUp(ctx, w, c, ended)
	if err != nil {
		return err
	}
	r := m.done()
	for _, s := range w.Status() {
		r.Messages += s.Seq
		r.Events += s.Applied
	}
	if p.Keep {
		cancel()
		if err := <-ended; err != nil {
			return err
		}
	}
	return json.NewEncoder(out).Encode(r)
}

// untilCaughtUp waits until a worker has applied the logs up to their ends and
// has stored all offers and mails. The meter that it returns began when the worker
// began to apply messages.
func untilCaughtUp(ctx context.Context, w *worker.Worker, c *broker.Conn, ended <-chan error) (m *meter, err error) {
	ends, err := endsOf(ctx, c)
	if err != nil {
		return nil, err
	}
	for {
		begun := false
		st := w.Status()
		for i, s := range st {
			if s.Stopped != "" {
				return nil, fmt.Errorf("partition %d: %s", i, s.Stopped)
			}
			begun = begun || s.Seq > 0
		}
		if m == nil && begun {
			m = measure() // the stores are open, and the campaigns are compiled
		}
		if caughtUp(st, ends) { // mails may have made the logs longer
			if ends, err = endsOf(ctx, c); err != nil || caughtUp(st, ends) {
				return m, err
			}
		}
		select {
		case <-time.After(time.Millisecond):
		case err := <-ended:
			return nil, errors.Join(errors.New("the worker has ended"), err)
		}
	}
}

// caughtUp reports whether a worker has applied the logs up to their ends, and nothing
// waits to be stored. If the ends were looked up after the status, nothing is under way.
func caughtUp(st []broker.PartitionStatus, ends []uint64) bool {
	for i, s := range st {
		if s.Seq < ends[i] || s.Waiting > 0 {
			return false
		}
	}
	return len(st) == len(ends)
}

// endsOf returns the last sequence of each log.
func endsOf(ctx context.Context, c *broker.Conn) (ends []uint64, err error) {
	ends = make([]uint64, c.Partitions)
	for i := range ends {
		if _, ends[i], err = c.Extent(ctx, i); err != nil {
			return nil, err
		}
	}
	return ends, nil
}

// A meter measures the resource usage of this process between two moments.
type meter struct {
	start  time.Time
	cpu    float64
	allocs uint64
}

func measure() *meter {
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return &meter{start: time.Now(), cpu: cpuSeconds(), allocs: ms.Mallocs}
}

func (m *meter) done() result {
	r := result{Seconds: time.Since(m.start).Seconds(), CPU: cpuSeconds() - m.cpu}
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	r.Allocs = ms.Mallocs - m.allocs
	r.Peak, r.Resident = peakBytes(), statusBytes("VmRSS:")
	return r
}

// peakBytes returns the most memory that this process has used. On Linux it does
// not use getrusage, whose figure a child inherits from its parent, the bench.
func peakBytes() int64 {
	if n := statusBytes("VmHWM:"); n > 0 {
		return n
	}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Maxrss << 10
}

// statusBytes is a size that Linux tells of this process; 0: it is not Linux.
func statusBytes(name string) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if _, after, ok := strings.Cut(string(status), name); err == nil && ok {
		var kb int64
		if _, err := fmt.Sscan(after, &kb); err == nil {
			return kb << 10
		}
	}
	return 0
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

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
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/worker"
)

// A part is one measured process of a bench: the program runs itself, so
// that NATS, what is measured and what makes the load are processes of their
// own.
type part struct {
	Role   string // nats, read, work, worker, gateway, bare, lookup, backtest or decode
	Dir    string
	URL    string
	Prefix string
	Cache  int64

	Keep              bool          // work leaves its state to be used again
	Partitions, Users int           // of lookup
	Standbys          int           // of worker
	Snapshot          time.Duration // of worker, between two; 0: its default
	Campaigns         int           // of backtest; 0: the shipped ones
	input             *os.File      // partInput in its process; closed here when that runs
}

// partInput is where a part finds its input.
const partInput = "/dev/fd/3"

// A result is what a part says in the end, as its last line.
type result struct {
	Seconds  float64 `json:"seconds"`
	Messages uint64  `json:"messages"`
	Events   uint64  `json:"events"`
	CPU      float64 `json:"cpu"`    // seconds
	Allocs   uint64  `json:"allocs"` // of the heap
	Peak     int64   `json:"peak"`   // bytes of memory
	Users    int     `json:"users"`
	Offers   uint64  `json:"offers"`
}

const partEnv = "OFFERSTREAM_BENCH_PART"

// A Backtest runs a set over a file of events and writes the offers to
// another, as `offerctl backtest` does.
type Backtest func(ctx context.Context, def *campaign.Definition, events, offers string) (*pipeline.Backtest, error)

// RunPart is the process of a part; false where this is none. Every program
// that measures calls it before all else, as it starts itself again for each
// part.
func RunPart(backtest Backtest) (bool, error) {
	text := os.Getenv(partEnv)
	if text == "" {
		return false, nil
	}
	var p part
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return true, err
	}
	go func() { // the part ends with the bench, whatever ends that
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return true, p.run(os.Stdout, backtest)
}

// warnings go to standard error, which is the bench's.
var warnings = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))

func (p part) run(out io.Writer, backtest Backtest) error {
	switch p.Role {
	case "nats":
		ns, err := embedded.Start(embedded.Options{Dir: p.Dir, Port: -1, Log: warnings})
		if err != nil {
			return err
		}
		fmt.Fprintln(out, ns.ClientURL())
		select {}
	case "read":
		return p.read(out)
	case "work":
		return p.work(out)
	case "worker":
		return p.worker(out)
	case "gateway", "bare":
		return p.takeEvents(out)
	case "lookup":
		return p.lookup(out)
	case "backtest":
		return p.backtest(out, backtest)
	case "decode":
		return p.decode(out)
	}
	return fmt.Errorf("no such part: %s", p.Role)
}

// start runs a part in a process of its own, and returns its first line.
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

// launch runs a part in a process of its own, which ends when in is closed.
func (p part) launch(ctx context.Context) (cmd *exec.Cmd, in io.Closer, out io.Reader, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, nil, err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, nil, nil, err
	}
	cmd = exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), partEnv+"="+string(text))
	cmd.Stderr = os.Stderr
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

// into runs a part to its end and reads what it says.
func (p part) into(ctx context.Context, r any) error {
	line, stop, err := p.start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := json.Unmarshal([]byte(line), r); err != nil {
		return fmt.Errorf("bench part %s said %q: %w", p.Role, line, err)
	}
	return nil
}

func (p part) connect(ctx context.Context) (*broker.Conn, error) {
	return broker.Connect(ctx, broker.Options{URL: p.URL, Prefix: p.Prefix, Partitions: p.Partitions, Client: "offerctl-bench", Log: warnings})
}

// read reads the logs of all partitions at once, with nothing else done.
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

// work lets a new worker catch up with the logs until everything is applied
// and every offer stored.
func (p part) work(out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	ends := make([]uint64, c.Partitions)
	for i := range ends {
		if _, ends[i], err = c.Extent(ctx, i); err != nil {
			return err
		}
	}
	worker.LimitHeap(p.Cache)
	w, err := worker.New(worker.Options{Dir: p.Dir, CacheBytes: p.Cache, Connect: p.connect, Log: warnings})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	var m *meter
	for {
		begun, done := false, true
		st := w.Status()
		for i, s := range st {
			if s.Stopped != "" {
				return fmt.Errorf("partition %d: %s", i, s.Stopped)
			}
			begun = begun || s.Seq > 0
			done = done && s.Seq >= ends[i] && s.Waiting == 0
		}
		if m == nil && begun {
			m = measure() // the stores are open, and the campaigns are compiled
		}
		if done && len(st) == len(ends) {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case err := <-ended:
			return errors.Join(errors.New("the worker has ended"), err)
		}
	}
	r := m.done()
	for i, s := range w.Status() {
		r.Messages += ends[i]
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

// A meter measures this process from one moment to another.
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
	r.Peak = peakBytes()
	return r
}

// peakBytes is the most memory that this process has had. Linux passes the
// usage's own figure on to a child, so that it would be the bench's.
func peakBytes() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if _, after, ok := strings.Cut(string(status), "VmHWM:"); err == nil && ok {
		var kb int64
		if _, err := fmt.Sscan(after, &kb); err == nil {
			return kb << 10
		}
	}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Maxrss << 10
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

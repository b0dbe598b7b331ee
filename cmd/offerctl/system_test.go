package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/cmd/offerctl/bench"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
)

var systemSeed = flag.Uint64("system-seed", 0, "of TestSystem's moments; 0: a new one")

// TestMain makes the test binary also serve as the nats-server that TestSystem
// kills, as the parts of bench, and as the program that bench --against starts.
func TestMain(m *testing.M) {
	if is, err := bench.RunPart(benchBacktest); is {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "bench" {
		main()
	}
	if dir := os.Getenv("OFFERSTREAM_TEST_NATS_DIR"); dir != "" {
		var port int
		fmt.Sscan(os.Getenv("OFFERSTREAM_TEST_NATS_PORT"), &port)
		if _, err := embedded.Start(embedded.Options{Dir: dir, Port: port, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

// A process is a program under test that can be started and killed repeatedly.
type process struct {
	t    *testing.T
	name string
	path string
	args []string
	env  []string
	log  *os.File
	cmd  *exec.Cmd
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OFFERSTREAM_") }), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill is kill -9.
func (p *process) kill() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.cmd = nil
	}
}

// A system is gateway, worker and NATS as separate processes.
type system struct {
	t                     *testing.T
	nats, gateway, worker *process
	offerctl, url, api    string
}

func newSystem(t *testing.T) *system {
	bin := build(t)
	dir := t.TempDir()
	natsPort, apiPort := freePort(t), freePort(t)
	s := &system{t: t, offerctl: filepath.Join(bin, "offerctl"), url: fmt.Sprintf("nats://127.0.0.1:%d", natsPort), api: fmt.Sprintf("http://127.0.0.1:%d", apiPort)}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.nats = s.process("nats", self, nil, "OFFERSTREAM_TEST_NATS_DIR="+filepath.Join(dir, "nats"), fmt.Sprintf("OFFERSTREAM_TEST_NATS_PORT=%d", natsPort))
	s.gateway = s.process("gateway", filepath.Join(bin, "gateway"), []string{"--nats", s.url, "--addr", fmt.Sprintf("127.0.0.1:%d", apiPort), "--server-key", "key", "--partitions", "3"})
	s.worker = s.process("worker", filepath.Join(bin, "worker"), []string{"--nats", s.url, "--dir", filepath.Join(dir, "worker"), "--partitions", "3"})
	return s
}

func (s *system) process(name, path string, args []string, env ...string) *process {
	log, err := os.Create(filepath.Join(s.t.TempDir(), name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	p := &process{t: s.t, name: name, path: path, args: args, env: env, log: log}
	s.t.Cleanup(func() {
		p.kill()
		log.Close()
		if s.t.Failed() {
			b, _ := os.ReadFile(log.Name())
			s.t.Logf("%s said:\n%s", name, b[max(0, len(b)-4000):])
		}
	})
	return p
}

func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"gateway", "worker", "offerctl"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), "offerstream/cmd/"+name).CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", name, err, out)
		}
	}
	return dir
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// ctl runs offerctl and returns its output.
func (s *system) ctl(args ...string) string {
	s.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(s.offerctl, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("offerctl %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// shopping writes a file of simulated events over some days, so that sessions
// end and carts are left.
func shopping(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	var b bytes.Buffer
	shop, now := newShop(11), time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for range n {
		b.Write(shop.next(now))
		b.WriteByte('\n')
		now = now.Add(time.Duration(shop.rng.IntN(20_000)) * time.Millisecond)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSystem replays events through three processes, while the worker is killed
// with kill -9 three times and NATS once. The offers must be the same as those of
// a backtest, each once.
func TestSystem(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; not with -short")
	}
	seed := *systemSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e9
	}
	t.Logf("go test ./cmd/offerctl -run TestSystem -system-seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	s := newSystem(t)
	events, want := shopping(t, 8000), filepath.Join(t.TempDir(), "want.jsonl")
	s.ctl("backtest", "--campaigns", "../../deploy/campaigns", "--events", events, "--out", want)

	s.worker.start() // before NATS runs: each process waits for it
	s.gateway.start()
	s.nats.start()
	s.ctl("apply", "../../deploy/campaigns", "--yes", "--clock", "event", "--nats", s.url)
	s.awaitReady()
	replayed := make(chan string, 1)
	go func() {
		replayed <- s.ctl("replay", "--events", events, "--to", s.api, "--server-key", "key", "--rate", "1600")
	}()
	for _, p := range []*process{s.worker, s.worker, s.nats, s.worker} {
		<-time.After(time.Duration(300+rng.IntN(900)) * time.Millisecond)
		p.kill()
		p.start()
	}
	t.Log(<-replayed)
	s.same(want)
}

// awaitReady waits until the gateway accepts events.
func (s *system) awaitReady() {
	s.t.Helper()
	for start := time.Now(); ; {
		resp, err := http.Get(s.api + "/readyz")
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Since(start) > time.Minute {
			s.t.Fatalf("the gateway does not become ready: %v", err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// same waits until everything is applied, and compares the stored offers with
// those in the file.
func (s *system) same(want string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := broker.Connect(ctx, broker.Options{URL: s.url, Client: "test", Join: true, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	for {
		v, err := audit.Verify(ctx, conn, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		if v.OK() {
			break
		}
		if v.Duplicate+v.Different+v.Extra > 0 || ctx.Err() != nil {
			s.t.Fatalf("%+v", v)
		}
	}
	var got [][]byte
	for p := range conn.Partitions {
		if err := conn.ScanOffers(ctx, p, func(r broker.Record) error { got = append(got, bytes.Clone(r.Data)); return nil }); err != nil {
			s.t.Fatal(err)
		}
	}
	b, err := os.ReadFile(want)
	if err != nil {
		s.t.Fatal(err)
	}
	all := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	slices.SortFunc(got, bytes.Compare)
	slices.SortFunc(all, bytes.Compare)
	if !slices.EqualFunc(got, all, bytes.Equal) {
		s.t.Errorf("%d offers went out, the backtest has %d, or others", len(got), len(all))
	}
	s.t.Logf("%d offers", len(got))
}

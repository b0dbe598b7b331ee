//go:build linux

package worker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// A straced is a worker in a process of its own, and the load that it gets,
// while strace spoils one of its system calls.
//
// Badger writes through mapped memory: its calls are those that make, cut,
// sync and remove files (ftruncate, msync, fsync, unlinkat), and write for the
// MANIFEST. It makes no pwrite.
type straced struct {
	t    *testing.T
	rng  *rand.Rand
	url  string
	dir  string
	conn *broker.Conn
	hash string
	n    int // events so far
}

const stracedPartitions = 2

// newStraced skips the test where calls cannot be spoilt.
func newStraced(t *testing.T) *straced {
	t.Helper()
	if testing.Short() {
		t.Skip("takes 10 s")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skipf("needs strace: %v", err)
	}
	if out, err := exec.Command("strace", "-D", "-f", "--seccomp-bpf", "-o", os.DevNull, "-e", "inject=fsync:error=EIO:when=1", "true").CombinedOutput(); err != nil {
		t.Skipf("needs an strace that may trace: %v\n%s", err, out)
	}
	s := &straced{t: t, rng: moments(t), dir: t.TempDir()}
	ns := startNATS(t, t.TempDir(), -1)
	s.url = ns.ClientURL()
	s.conn = connect(t, s.url, stracedPartitions)
	def := views(t, 1)
	def.Features = append(def.Features, pipeline.Feature{Name: "padding", On: []string{"Product Viewed"}, Agg: "last", Of: "event.properties.x"})
	s.hash = apply(t, s.conn, def)
	w := start(t, s.url, s.dir, small)
	w.inForce(t, s.hash)
	w.stop(t)
	return s
}

// begin starts the worker with strace's expression on it, and in the files
// where there are some. The process is the worker; strace is a grandchild.
func (s *straced) begin(log string, inject string, files ...string) (cmd *exec.Cmd, ended chan struct{}) {
	args := []string{"-D", "-f", "--seccomp-bpf", "-o", os.DevNull, "-e", "inject=" + inject}
	for _, f := range files {
		args = append(args, "-P", f)
	}
	cmd = exec.Command("strace", append(args, os.Args[0])...)
	cmd.Env = append(os.Environ(), "OFFERSTREAM_TEST_URL="+s.url, "OFFERSTREAM_TEST_DIR="+s.dir, "OFFERSTREAM_TEST_SMALL=1")
	if log != "" {
		f, err := os.Create(log)
		if err != nil {
			s.t.Fatal(err)
		}
		defer f.Close()
		cmd.Env, cmd.Stderr = append(cmd.Env, "LOG=1"), f
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	return cmd, ended
}

// load publishes so many events, each of which makes an offer and a KB or two
// of state.
func (s *straced) load(events int) {
	s.t.Helper()
	for end := s.n + events; s.n < end; {
		packs := make([][]byte, stracedPartitions)
		for range 20 {
			user := fmt.Sprint("user", s.rng.IntN(2000))
			p := pipeline.Partition("u:"+user, stracedPartitions)
			packs[p] = append(append(packs[p], at(time.Now().UnixNano(), fmt.Sprint(s.n), user, 1000+s.rng.IntN(1000))...), '\n')
			s.n++
		}
		for p, pack := range packs {
			if len(pack) > 0 {
				publish(s.t, s.conn, []scripted{{p, bytes.TrimSpace(pack)}})
			}
		}
	}
}

// offers are how many there are.
func (s *straced) offers() int {
	s.t.Helper()
	st, err := s.conn.JS.Stream(within(s.t), s.conn.Names.OffersStream())
	if err != nil {
		s.t.Fatal(err)
	}
	return int(st.CachedInfo().State.Msgs)
}

// exact starts the worker without strace and holds its offers against the log.
func (s *straced) exact() {
	s.t.Helper()
	w := start(s.t, s.url, s.dir, small)
	w.applied(s.t, s.conn)
	v := verified(s.t, s.conn)
	if st := w.Status(); v.Stored != s.n || st[0].Applied+st[1].Applied != uint64(s.n) {
		s.t.Errorf("%d offers of %d events, of which %d and %d are applied", v.Stored, s.n, st[0].Applied, st[1].Applied)
	}
	s.t.Logf("%d events: missing %d, double %d, different %d", s.n, v.Missing, v.Duplicate, v.Different)
	w.stop(s.t)
}

// TestKillAtCall kills the worker with -9 as it enters one of the calls that
// put its state on the disk, and starts it again.
func TestKillAtCall(t *testing.T) {
	s := newStraced(t)
	manifest := filepath.Join(s.dir, "partition-0", "MANIFEST")
	calls := []string{"msync", "ftruncate", "fsync", "unlinkat", "write"}
	s.rng.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
	reached := 0
	for round := range 10 {
		call, n := calls[round%len(calls)], 1+s.rng.IntN(6) // of one thread
		var files []string
		if call == "write" {
			files = []string{manifest}
		}
		cmd, ended := s.begin("", fmt.Sprintf("%s:signal=KILL:when=%d", call, n), files...)
		gone := func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}
		for left := 20; left > 0 && !gone(); left-- {
			s.load(100)
			await(t, "the worker keeps up, or has ended", func() bool { return gone() || s.offers() > s.n-200 })
		}
		await(t, "all offers, or the worker's end", func() bool { return gone() || s.offers() == s.n })
		if gone() {
			reached++
			t.Logf("killed at %s %d of a thread, with %d of %d offers out: %v", call, n, s.offers(), s.n, cmd.ProcessState)
			continue
		}
		t.Logf("not reached: %s %d of a thread", call, n)
		cmd.Process.Kill()
		<-ended
	}
	s.exact()
	if reached == 0 {
		t.Error("no call was reached: the test shows nothing")
	}
}

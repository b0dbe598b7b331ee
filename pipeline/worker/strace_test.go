//go:build linux

package worker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// A straced runs workers in separate processes under load, while strace makes
// some of their system calls fail.
//
// Badger writes through mapped memory. Its system calls create, truncate, sync
// and remove files (ftruncate, msync, fsync, unlinkat), and write the MANIFEST.
// It does not use pwrite.
type straced struct {
	t    *testing.T
	rng  *rand.Rand
	url  string
	dir  string
	conn *broker.Conn
	hash string
	n    int // number of events so far
}

const stracedPartitions = 2

// newStraced skips the test if strace cannot inject faults.
func newStraced(t *testing.T) *straced {
	t.Helper()
	if testing.Short() {
		t.Skip("takes 10 s")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skipf("needs strace: %v", err)
	}
	if out, err := exec.Command("strace", "-D", "-f", "-o", os.DevNull, "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1", "true").CombinedOutput(); err != nil {
		t.Skipf("needs an strace that may trace: %v\n%s", err, out)
	}
	s := &straced{t: t, rng: moments(t), dir: t.TempDir()}
	ns := startNATS(t, t.TempDir(), -1)
	s.url = ns.ClientURL()
	s.conn = connect(t, s.url, stracedPartitions)
	def := views(t, 1)
	def.Features = append(def.Features, campaign.Feature{Name: "padding", On: []string{"Product Viewed"}, Agg: "last", Of: "event.properties.x"})
	s.hash = apply(t, s.conn, def)
	w := start(t, s.url, s.dir, small)
	w.inForce(t, s.hash)
	w.stop(t)
	return s
}

// A spoilt is a worker with a system call that fails or kills it.
type spoilt struct {
	*straced
	cmd   *exec.Cmd
	ended chan struct{}
}

// begin starts a worker with a spoilt system call; if files are given, only calls
// on these are spoilt. The child process is the worker; strace is a grandchild.
func (s *straced) begin(log, call, how string, files ...string) *spoilt {
	args := []string{"-D", "-f", "-o", os.DevNull, "-e", "trace=" + call, "-e", "inject=" + call + ":" + how}
	for _, f := range files {
		args = append(args, "-P", f)
	}
	w := &spoilt{s, exec.Command("strace", append(args, os.Args[0])...), make(chan struct{})}
	f, err := os.Create(log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	w.cmd.Env = append(os.Environ(), "OFFERSTREAM_TEST_URL="+s.url, "OFFERSTREAM_TEST_DIR="+s.dir, "OFFERSTREAM_TEST_SMALL=1", "LOG=1")
	w.cmd.Stderr = f
	if err := w.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		w.cmd.Wait()
		close(w.ended)
	}()
	s.t.Cleanup(func() {
		if !w.gone() { // the test is over, and the worker has not ended as expected
			s.t.Logf("the worker, with %s on %s, said at last:\n%s", how, call, tail(log))
		}
		w.kill()
	})
	return w
}

func (w *spoilt) gone() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

func (w *spoilt) kill() {
	w.cmd.Process.Kill()
	<-w.ended
}

// work publishes events until the worker has ended or stops, or there are 2000
// offers.
func (w *spoilt) work(stops func() bool) {
	w.t.Helper()
	over := func() bool { return w.gone() || stops() }
	for left := 20; left > 0 && !over(); left-- {
		w.load(100)
		await(w.t, "the worker keeps up, or stops", func() bool { return over() || w.offers() > w.n-200 })
	}
	await(w.t, "all offers, or that it stops", func() bool { return over() || w.offers() == w.n })
}

// load publishes events, each of which makes an offer and 1 to 2 KB of state.
func (s *straced) load(events int) {
	s.t.Helper()
	for end := s.n + events; s.n < end; {
		packs := make([][]byte, stracedPartitions)
		for range 20 {
			user := fmt.Sprint("user", s.rng.IntN(2000))
			p := event.Partition("u:"+user, stracedPartitions)
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

// offers returns the number of offers.
func (s *straced) offers() int {
	s.t.Helper()
	st, err := s.conn.JS.Stream(within(s.t), s.conn.Names.OffersStream())
	if err != nil {
		s.t.Fatal(err)
	}
	return int(st.CachedInfo().State.Msgs)
}

// exact runs the worker without strace and compares its offers with the log.
func (s *straced) exact() {
	s.t.Helper()
	w := start(s.t, s.url, s.dir, small)
	w.applied(s.t, s.conn)
	applied := func() uint64 { st := w.Status(); return st[0].Applied + st[1].Applied }
	await(s.t, "each event applied", func() bool { return applied() >= uint64(s.n) }) // the number falls for a moment when a new attempt begins
	v := verified(s.t, s.conn)
	if v.Stored != s.n || applied() != uint64(s.n) {
		s.t.Errorf("%d offers of %d events, of which %d are applied", v.Stored, s.n, applied())
	}
	s.t.Logf("%d events: missing %d, double %d, different %d", s.n, v.Missing, v.Duplicate, v.Different)
	w.stop(s.t)
}

// TestKillAtCall kills the worker with kill -9 as it enters one of the system
// calls that write its state to the disk, and restarts it.
func TestKillAtCall(t *testing.T) {
	t.Parallel()
	s := newStraced(t)
	manifest := filepath.Join(s.dir, "partition-0", "MANIFEST")
	calls := []string{"msync", "ftruncate", "fsync", "unlinkat", "write"}
	s.rng.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
	reached := 0
	for round := range 10 {
		call, n := calls[round%len(calls)], 1+s.rng.IntN(6) // the nth call of one thread
		var files []string
		if call == "write" {
			files = []string{manifest}
		}
		w := s.begin(filepath.Join(t.ArtifactDir(), fmt.Sprint("worker-", round)), call, fmt.Sprintf("signal=KILL:when=%d", n), files...)
		w.work(func() bool { return false })
		if w.gone() {
			reached++
			t.Logf("killed at %s %d of a thread, with %d of %d offers out: %v", call, n, s.offers(), s.n, w.cmd.ProcessState)
			continue
		}
		t.Logf("not reached: %s %d of a thread", call, n)
		w.kill()
	}
	s.exact()
	if reached == 0 {
		t.Error("no call was reached: the test shows nothing")
	}
}

// TestSyncFails makes syncs of the disk fail (EIO), once or from then on: the
// worker ends or stops the partition, with the reason. Restarted with a working
// disk, its offers are exact.
//
// Here msync fails from the first call on, and for a state without tables: Badger
// does not notice an msync that fails within a compaction, and loses the content
// of that table (4.9.6: subcompact defers inflightBuilders.Done(err) while err is
// nil).
func TestSyncFails(t *testing.T) {
	t.Parallel()
	s := newStraced(t)
	failed := 0
	for round := range 8 {
		way, n := [2]string{"fsync", ""}, 1+s.rng.IntN(10)
		switch s.rng.IntN(3) {
		case 0:
			way[1] = "+"
		case 1:
			way, n = [2]string{"msync", "+"}, 1
			for p := range stracedPartitions {
				if err := os.RemoveAll(filepath.Join(s.dir, fmt.Sprint("partition-", p))); err != nil {
					t.Fatal(err)
				}
			}
		}
		log := filepath.Join(t.ArtifactDir(), fmt.Sprint("worker-", round))
		w := s.begin(log, way[0], fmt.Sprintf("error=EIO:when=%d%s", n, way[1]))
		w.work(func() bool { return failure(t, log) != "" })
		switch why := failure(t, log); {
		case why != "":
			failed++
			t.Logf("%s %d%s of a thread fails: %s", way[0], n, way[1], why)
		case w.gone():
			t.Errorf("%s %d%s of a thread fails: the worker ends, and does not say why:\n%s", way[0], n, way[1], tail(log))
		default:
			t.Logf("not reached, or of no matter: %s %d%s of a thread", way[0], n, way[1])
		}
		w.kill()
	}
	s.exact()
	if failed == 0 {
		t.Error("no call was reached: the test shows nothing")
	}
}

// failure returns the log line in which a worker says that its disk has failed.
func failure(t *testing.T, log string) string {
	t.Helper()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "input/output error") && (strings.Contains(line, "PARTITION STOPPED") || strings.HasPrefix(line, "partition ")) {
			return line[max(0, len(line)-200):]
		}
	}
	return ""
}

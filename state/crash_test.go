package state

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestMain is also the child process that the crash tests kill: it continues
// from the state in the directory and prints each commit's number once the
// commit has returned.
func TestMain(m *testing.M) {
	if dir := os.Getenv("STATE_TEST_CHILD"); dir != "" {
		if snapshot := os.Getenv("STATE_TEST_SNAPSHOT"); snapshot != "" {
			fmt.Fprintln(os.Stderr, "child:", restoreChild(dir, snapshot))
			os.Exit(1)
		}
		seed, _ := strconv.ParseUint(os.Getenv("STATE_TEST_SEED"), 10, 64)
		fmt.Fprintln(os.Stderr, "child:", child(dir, seed))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func child(dir string, seed uint64) error {
	s, err := Open(dir, Options{Identity: testIdentity, MemTable: 1 << 20})
	if err != nil {
		return err
	}
	m, n, err := caughtUp(s, seed)
	if err != nil {
		return err
	}
	for b := s.NewBatch(); ; b.Reset() {
		n++
		m.step(seed, n, b)
		if err := s.Commit(b, []byte(m.cursor)); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// caughtUp returns the model at the store's cursor.
func caughtUp(s *Store, seed uint64) (*model, uint64, error) {
	c, err := s.Cursor()
	if err != nil {
		return nil, 0, err
	}
	m, n := newModel(), uint64(0)
	if c != nil {
		if n, err = strconv.ParseUint(string(c), 10, 64); err != nil {
			return nil, 0, err
		}
	}
	for i := uint64(1); i <= n; i++ {
		m.step(seed, i, nil)
	}
	return m, n, m.load(s)
}

// crash starts a child that commits to dir and kills it after the given number
// of commits. It returns the last commit that the child has printed.
func crash(t *testing.T, dir string, seed uint64, commits int) uint64 {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "STATE_TEST_CHILD="+dir, "STATE_TEST_SEED="+fmt.Sprint(seed))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var last uint64
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last, _ = strconv.ParseUint(lines.Text(), 10, 64)
		if commits--; commits == 0 {
			c.Process.Kill()
		}
	}
	c.Wait()
	if commits > 0 {
		t.Fatal("the child ended by itself")
	}
	return last
}

// TestKill: after a kill -9 at any moment cursor, entities and timers agree,
// and no commit that returned is lost.
func TestKill(t *testing.T) {
	t.Parallel()
	r := rnd(t)
	seed, dir := r.Uint64(), t.TempDir()
	for range 12 {
		last := crash(t, dir, seed, 1+r.IntN(400))
		s := open(t, dir)
		m, n, err := caughtUp(s, seed)
		if err == nil {
			err = m.compare(s)
		}
		if err != nil || n < last {
			t.Fatalf("killed after commit %d, found %d: %v", last, n, err)
		}
		s.Close()
	}
}

// TestFlip: whichever bit of whichever file is flipped after a crash, the store
// either reports damage, when it is opened or when the entity is read, or holds
// an older consistent state. It never returns wrong data and never ends the
// process.
func TestFlip(t *testing.T) {
	t.Parallel()
	r := rnd(t)
	seed, origin := r.Uint64(), t.TempDir()
	crash(t, origin, seed, 1500+r.IntN(500))
	damage(t, r, seed, origin, 60, func(b []byte) []byte {
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		return b
	})
}

// TestTruncate is TestFlip with a truncated file.
func TestTruncate(t *testing.T) {
	t.Parallel()
	r := rnd(t)
	seed, origin := r.Uint64(), t.TempDir()
	crash(t, origin, seed, 1500+r.IntN(500))
	damage(t, r, seed, origin, 30, func(b []byte) []byte { return b[:r.IntN(len(b))] })
}

// TestLostFile is TestFlip with a deleted file.
func TestLostFile(t *testing.T) {
	t.Parallel()
	r := rnd(t)
	seed, origin := r.Uint64(), t.TempDir()
	crash(t, origin, seed, 1500+r.IntN(500))
	damage(t, r, seed, origin, 30, func([]byte) []byte { return nil })
}

// damage opens copies of origin, each with one file changed by harm.
func damage(t *testing.T, r *rand.Rand, seed uint64, origin string, rounds int, harm func([]byte) []byte) {
	type file struct {
		name    string
		content []byte
		size    int64
	}
	var files []file
	entries, err := os.ReadDir(origin)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "LOCK" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(origin, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 0 {
			files = append(files, file{e.Name(), slices.Clone(content(b)), int64(len(b))})
		}
		t.Log(e.Name(), len(b))
	}
	outcome := map[string]int{}
	for range rounds {
		victim := r.IntN(len(files))
		name, dir := files[victim].name, t.TempDir()
		for i, f := range files {
			b, size := f.content, f.size
			if i == victim {
				if b = harm(slices.Clone(b)); b == nil {
					continue
				} else if len(b) < len(f.content) {
					size = int64(len(b))
				}
			}
			path := filepath.Join(dir, f.name)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
		}
		outcome[filepath.Ext(name)+" "+judge(t, dir, seed, name)]++
	}
	for _, o := range slices.Sorted(maps.Keys(outcome)) {
		t.Logf("%s: %d", o, outcome[o])
	}
}

// content cuts off the zeros at the end of a mapped file: flipping their bits
// shows nothing.
func content(b []byte) []byte {
	n := len(b)
	for n > 1 && b[n-1] == 0 {
		n--
	}
	return b[:n]
}

func judge(t *testing.T, dir string, seed uint64, name string) string {
	s, err := Open(dir, Options{Identity: testIdentity, MemTable: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if errors.Is(err, ErrDamaged) {
		return "damaged at open"
	} else if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer s.Close()
	m, n, err := caughtUp(s, seed)
	if err == nil {
		err = m.compare(s)
	}
	if errors.Is(err, ErrDamaged) {
		return "damaged when read"
	} else if err != nil {
		t.Fatalf("%s: at commit %d: %v", name, n, strings.TrimSpace(err.Error()))
	}
	return "older or whole"
}

package state

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRestoreUnnamed: after a kill between the last write and the rename there
// is no state, and the leftover directory does no harm.
func TestRestoreUnnamed(t *testing.T) {
	b, dir := small(t), filepath.Join(t.TempDir(), "p")
	leave := func() {
		t.Helper()
		in := newSnapshotReader(bytes.NewReader(b))
		h, err := in.header(testIdentity)
		if err != nil {
			t.Fatal(err)
		}
		if err := build(buildDir(dir), testOptions, in, &SnapshotInfo{Cursor: h.Cursor}); err != nil {
			t.Fatal(err)
		}
		for i := range 3 { // leftover tables of an earlier, larger restore
			if err := os.WriteFile(filepath.Join(buildDir(dir), fmt.Sprintf("%06d.sst", i+7)), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	leave()
	s := open(t, dir)
	if c, err := s.Cursor(); c != nil || err != nil || entity(t, s, "u:1") != "none" {
		t.Fatalf("cursor %q, %v", c, err)
	}
	s.Close()
	if err := Discard(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) > 0 {
		t.Errorf("discarded, but left %v", left)
	}
	leave()
	if _, err := Restore(dir, testOptions, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", "*"))
	if err != nil || len(files) != 2 {
		t.Errorf("a table and a MANIFEST, but got %v, %v", files, err)
	}
	s = open(t, dir)
	defer s.Close()
	if entity(t, s, "u:1") != "ada" {
		t.Error("it is not restored")
	}
}

// restoreChild runs in the process that TestRestoreKilled kills: it restores
// the snapshot again and again, and prints a line for each piece that it reads.
func restoreChild(dir, snapshot string) error {
	b, err := os.ReadFile(snapshot)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if _, err := Restore(filepath.Join(dir, fmt.Sprint(i)), testOptions, &telling{b}); err != nil {
			return err
		}
	}
}

type telling struct{ b []byte }

func (r *telling) Read(p []byte) (int, error) {
	fmt.Println(len(r.b))
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 200_000)], r.b)
	r.b = r.b[n:]
	return n, nil
}

// paddedSnapshot returns a snapshot of several pieces, at a commit of the model.
func paddedSnapshot(t *testing.T, seed, commits uint64) []byte {
	t.Helper()
	s, m := open(t, t.TempDir()), newModel()
	defer s.Close()
	pad(t, s, seed)
	b := s.NewBatch()
	for n := range commits {
		b.Reset()
		m.step(seed, n+1, b)
		if err := s.Commit(b, []byte(m.cursor)); err != nil {
			t.Fatal(err)
		}
	}
	return snapshot(t, s)
}

// TestRestoreKilled: after a kill -9 at any moment, a directory that has its
// final name is whole.
func TestRestoreKilled(t *testing.T) {
	t.Parallel()
	r := rnd(t)
	seed := r.Uint64()
	path := filepath.Join(t.TempDir(), "snapshot")
	if err := os.WriteFile(path, paddedSnapshot(t, seed, 40), 0o600); err != nil {
		t.Fatal(err)
	}
	whole, unnamed := 0, 0
	for range 12 {
		dir := t.TempDir()
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "STATE_TEST_CHILD="+dir, "STATE_TEST_SNAPSHOT="+path)
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		left := 1 + r.IntN(40)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if left--; left == 0 {
				c.Process.Kill()
			}
		}
		c.Wait()
		if left > 0 {
			t.Fatal("the child ended by itself")
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".restore") {
				unnamed++
				continue
			}
			if got := judge(t, filepath.Join(dir, e.Name()), seed, e.Name()); got != "older or whole" {
				t.Errorf("%s: %s", e.Name(), got)
			}
			s := open(t, filepath.Join(dir, e.Name()))
			if c, err := s.Cursor(); string(c) != "40" {
				t.Errorf("%s: cursor %q, %v", e.Name(), c, err)
			}
			s.Close()
			whole++
		}
	}
	t.Logf("%d whole, %d without a name", whole, unnamed)
}

// TestRestoredDamage: damage to a restored directory is noticed as in TestFlip.
func TestRestoredDamage(t *testing.T) {
	t.Parallel()
	r := rnd(t)
	seed := r.Uint64()
	for _, commits := range []int{0, 1500 + r.IntN(500)} {
		origin := filepath.Join(t.TempDir(), "origin")
		if _, err := Restore(origin, testOptions, bytes.NewReader(paddedSnapshot(t, seed, 40))); err != nil {
			t.Fatal(err)
		}
		if commits > 0 {
			crash(t, origin, seed, commits)
		}
		damage(t, r, seed, origin, 15, func(b []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b })
		damage(t, r, seed, origin, 10, func(b []byte) []byte { return b[:r.IntN(len(b))] })
		damage(t, r, seed, origin, 6, func([]byte) []byte { return nil })
		manifest, err := os.ReadFile(filepath.Join(origin, "MANIFEST"))
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(manifest); n += 1 + commits/40 {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filepath.Join(dir, "MANIFEST"), int64(n)); err != nil {
				t.Fatal(err)
			}
			if got := judge(t, dir, seed, "MANIFEST"); commits == 0 && got != "damaged at open" {
				t.Errorf("MANIFEST cut to %d of %d bytes: %s", n, len(manifest), got)
			}
		}
	}
}

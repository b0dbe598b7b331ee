package state

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// refused checks that Restore refuses b, and that it leaves nothing behind.
func refused(t *testing.T, what string, b []byte) error {
	t.Helper()
	return refusedFrom(t, what, bytes.NewReader(b))
}

func refusedFrom(t *testing.T, what string, r io.Reader) error {
	t.Helper()
	parent := t.TempDir()
	_, err := Restore(filepath.Join(parent, "p"), testOptions, r)
	if err == nil {
		t.Errorf("%s: restored", what)
	}
	left, _ := os.ReadDir(parent)
	if len(left) > 0 {
		t.Errorf("%s: it leaves %v", what, left)
	}
	return err
}

// small returns a snapshot with one key of each kind.
func small(t *testing.T) []byte {
	t.Helper()
	s := open(t, t.TempDir())
	defer s.Close()
	commit(t, s, "one", func(b *Batch) {
		b.Put("u:1", []byte("ada"), nil)
		b.Put("u:2", []byte("bob"), nil)
		b.Note("set", []byte("bags"))
		b.Schedule(5, "u:1")
	})
	return snapshot(t, s)
}

func TestRestoreFlip(t *testing.T) {
	t.Parallel()
	whole := small(t)
	parent := t.TempDir()
	dir := filepath.Join(parent, "p")
	for at := range whole {
		for bit := range 8 {
			b := slices.Clone(whole)
			b[at] ^= 1 << bit
			if _, err := Restore(dir, testOptions, bytes.NewReader(b)); !errors.Is(err, ErrDamaged) {
				t.Fatalf("bit %d of byte %d of %d: %v, want ErrDamaged", bit, at, len(whole), err)
			}
		}
	}
	if left, _ := os.ReadDir(parent); len(left) > 0 {
		t.Errorf("it leaves %v", left)
	}
}

func TestRestoreTruncated(t *testing.T) {
	t.Parallel()
	whole := small(t)
	parent := t.TempDir()
	for n := range whole {
		if _, err := Restore(filepath.Join(parent, "p"), testOptions, bytes.NewReader(whole[:n])); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%d bytes of %d: %v, want ErrDamaged", n, len(whole), err)
		}
	}
	if left, _ := os.ReadDir(parent); len(left) > 0 {
		t.Errorf("it leaves %v", left)
	}
}

// TestRestoreWrong: snapshots with right checksums but inconsistent content are
// refused.
func TestRestoreWrong(t *testing.T) {
	t.Parallel()
	type fields = map[string]any
	head := func(change ...any) fields {
		h := fields{"format": 1, "prefix": "x", "partitions": 8, "partition": 3, "cursor": []byte("one")}
		for i := 0; i < len(change); i += 2 {
			h[change[i].(string)] = change[i+1]
		}
		return h
	}
	cursor, seal := framed("c", "\x00\x00\x00\x00\x00\x00\x00\x01one"), framed("l\x00\x00\x00\x00\x00\x00\x00\x01", "")
	ada, bob := framed("eu:1", "ada"), framed("eu:2", "bob")
	one, two := strings.Repeat("1", len(digest{})), strings.Repeat("2", len(digest{}))
	good := forge(1, head(), 2, 0, concat(cursor, ada, bob, seal)...)
	pieces := forge(2, head("format", 2), 1, 0, concat(cursor, headed("eu:1", "\x06"+one+two), seal, framed("pu:1"+one, "ada"), framed("pu:1"+two, "bob"))...)
	for _, b := range [][]byte{good, pieces} {
		if _, err := Restore(filepath.Join(t.TempDir(), "p"), testOptions, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	for what, b := range map[string][]byte{
		"nothing":                nil,
		"trailing garbage":       append(slices.Clone(good), 'x'),
		"entities counted wrong": forge(1, head(), 3, 0, concat(cursor, ada, bob, seal)...),
		"timers counted wrong":   forge(1, head(), 2, 1, concat(cursor, ada, bob, seal)...),
		"out of order":           forge(1, head(), 2, 0, concat(cursor, bob, ada, seal)...),
		"twice":                  forge(1, head(), 2, 0, concat(cursor, ada, ada, seal)...),
		"no cursor":              forge(1, head(), 1, 0, concat(ada, seal)...),
		"another cursor":         forge(1, head("cursor", []byte("two")), 0, 0, concat(cursor, seal)...),
		"a cursor cut short":     forge(1, head(), 0, 0, concat(framed("c", "one"), seal)...),
		"no seal":                forge(1, head(), 1, 0, concat(cursor, ada)...),
		"another seal":           forge(1, head(), 0, 0, concat(cursor, framed("l\x00\x00\x00\x00\x00\x00\x00\x02", ""))...),
		"two seals":              forge(1, head(), 0, 0, concat(cursor, framed("l\x00\x00\x00\x00\x00\x00\x00\x00", ""), seal)...),
		"no seal's key":          forge(1, head(), 0, 0, concat(cursor, framed("l1", ""))...),
		"an identity":            forge(1, head(), 0, 0, concat(cursor, seal, framed("m", "{}"))...),
		"unknown key":            forge(1, head(), 0, 0, concat(cursor, seal, framed("x", ""))...),
		"two cursors":            forge(1, head(), 0, 0, concat(cursor, framed("c2", "\x00\x00\x00\x00\x00\x00\x00\x01one"), seal)...),
		"no frame":               forge(1, head(), 1, 0, concat(cursor, []string{"eu:1", "ada"}, seal)...),
		"another's frame":        forge(1, head(), 1, 0, concat(cursor, []string{"eu:1", bob[1]}, seal)...),
		"no timer's key":         forge(1, head(), 0, 1, concat(cursor, seal, []string{"t1", ""})...),
		"a timer with a value":   forge(1, head(), 0, 1, concat(cursor, seal, framed("t\x80\x00\x00\x00\x00\x00\x00\x05u:1", ""))...),
		"header no JSON":         forge(1, "x", 0, 0, concat(cursor, seal)...),
		"long key":               forge(1, head(), 1, 0, concat(cursor, framed("e"+strings.Repeat("x", maxKey), ""), seal)...),
		"a head of no pieces":    forge(2, head(), 1, 0, concat(cursor, headed("eu:1", "\x05abc"), seal)...),
		"a piece too few":        forge(2, head(), 1, 0, concat(cursor, headed("eu:1", "\x05"+one+two), seal, framed("pu:1"+one, "ada"))...),
		"a piece too many":       forge(2, head(), 2, 0, concat(cursor, ada, bob, seal, framed("pu:1"+one, "ada"))...),
		"a piece of another":     forge(2, head(), 1, 0, concat(cursor, headed("eu:1", "\x03"+one), seal, []string{"pu:1" + one, framed("pu:2"+one, "ada")[1]})...),
		"record of 1 TB":         append(good[:len(good)-25:len(good)-25], 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20),
	} {
		if err := refused(t, what, b); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", what, err)
		} else {
			t.Logf("%s: %v", what, err)
		}
	}
	for what, b := range map[string][]byte{
		"prefix":     forge(1, head("prefix", "y"), 2, 0, concat(cursor, ada, bob, seal)...),
		"partitions": forge(1, head("partitions", 16), 2, 0, concat(cursor, ada, bob, seal)...),
		"partition":  forge(1, head("partition", 4), 2, 0, concat(cursor, ada, bob, seal)...),
	} {
		if err := refused(t, what, b); !errors.Is(err, ErrForeign) {
			t.Errorf("another %s: %v, want ErrForeign", what, err)
		} else {
			t.Log(err)
		}
	}
	for what, b := range map[string][]byte{
		"snapshot": forge(3, []int{3}, 0, 0),
		"state":    forge(1, head("format", 3), 2, 0, concat(cursor, ada, bob, seal)...),
	} {
		if err := refused(t, what, b); !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
			t.Errorf("newer %s: %v", what, err)
		} else {
			t.Log(err)
		}
	}
	// An error of the reader is returned as it is: it does not mean damage.
	away := errors.New("away")
	for n := range good {
		err := refusedFrom(t, "away", io.MultiReader(bytes.NewReader(good[:n]), failing{away}))
		if !errors.Is(err, away) || errors.Is(err, ErrDamaged) {
			t.Fatalf("after %d bytes: %v, want the reader's", n, err)
		}
	}
}

// TestRestoreReaders: the size of the reads does not matter, and Restore accepts
// an existing, empty directory.
func TestRestoreReaders(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	defer s.Close()
	big := strings.Repeat("large", 8_000) // it repeats, and so do its pieces
	huge := string(random(rnd(t), 60_000))
	commit(t, s, "one", func(b *Batch) {
		b.Put("u:1", []byte("first"), nil)
		b.Put("u:2", []byte(big), nil)
		b.Put("u:3", []byte(huge), nil)
	})
	b := snapshot(t, s)
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(b), "one byte": iotest.OneByteReader(bytes.NewReader(b)),
		"half": iotest.HalfReader(bytes.NewReader(b)), "end with data": iotest.DataErrReader(bytes.NewReader(b)),
	} {
		dir := t.TempDir()
		if _, err := Restore(dir, testOptions, r); err != nil {
			t.Fatal(name, err)
		}
		s := open(t, dir)
		if entity(t, s, "u:1") != "first" || entity(t, s, "u:2") != big || entity(t, s, "u:3") != huge {
			t.Errorf("%s: other entities", name)
		}
		s.Close()
	}
}

// TestRestoreOver: a directory that holds a store is refused and not changed.
func TestRestoreOver(t *testing.T) {
	b, dir := small(t), t.TempDir()
	s := open(t, dir)
	commit(t, s, "other", func(b *Batch) { b.Put("u:9", []byte("zoe"), nil) })
	s.Close()
	if _, err := Restore(dir, testOptions, bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), "discard it first") {
		t.Fatalf("restored over another: %v", err)
	}
	s = open(t, dir)
	defer s.Close()
	if entity(t, s, "u:9") != "zoe" || entity(t, s, "u:1") != "none" {
		t.Error("what was there has changed")
	}
}

// TestRestoreMemory: a length in the snapshot allocates no memory before its
// bytes have been read.
func TestRestoreMemory(t *testing.T) {
	b := small(t)
	b = append(b[:len(b)-25], 1, 0xff, 0xff, 0xff, 0x1f) // 64 MB
	b = append(b, make([]byte, snapshotPiece*3/2)...)
	in := newSnapshotReader(bytes.NewReader(b))
	_, err := in.header(testIdentity)
	for err == nil {
		_, _, err = in.record()
	}
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "ends early") || cap(in.buf) > 4*snapshotPiece {
		t.Errorf("%d bytes are held, %v", cap(in.buf), err)
	}
}

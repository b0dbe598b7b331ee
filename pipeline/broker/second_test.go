package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/broker/embedded"
)

func putSecond(t *testing.T, c *Conn, p int, name SecondName, kept bool, n int64) []byte {
	t.Helper()
	r := newNoise(byte(name.Seq), n)
	if err := c.PutSecond(limited(t), p, name, kept, map[string]string{"seq": fmt.Sprint(name.Seq)}, r); err != nil {
		t.Fatal(err)
	}
	return r.sum.Sum(nil)
}

// seconds are a partition's second states, such as "aa/3/9 kept", the newest first.
func seconds(t *testing.T, c *Conn, p int) (all []SecondMeta, names string) {
	t.Helper()
	all, err := c.Seconds(limited(t), p)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, ", %s/%d/%d", m.Name.Set, m.Name.From, m.Name.Seq)
		if m.Kept {
			b.WriteString(" kept")
		}
	}
	return all, strings.TrimPrefix(b.String(), ", ")
}

// objects are the subjects in the bucket.
func objects(t *testing.T, c *Conn) []string {
	t.Helper()
	all, err := c.Wire.Subjects(limited(t), c.Names.snapshotsStream(), ">")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// TestSeconds: second states lie beside snapshots, which they do not change. The last
// one that shows progress is kept, and each that is made for a switch as long as the
// log has the message after it.
func TestSeconds(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 12, Prefix: "x"})
	if all, _ := seconds(t, c, 1); len(all) > 0 {
		t.Errorf("there are %v", all)
	}
	const set = "0123456789abcdef"
	name := func(from, seq uint64) SecondName { return SecondName{Set: set, Engine: 4, From: from, Seq: seq} }
	is := func(what, want string) []SecondMeta {
		t.Helper()
		all, got := seconds(t, c, 1)
		if want = strings.ReplaceAll(want, "s/", set+"/"); got != want {
			t.Errorf("%s: there are %s, want %s", what, got, want)
		}
		return all
	}
	sum := putSecond(t, c, 1, name(3, 9), false, 3<<20)
	putSecond(t, c, 11, name(3, 8), false, 10)
	m := is("one", "s/3/9")[0]
	if m.Partition != 1 || m.Seq != 9 || m.Name != name(3, 9) || m.Kept || m.Bytes != 3<<20 || m.Time.IsZero() || m.Metadata["seq"] != "9" {
		t.Errorf("%+v", m)
	}
	r, err := c.OpenSecond(limited(t), m)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil || !bytes.Equal(h.Sum(nil), sum) {
		t.Errorf("other bytes come back, %v", err)
	}
	r.Close()
	for _, seq := range []uint64{20, 21, 22} {
		putSnapshot(t, c, 1, seq, 10)
	}
	if got := seqs(snapshots(t, c, 1)); got != "22 21 20" {
		t.Errorf("snapshots are %s", got)
	}
	if newest, err := c.NewestSnapshots(limited(t)); err != nil || len(newest) != 1 || newest[1].Kept != 3 || newest[1].Seq != 22 {
		t.Errorf("the newest snapshots are %+v, %v", newest, err)
	}
	is("after snapshots", "s/3/9")
	putSecond(t, c, 1, name(3, 10), false, 2<<20)
	is("progress", "s/3/10")
	putSecond(t, c, 1, name(3, 12), true, 2<<20)
	is("for a switch", "s/3/12 kept, s/3/10")
	putSecond(t, c, 1, name(5, 11), false, 10)
	is("another one begins", "s/3/12 kept, s/5/11")
	putSecond(t, c, 1, name(5, 12), true, 10)
	putSecond(t, c, 1, name(5, 13), false, 10)
	if all := is("for another switch", "s/5/13, s/5/12 kept, s/3/12 kept"); all[2].Bytes != 2<<20 {
		t.Errorf("%+v", all)
	}
	if err := c.DropSnapshots(limited(t), 1, func(uint64) bool { return true }); err != nil {
		t.Fatal(err)
	}
	is("without snapshots", "s/5/13, s/5/12 kept, s/3/12 kept")

	// One that is kept is never replaced; another one is, with its pieces.
	read := errors.New("it was read")
	for _, kept := range []bool{true, false} {
		if err := c.PutSecond(limited(t), 1, name(5, 12), kept, nil, failing{strings.NewReader(""), read}); err != nil {
			t.Error(err)
		}
	}
	// But for one of another log.
	if err := c.PutSecond(limited(t), 1, name(5, 12), true, map[string]string{StoredKey: "7"}, newNoise(1, 10)); err != nil {
		t.Error(err)
	}
	if all := is("another log", "s/5/13, s/5/12 kept, s/3/12 kept"); all[1].Metadata[StoredKey] != "7" {
		t.Errorf("%+v", all)
	}
	putSecond(t, c, 1, name(5, 13), false, 20)
	if all := is("again", "s/5/13, s/5/12 kept, s/3/12 kept"); all[0].Bytes != 20 || all[1].Bytes != 10 {
		t.Errorf("%+v", all)
	}
	putSecond(t, c, 1, name(5, 13), true, 30)
	if all := is("progress becomes the one for a switch", "s/5/13 kept, s/5/12 kept, s/3/12 kept"); all[0].Bytes != 30 {
		t.Errorf("%+v", all)
	}
	if n := len(objects(t, c)); n != 2*(3+1) { // metadata and pieces: three, and one of the other partition
		t.Errorf("what was removed left something: %v", objects(t, c))
	}

	expire(t, c, 1, 13)
	putSnapshot(t, c, 1, 30, 10)
	is("the log has the message after each", "s/5/13 kept, s/5/12 kept, s/3/12 kept")
	expire(t, c, 1, 14)
	putSnapshot(t, c, 1, 31, 10)
	is("the log has expired, and a snapshot is stored", "s/5/13 kept")
	expire(t, c, 1, 15)
	putSecond(t, c, 1, name(9, 14), false, 10)
	is("the log has expired further", "s/9/14")
	putSecond(t, c, 1, name(9, 15), true, 10)
	if err := c.DropSeconds(limited(t), 1, func(m SecondMeta) bool { return m.Name.Set == set && !m.Kept }); err != nil {
		t.Fatal(err)
	}
	is("progress is dropped", "s/9/15 kept")
	if _, got := seconds(t, c, 11); got != set+"/3/8" {
		t.Errorf("the other partition has %s", got)
	}
}

// TestNeedlessSeconds: of second states that show progress the last stored one is
// kept, though another one may be further.
func TestNeedlessSeconds(t *testing.T) {
	at := func(seq uint64, minute int, kept bool) SecondMeta {
		return SecondMeta{SnapshotMeta: SnapshotMeta{Seq: seq, Time: time.Date(2026, 3, 1, 12, minute, 0, 0, time.UTC)}, Name: SecondName{Seq: seq}, Kept: kept}
	}
	for _, tc := range []struct {
		name  string
		all   []SecondMeta
		first uint64
		want  string
	}{
		{"none", nil, 5, ""},
		{"progress", []SecondMeta{at(9, 1, false)}, 5, ""},
		{"progress that was stored later", []SecondMeta{at(9, 1, false), at(8, 2, false), at(7, 0, false)}, 5, "9 7"},
		{"for switches", []SecondMeta{at(9, 1, false), at(8, 2, true), at(7, 3, true)}, 8, ""},
		{"the log is gone", []SecondMeta{at(9, 1, false), at(8, 2, true), at(7, 3, true)}, 10, "8 7"},
		{"all of it is gone", []SecondMeta{at(9, 1, false), at(8, 2, true)}, 11, "9 8"},
	} {
		var got []string
		for _, m := range needlessSeconds(tc.all, tc.first) {
			got = append(got, fmt.Sprint(m.Seq))
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: needless are %v, want %s", tc.name, got, tc.want)
		}
	}
}

// TestSecondCut: an upload that fails leaves nothing. The pieces of one whose process
// is gone are removed when they are old: a newer one may be under way.
func TestSecondCut(t *testing.T) {
	t.Parallel()
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s, Partitions: 1})
	name := SecondName{Set: "aa", Engine: 4, Seq: 5}
	broken := errors.New("the disk is broken")
	if err := c.PutSecond(limited(t), 0, name, true, nil, failing{newNoise(2, 5<<20), broken}); !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(limited(t))
	if err := c.PutSecond(ctx, 0, name, false, nil, calling(newNoise(2, 5<<20), cancel, newNoise(3, 5<<20))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	await(t, "nothing is left", func() bool { return len(objects(t, c)) == 0 })
	other := dial(t, Options{InProcess: s})
	if err := other.PutSecond(limited(t), 0, name, false, nil, calling(newNoise(2, 5<<20), other.Close, newNoise(3, 5<<20))); err == nil {
		t.Error("it was put over a connection that was closed")
	}
	putSecond(t, c, 0, SecondName{Set: "aa", Engine: 4, Seq: 9}, false, 10)
	if n := len(objects(t, c)); n != 1+2 {
		t.Errorf("pieces that may be of an upload under way are removed: %v", objects(t, c))
	}
	c.Wire = aheadWire{c.Wire, abandonedAfter}
	if err := c.DropSeconds(limited(t), 0, func(SecondMeta) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if n := len(objects(t, c)); n != 2 {
		t.Errorf("pieces of an upload that has ended long ago stay: %v", objects(t, c))
	}
	all, _ := seconds(t, c, 0)
	st, err := c.JS.Stream(limited(t), "OBJ_SNAPSHOTS")
	if err == nil {
		err = st.Purge(limited(t), jetstream.WithPurgeSubject(c.Names.pieceSubject(all[0].object.NUID)))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.OpenSecond(limited(t), all[0]); !errors.Is(err, ErrSnapshotGone) || !strings.Contains(err.Error(), "second state of partition 0 at message 9") {
		t.Errorf("without pieces: %v", err)
	}
}

// An aheadWire shows a server's clock that is ahead.
type aheadWire struct {
	Wire
	by time.Duration
}

func (w aheadWire) Clock(ctx context.Context, stream string) (int64, error) {
	ns, err := w.Wire.Clock(ctx, stream)
	return ns + int64(w.by), err
}

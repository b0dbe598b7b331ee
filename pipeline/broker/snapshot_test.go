package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/broker/embedded"
)

// noise is a reader of pseudo-random bytes, with the checksum of those read.
type noise struct {
	from *rand.ChaCha8
	left int64
	sum  hash.Hash
}

func newNoise(seed byte, n int64) *noise {
	return &noise{rand.NewChaCha8([32]byte{seed}), n, sha256.New()}
}

func (r *noise) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, _ := r.from.Read(p[:min(int64(len(p)), r.left, 300_000)]) // fewer bytes than requested
	r.sum.Write(p[:n])
	r.left -= int64(n)
	return n, nil
}

func putSnapshot(t *testing.T, c *Conn, p int, seq uint64, n int64) []byte {
	t.Helper()
	r := newNoise(byte(seq), n)
	if err := c.PutSnapshot(limited(t), p, seq, map[string]string{"seq": fmt.Sprint(seq)}, r); err != nil {
		t.Fatal(err)
	}
	return r.sum.Sum(nil)
}

func snapshots(t *testing.T, c *Conn, p int) []SnapshotMeta {
	t.Helper()
	all, err := c.Snapshots(limited(t), p)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func seqs(all []SnapshotMeta) string {
	var b strings.Builder
	for _, m := range all {
		fmt.Fprint(&b, m.Seq, " ")
	}
	return strings.TrimSpace(b.String())
}

// expire makes a partition's log begin at a message.
func expire(t *testing.T, c *Conn, p int, first uint64) {
	t.Helper()
	st, err := c.JS.Stream(limited(t), c.Names.EventsStream(p))
	if err == nil {
		err = st.Purge(limited(t), jetstream.WithPurgeSequence(first))
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := c.Extent(limited(t), p); err != nil || got != first {
		t.Fatalf("the log begins at message %d, %v", got, err)
	}
}

// TestKept: of the snapshots the last two are kept, and the first of each day to which
// the log reaches back, whichever came and went before.
func TestKept(t *testing.T) {
	at := func(day, hour int) time.Time { return time.Date(2026, 3, day, hour, 0, 0, 0, time.UTC) }
	vienna := time.FixedZone("", 3600)
	for _, tc := range []struct {
		name  string
		all   []SnapshotMeta // the newest first
		first uint64
		want  string
	}{
		{"none", nil, 1, ""},
		{"one", []SnapshotMeta{{Seq: 5, Time: at(1, 9)}}, 1, "5"},
		{"one that is of no use", []SnapshotMeta{{Seq: 5, Time: at(1, 9)}}, 50, "5"},
		{"one day", []SnapshotMeta{{Seq: 9, Time: at(1, 12)}, {Seq: 8, Time: at(1, 11)}, {Seq: 7, Time: at(1, 10)}, {Seq: 6, Time: at(1, 9)}}, 1, "9 8 6"},
		{"days", []SnapshotMeta{{Seq: 9, Time: at(3, 12)}, {Seq: 8, Time: at(3, 0)}, {Seq: 7, Time: at(2, 23)}, {Seq: 6, Time: at(2, 1)}, {Seq: 5, Time: at(1, 23)}}, 1, "9 8 6 5"},
		{"days in UTC", []SnapshotMeta{{Seq: 9, Time: at(4, 0)}, {Seq: 8, Time: at(4, 0)}, {Seq: 7, Time: at(2, 23).In(vienna)}, {Seq: 6, Time: at(2, 1)}}, 1, "9 8 6"},
		{"the log begins behind one", []SnapshotMeta{{Seq: 9, Time: at(4, 9)}, {Seq: 8, Time: at(4, 8)}, {Seq: 7, Time: at(3, 9)}, {Seq: 6, Time: at(2, 1)}}, 8, "9 8 7"},
		{"the log begins behind two", []SnapshotMeta{{Seq: 9, Time: at(4, 9)}, {Seq: 8, Time: at(4, 8)}, {Seq: 7, Time: at(3, 9)}, {Seq: 6, Time: at(2, 1)}}, 9, "9 8"},
		{"the log is shorter than a day", []SnapshotMeta{{Seq: 9, Time: at(1, 12)}, {Seq: 8, Time: at(1, 11)}, {Seq: 7, Time: at(1, 10)}, {Seq: 6, Time: at(1, 9)}}, 8, "9 8 7"},
		{"one put again, later than a newer one", []SnapshotMeta{{Seq: 9, Time: at(1, 9)}, {Seq: 8, Time: at(1, 8)}, {Seq: 7, Time: at(1, 7)}, {Seq: 5, Time: at(1, 10)}}, 1, "9 8 7"},
	} {
		var left []SnapshotMeta
		for i, keep := range kept(tc.all, tc.first) {
			if keep {
				left = append(left, tc.all[i])
			}
		}
		if got := seqs(left); got != tc.want {
			t.Errorf("%s: kept are %s, want %s", tc.name, got, tc.want)
		}
		if again := kept(left, tc.first); slices.Contains(again, false) {
			t.Errorf("%s: the next time fewer are kept: %v", tc.name, again)
		}
	}
	// Over a year with a snapshot every hour, and a log of a week: what is kept never
	// moves, there are at most ten, and the oldest is at most a day behind the log's
	// first message.
	var left []SnapshotMeta
	for hour := range uint64(365 * 24) {
		now := SnapshotMeta{Seq: hour + 1, Time: at(1, 0).Add(time.Duration(hour) * time.Hour)}
		first := uint64(1)
		if hour > 7*24 {
			first = hour - 7*24
		}
		all := append([]SnapshotMeta{now}, left...)
		left = nil
		for i, keep := range kept(all, first) {
			if keep {
				left = append(left, all[i])
			}
		}
		oldest := left[len(left)-1].Seq
		if len(left) > 10 || oldest+1 < first || oldest > first+24 || left[0].Seq != now.Seq {
			t.Fatalf("after %d hours the log begins at %d, kept are %s", hour, first, seqs(left))
		}
	}
}

func openSnapshot(t *testing.T, c *Conn, m SnapshotMeta) io.ReadCloser {
	t.Helper()
	r, err := c.OpenSnapshot(limited(t), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 12, Prefix: "x"})
	if all := snapshots(t, c, 1); len(all) > 0 {
		t.Errorf("there are %v", all)
	}
	for i, n := range []int64{20 << 20, 20<<20 + 1, 1, 0} {
		seq := uint64(9 + i) // 9 and 10 show that the order is by number, not by text
		sum := putSnapshot(t, c, 1, seq, n)
		putSnapshot(t, c, 11, seq, 10)
		m := snapshots(t, c, 1)[0]
		if m.Partition != 1 || m.Seq != seq || m.Bytes != n || m.Time.IsZero() || !maps.Equal(m.Metadata, map[string]string{"seq": fmt.Sprint(seq)}) {
			t.Errorf("put %d bytes at %d: %+v", n, seq, m)
		}
		h := sha256.New()
		r := openSnapshot(t, c, m)
		got, err := io.Copy(h, r)
		if err != nil || got != n || !bytes.Equal(h.Sum(nil), sum) {
			t.Errorf("of %d bytes %d came back, the same: %v, %v", n, got, bytes.Equal(h.Sum(nil), sum), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	all := snapshots(t, c, 1)
	if got := seqs(all); got != "12 11 9" {
		if day := time.Now().UTC().Day(); day != all[len(all)-1].Time.UTC().Day() {
			t.Skip("midnight, UTC, has passed meanwhile, so more are kept")
		}
		t.Errorf("kept are %s", got)
	}
	for _, p := range []int{1, 11} {
		expire(t, c, p, 11)
		putSnapshot(t, c, p, 13, int64(p-1))
	}
	if got := seqs(snapshots(t, c, 1)) + ", " + seqs(snapshots(t, c, 11)); got != "13 12 11, 13 12 11" {
		t.Errorf("when the log has expired to message 11, kept are %s", got)
	}
	newest, err := c.NewestSnapshots(limited(t))
	if err != nil || len(newest) != 2 || newest[1].Seq != 13 || newest[11].Seq != 13 || newest[11].Bytes != 10 || newest[11].Time.IsZero() || newest[11].Kept != 3 || !newest[11].Oldest.Equal(snapshots(t, c, 11)[2].Time) {
		t.Errorf("the newest of each: %+v, %v", newest, err)
	}
	st, err := c.JS.Stream(limited(t), "OBJ_X-SNAPSHOTS")
	if err != nil {
		t.Fatal(err)
	}
	info, err := st.Info(limited(t), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(info.State.Subjects); n != 6+4 { // six metadata messages, and the pieces of four: two snapshots are empty
		t.Errorf("what was removed left something: %v", info.State.Subjects)
	}
	// The bucket is a regular object store for other clients.
	store, err := c.JS.ObjectStore(limited(t), "X-SNAPSHOTS")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := store.GetBytes(limited(t), fmt.Sprintf("1/%020d", 11)); err != nil || len(b) != 1 {
		t.Errorf("as an object: %q, %v", b, err)
	}
}

// TestSnapshotAgain: storing the same snapshot again replaces it; a snapshot older
// than those that are kept is removed at once.
func TestSnapshotAgain(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	putSnapshot(t, c, 0, 5, 100)
	putSnapshot(t, c, 0, 5, 200)
	putSnapshot(t, c, 0, 7, 100)
	putSnapshot(t, c, 0, 3, 100)
	all := snapshots(t, c, 0)
	if got := seqs(all); got != "7 5" {
		t.Errorf("kept are %s", got)
	}
	if n, err := io.Copy(io.Discard, openSnapshot(t, c, all[1])); n != 200 || err != nil {
		t.Errorf("put again: %d bytes, %v", n, err)
	}
}

// failing makes a reader end with an error.
type failing struct {
	io.Reader
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

// calling reads first, calls fn at its end, and goes on with then.
func calling(first io.Reader, fn func(), then io.Reader) io.Reader {
	return io.MultiReader(first, readerFunc(func([]byte) (int, error) { fn(); return 0, io.EOF }), then)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestSnapshotCut: an interrupted upload is not listed, and its pieces are
// removed at once, or when two later snapshots exist.
func TestSnapshotCut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, embedded.Options{Dir: dir})
	c := dial(t, Options{InProcess: s, Partitions: 1})
	expire(t, c, 0, 100) // so that no first one of a day is kept
	sum := putSnapshot(t, c, 0, 1, 3<<20)
	pieces := func(want int, what string) {
		t.Helper()
		await(t, what, func() bool {
			all, err := c.Wire.Subjects(limited(t), "OBJ_SNAPSHOTS", "$O.SNAPSHOTS.C.>")
			return err == nil && len(all) == want
		})
	}

	broken := errors.New("the disk is broken")
	if err := c.PutSnapshot(limited(t), 0, 2, nil, failing{newNoise(2, 5<<20), broken}); !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
	pieces(1, "the pieces of the one that failed are removed")
	ctx, cancel := context.WithCancel(limited(t))
	if err := c.PutSnapshot(ctx, 0, 2, nil, calling(newNoise(2, 5<<20), cancel, newNoise(3, 5<<20))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	pieces(1, "the pieces of the one that was cancelled are removed")
	other := dial(t, Options{InProcess: s})
	if err := other.PutSnapshot(limited(t), 0, 2, nil, calling(newNoise(2, 5<<20), other.Close, newNoise(3, 5<<20))); err == nil {
		t.Error("it was put over a connection that was closed")
	}
	all := snapshots(t, c, 0)
	if got := seqs(all); got != "1" {
		t.Errorf("listed are %s", got)
	}
	h := sha256.New()
	if _, err := io.Copy(h, openSnapshot(t, c, all[0])); err != nil || !bytes.Equal(h.Sum(nil), sum) {
		t.Errorf("the one before, afterwards: %v", err)
	}
	pieces(2, "pieces of one whose process is gone")
	putSnapshot(t, c, 0, 3, 10)
	pieces(3, "the next one leaves them, as they may be on their way")
	putSnapshot(t, c, 0, 4, 10)
	pieces(2, "when there are two later ones they are removed, and the first too")
}

// TestSnapshotReadMeanwhile: a snapshot can be read while others are stored, until
// it is removed.
func TestSnapshotReadMeanwhile(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	const size = 20 << 20
	expire(t, c, 0, 100) // so that no first one of a day is kept
	sum := putSnapshot(t, c, 0, 1, size)
	first := snapshots(t, c, 0)[0]
	h, half := sha256.New(), openSnapshot(t, c, first)
	if _, err := io.CopyN(h, half, size/2); err != nil {
		t.Fatal(err)
	}
	gone := openSnapshot(t, c, first)
	if _, err := io.CopyN(io.Discard, gone, 1); err != nil {
		t.Fatal(err)
	}
	putSnapshot(t, c, 0, 2, size)
	if _, err := io.Copy(h, half); err != nil || !bytes.Equal(h.Sum(nil), sum) {
		t.Errorf("read while another was put: the same %v, %v", bytes.Equal(h.Sum(nil), sum), err)
	}
	putSnapshot(t, c, 0, 3, size)
	if _, err := io.Copy(io.Discard, gone); !errors.Is(err, ErrSnapshotGone) {
		t.Errorf("removed while it is read: %v", err)
	}
	if _, err := c.OpenSnapshot(limited(t), first); !errors.Is(err, ErrSnapshotGone) {
		t.Errorf("removed before it is read: %v", err)
	}

	// Close, and the end of its context, end a read.
	ctx, cancel := context.WithCancel(limited(t))
	r, err := c.OpenSnapshot(ctx, snapshots(t, c, 0)[0])
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	r.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("it can be read after Close")
	}
}

// TestSnapshotDamaged: if the bytes are not those that were stored, reading ends
// with an error.
func TestSnapshotDamaged(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	putSnapshot(t, c, 0, 1, 3<<20)
	m := snapshots(t, c, 0)[0]
	subject := c.Names.pieceSubject(m.object.NUID)
	st, err := c.JS.Stream(limited(t), "OBJ_SNAPSHOTS")
	if err == nil {
		err = st.Purge(limited(t), jetstream.WithPurgeSubject(subject))
	}
	if err != nil {
		t.Fatal(err)
	}
	for seed := range byte(3) {
		b := make([]byte, 1<<20)
		newNoise(seed, 1<<20).Read(b)
		if _, err := c.JS.Publish(limited(t), subject, b); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := io.Copy(io.Discard, openSnapshot(t, c, m)); n != 3<<20 || !errors.Is(err, ErrSnapshotDamaged) {
		t.Errorf("%d bytes, %v", n, err)
	}
	m.object.Chunks++
	if _, err := c.OpenSnapshot(limited(t), m); !errors.Is(err, ErrSnapshotGone) {
		t.Errorf("a piece is missing: %v", err)
	}
}

// TestSnapshotsBucketDeleted: if the bucket is deleted, the next PutSnapshot makes
// it anew.
func TestSnapshotsBucketDeleted(t *testing.T) {
	var log lines
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	putSnapshot(t, c, 0, 1, 10)
	if err := c.JS.DeleteObjectStore(limited(t), "SNAPSHOTS"); err != nil {
		t.Fatal(err)
	}
	if all := snapshots(t, c, 0); len(all) > 0 {
		t.Errorf("there are %v", all)
	}
	putSnapshot(t, c, 0, 2, 10)
	if got := seqs(snapshots(t, c, 0)); got != "2" || !strings.Contains(log.String(), "making it anew") {
		t.Errorf("there are %s; the log:\n%s", got, log.String())
	}
}

// BenchmarkSnapshot stores and reads 100 MB and 600 MB; -benchtime=3x is enough.
func BenchmarkSnapshot(b *testing.B) {
	for _, sync := range []bool{false, true} {
		s, err := embedded.Start(embedded.Options{Dir: b.TempDir(), Port: -1, SyncAlways: sync, Log: quiet()})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Shutdown()
		c, err := Connect(b.Context(), Options{URL: s.ClientURL(), Partitions: 1, Log: quiet()})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		for _, size := range []int64{100 << 20, 600 << 20} {
			data := make([]byte, 1<<20)
			newNoise(1, 300_000).Read(data)
			seq := uint64(size)
			b.Run(fmt.Sprintf("put/sync=%v/%dMB", sync, size>>20), func(b *testing.B) {
				b.SetBytes(size)
				for range b.N {
					seq++
					if err := c.PutSnapshot(b.Context(), 0, seq, nil, io.LimitReader(repeated{data}, size)); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("get/sync=%v/%dMB", sync, size>>20), func(b *testing.B) {
				b.SetBytes(size)
				all, err := c.Snapshots(b.Context(), 0)
				if err != nil {
					b.Fatal(err)
				}
				for range b.N {
					r, err := c.OpenSnapshot(b.Context(), all[0])
					if err != nil {
						b.Fatal(err)
					}
					if n, err := io.Copy(io.Discard, r); n != size || err != nil {
						b.Fatal(n, err)
					}
					r.Close()
				}
			})
		}
	}
}

type repeated struct{ data []byte }

func (r repeated) Read(p []byte) (int, error) { return copy(p, r.data), nil }

package worker

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// snapshotted waits for snapshots of both partitions that reach the ends of the
// logs.
func snapshotted(t *testing.T, c *broker.Conn) {
	t.Helper()
	await(t, "snapshots", func() bool {
		for p := range c.Partitions {
			metas, err := c.Snapshots(within(t), p)
			_, last, errLog := c.Extent(within(t), p)
			if err != nil || errLog != nil || len(metas) == 0 || metas[0].Seq < last {
				return false
			}
		}
		return true
	})
}

// TestRestore removes a worker's state after the log's beginning has expired: the
// worker goes on from a snapshot. Without one it stops loudly.
func TestRestore(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 2)
	s := write(t, 7, 2)
	hash := apply(t, c, s.def)
	often := func(o *Options) { o.Snapshot = 50 * time.Millisecond }
	dir := t.TempDir()
	w := start(t, ns.ClientURL(), dir, often)
	w.inForce(t, hash)
	half := len(s.packs) / 2
	publish(t, c, s.packs[:half])
	w.applied(t, c)
	snapshotted(t, c)
	w.stop(t)
	for p := range 2 {
		st, err := c.JS.Stream(within(t), c.Names.EventsStream(p))
		if err == nil {
			err = st.Purge(within(t), jetstream.WithPurgeSequence(st.CachedInfo().State.LastSeq+1)) // all messages so far
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	w = start(t, ns.ClientURL(), dir, often)
	publish(t, c, s.packs[half:])
	w.applied(t, c)
	same(t, stored(t, c), s.want)
	w.stop(t)

	// Without the bucket of snapshots the partition stops loudly.
	if err := c.JS.DeleteObjectStore(within(t), c.Names.SnapshotsBucket()); err != nil {
		t.Fatal(err)
	}
	start(t, ns.ClientURL(), t.TempDir(), nil).stopsLoudly(t, "expired")
}

// TestRestorePassesOver: a snapshot of a newer version and a damaged snapshot are
// left alone, and nothing is lost.
func TestRestorePassesOver(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, views(t, 1))
	dir := t.TempDir()
	w := start(t, ns.ClientURL(), dir, nil)
	w.inForce(t, hash)
	for i := range 5 {
		publish(t, c, []scripted{{0, view(i, "ada")}})
	}
	w.applied(t, c)
	w.stop(t)
	put := func(seq uint64, engine int, data []byte) {
		t.Helper()
		if err := c.PutSnapshot(within(t), 0, seq, map[string]string{"engine": fmt.Sprint(engine), "records": fmt.Sprint(pipeline.RecordVersion)}, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	put(4, pipeline.Engine+1, []byte("what only a newer version reads"))
	put(3, pipeline.Engine, []byte("garbage"))
	passesOver := func(words ...string) {
		t.Helper()
		log := &said{}
		w = start(t, ns.ClientURL(), t.TempDir(), func(o *Options) { o.Log = log.logger() })
		w.inForce(t, hash)
		for _, what := range words {
			if !strings.Contains(log.String(), what) {
				t.Errorf("the log does not say %q:\n%s", what, log)
			}
		}
	}
	passesOver("a snapshot is of a newer version: it is left alone; run the newer binary to use it", "the snapshot ends early")
	w.stop(t)
	newer := append([]byte("OFFERSNP\x00\x00\x00\x03\x00\x00\x00\x01"), 'x') // same engine, newer format
	put(5, pipeline.Engine, binary.BigEndian.AppendUint64(newer, xxhash.Sum64(newer)))
	passesOver("the snapshot's format is 3 and this binary knows 2: use the newer binary")
	publish(t, c, []scripted{{0, view(5, "ada")}})
	w.applied(t, c)
	if n := len(stored(t, c)); n != 6 {
		t.Errorf("%d offers, want 6", n)
	}
	verified(t, c)
}

// TestSnapshotOnRelease: a partition that is given up to another member leaves a
// snapshot.
func TestSnapshotOnRelease(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 8)
	hash := apply(t, c, views(t, 1))
	a := start(t, ns.ClientURL(), t.TempDir(), nil)
	a.inForce(t, hash)
	b := start(t, ns.ClientURL(), t.TempDir(), nil)
	own := owned(t, []*running{a, b}, 8, 0)
	await(t, "snapshots of what has moved", func() bool {
		for p, w := range own {
			if metas, err := c.Snapshots(within(t), p); w == b && (err != nil || len(metas) == 0) {
				return false
			}
		}
		return true
	})
}

// A movingStore stores a checkpoint just before its snapshot is made.
type movingStore struct {
	checkpoint.Store
	next []byte
}

func (s movingStore) Snapshot(w io.Writer) (state.SnapshotInfo, error) {
	if err := s.Commit(s.NewBatch(), s.next); err != nil {
		return state.SnapshotInfo{}, err
	}
	return s.Store.Snapshot(w)
}

// TestSnapshotMetadata: a snapshot's metadata is that of the state in it, though a
// checkpoint is stored meanwhile.
func TestSnapshotMetadata(t *testing.T) {
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	w, err := New(Options{Dir: t.TempDir(), Log: quiet(), Connect: func(ctx context.Context) (*broker.Conn, error) {
		return broker.Connect(ctx, broker.Options{URL: ns.ClientURL(), Client: "worker", Log: quiet()})
	}})
	if err != nil {
		t.Fatal(err)
	}
	var cursors [][]byte
	for _, c := range []pipeline.Cursor{{Seq: 7, Stored: 1}, {Seq: 8, Stored: 2, Within: 1, Partly: 3, Accepted: 2}} {
		b, err := c.JSON()
		if err != nil {
			t.Fatal(err)
		}
		cursors = append(cursors, b)
	}
	p := newPartition(w, 0, state.Identity{Partitions: 1})
	store := state.NewMemory(state.Limit{Entries: 10, Bytes: 1 << 20})
	if err := store.Commit(store.NewBatch(), cursors[0]); err != nil {
		t.Fatal(err)
	}
	p.store = movingStore{store, cursors[1]}
	if err := p.archive(within(t), c, 7); err != nil {
		t.Fatal(err)
	}
	all, err := c.Snapshots(within(t), 0)
	if err != nil || len(all) != 1 || checkpoint.Whole(all[0]) || !checkpoint.HasFolded(all[0], 2) {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestArchiveSeconds: second states are stored and read through the archive. One that
// is kept is not stored twice.
func TestArchiveSeconds(t *testing.T) {
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	var arch checkpoint.Archive = checkpoint.Objects{Conn: c, Connect: func(ctx context.Context) (*broker.Conn, error) {
		return broker.Connect(ctx, broker.Options{URL: ns.ClientURL(), Client: "worker", Log: quiet()})
	}}
	name := broker.SecondName{Set: "aa", Engine: 4, From: 3, Seq: 9}
	for _, text := range []string{"one", "two"} {
		if err := arch.PutSecond(within(t), 0, name, true, checkpoint.Metadata(pipeline.Cursor{Seq: 9}), func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := arch.Seconds(within(t), 0)
	if err != nil || len(all) != 1 || all[0].Name != name || !all[0].Kept || !checkpoint.Whole(all[0].SnapshotMeta) {
		t.Fatalf("%+v, %v", all, err)
	}
	r, err := arch.OpenSecond(within(t), all[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
	if err := arch.DropSeconds(within(t), 0, func(m broker.SecondMeta) bool { return m.Name == name }); err != nil {
		t.Fatal(err)
	}
	if all, err := arch.Seconds(within(t), 0); err != nil || len(all) > 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

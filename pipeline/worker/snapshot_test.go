package worker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
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

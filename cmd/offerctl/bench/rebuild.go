package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"offerstream/pipeline/broker"
)

// A rebuildReport is how fast a lost state is there again.
type rebuildReport struct {
	RebuildUsers  int     `json:"rebuild_users"`
	RebuildEvents int     `json:"rebuild_events"`
	Rebuild       float64 `json:"rebuild_s"`        // from the start of a worker with nothing to all caught up, from the log
	Restore       float64 `json:"restore_s"`        // the same from snapshots
	Warm          float64 `json:"warm_s"`           // the same with its state there
	SnapshotMB    float64 `json:"snapshot_mb"`      // all of them
	RestoreRate   float64 `json:"restore_mb_per_s"` // SnapshotMB in what Restore takes longer than Warm
	ReadRate      float64 `json:"read_mb_per_s"`    // the snapshots read from the object store, and nothing done with them
	Ratio         float64 `json:"ratio"`            // RestoreRate to ReadRate
}

// rebuild lets a worker with nothing come twice: first from the log, and then
// from the snapshots that it left when it was told to stop.
func (b *Run) rebuild(ctx context.Context, r *rebuildReport) error {
	const prefix = "rebuild"
	def, err := shipped()
	if err != nil {
		return err
	}
	if err := b.prepare(ctx, prefix, def); err != nil {
		return err
	}
	r.RebuildUsers, r.RebuildEvents = b.LookupUsers, 2*b.LookupUsers
	b.say("rebuild: sending %d events of %d users", r.RebuildEvents, r.RebuildUsers)
	gen := newGenerator(1, b.LookupUsers)
	gen.each = 2
	if _, err := b.send(ctx, prefix, gen, r.RebuildEvents); err != nil {
		return err
	}
	conn, err := b.connect(ctx, prefix)
	if err != nil {
		return err
	}
	defer conn.Close()
	g := &group{run: b, conn: conn, prefix: prefix}
	defer g.end()
	b.say("rebuild: from the log")
	if r.Rebuild, err = g.comes(ctx, 0); err != nil {
		return err
	}
	b.say("rebuild: making snapshots")
	if err := errors.Join(g.signal(0, syscall.SIGTERM), g.start(ctx, 0, part{Snapshot: time.Second})); err != nil {
		return err
	}
	if _, err := b.send(ctx, prefix, gen, rebuildMore); err != nil {
		return err
	}
	if err := readSnapshots(ctx, conn, r); err != nil {
		return err
	}
	if err := errors.Join(g.signal(0, syscall.SIGTERM), os.RemoveAll(g.dir(0))); err != nil {
		return err
	}
	b.say("rebuild: from snapshots")
	if r.Restore, err = g.comes(ctx, 1); err != nil {
		return err
	}
	if err := g.signal(1, syscall.SIGTERM); err != nil {
		return err
	}
	if r.Warm, err = g.comes(ctx, 1); err != nil {
		return err
	}
	if err := errors.Join(g.signal(1, syscall.SIGTERM), os.RemoveAll(g.dir(1))); err != nil {
		return err
	}
	r.RestoreRate = r.SnapshotMB / max(r.Restore-r.Warm, .001)
	r.Ratio = r.RestoreRate / r.ReadRate
	return b.drop(ctx, prefix)
}

// rebuildMore are events so that there is something new for a snapshot.
const rebuildMore = 1000

// comes starts a worker, and returns the seconds until it has
// caught up.
func (g *group) comes(ctx context.Context, i int) (float64, error) {
	start := time.Now()
	err := g.start(ctx, i, part{})
	return time.Since(start).Seconds(), err
}

// readSnapshots awaits a snapshot of each partition, and reads the newest snapshot of each partition, as fast as the
// object store gives them.
func readSnapshots(ctx context.Context, conn *broker.Conn, r *rebuildReport) error {
	var newest map[int]broker.SnapshotMeta
	for end := time.Now().Add(groupWithin); len(newest) < conn.Partitions; {
		var err error
		if newest, err = conn.NewestSnapshots(ctx); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("bench: %d of %d partitions have a snapshot after %s", len(newest), conn.Partitions, groupWithin)
		}
		if err := pauseFor(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	store, err := conn.JS.ObjectStore(ctx, conn.Names.SnapshotsBucket())
	if err != nil {
		return err
	}
	start := time.Now()
	var bytes int64
	for p, m := range newest {
		object, err := store.Get(ctx, fmt.Sprintf("%d/%020d", p, m.Seq))
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, object)
		object.Close()
		if err != nil {
			return err
		}
		bytes += n
	}
	r.SnapshotMB = float64(bytes) / 1e6
	r.ReadRate = r.SnapshotMB / time.Since(start).Seconds()
	return nil
}

func (r *rebuildReport) Print(w io.Writer) {
	fmt.Fprintf(w, "a worker comes, %d users: %.1f s from the log of %d events, %.1f s from snapshots of %.0f MB, %.1f s with its state there\n", r.RebuildUsers, r.Rebuild, r.RebuildEvents, r.Restore, r.SnapshotMB, r.Warm)
	fmt.Fprintf(w, "restored                   %9.0f MB/s   %.2f of the object store's own %.0f MB/s\n", r.RestoreRate, r.Ratio, r.ReadRate)
}

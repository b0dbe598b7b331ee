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

// A rebuildReport has the times in which a lost state is restored.
type rebuildReport struct {
	RebuildUsers  int     `json:"rebuild_users"`
	RebuildEvents int     `json:"rebuild_events"`
	Rebuild       float64 `json:"rebuild_s"`        // from the start of a worker without state until it has caught up, from the log
	Restore       float64 `json:"restore_s"`        // the same, from snapshots
	Warm          float64 `json:"warm_s"`           // the same for a worker that has its state
	SnapshotMB    float64 `json:"snapshot_mb"`      // size of all snapshots
	RestoreRate   float64 `json:"restore_mb_per_s"` // SnapshotMB / (Restore - Warm)
	ReadRate      float64 `json:"read_mb_per_s"`    // of only reading the snapshots from the object store
	Ratio         float64 `json:"ratio"`            // RestoreRate / ReadRate
}

// rebuild starts a worker without state twice: first it catches up from the log,
// then from snapshots.
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
	if err := g.fromLog(ctx, gen, r); err != nil {
		return err
	}
	if err := g.fromSnapshots(ctx, r); err != nil {
		return err
	}
	r.RestoreRate = r.SnapshotMB / max(r.Restore-r.Warm, .001)
	r.Ratio = r.RestoreRate / r.ReadRate
	return b.drop(ctx, prefix)
}

// fromLog measures a worker that catches up from the log. Then the worker makes
// snapshots, and reading them is measured.
func (g *group) fromLog(ctx context.Context, gen *generator, r *rebuildReport) (err error) {
	g.run.say("rebuild: from the log")
	if r.Rebuild, err = g.timedStart(ctx, 0); err != nil {
		return err
	}
	g.run.say("rebuild: making snapshots")
	if err := errors.Join(g.signal(0, syscall.SIGTERM), g.start(ctx, 0, part{Snapshot: time.Second})); err != nil {
		return err
	}
	if _, err := g.run.send(ctx, g.prefix, gen, rebuildMore); err != nil {
		return err
	}
	if err := readSnapshots(ctx, g.conn, r); err != nil {
		return err
	}
	return errors.Join(g.signal(0, syscall.SIGTERM), os.RemoveAll(g.dir(0)))
}

// fromSnapshots measures a worker that catches up from snapshots, and then the
// same worker with its state.
func (g *group) fromSnapshots(ctx context.Context, r *rebuildReport) (err error) {
	g.run.say("rebuild: from snapshots")
	if r.Restore, err = g.timedStart(ctx, 1); err != nil {
		return err
	}
	if err := g.signal(1, syscall.SIGTERM); err != nil {
		return err
	}
	if r.Warm, err = g.timedStart(ctx, 1); err != nil {
		return err
	}
	return errors.Join(g.signal(1, syscall.SIGTERM), os.RemoveAll(g.dir(1)))
}

// rebuildMore is the number of events that are sent so that a new snapshot has
// something new.
const rebuildMore = 1000

// timedStart starts a worker, and returns the seconds until it has caught up.
func (g *group) timedStart(ctx context.Context, i int) (float64, error) {
	start := time.Now()
	err := g.start(ctx, i, part{})
	return time.Since(start).Seconds(), err
}

// readSnapshots waits until each partition has a snapshot, and reads the newest
// one of each, as fast as the object store can.
func readSnapshots(ctx context.Context, conn *broker.Conn, r *rebuildReport) error {
	var newest map[int]broker.NewestSnapshot
	for end := time.Now().Add(groupWithin); len(newest) < conn.Partitions; {
		var err error
		if newest, err = conn.NewestSnapshots(ctx); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("bench: only %d of %d partitions have a snapshot after %s", len(newest), conn.Partitions, groupWithin)
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
	fmt.Fprintf(w, "start of a worker, %d users: %.1f s from the log of %d events, %.1f s from snapshots of %.0f MB, %.1f s with its state\n", r.RebuildUsers, r.Rebuild, r.RebuildEvents, r.Restore, r.SnapshotMB, r.Warm)
	fmt.Fprintf(w, "restored                   %9.0f MB/s   %.2f of the object store's own %.0f MB/s\n", r.RestoreRate, r.Ratio, r.ReadRate)
}

package worker

import (
	"context"
	"fmt"

	"offerstream/pipeline/task"
	"offerstream/state"
)

// A full disk kills the process: Badger writes to mapped files, and writing a
// page for which there is no room is a SIGBUS, again at each start. So a worker
// whose disk has less than room free gives up its partitions as if it left, closes
// their stores, and stays a member that takes no partitions until a quarter more
// than room is free.

// lookEvery is the time between two looks at the free space.
const lookEvery = renewEvery

// room returns how many bytes must be free. Each partition writes at most one
// more table when its store is closed. Until then, all partitions together may
// write a few more tables, and compactions hold some tables twice.
func (w *Worker) room(partitions int) int64 {
	return int64(4+partitions)*w.opt.memTable + w.restoring.Load()
}

// take reserves room for a snapshot, or returns an error if there is none. The
// caller must call done when the snapshot is restored.
func (w *Worker) take(bytes int64, partitions int) (done func(), err error) {
	w.restoring.Add(bytes)
	done = func() { w.restoring.Add(-bytes) }
	free, err := w.disk.free(w.opt.Dir)
	if need := w.room(partitions); err == nil && free < need {
		err = fmt.Errorf("no room on the disk for a snapshot of %s: the disk of %s has %s free and %s are needed: free some space", size(bytes), w.opt.Dir, size(free), size(need))
	}
	if err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// A reservation is room for a second state, which grows slowly.
type reservation struct {
	w          *Worker
	partitions int
	bytes      int64 // reserved at first
	left       int64 // that it has not taken yet
}

// reserve reserves room for a second state, or returns an error if there is none.
func (w *Worker) reserve(bytes int64, partitions int) (*reservation, error) {
	r := &reservation{w: w, partitions: partitions, bytes: bytes, left: bytes}
	w.seconds.Add(bytes)
	free, err := w.disk.free(w.opt.Dir)
	if need := w.secondRoom(partitions) + w.seconds.Load(); err == nil && free < need {
		err = fmt.Errorf("no room on the disk for a second state, which may take %s: the disk of %s has %s free and %s are needed: free some space", size(bytes), w.opt.Dir, size(free), size(need))
	}
	if err != nil {
		r.release()
		return nil, err
	}
	return r, nil
}

// secondRoom is how many bytes must be free while there are second states: more than
// room, as they give up before the partitions have to.
func (w *Worker) secondRoom(partitions int) int64 { return w.room(partitions) * 3 / 2 }

// grown says how much the second state takes, and returns an error if there is no
// longer room for it.
func (r *reservation) grown(bytes int64) error {
	left := max(r.bytes-bytes, 0)
	r.w.seconds.Add(left - r.left)
	r.left = left
	return r.enough(0)
}

// enough returns an error if there is no room for so many bytes.
func (r *reservation) enough(bytes int64) error {
	free, err := r.w.disk.free(r.w.opt.Dir)
	if need := r.w.secondRoom(r.partitions) + bytes; err == nil && free < need {
		return fmt.Errorf("no room on the disk for a second state: the disk of %s has %s free and %s are needed: free some space", r.w.opt.Dir, size(free), size(need))
	}
	return nil // a disk that cannot be looked at is the watchdog's business
}

func (r *reservation) release() { r.w.seconds.Add(-r.left) }

// onDisk is the size of a directory, 0 if it is not known.
func onDisk(dir string) int64 {
	n, err := state.Bytes(dir)
	if err != nil {
		return 0 // it is being made or restored
	}
	return n
}

// guard watches the free space until ctx is done.
func (g *group) guard(ctx context.Context) {
	for task.Sleep(ctx, g.w.world, lookEvery) == nil {
		g.look()
	}
}

// look checks whether there is room, and gives up partitions if not.
func (g *group) look() {
	w := g.w
	free, err := w.disk.free(w.opt.Dir)
	if err != nil {
		w.opt.Log.Warn("cannot find out how much room the disk has", "error", err)
		return
	}
	w.met.free.Set(float64(free))
	need := w.room(g.conn.Partitions)
	short := w.short.Load() != nil
	switch {
	case free < need:
		why := fmt.Sprintf("no room on the disk: the disk of %s has %s free and %s are needed", w.opt.Dir, size(free), size(need))
		w.short.Store(&why)
		if !short {
			w.met.short.Set(1)
			w.opt.Log.Error("NO ROOM ON THE DISK: the worker gives up its partitions before the disk is full, and takes partitions again by itself when there is room", "dir", w.opt.Dir, "free", size(free), "needed", size(need), "goes_on_at", size(need+need/4))
			g.wake.Set()
		}
		g.endRestores()
		if free < need/2 { // no time to hand over
			g.endAll()
		}
	case short && free >= need+need/4:
		w.short.Store(nil)
		w.met.short.Set(0)
		w.opt.Log.Info("there is room on the disk again: the worker takes partitions again", "free", size(free))
		g.wake.Set()
	}
}

// endRestores ends the restores, which take the most room and can be repeated.
func (g *group) endRestores() {
	for _, p := range g.w.all() {
		if p != nil && p.running.Load() && p.restoring.Load() {
			p.end(false)
		}
	}
}

// closeIdle closes the stores of partitions that do not run: an open store may
// write, too.
func (g *group) closeIdle() {
	for _, p := range g.w.all() {
		if p != nil && !p.running.Load() {
			p.close()
		}
	}
}

func size(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

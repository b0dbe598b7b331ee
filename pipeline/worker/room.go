package worker

import (
	"context"
	"fmt"

	"offerstream/pipeline/task"
)

// A disk that is full kills the process: Badger writes to files that it has
// mapped, and a page that finds no room is a SIGBUS, again at each start.
// So a worker whose disk has less than room free gives up its partitions, as
// one that leaves does, closes their stores, and waits as a member that takes
// nothing until there is a quarter more than that.

// lookEvery is how often it looks at what is free.
const lookEvery = renewEvery

// room is what must be free. Each partition writes at most a table more when
// its store is closed; between the look that finds too little and that, all of
// them together may write some more tables, and compactions hold some twice.
func (w *Worker) room(partitions int) int64 {
	return int64(4+partitions)*w.opt.memTable + w.restoring.Load()
}

// take sees to it that a snapshot may be written; done is to be called after.
func (w *Worker) take(bytes int64, partitions int) (done func(), err error) {
	w.restoring.Add(bytes)
	done = func() { w.restoring.Add(-bytes) }
	free, err := w.disk.free(w.opt.Dir)
	if need := w.room(partitions); err == nil && free < need {
		err = fmt.Errorf("there is no room on the disk for a snapshot of %s: %s free on that of %s, %s are needed: free some", size(bytes), size(free), w.opt.Dir, size(need))
	}
	if err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// guard looks until ctx is done.
func (g *group) guard(ctx context.Context) {
	for task.Sleep(ctx, g.w.world, lookEvery) == nil {
		g.look()
	}
}

// look sees whether there is room.
func (g *group) look() {
	w := g.w
	free, err := w.disk.free(w.opt.Dir)
	if err != nil {
		w.opt.Log.Warn("cannot see how much room is on the disk", "error", err)
		return
	}
	w.met.free.Set(float64(free))
	need := w.room(g.conn.Partitions)
	short := w.short.Load() != nil
	switch {
	case free < need:
		why := fmt.Sprintf("no room on the disk: %s free on that of %s, %s are needed", size(free), w.opt.Dir, size(need))
		w.short.Store(&why)
		if !short {
			w.met.short.Set(1)
			w.opt.Log.Error("NO ROOM ON THE DISK: the worker gives up its partitions before the disk is full, and goes on by itself when there is room", "dir", w.opt.Dir, "free", size(free), "needed", size(need), "goes_on_at", size(need+need/4))
			g.wake.Set()
		}
		g.endRestores()
		if free < need/2 { // no time to hand over
			g.endAll()
		}
	case short && free >= need+need/4:
		w.short.Store(nil)
		w.met.short.Set(0)
		w.opt.Log.Info("there is room on the disk again: the worker goes on", "free", size(free))
		g.wake.Set()
	}
}

// endRestores ends what takes the most room, and of which nothing is lost.
func (g *group) endRestores() {
	for _, p := range g.w.all() {
		if p != nil && p.running.Load() && p.restoring.Load() {
			p.end(false)
		}
	}
}

// closeIdle closes the stores of what does not run: they may write too.
func (g *group) closeIdle() {
	for _, p := range g.w.all() {
		if p != nil && !p.running.Load() {
			p.close()
		}
	}
}

func size(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

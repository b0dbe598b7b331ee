package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"offerstream/config"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// A setWatch makes campaign files live whenever one of them, or a table that they
// read, has changed. It looks at the files as `test --watch` does.
type setWatch struct {
	std         stdio
	clock, path string

	seen  map[string]fileMark
	retry *campaign.Definition // could not be made live
	wrong string               // why
}

// inForceWithin is how long the watch waits until a set is in force.
const inForceWithin = 30 * time.Second

// load reads the files. Those that it looked at are watched from now on.
func (w *setWatch) load() (*campaign.Definition, error) {
	began := time.Now()
	def, read, err := config.LoadCampaignsRead(w.path)
	watched := map[string]fileMark{}
	if read == nil { // the path cannot be read: whatever was in it may come back
		maps.Copy(watched, w.seen)
	}
	for _, path := range append(read, w.path) {
		m, known := w.seen[path]
		if !known {
			if m = markOf(path); m.at.After(began) {
				m = fileMark{} // it may have changed since it was read
			}
		}
		watched[path] = m
	}
	w.seen = watched
	if err != nil {
		return nil, err
	}
	if len(watched) > mostWatched {
		return nil, fmt.Errorf("there are %d files to watch, and at most %d can be: name fewer", len(watched), mostWatched)
	}
	return clocked(def, w.clock)
}

// look returns the files that have changed since they were last looked at.
func (w *setWatch) look() (changed []string) {
	for path, was := range w.seen {
		if m := markOf(path); m != was {
			w.seen[path] = m
			changed = append(changed, path)
		}
	}
	slices.Sort(changed)
	return changed
}

// start watches until the returned function is called, or ctx is done.
func (w *setWatch) start(ctx context.Context, conn *broker.Conn) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	fmt.Fprintf(w.std.out, "watching %s: a change becomes live at once\n", count(len(w.seen), "file"))
	go func() {
		defer close(done)
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				w.tick(ctx, conn)
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

// tick makes the files live if one has changed, or tries again what has failed.
func (w *setWatch) tick(ctx context.Context, conn *broker.Conn) {
	if changed := w.look(); len(changed) > 0 {
		fmt.Fprintf(onDisplay(w.std.out), "changed: %s\n", several(changed))
		w.retry, w.wrong = nil, ""
		def, err := w.load()
		if err != nil {
			fmt.Fprintf(onDisplay(w.std.err), "%v\nthese files are not made live\n", err)
			return
		}
		w.retry = def
	}
	if w.retry == nil {
		return
	}
	switch err := w.apply(ctx, conn, w.retry); {
	case err == nil:
		w.retry = nil
	case ctx.Err() == nil && err.Error() != w.wrong:
		w.wrong = err.Error()
		fmt.Fprintf(onDisplay(w.std.err), "%v: trying again\n", err)
	}
}

// apply makes a set live, and loads its tables.
func (w *setWatch) apply(ctx context.Context, conn *broker.Conn, def *campaign.Definition) error {
	live, replace, err := liveSet(ctx, conn)
	if err != nil {
		return err
	}
	if live == def.Hash() {
		fmt.Fprintf(w.std.out, "set %s is live already\n", live)
	} else {
		showDifferences(ctx, onDisplay(w.std.out), conn, live, def)
		if err := replace(def); err != nil {
			return err
		}
		fmt.Fprintf(w.std.out, "set %s is live\n", def.Hash())
	}
	return applyTables(ctx, w.std, conn, def, inForceWithin)
}

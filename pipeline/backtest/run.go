package backtest

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"

	"offerstream/pipeline"
	"offerstream/pipeline/coupon"
)

// Options of Run. Run calls the functions in order, from its own goroutine; each may
// be nil.
type Options struct {
	Workers  int                         // how many goroutines fold, and how many decode; 0: GOMAXPROCS
	Coupons  *coupon.Keys                // nil: codes of coupons are placeholders
	From     int64                       // the log time, in ns since 1970, from which offers and outcomes count; what is pending then counts as evaluated then; 0: the beginning
	To       int64                       // the log time at which the run ends if an event after it comes: what is due by then fires, the event is not applied; 0: the end of the input
	Offer    func(*pipeline.Offer) error // takes each offer, and each that is withheld; an error ends the run
	Refused  func(line int, err error)   // takes each line that is no event, and why
	Progress func(lines uint64)          // is told now and then how many lines were read, empty ones too
}

// Run runs a set, compiled for clock: event, over the lines of an input. Its result
// and its offers are those of a pipeline.Backtest.
//
// next returns one line without its line break, or io.EOF at the end. Instead of a
// line it may return a *event.Reject: the line is refused for that. Any other error
// ends the run. The bytes must stay valid until the next call. Run calls next from
// one other goroutine, and does not when it has returned; but if ctx ends, a call
// that has begun may outlast Run.
//
// Lines go in batches through these stages, of which all run at the same time:
//
//	read     lines -> batch                           one goroutine
//	decode   batch: the key and the time of each line  many
//	stamp    batch: log times, and which shard folds which event; in order
//	fold     batch -> offers, one goroutine for each shard of the users; from the first
//	         event on that makes a visitor a user, one goroutine for all users
//	merge    the shards' offers -> Options.Offer       the caller's
func Run(ctx context.Context, set *pipeline.Set, next func() ([]byte, error), opt Options) (*Result, error) {
	return run(ctx, set, next, opt, batchLines)
}

// run is Run with batches of a size.
func run(ctx context.Context, set *pipeline.Set, next func() ([]byte, error), opt Options, size int) (*Result, error) {
	workers := opt.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	shards := make([]*shard, shardsFor(set, workers))
	for i := range shards {
		var err error
		if shards[i], err = newShard(set, i, opt); err != nil {
			return nil, err
		}
	}
	r := &runner{opt: opt, size: size, shards: shards, stamper: newStamper(opt.To, set.Merges() && len(shards) > 1)}
	if err := r.run(ctx, workers, next); err != nil {
		return nil, err
	}
	return r.result(set), nil
}

// shardsFor is in how many shards the users of a set can be folded.
func shardsFor(set *pipeline.Set, workers int) int {
	if set.Whole() {
		return 1
	}
	return workers
}

// A runner is a run in progress.
type runner struct {
	opt     Options
	size    int // of a batch, in lines
	shards  []*shard
	stamper *stamper
	rest    [][]placed // of merge: the offers that are left, by shard
}

// run takes the batches through the stages. As there is a fixed number of batches,
// and a queue has room for all of them, no stage waits for a later one but read.
func (r *runner) run(ctx context.Context, decoders int, next func() ([]byte, error)) error {
	within, cancel := context.WithCancel(ctx)
	n := batches(decoders, len(r.shards))
	queue := func() chan *batch { return make(chan *batch, n) }
	empty, read, inOrder, stamped := queue(), queue(), queue(), queue()
	for range n {
		empty <- newBatch(r.size, len(r.shards))
	}
	var reader, others sync.WaitGroup
	reader.Go(func() { readBatches(within, next, empty, read, inOrder) })
	for range decoders {
		others.Go(func() { decodeBatches(within, read) })
	}
	toFold := make([]chan *batch, len(r.shards))
	for i, s := range r.shards {
		toFold[i] = queue()
		others.Go(func() { s.foldBatches(within, toFold[i], r.shards) })
	}
	others.Go(func() { r.stamper.stampBatches(within, inOrder, append(toFold, stamped)) })
	err := r.mergeBatches(within, stamped, empty)
	cancel()
	if ctx.Err() == nil { // otherwise next may wait for a line that never comes
		reader.Wait()
	} else if err != nil {
		err = ctx.Err()
	}
	others.Wait()
	return err
}

// batches is the number of batches: enough that each stage has one to work at and
// one to come.
func batches(decoders, shards int) int { return 2*decoders + 2*shards + 4 }

// mergeBatches gives the offers to the caller, until the input has ended.
func (r *runner) mergeBatches(ctx context.Context, stamped <-chan *batch, empty chan<- *batch) error {
	for {
		b, ok := take(ctx, stamped)
		if !ok {
			return ctx.Err()
		}
		for range r.shards {
			if _, ok := take(ctx, b.folded); !ok {
				return ctx.Err()
			}
		}
		if err := r.merge(b); err != nil {
			return err
		}
		if errors.Is(b.end, io.EOF) {
			return nil
		}
		if b.end != nil {
			return b.end
		}
		empty <- b
	}
}

// take takes from a channel; ok is false if ctx ends before.
func take[T any](ctx context.Context, from <-chan T) (v T, ok bool) {
	select {
	case v = <-from:
		return v, true
	case <-ctx.Done():
		return v, false
	}
}

package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/task"
	"offerstream/state"
)

// A replay computes a partition's state anew, in a temporary directory, without
// disturbing the partition's workers.
type replay struct {
	conn    *broker.Conn
	p       int
	dir     string // a directory for the state, removed at the end
	log     *slog.Logger
	disk    checkpoint.Disk
	archive checkpoint.Archive
	sets    *checkpoint.Sets
	coupons *coupon.Keys     // nil: codes of coupons are placeholders
	set     *pipeline.Set    // in force instead of the sets that were live; nil: those
	only    []string         // the entities that are folded; nil: all
	changed func(key string) // called with each entity in the store that may change; may be nil
	counts  bool             // what is pending in a snapshot counts as evaluated
	guarded []pipeline.StepID
	lossy   bool // what is lost is accepted
	shrink  int  // commits are smaller than the store's limit by this factor

	store  checkpoint.Store // nil: not open
	cache  *checkpoint.Cache
	writer *checkpoint.Writer
	fold   *pipeline.Fold

	emptied []string // what begins empty at switches whose second state is lost
}

// newReplay makes a replay that changes nothing in NATS. dir is of its own.
func newReplay(conn *broker.Conn, p int, dir string, log *slog.Logger, sets *checkpoint.Sets, coupons *coupon.Keys) *replay {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &replay{conn: conn, p: p, dir: dir, log: log, disk: checkpoint.Badgers{}, archive: checkpoint.Objects{Conn: conn}, sets: sets, coupons: coupons, shrink: 2}
}

// begin makes the fold from the first of the snapshots that fits the log, which
// has messages first to end; an empty fold if none does.
func (r *replay) begin(ctx context.Context, metas []broker.SnapshotMeta, first, end uint64) (err error) {
	if err := r.remove(); err != nil {
		return err
	}
	opt := state.Options{Identity: r.identity(), Log: r.log}
	var cursor pipeline.Cursor
	if cursor, err = r.restore(ctx, opt, metas, first, end); err != nil {
		return err
	}
	if r.store == nil {
		if r.store, err = r.disk.Open(r.dir, opt); err != nil {
			return err
		}
	}
	r.cache = checkpoint.NewCache(r.store, 256<<20, checkpoint.Lookups{})
	r.writer = checkpoint.NewWriter(r.cache, cursor.Epoch)
	users := pipeline.Entities(r.cache)
	if r.changed != nil {
		users = watched{r.cache, r.changed}
	}
	if err := r.foldFrom(ctx, cursor, users); err != nil {
		return err
	}
	return r.store.Timers(func(due int64, key string) error {
		if r.only != nil && !slices.Contains(r.only, key) {
			return nil
		}
		r.fold.Schedule(due, key)
		if r.counts {
			return r.fold.CountPending(key)
		}
		return nil
	})
}

// foldFrom makes the fold.
func (r *replay) foldFrom(ctx context.Context, cursor pipeline.Cursor, users pipeline.Entities) (err error) {
	if r.fold, err = pipeline.NewFold(cursor, r.sets.Get(ctx, r.conn), users); err != nil {
		return err
	}
	r.fold.Partition(r.p, r.conn.Partitions)
	if r.set != nil {
		r.fold.Use(r.set)
	}
	if r.only != nil {
		r.fold.Only(r.only...)
	}
	for _, s := range r.guarded {
		r.fold.Guard(s)
	}
	return r.fold.Coupons(r.coupons)
}

// watched are entities, and changed is called with each that may change.
type watched struct {
	pipeline.Entities
	changed func(key string)
}

func (w watched) Entity(key string) (*pipeline.Entity, error) {
	w.changed(key)
	return w.Entities.Entity(key)
}

// again reports whether a replay that is started again can get past an error, and
// prepares for that.
func (r *replay) again(err error) bool {
	if bad, ok := checkpoint.NewPoison(err, r.guarded); ok {
		r.guarded = append(r.guarded, bad.Step)
		return true
	}
	if errors.Is(err, state.ErrTooBig) && r.shrink < checkpoint.MaxShrink {
		r.shrink *= 2
		return true
	}
	return false
}

// remove closes and removes the state.
func (r *replay) remove() error {
	if r.store != nil {
		r.store.Close()
		r.store = nil
	}
	return r.disk.Discard(r.dir)
}

func (r *replay) restore(ctx context.Context, opt state.Options, metas []broker.SnapshotMeta, first, end uint64) (none pipeline.Cursor, err error) {
	for _, m := range metas {
		if m.Seq+1 < first || m.Seq > end || checkpoint.Readable(m) != nil {
			continue
		}
		cursor, err := r.restoreFrom(ctx, opt, m)
		if err == nil {
			err = r.sameLog(ctx, cursor, first, end)
		}
		if err == nil && r.set != nil && cursor.Joined != nil {
			err = errWithin
		}
		if err == nil {
			return cursor, nil
		}
		if !errors.Is(err, state.ErrDamaged) && !errors.Is(err, broker.ErrSnapshotDamaged) && !errors.Is(err, state.ErrForeign) && !errors.Is(err, checkpoint.ErrOtherLog) && !errors.Is(err, errWithin) {
			return none, fmt.Errorf("snapshot at message %d: %w: start this command again", m.Seq, err) // the next attempt may succeed
		}
		r.log.Warn("a snapshot does not fit, or is damaged: trying the one before", "seq", m.Seq, "error", err)
		if err := r.remove(); err != nil {
			return none, err
		}
	}
	return none, nil
}

// errWithin means that a snapshot is of no use under another set than those that were
// live.
var errWithin = errors.New("it stands within a switch: some users are joined and others are not")

func (r *replay) restoreFrom(ctx context.Context, opt state.Options, m broker.SnapshotMeta) (none pipeline.Cursor, err error) {
	from, err := r.archive.Open(ctx, m)
	if err != nil {
		return none, err
	}
	defer from.Close()
	if err := r.disk.Restore(r.dir, opt, from); err != nil {
		return none, err
	}
	if r.store, err = r.disk.Open(r.dir, opt); err != nil {
		return none, err
	}
	return checkpoint.LoadCursor(r.store)
}

// sameLog returns an error if the log is not the one that the cursor was made of
// (P5).
func (r *replay) sameLog(ctx context.Context, c pipeline.Cursor, first, end uint64) error {
	if c.Seq+1 < first || c.Seq > end {
		return fmt.Errorf("%w: the state ends at message %d, and the log has messages %d to %d", checkpoint.ErrOtherLog, c.Seq, first, end)
	}
	for _, known := range [...]struct { // messages that the state has applied, at least in part
		seq    uint64
		stored int64
	}{{c.Seq, c.Stored}, {c.Seq + 1, c.Partly}} {
		if known.stored == 0 || known.seq < first {
			continue // it was not applied, or has expired
		}
		if known.seq > end {
			return fmt.Errorf("%w: message %d was applied in part, but the log ends at message %d", checkpoint.ErrOtherLog, known.seq, end)
		}
		err := r.scan(ctx, known.seq, func(m pipeline.Message) (bool, error) {
			if m.Seq != known.seq || m.Stored != known.stored {
				return false, fmt.Errorf("%w: message %d", checkpoint.ErrOtherLog, known.seq)
			}
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// gapLooks is how often a message must be skipped until it counts as missing: a
// server may skip messages that it has (P8).
const gapLooks = 5

// scan calls fn with each message that the log has, from sequence from on, until
// fn returns enough.
func (r *replay) scan(ctx context.Context, from uint64, fn func(pipeline.Message) (enough bool, err error)) error {
	wake := r.conn.World.NewSignal()
	defer r.conn.Wire.OnClose(wake)()
	for gap, looks := uint64(0), 0; ; { // the message that came instead of the expected one, and how often it did
		reader, err := r.conn.OpenReader(ctx, r.p, from)
		if err != nil {
			return err
		}
		reader.PassGaps()
		err = r.scanWith(ctx, reader, wake, func(m pipeline.Message) (bool, error) {
			if m.Seq > from && (m.Seq != gap || looks < gapLooks) {
				if m.Seq != gap {
					gap, looks = m.Seq, 0
				}
				looks++
				return false, errLookAgain
			}
			from = m.Seq + 1
			return fn(m)
		})
		reader.Close()
		if !errors.Is(err, errLookAgain) {
			return err
		}
	}
}

var errLookAgain = errors.New("a gap in the log")

func (r *replay) scanWith(ctx context.Context, reader *broker.Reader, wake task.Signal, fn func(pipeline.Message) (bool, error)) error {
	for {
		m, ok, err := reader.Take()
		switch {
		case err != nil:
			return err
		case ok:
			if enough, err := fn(m); enough || err != nil {
				return err
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case r.conn.Wire.IsClosed():
			return broker.ErrClosed
		case reader.Silent():
			return errors.New("the server has sent nothing for a while, as the log was read: start this command again")
		default:
			reader.Wait(ctx, wake, time.Second)
		}
	}
}

// commitSome commits the changes if they are large enough.
func (r *replay) commitSome() error {
	if !r.cache.Full(r.shrink) {
		return nil
	}
	return r.commit()
}

// commit commits the changes.
func (r *replay) commit() error {
	if err := r.writer.Encode(r.fold.Cursor()); err != nil {
		return err
	}
	if err := r.writer.Commit(); err != nil {
		return err
	}
	r.writer.Done()
	return nil
}

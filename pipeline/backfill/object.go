package backfill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// Put stores the second state as it is: as the object of a switch if kept is true,
// else so that whoever goes on need not begin anew. It returns the object's name.
func (s *Second) Put(ctx context.Context, to checkpoint.Archive, kept bool) (name broker.SecondName, err error) {
	if err := s.Commit(); err != nil {
		return name, err
	}
	cursor := s.fold.Cursor()
	name = broker.SecondName{Set: s.Set, Engine: s.Engine, From: s.From, Seq: cursor.Seq}
	metadata := checkpoint.Metadata(cursor)
	metadata[broker.StoredKey] = strconv.FormatInt(cursor.Stored, 10)
	return name, to.PutSecond(ctx, s.Partition, name, kept, metadata, func(w io.Writer) error {
		_, err := s.store.Snapshot(w)
		return err
	})
}

// Restore makes a store of a stored second state, in a directory that has none. wrap
// may be nil; it is given the object's reader.
func Restore(ctx context.Context, disk checkpoint.Disk, dir string, o state.Options, from checkpoint.Archive, m broker.SecondMeta, wrap func(io.Reader) io.Reader) error {
	r, err := from.OpenSecond(ctx, m)
	if err != nil {
		return err
	}
	defer r.Close()
	var in io.Reader = r
	if wrap != nil {
		in = wrap(in)
	}
	return disk.Restore(dir, o, in)
}

// Find finds the object that a switch names. The error is ErrNone if there is none.
func Find(ctx context.Context, in checkpoint.Archive, partition int, sw *pipeline.Switch) (broker.SecondMeta, error) {
	all, err := in.Seconds(ctx, partition)
	if err != nil {
		return broker.SecondMeta{}, err
	}
	for _, m := range all {
		if m.Name.Set == sw.Set && m.Name.From == sw.From && m.Name.Seq == sw.Seq {
			return m, checkpoint.Readable(m.SnapshotMeta)
		}
	}
	return broker.SecondMeta{}, fmt.Errorf("%w stored as %s", ErrNone, sw.Object)
}

// Unusable reports whether an error of Restore says that the object itself cannot be
// used, so that trying again is of no use.
func Unusable(err error) bool {
	for _, is := range []error{state.ErrDamaged, broker.ErrSnapshotDamaged, broker.ErrSnapshotGone, state.ErrForeign, state.ErrNewer} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

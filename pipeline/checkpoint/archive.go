package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// An Archive stores snapshots of partitions: in the object store of NATS, or in
// the simulation.
type Archive interface {
	// Put stores what write writes as the snapshot of a partition at message seq
	// of its log. When Put returns, write has returned. metadata is read after
	// write, which may change it.
	Put(ctx context.Context, partition int, seq uint64, metadata map[string]string, write func(io.Writer) error) error
	// List returns a partition's snapshots, the newest first.
	List(ctx context.Context, partition int) ([]broker.SnapshotMeta, error)
	// Open returns a reader of a snapshot. The error is broker.ErrSnapshotGone
	// if the snapshot has been removed; the reader's error is
	// broker.ErrSnapshotDamaged if the bytes are not those that were stored.
	Open(ctx context.Context, m broker.SnapshotMeta) (io.ReadCloser, error)
	// Drop removes those snapshots of a partition for whose message chosen
	// returns true.
	Drop(ctx context.Context, partition int, chosen func(seq uint64) bool) error

	// PutSecond stores what write writes as the second state of a partition with a
	// name. kept says that it is made for a switch: it stays as long as the log has
	// the message after it. If it is stored already, of the same log (its metadata
	// have the same broker.StoredKey), write need not be called. One that is not kept
	// replaces those before that are not.
	PutSecond(ctx context.Context, partition int, name broker.SecondName, kept bool, metadata map[string]string, write func(io.Writer) error) error
	// Seconds returns a partition's second states, the newest first.
	Seconds(ctx context.Context, partition int) ([]broker.SecondMeta, error)
	// OpenSecond is Open for a second state.
	OpenSecond(ctx context.Context, m broker.SecondMeta) (io.ReadCloser, error)
	// DropSeconds removes those second states of a partition for which chosen
	// returns true.
	DropSeconds(ctx context.Context, partition int, chosen func(broker.SecondMeta) bool) error
}

// The keys of a snapshot's metadata.
const (
	recordsKey  = "records"  // pipeline.RecordVersion of the records
	engineKey   = "engine"   // the engine that made the snapshot
	acceptedKey = "accepted" // the last acceptance that the state has folded: the stored time of its message
	wholeKey    = "whole"    // whether the state stands between two messages
)

// Metadata returns the metadata of a snapshot whose state is at the cursor.
func Metadata(c pipeline.Cursor) map[string]string {
	return map[string]string{recordsKey: strconv.Itoa(pipeline.RecordVersion), engineKey: strconv.Itoa(pipeline.Engine), acceptedKey: strconv.FormatInt(c.Accepted, 10),
		wholeKey: strconv.FormatBool(c.Within == 0 && c.Partly == 0)}
}

// Whole reports whether a snapshot's state stands between two messages, so that a
// second fold can begin there. A snapshot of a version that did not say does not.
func Whole(m broker.SnapshotMeta) bool { return m.Metadata[wholeKey] == "true" }

// Readable returns, from a snapshot's metadata, why this binary cannot read the
// snapshot; nil if it can. The error is pipeline.ErrNewer if a newer version has
// made it.
func Readable(m broker.SnapshotMeta) error {
	records, _ := strconv.Atoi(m.Metadata[recordsKey])
	if err := pipeline.ReadsRecords(records); err != nil {
		return fmt.Errorf("the records of the snapshot at message %d: %w", m.Seq, err)
	}
	if engine, _ := strconv.Atoi(m.Metadata[engineKey]); engine > pipeline.Engine {
		return fmt.Errorf("the snapshot at message %d is of engine %d, this is engine %d: %w", m.Seq, engine, pipeline.Engine, pipeline.ErrNewer)
	}
	return nil
}

// HasFolded reports whether the last acceptance that a snapshot's state has folded
// is the one stored at accepted (nanoseconds since 1970; 0: none).
func HasFolded(m broker.SnapshotMeta, accepted int64) bool {
	return m.Metadata[acceptedKey] == strconv.FormatInt(accepted, 10)
}

// Objects is the archive in NATS. It stores snapshots over a separate connection,
// so that offers do not wait behind their pieces.
type Objects struct {
	Conn    *broker.Conn
	Connect func(context.Context) (*broker.Conn, error) // may be nil if Put is not called
}

// Put implements Archive.
func (o Objects) Put(ctx context.Context, partition int, seq uint64, metadata map[string]string, write func(io.Writer) error) error {
	return o.put(ctx, write, func(own *broker.Conn, r io.Reader) error {
		return own.PutSnapshot(ctx, partition, seq, metadata, r)
	})
}

// put stores what write writes, over a connection of its own.
func (o Objects) put(ctx context.Context, write func(io.Writer) error, store func(*broker.Conn, io.Reader) error) error {
	own, err := o.Connect(ctx)
	if err != nil {
		return err
	}
	defer own.Close()
	r, w := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		w.CloseWithError(write(w))
	}()
	err = store(own, r)
	r.CloseWithError(errors.New("storing the snapshot has ended"))
	<-written // write does not read the store any more
	return err
}

// List implements Archive.
func (o Objects) List(ctx context.Context, partition int) ([]broker.SnapshotMeta, error) {
	return o.Conn.Snapshots(ctx, partition)
}

// Open implements Archive.
func (o Objects) Open(ctx context.Context, m broker.SnapshotMeta) (io.ReadCloser, error) {
	return o.Conn.OpenSnapshot(ctx, m)
}

// Drop implements Archive.
func (o Objects) Drop(ctx context.Context, partition int, chosen func(seq uint64) bool) error {
	return o.Conn.DropSnapshots(ctx, partition, chosen)
}

// PutSecond implements Archive.
func (o Objects) PutSecond(ctx context.Context, partition int, name broker.SecondName, kept bool, metadata map[string]string, write func(io.Writer) error) error {
	return o.put(ctx, write, func(own *broker.Conn, r io.Reader) error {
		return own.PutSecond(ctx, partition, name, kept, metadata, r)
	})
}

// Seconds implements Archive.
func (o Objects) Seconds(ctx context.Context, partition int) ([]broker.SecondMeta, error) {
	return o.Conn.Seconds(ctx, partition)
}

// OpenSecond implements Archive.
func (o Objects) OpenSecond(ctx context.Context, m broker.SecondMeta) (io.ReadCloser, error) {
	return o.Conn.OpenSecond(ctx, m)
}

// DropSeconds implements Archive.
func (o Objects) DropSeconds(ctx context.Context, partition int, chosen func(broker.SecondMeta) bool) error {
	return o.Conn.DropSeconds(ctx, partition, chosen)
}

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

// An Archive keeps snapshots of partitions: the object store of NATS, or the
// simulation's.
type Archive interface {
	// Put keeps what write writes as the snapshot of a partition at message
	// seq of its log. When Put returns, write has returned.
	Put(ctx context.Context, partition int, seq uint64, metadata map[string]string, write func(io.Writer) error) error
	// List is what is kept of a partition, the newest first.
	List(ctx context.Context, partition int) ([]broker.SnapshotMeta, error)
	// Open reads a snapshot: broker.ErrSnapshotGone where it was replaced, and
	// from the reader broker.ErrSnapshotDamaged where it is not as it was put.
	Open(ctx context.Context, m broker.SnapshotMeta) (io.ReadCloser, error)
	// Drop removes a partition's snapshots for whose message chosen is true.
	Drop(ctx context.Context, partition int, chosen func(seq uint64) bool) error
}

// The keys of a snapshot's metadata.
const (
	recordsKey  = "records"  // pipeline.RecordVersion of its records
	engineKey   = "engine"   // which engine made it
	acceptedKey = "accepted" // which acceptance its state has folded: the message's stored time
)

// Metadata is what is kept with a snapshot whose state ends at the cursor.
func Metadata(c pipeline.Cursor) map[string]string {
	return map[string]string{recordsKey: strconv.Itoa(pipeline.RecordVersion), engineKey: strconv.Itoa(pipeline.Engine), acceptedKey: strconv.FormatInt(c.Accepted, 10)}
}

// Readable says why this binary cannot read a snapshot, by its metadata, nil
// where it can: pipeline.ErrNewer where a newer version made it.
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

// HasFolded reports whether the state in a snapshot has folded the acceptance
// that was stored at that time (nanoseconds since 1970; 0: it has folded none)
// as its last.
func HasFolded(m broker.SnapshotMeta, accepted int64) bool {
	return m.Metadata[acceptedKey] == strconv.FormatInt(accepted, 10)
}

// Objects is the archive in NATS. What is put goes over a connection of its
// own, so that no offer waits behind its pieces.
type Objects struct {
	Conn    *broker.Conn
	Connect func(context.Context) (*broker.Conn, error) // nil where nothing is put
}

// Put is Archive's.
func (o Objects) Put(ctx context.Context, partition int, seq uint64, metadata map[string]string, write func(io.Writer) error) error {
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
	err = own.PutSnapshot(ctx, partition, seq, metadata, r)
	r.CloseWithError(errors.New("the snapshot is not wanted any more"))
	<-written // nothing reads the store after this
	return err
}

// List is Archive's.
func (o Objects) List(ctx context.Context, partition int) ([]broker.SnapshotMeta, error) {
	return o.Conn.Snapshots(ctx, partition)
}

// Open is Archive's.
func (o Objects) Open(ctx context.Context, m broker.SnapshotMeta) (io.ReadCloser, error) {
	return o.Conn.OpenSnapshot(ctx, m)
}

// Drop is Archive's.
func (o Objects) Drop(ctx context.Context, partition int, chosen func(seq uint64) bool) error {
	return o.Conn.DropSnapshots(ctx, partition, chosen)
}

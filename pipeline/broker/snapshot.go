package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/task"
)

// Snapshots are objects of the object store, named <partition>/<sequence>; `nats
// object` shows them too. They are written and read here and not with the client
// library's object store, which sends as much as it can at once, leaves a
// deletion message for each object that it deletes, and hangs when an object is
// deleted while it is read.

const (
	pieceSize    = 1 << 20 // bytes in a message, less if the server does not allow that much
	piecesAtOnce = 4       // pieces requested and not read yet
	rests        = 3       // pause after a piece, as a multiple of the time that storing it took: offers share the server's disk
	newestKept   = 2       // snapshots of each partition, beside one a day

	pieceWithin = 20 * time.Second // limit for the next piece to come, when reading
	trimWithin  = 30 * time.Second // limit for the server's answers before and after a snapshot is stored
)

// SnapshotMeta describes a snapshot.
type SnapshotMeta struct {
	Partition int
	Seq       uint64 // the last message of the log that it has applied
	Bytes     int64
	Time      time.Time         // when it was complete, by the server's clock
	Metadata  map[string]string // as given to PutSnapshot

	subject string
	object  jetstream.ObjectInfo
}

// Errors of reading a snapshot.
var (
	ErrSnapshotDamaged = errors.New("the snapshot is damaged: its checksum is wrong")
	ErrSnapshotGone    = errors.New("the snapshot has been removed")
)

// PutSnapshot stores the content of r as the partition's snapshot at sequence
// seq. When it returns without an error the snapshot is complete, and those of the
// partition are removed that need not be kept (kept). A snapshot that fails, or is
// interrupted by ctx, is not listed. At most 1 MB is in memory. metadata is read when
// r has ended.
//
// It uses a quarter of the server's time, so that offers are not held up
// (`offerctl bench --group`: the longest time from an event to its offer is some
// 2 ms longer while a snapshot is stored; without the pauses 6 to 100 ms). A
// separate connection helps, too.
func (c *Conn) PutSnapshot(ctx context.Context, partition int, seq uint64, metadata map[string]string, r io.Reader) error {
	st, err := c.snapshotsAnew(ctx)
	if err == nil {
		err = c.putObject(ctx, st, snapshotName(partition, seq), fmt.Sprintf("%d.%020d", partition, seq), r, func() map[string]string { return metadata })
	}
	if err != nil {
		return fmt.Errorf("put snapshot of partition %d at message %d: %w", partition, seq, err)
	}
	within, cancel := context.WithTimeout(ctx, trimWithin)
	defer cancel()
	if err := c.trimSnapshots(within, st, partition); err != nil {
		c.Log.Warn("old snapshots are not removed yet: trying again after the next one", "partition", partition, "error", err)
	}
	if err := c.trimSeconds(within, st, partition); err != nil {
		c.Log.Warn("old second states are not removed yet: trying again after the next snapshot", "partition", partition, "error", err)
	}
	return nil
}

// snapshotName is the name of a snapshot's object.
func snapshotName(partition int, seq uint64) string { return fmt.Sprintf("%d/%020d", partition, seq) }

// snapshotsAnew returns the bucket's stream, and makes it anew if it has been
// deleted.
func (c *Conn) snapshotsAnew(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, trimWithin)
	defer cancel()
	st, err := c.JS.Stream(ctx, c.Names.snapshotsStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) && !c.opt.Join {
		c.Log.Warn("the bucket of snapshots is gone, it must have been deleted: making it anew", "bucket", c.Names.SnapshotsBucket())
		st, err = c.snapshots(ctx)
	}
	return st, err
}

// putObject stores the content of r as an object. The id of its pieces begins with
// prefix; metadata is called when r has ended.
func (c *Conn) putObject(ctx context.Context, st jetstream.Stream, name, prefix string, r io.Reader, metadata func() map[string]string) error {
	id := prefix + "." + rand.Text()
	subject := c.Names.pieceSubject(id)
	object := jetstream.ObjectInfo{Bucket: c.Names.SnapshotsBucket(), NUID: id,
		ObjectMeta: jetstream.ObjectMeta{Name: name,
			Opts: &jetstream.ObjectMetaOptions{ChunkSize: uint32(min(pieceSize, c.NC.MaxPayload()))}}}
	err := c.putPieces(ctx, subject, &object, r)
	if err == nil {
		object.Metadata = metadata()
		err = c.putMeta(ctx, object)
	}
	if err != nil {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishFor)
		defer cancel()
		if err := st.Purge(within, jetstream.WithPurgeSubject(subject)); err != nil {
			c.Log.Warn("the pieces of a snapshot that failed are not removed yet", "object", name, "error", err)
		}
	}
	return err
}

// putPieces stores the content of r, and sets size and checksum in object.
func (c *Conn) putPieces(ctx context.Context, subject string, object *jetstream.ObjectInfo, r io.Reader) error {
	js, err := jetstream.New(c.NC, jetstream.WithPublishAsyncTimeout(publishFor))
	if err != nil {
		return err
	}
	defer js.CleanupPublisher()
	sum, piece := sha256.New(), make([]byte, object.Opts.ChunkSize)
	var ack jetstream.PubAckFuture
	defer func() { // a piece that is still on its way would be stored after the caller has removed the others
		if ack != nil {
			select {
			case <-ack.Ok():
			case <-ack.Err():
			case <-c.closed:
			}
		}
	}()
	for more := true; more; {
		n, err := io.ReadFull(r, piece)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if more = err == nil; n == 0 {
			break
		}
		put := c.World.Now()
		if ack, err = js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: piece[:n]}, jetstream.WithRetryAttempts(0)); err != nil { // no retries: the memory of the piece is reused
			return err
		}
		sum.Write(piece[:n])
		object.Size += uint64(n)
		object.Chunks++
		select {
		case <-ack.Ok():
			ack = nil
		case err := <-ack.Err():
			ack = nil
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		if more {
			if err := task.Sleep(ctx, c.World, rests*c.World.Now().Sub(put)); err != nil {
				return err
			}
		}
	}
	object.Digest = jetstream.GetObjectDigestValue(sum)
	return ctx.Err()
}

// putMeta stores the metadata, from which on the snapshot is listed.
func (c *Conn) putMeta(ctx context.Context, object jetstream.ObjectInfo) error {
	data, err := json.Marshal(object)
	if err != nil {
		return err
	}
	m := &nats.Msg{Subject: c.Names.snapshotSubject(base64.URLEncoding.EncodeToString([]byte(object.Name))), Data: data,
		Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishFor) // or it might be stored, and its pieces be removed
	defer cancel()
	_, err = c.JS.PublishMsg(ctx, m)
	return err
}

// trimSnapshots removes the partition's snapshots that need not be kept, and older
// pieces without metadata, from uploads that were interrupted.
func (c *Conn) trimSnapshots(ctx context.Context, st jetstream.Stream, partition int) error {
	all, err := c.listSnapshots(ctx, partition)
	if err != nil || len(all) < newestKept {
		return err
	}
	first, _, err := c.Extent(ctx, partition)
	if err != nil {
		return err
	}
	keep := kept(all, first)
	for i, m := range all { // remove the metadata first, so that no removed snapshot is listed
		if keep[i] {
			continue
		}
		if err := st.Purge(ctx, jetstream.WithPurgeSubject(m.subject)); err != nil {
			return err
		}
	}
	pieces, err := c.snapshotPieces(ctx, partition)
	if err != nil {
		return err
	}
	for i, m := range all {
		if keep[i] {
			delete(pieces, c.Names.pieceSubject(m.object.NUID))
		}
	}
	for subject, seq := range pieces {
		if seq >= all[newestKept-1].Seq { // a newer one may be an upload under way
			continue
		}
		if err := st.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return err
		}
	}
	return nil
}

// kept reports which of a partition's snapshots, the newest first, are kept: the last
// two, for restoring a state; and the first of each day, by the server's time and in
// UTC, as far back as the log goes, whose first message is first. So what is computed
// from the log again can begin with the log's first day (audit.Replay), and one that
// is kept stays until its message has expired. There are at most two more than the
// log has days.
func kept(all []SnapshotMeta, first uint64) []bool {
	day := func(m SnapshotMeta) int64 { return m.Time.Unix() / (24 * 60 * 60) }
	earliest := map[int64]int{} // by day
	for i, m := range all {
		if e, ok := earliest[day(m)]; m.Seq+1 >= first && (!ok || m.Time.Before(all[e].Time)) {
			earliest[day(m)] = i
		}
	}
	keep := make([]bool, len(all))
	for i, m := range all {
		e, ok := earliest[day(m)]
		keep[i] = i < newestKept || ok && e == i
	}
	return keep
}

// snapshotPieces returns the subjects of the pieces of a partition's snapshots,
// each with its snapshot's sequence.
func (c *Conn) snapshotPieces(ctx context.Context, partition int) (map[string]uint64, error) {
	prefix := c.Names.pieceSubject(strconv.Itoa(partition) + ".")
	subjects, err := c.Wire.Subjects(ctx, c.Names.snapshotsStream(), prefix+">")
	if err != nil {
		return nil, err
	}
	pieces := map[string]uint64{}
	for _, subject := range subjects {
		digits, _, _ := strings.Cut(strings.TrimPrefix(subject, prefix), ".")
		if seq, err := strconv.ParseUint(digits, 10, 64); err == nil {
			pieces[subject] = seq
		}
	}
	return pieces, nil
}

// OpenSnapshot returns a reader of a snapshot. Instead of io.EOF the reader
// returns ErrSnapshotDamaged if the bytes are not those that were stored, and
// ErrSnapshotGone if the snapshot is removed while it is read. Then the bytes
// read before must not be used. The reader ends with ctx.
func (c *Conn) OpenSnapshot(ctx context.Context, m SnapshotMeta) (io.ReadCloser, error) {
	return c.openObject(ctx, m, "snapshot")
}

func (c *Conn) openObject(ctx context.Context, m SnapshotMeta, what string) (io.ReadCloser, error) {
	s := &snapshot{ctx: ctx, conn: c, meta: m, what: what, sum: sha256.New()}
	if m.object.Chunks == 0 {
		return s, nil
	}
	con, err := c.JS.CreateConsumer(ctx, c.Names.snapshotsStream(), jetstream.ConsumerConfig{
		FilterSubject:     c.Names.pieceSubject(m.object.NUID),
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: time.Minute,
	})
	if err == nil && con.CachedInfo().NumPending != uint64(m.object.Chunks) {
		err = fmt.Errorf("%w: %d pieces of %d are left", ErrSnapshotGone, con.CachedInfo().NumPending, m.object.Chunks)
	}
	if err == nil {
		s.consumer = con.CachedInfo().Name
		s.pieces, err = con.Messages(jetstream.PullMaxMessages(piecesAtOnce), jetstream.PullThresholdMessages(piecesAtOnce/2))
	}
	if err != nil {
		return nil, s.failed(err)
	}
	return s, nil
}

// A snapshot is a reader of a snapshot.
type snapshot struct {
	ctx      context.Context
	conn     *Conn
	meta     SnapshotMeta
	what     string // it is, for errors
	consumer string
	pieces   jetstream.MessagesContext // nil if the snapshot is empty

	read  uint32 // how many pieces are read
	piece []byte // the unread rest of the last piece
	sum   hash.Hash
	err   error
}

func (s *snapshot) failed(err error) error {
	return fmt.Errorf("read %s of partition %d at message %d: %w", s.what, s.meta.Partition, s.meta.Seq, err)
}

func (s *snapshot) Read(p []byte) (int, error) {
	for len(s.piece) == 0 && s.err == nil {
		if s.read == s.meta.object.Chunks {
			s.err = io.EOF
			if jetstream.GetObjectDigestValue(s.sum) != s.meta.object.Digest {
				s.err = s.failed(ErrSnapshotDamaged)
			}
		} else if err := s.next(); err != nil {
			s.err = s.failed(err)
		}
	}
	if len(s.piece) == 0 {
		return 0, s.err
	}
	n := copy(p, s.piece)
	s.piece = s.piece[n:]
	return n, nil
}

func (s *snapshot) next() error {
	m, err := s.await()
	if err != nil {
		return err
	}
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	s.read++
	left := s.meta.object.Chunks - s.read
	if meta.Sequence.Consumer != uint64(s.read) || meta.NumPending != uint64(left) {
		return fmt.Errorf("%w: after piece %d of %d, %d are left", ErrSnapshotGone, meta.Sequence.Consumer, s.meta.object.Chunks, meta.NumPending)
	}
	s.piece = m.Data()
	s.sum.Write(s.piece)
	return nil
}

// await waits for the next piece, and checks each second whether the pieces
// still exist.
func (s *snapshot) await() (jetstream.Msg, error) {
	subject := s.conn.Names.pieceSubject(s.meta.object.NUID)
	for began := time.Now(); ; {
		within, cancel := context.WithTimeout(s.ctx, time.Second)
		m, err := s.pieces.Next(jetstream.NextContext(within))
		cancel()
		switch {
		case s.ctx.Err() != nil:
			return nil, s.ctx.Err()
		case !errors.Is(err, context.DeadlineExceeded):
			return m, err
		case time.Since(began) > pieceWithin:
			return nil, fmt.Errorf("the server sends nothing after piece %d of %d", s.read, s.meta.object.Chunks)
		}
		within, cancel = context.WithTimeout(s.ctx, publishFor)
		left, err := s.conn.Wire.Subjects(within, s.conn.Names.snapshotsStream(), subject)
		cancel()
		if err == nil && len(left) == 0 {
			return nil, ErrSnapshotGone
		}
	}
}

// Close ends the reader.
func (s *snapshot) Close() error {
	if s.pieces == nil {
		return nil
	}
	s.pieces.Stop()
	s.pieces, s.err, s.piece = nil, s.failed(errors.New("closed")), nil
	if s.conn.NC.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 2*time.Second)
	defer cancel()
	s.conn.JS.DeleteConsumer(ctx, s.conn.Names.snapshotsStream(), s.consumer)
	return nil
}

package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
)

// LastAccept is the last Accept message in a partition's log and its stored
// time; 0: there is none.
func (c *Conn) LastAccept(ctx context.Context, partition int) (seq uint64, stored int64, err error) {
	m, err := c.Wire.Last(ctx, c.Names.EventsStream(partition), c.Names.EventsSubject(partition, "accept"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, 0, nil
	}
	return m.Seq, m.Time, err
}

// AppendAccept puts an acceptance into a partition's log, if the last one there
// is after.
func (c *Conn) AppendAccept(ctx context.Context, partition int, after uint64, a pipeline.Acceptance) (seq uint64, err error) {
	data, err := json.Marshal(a)
	if err != nil {
		return 0, err
	}
	pub, err := c.Wire.Publisher(c.Names.EventsSubject(partition, "accept"))
	if err != nil {
		return 0, err
	}
	defer pub.Close()
	return pub.Publish(ctx, nats.Header{}, data, after)
}

// A ChainTail is the last record of a chain, and its sequence in the stream.
type ChainTail struct {
	pipeline.Position
	Seq uint64
}

// ChainTails are the tails of a partition's chains that have records, by name.
func (c *Conn) ChainTails(ctx context.Context, partition int) (map[string]ChainTail, error) {
	names, err := (&Chains{conn: c, partition: partition}).stored(ctx)
	if err != nil {
		return nil, err
	}
	tails := map[string]ChainTail{}
	for _, name := range names {
		subject := c.Names.ChainSubject(name, partition)
		m, err := c.Wire.Last(ctx, c.Names.ChainStream(name), subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("chain %s: %w", subject, err)
		}
		pos, err := ParsePosition(m.Header)
		if err != nil {
			return nil, fmt.Errorf("chain %s, message %d: %w: delete it from stream %s if it was published by hand", subject, m.Seq, err, c.Names.ChainStream(name))
		}
		tails[name] = ChainTail{pos, m.Seq}
	}
	return tails, nil
}

// PublishMark puts a Mark onto its chain behind the message with sequence
// after.
func (c *Conn) PublishMark(ctx context.Context, partition int, e pipeline.Effect, after uint64) error {
	m, err := message(c.Names.ChainSubject(e.Chain, partition), e)
	if err != nil {
		return err
	}
	pub, err := c.Wire.Publisher(m.Subject)
	if err != nil {
		return err
	}
	defer pub.Close()
	if _, err = pub.Publish(ctx, m.Header, m.Data, after); err != nil {
		return fmt.Errorf("chain %s: %w: something else publishes on it: stop it and begin again", m.Subject, err)
	}
	return nil
}

// DropSnapshots removes the snapshots of a partition of whose sequence drop says
// so, and what was put of others that were cut.
func (c *Conn) DropSnapshots(ctx context.Context, partition int, drop func(seq uint64) bool) error {
	st, err := c.snapshotsAnew(ctx)
	if err != nil {
		return err
	}
	all, err := c.listSnapshots(ctx, partition)
	if err != nil {
		return err
	}
	for _, m := range all { // first they are no longer listed
		if !drop(m.Seq) {
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
	for subject, seq := range pieces {
		if !drop(seq) {
			continue
		}
		if err := st.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return err
		}
	}
	return nil
}

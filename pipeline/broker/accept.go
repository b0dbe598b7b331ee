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

// LastAccept returns the sequence and the stored time of the last acceptance in
// a partition's log; both are 0 if there is none.
func (c *Conn) LastAccept(ctx context.Context, partition int) (seq uint64, stored int64, err error) {
	m, err := c.Wire.Last(ctx, c.Names.EventsStream(partition), c.Names.EventsSubject(partition, "accept"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, 0, nil
	}
	return m.Seq, m.Time, err
}

// LastEvent returns the sequence of the last message that a partition's log has, which
// is before the end of its extent if later ones were deleted; 0: it has none.
func (c *Conn) LastEvent(ctx context.Context, partition int) (seq uint64, err error) {
	stream := c.Names.EventsStream(partition)
	for _, filter := range []string{"*", "from.*"} {
		subjects, err := c.Wire.Subjects(ctx, stream, c.Names.EventsSubject(partition, filter))
		if err != nil {
			return 0, err
		}
		for _, subject := range subjects {
			m, err := c.Wire.Last(ctx, stream, subject)
			if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				return 0, err
			}
			seq = max(seq, m.Seq)
		}
	}
	return seq, nil
}

// AppendAccept appends an acceptance to a partition's log, provided that the
// last acceptance there has sequence after.
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

// A ChainTail is the position of a chain's last record, and its sequence in the
// stream.
type ChainTail struct {
	pipeline.Position
	Seq uint64
}

// ChainTails returns the tails of those chains of a partition that have records,
// by chain name, but for its mails (MailTail).
func (c *Conn) ChainTails(ctx context.Context, partition int) (map[string]ChainTail, error) {
	names, err := (&Chains{conn: c, partition: partition}).stored(ctx)
	if err != nil {
		return nil, err
	}
	tails := map[string]ChainTail{}
	for _, name := range names {
		t, err := c.chainTail(ctx, partition, name)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		tails[name] = t
	}
	return tails, nil
}

// chainTail returns the tail of a chain. The error is jetstream.ErrMsgNotFound if it
// has no records.
func (c *Conn) chainTail(ctx context.Context, partition int, name string) (t ChainTail, err error) {
	subject := c.Names.ChainSubject(name, partition)
	m, err := c.Wire.Last(ctx, c.Names.ChainStream(name), subject)
	if err != nil {
		return t, fmt.Errorf("chain %s: %w", subject, err)
	}
	pos, err := ParsePosition(m.Header)
	if err != nil {
		return t, fmt.Errorf("chain %s, message %d: %w: delete it from stream %s if it was published by hand", subject, m.Seq, err, c.Names.ChainStream(name))
	}
	return ChainTail{pos, m.Seq}, nil
}

// PublishMark appends a mark to its chain, provided that the last message on the
// chain has sequence after.
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
		return fmt.Errorf("chain %s: %w: another process publishes on it: stop that process and try again", m.Subject, err)
	}
	return nil
}

// DropSnapshots removes those snapshots of a partition for whose sequence drop
// returns true, including the pieces of snapshots whose upload was interrupted.
func (c *Conn) DropSnapshots(ctx context.Context, partition int, drop func(seq uint64) bool) error {
	st, err := c.snapshotsAnew(ctx)
	if err != nil {
		return err
	}
	all, err := c.listSnapshots(ctx, partition)
	if err != nil {
		return err
	}
	for _, m := range all { // remove the metadata first, so that no removed snapshot is listed
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

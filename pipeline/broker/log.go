package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/value"
)

// Tick sends a tick, which moves a partition's log time on to at (nanoseconds
// since 1970). The tick may be lost.
func (c *Conn) Tick(partition int, at int64) error {
	return c.Wire.Send(c.Names.EventsSubject(partition, "tick"), fmt.Appendf(nil, `{"at":%q}`, value.FormatTime(at)))
}

// LastControl returns the sequence of the last control message in a partition's
// log, 0 if there is none.
func (c *Conn) LastControl(ctx context.Context, partition int) (uint64, error) {
	m, err := c.Wire.Last(ctx, c.Names.EventsStream(partition), c.Names.EventsSubject(partition, "control"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	return m.Seq, err
}

// Control appends a control message to a partition's log, which puts a campaign
// set and its engine in force from there on. It does so only if the last control
// message there has sequence after.
func (c *Conn) Control(ctx context.Context, partition int, after uint64, set string, engine int, at int64) error {
	pub, err := c.Wire.Publisher(c.Names.EventsSubject(partition, "control"))
	if err != nil {
		return err
	}
	defer pub.Close()
	_, err = pub.Publish(ctx, nats.Header{}, fmt.Appendf(nil, `{"set":%q,"engine":%d,"at":%q}`, set, engine, value.FormatTime(at)), after)
	return err
}

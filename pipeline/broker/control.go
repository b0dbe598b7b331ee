package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Control is the content of a control message. It puts a set in force, with or
// without a switch, or it replaces what is paused (Paused is not nil then).
type Control struct {
	Engine   int             `json:"engine"`
	Revision uint64          `json:"revision,omitempty"` // of the bucket's record, as carried out with this message
	Pauses   uint64          `json:"pauses,omitempty"`   // of the pauses, likewise
	Set      string          `json:"set,omitempty"`
	Switch   json.RawMessage `json:"switch,omitempty"` // pipeline.Switch

	Paused   []string          `json:"paused,omitzero"` // campaigns; empty: none, nil: the message is not about pauses
	Channels []string          `json:"channels,omitempty"`
	Resumed  map[string]uint64 `json:"resumed,omitempty"` // Pauses.Resumed

	By string `json:"by,omitempty"` // who changed the record
	At string `json:"at,omitempty"` // the writer's clock, RFC 3339
}

// A ControlMessage is a control message of a partition's log.
type ControlMessage struct {
	Seq    uint64 // 0: there is none
	Stored int64  // nanoseconds since 1970
	Control
}

// readControl decodes a control message. Of one that cannot be decoded, at which
// the fold stops loudly, it has the position alone.
func readControl(m Stored) ControlMessage {
	c := ControlMessage{Seq: m.Seq, Stored: m.Time}
	if json.Unmarshal(m.Data, &c.Control) != nil {
		c.Control = Control{}
	}
	return c
}

// LastControl reads the last control message of a partition's log from its leader;
// it is zero if there is none.
func (c *Conn) LastControl(ctx context.Context, partition int) (ControlMessage, error) {
	m, err := c.Wire.Last(ctx, c.Names.EventsStream(partition), c.Names.EventsSubject(partition, "control"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return ControlMessage{}, nil
	}
	if err != nil {
		return ControlMessage{}, fmt.Errorf("last control message of partition %d: %w", partition, err)
	}
	return readControl(m), nil
}

// Control appends a control message, a Control in JSON, to a partition's log. It
// does so only if the last control message there has sequence after.
func (c *Conn) Control(ctx context.Context, partition int, after uint64, data []byte) error {
	pub, err := c.Wire.Publisher(c.Names.EventsSubject(partition, "control"))
	if err != nil {
		return err
	}
	defer pub.Close()
	_, err = pub.Publish(ctx, nats.Header{}, data, after)
	return err
}

// A RevisionKind is one of the two kinds of revision that a control message has.
type RevisionKind uint8

const (
	LiveRevision   RevisionKind = iota // Live.Revision
	PausesRevision                     // Pauses.Revision
)

// NextRevision is the revision of the next record: one above last and above what the
// last control message of every partition has, so that a bucket that was made anew
// goes on where the lost one was. last is that of the record, or the highest that a
// worker reports: control messages expire with their log.
func (c *Conn) NextRevision(ctx context.Context, last uint64, kind RevisionKind) (uint64, error) {
	for p := range c.Partitions {
		m, err := c.LastControl(ctx, p)
		if err != nil {
			return 0, err
		}
		switch kind {
		case LiveRevision:
			last = max(last, m.Revision)
		case PausesRevision:
			last = max(last, m.Pauses)
		}
	}
	return last + 1, nil
}

// mostControls bounds the answer of Controls.
const mostControls = 10_000

// Controls returns the newest 10,000 control messages that a partition's log still
// has, the oldest first.
func (c *Conn) Controls(ctx context.Context, partition int) (all []ControlMessage, err error) {
	w, err := c.walk(ctx, c.Names.EventsStream(partition), c.Names.EventsSubject(partition, "control"), 100, time.Time{})
	if err != nil {
		return nil, err
	}
	defer w.close()
	for {
		m, err := w.take(ctx)
		if m == nil || err != nil {
			return all, err
		}
		if len(all) == mostControls {
			all = all[1:]
		}
		all = append(all, readControl(Stored{Seq: m.seq, Time: m.stored.UnixNano(), Data: m.data}))
	}
}

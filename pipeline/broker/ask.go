package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// An answer that does not fit into one message of NATS comes in parts, in order.
// headerPart of each has an id of the answer, the number of the part, from 1,
// and the number of parts.
const (
	headerPart = "Offerstream-Part"
	headerRoom = 1 << 10 // bytes of a message that are left for its headers
	mostParts  = 64      // deploy/nats.conf lets a worker answer with as many messages
)

// answer answers a request.
func answer(nc *nats.Conn, asked *nats.Msg, data []byte) error {
	size := int(nc.MaxPayload()) - headerRoom
	if len(data) <= size {
		return asked.Respond(data)
	}
	parts := (len(data) + size - 1) / size
	if parts > mostParts {
		return fmt.Errorf("the answer has %d bytes, at most %d can be sent", len(data), mostParts*size)
	}
	id := strings.TrimPrefix(nats.NewInbox(), nats.InboxPrefix)
	for i := range parts {
		m := &nats.Msg{Subject: asked.Reply, Header: nats.Header{headerPart: {fmt.Sprint(id, " ", i+1, " ", parts)}}, Data: data[i*size : min((i+1)*size, len(data))]}
		if err := nc.PublishMsg(m); err != nil {
			return err
		}
	}
	return nil
}

// Answers gathers the parts of answers, by id.
type answers map[string]*partial

// A partial is the beginning of an answer.
type partial struct {
	data  []byte
	parts int // how many have come
}

// add returns the answer that a message completes.
func (a answers) add(m *nats.Msg) (data []byte, whole bool, err error) {
	part := m.Header.Get(headerPart)
	if part == "" {
		return m.Data, true, nil
	}
	var id string
	var i, n int
	if _, err := fmt.Sscan(part, &id, &i, &n); err != nil || i < 1 || i > n || n > mostParts {
		return nil, false, fmt.Errorf("a part of an answer has the header %q: use the offerctl of the worker's version", part)
	}
	p := a[id]
	if p == nil {
		p = new(partial)
		a[id] = p
	}
	if i != p.parts+1 {
		return nil, false, fmt.Errorf("part %d of %d of an answer came after part %d, as another was lost: ask again", i, n, p.parts)
	}
	p.data, p.parts = append(p.data, m.Data...), i
	if i < n {
		return nil, false, nil
	}
	delete(a, id)
	return p.data, true, nil
}

// Request sends a request and returns the first answer, which must be one message. It
// costs less than Ask, and like that does not work in the simulation.
func (c *Conn) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	m, err := c.NC.RequestWithContext(ctx, subject, data)
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask on %s: %w", subject, err)
	case len(m.Header[headerPart]) > 0:
		return nil, fmt.Errorf("ask on %s: the answer has more than one message", subject)
	}
	return m.Data, nil
}

// Ask sends a request to everyone who listens on a subject, and calls fn with
// each answer until fn returns true, ctx is done, or NATS reports that nobody
// listens. It returns nil in all three cases, but an error if an answer came only
// in part. It is for tools: it needs a connection to NATS and does not work in the
// simulation.
func (c *Conn) Ask(ctx context.Context, subject string, data []byte, fn func(answer []byte) (enough bool)) error {
	inbox := c.NC.NewInbox()
	sub, err := c.NC.SubscribeSync(inbox)
	if err != nil {
		return fmt.Errorf("ask on %s: %w", subject, err)
	}
	defer sub.Unsubscribe()
	if err := c.NC.PublishRequest(subject, inbox, data); err != nil {
		return fmt.Errorf("ask on %s: %w", subject, err)
	}
	parts := answers{}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil && len(parts) > 0:
			return fmt.Errorf("ask on %s: the rest of an answer has not come: let the worker answer with %d messages, as allow_responses in deploy/nats.conf does, and ask again", subject, mostParts)
		case ctx.Err() != nil, errors.Is(err, nats.ErrNoResponders):
			return nil
		}
		var answer []byte
		whole := false
		if err == nil {
			answer, whole, err = parts.add(m)
		}
		if err != nil {
			return fmt.Errorf("ask on %s: %w", subject, err)
		}
		if whole && fn(answer) {
			return nil
		}
	}
}

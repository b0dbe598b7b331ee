package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Ask sends a request to everyone who listens on a subject, and calls fn with
// each answer until fn returns true, ctx is done, or NATS reports that nobody
// listens. It returns nil in all three cases. It is for tools: it needs a
// connection to NATS and does not work in the simulation.
func (c *Conn) Ask(ctx context.Context, subject string, data []byte, fn func(answer []byte) (enough bool)) error {
	inbox := c.NC.NewInbox()
	answers, err := c.NC.SubscribeSync(inbox)
	if err != nil {
		return fmt.Errorf("ask on %s: %w", subject, err)
	}
	defer answers.Unsubscribe()
	if err := c.NC.PublishRequest(subject, inbox, data); err != nil {
		return fmt.Errorf("ask on %s: %w", subject, err)
	}
	for {
		m, err := answers.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil, errors.Is(err, nats.ErrNoResponders):
			return nil
		case err != nil:
			return fmt.Errorf("ask on %s: %w", subject, err)
		case fn(m.Data):
			return nil
		}
	}
}

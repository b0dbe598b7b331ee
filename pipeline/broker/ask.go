package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Ask asks whoever listens on a subject, and calls fn with each answer until
// that is enough, ctx is done or it is clear that nobody listens; none of these
// is an error. It is for tools, which have a connection to NATS and no other
// wire.
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

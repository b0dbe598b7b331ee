package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/task"
)

// ErrLeaseLost says that a lease has expired or is another's.
var ErrLeaseLost = errors.New("the lease is lost")

func leaseKey(id string) string { return "member." + id }

// PutLease says with a value that member id lives for ttl from now. rev is
// what the call before returned, 0 for the first; ErrLeaseLost if the lease
// has expired or changed since.
func (c *Conn) PutLease(ctx context.Context, id string, value []byte, ttl time.Duration, rev uint64) (uint64, error) {
	return c.Wire.PutLease(ctx, c.Names.GroupBucket(), leaseKey(id), value, ttl, rev)
}

// LeaseRev is the revision of a member's lease, 0 where it has none.
func (c *Conn) LeaseRev(ctx context.Context, id string) (uint64, error) {
	_, rev, err := c.Wire.Get(ctx, c.Names.GroupBucket(), leaseKey(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	return rev, err
}

// DropLease ends member id's lease at once.
func (c *Conn) DropLease(ctx context.Context, id string, rev uint64) error {
	return c.Wire.DropLease(ctx, c.Names.GroupBucket(), leaseKey(id), rev)
}

// WatchLeases calls fn with the values of all that live, by member, first when
// they are known and again whenever that changes, until ctx is done or the
// connection is closed.
func (c *Conn) WatchLeases(ctx context.Context, fn func(leases map[string][]byte)) error {
	for {
		err := c.Wire.WatchLeases(ctx, c.Names.GroupBucket(), func(leases map[string][]byte) {
			byID := make(map[string][]byte, len(leases))
			for key, value := range leases {
				byID[strings.TrimPrefix(key, leaseKey(""))] = value
			}
			fn(byID)
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case c.Wire.IsClosed():
			return fmt.Errorf("watch the group: %w", ErrClosed)
		case err != nil:
			c.Log.Warn("the watch on the group has ended: watching again", "error", err)
		}
		if err := task.Sleep(ctx, c.World, time.Second); err != nil {
			return err
		}
	}
}

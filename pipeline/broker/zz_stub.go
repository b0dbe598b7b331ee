package broker

import (
	"context"
	"time"
)

func (w *natsWire) PutLease(ctx context.Context, bucket, key string, value []byte, ttl time.Duration, rev uint64) (uint64, error) {
	panic("x")
}
func (w *natsWire) DropLease(ctx context.Context, bucket, key string, rev uint64) error { panic("x") }
func (w *natsWire) WatchLeases(ctx context.Context, bucket string, fn func(leases map[string][]byte)) error {
	panic("x")
}
func (n Names) GroupBucket() string { return n.stream("GROUP") }

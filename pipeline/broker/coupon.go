package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
)

const (
	couponAttempt = 700 * time.Millisecond // for which one request waits: the owner may have changed
	couponPause   = 20 * time.Millisecond  // before the next, where nobody owns the partition, or a visitor's record is on its way
)

// Coupon asks the owner of the user's partition about a code, when the owner has
// applied all that this gateway knows to be in the partition's log. It asks again until
// there is an answer or ctx is done.
func (g *GatewayLog) Coupon(ctx context.Context, partition int, user, code, order string) (s pipeline.CouponState, err error) {
	q, err := json.Marshal(CouponQuery{Key: user, Code: code, Order: order, Seq: g.seqs[partition].Load()})
	if err != nil {
		return s, err
	}
	for why := error(nil); ; {
		attempt, cancel := context.WithTimeout(ctx, couponAttempt)
		m, err := g.conn.NC.RequestWithContext(attempt, g.conn.Names.CouponsSubject(partition), q)
		cancel()
		var a Answer
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			why = errors.New("no worker owns the partition")
		case err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			why = errors.New("the partition's worker has not answered")
			continue
		case err != nil && why == nil:
			why = err
		case err != nil: // what is known is better
		case json.Unmarshal(m.Data, &a) != nil || a.Coupon == nil:
			why = fmt.Errorf("the partition's worker: %s", a.Error)
		case a.Coupon.State != pipeline.CouponAwaited:
			return *a.Coupon, nil
		default:
			why = errors.New("the record of a visitor is on its way to the user")
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("ask about a coupon in partition %d: %w", partition, why)
		case <-time.After(couponPause):
		}
	}
}

package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

const (
	askFor   = 2 * time.Second // for an answer
	askFirst = 50 * time.Millisecond
	askLast  = 5 * time.Second // the longest time between two questions without an answer
)

// errBehind means that the owner's state is from before the offer.
var errBehind = errors.New("the worker is behind: its state is from before the offer, or events wait for it")

// ask asks the owner of the user's partition whether the offer may go out now. Of a
// visitor who has become a user it asks about that user.
func (d *Deliverer) ask(ctx context.Context, h *held) (*pipeline.Delivery, error) {
	o := h.offer
	q := broker.Query{Key: h.key, Deliver: &pipeline.DeliveryQuery{Campaign: o.Campaign, Channel: o.Channel, Kind: o.Kind, Time: nanoseconds(o.Time), Expires: h.expires(), S: h.s, T: h.t, Traits: d.preset.traits}}
	is, err := d.askOwner(ctx, h.partition, q)
	if err == nil && is.Owner != "" {
		q.Key, q.Deliver.S = is.Owner, 0 // the position is one of another log
		is, err = d.askOwner(ctx, event.Partition(q.Key, d.opt.Conn.Partitions), q)
		if err == nil && is.Owner != "" {
			err = fmt.Errorf("user %s is said to be a visitor who has become %s", q.Key, is.Owner)
		}
	}
	return is, err
}

func (d *Deliverer) askOwner(ctx context.Context, p int, q broker.Query) (*pipeline.Delivery, error) {
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	b, err = d.opt.Conn.Request(ctx, d.opt.Conn.Names.QuerySubject(p), b)
	if err != nil {
		return nil, err
	}
	var a broker.Answer
	switch err := json.Unmarshal(b, &a); {
	case err != nil:
		return nil, fmt.Errorf("the worker's answer: %w", err)
	case a.Error != "":
		return nil, fmt.Errorf("the worker of partition %d: %s", p, a.Error)
	case a.Delivery == nil:
		return nil, fmt.Errorf("the worker of partition %d is of an older version, which does not know whether offers may go out: update it", p)
	case a.Delivery.Behind:
		return nil, errBehind
	}
	return a.Delivery, nil
}

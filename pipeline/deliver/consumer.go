package deliver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/broker"
)

// Limits of what is taken and not acknowledged.
const (
	maxHeld     = 4096     // offers in this process
	maxBytes    = 64 << 20 // their bytes; those of one more fetch may come on top
	maxFetched  = 64       // offers that are asked for at a time
	maxUnacked  = 100_000  // offers that the server waits for, most of them parked for quiet hours
	ackWait     = 30 * time.Second
	fetchWait   = time.Second
	offerType   = "offerstream.offer"
	afterFailed = time.Second // until the server is asked again after an error
)

// open returns the durable consumer, and makes it if it does not exist. It also finds
// out what a process before this one has taken and not acknowledged: that comes first.
func (d *Deliverer) open(ctx context.Context) (jetstream.Consumer, error) {
	names := d.opt.Conn.Names
	of, name, filter := names.OffersStream(), d.opt.Name, names.ChannelSubjects(d.opt.Channel)
	if d.opt.Letters {
		of, name, filter = names.DeadStream(), d.opt.Name+"-letters", names.DeadDeliver()
	}
	stream, err := d.opt.Conn.JS.Stream(ctx, of)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", of, err)
	}
	d.letters.upto = stream.CachedInfo().State.LastSeq
	con, err := stream.Consumer(ctx, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		c := jetstream.ConsumerConfig{Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy, AckWait: d.opt.ackWait, MaxAckPending: maxUnacked, MaxDeliver: -1}
		if d.opt.New {
			c.DeliverPolicy = jetstream.DeliverNewPolicy
		}
		if con, err = stream.CreateConsumer(ctx, c); err == nil {
			d.opt.Log.Info("a new consumer", "name", name, "messages", con.CachedInfo().NumPending)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("consumer %s on %s: %w", name, of, err)
	}
	info := con.CachedInfo()
	if c := info.Config; c.FilterSubject != filter || c.AckPolicy != jetstream.AckExplicitPolicy || c.MaxDeliver > 0 {
		return nil, fmt.Errorf("consumer %s on %s exists and is another one: it has the filter %q, the policy %v and at most %d deliveries of a message; this needs %q, %v and any number: choose another --name", name, of, c.FilterSubject, c.AckPolicy, c.MaxDeliver, filter, jetstream.AckExplicitPolicy)
	}
	d.returning(info.NumAckPending, info.Delivered.Stream, info.Config.AckWait)
	return con, nil
}

// take takes offers and puts them on their lanes, until ctx is done or the receiver is
// gone, or until there are no more letters.
func (d *Deliverer) take(ctx, hard context.Context, con jetstream.Consumer) error {
	lanes, end := context.WithCancel(ctx)
	defer end()
	go func() {
		select {
		case <-lanes.Done():
		case <-d.stopped:
			end()
		}
		d.wakeUp()
	}()
	over := func() bool { return ctx.Err() != nil || d.isStopped() }
	for {
		n := d.room(over)
		if over() {
			return nil
		}
		came := false
		batch, err := con.Fetch(min(n, maxFetched), jetstream.FetchMaxWait(fetchWait))
		if err == nil {
			for m := range batch.Messages() {
				switch {
				case over():
					_ = m.Nak() // else it comes again after ackWait
				case d.opt.Letters:
					came = d.takenLetter(lanes, hard, m) || came
				default:
					d.taken(lanes, hard, m)
				}
			}
			err = batch.Error()
		}
		if err == nil && d.opt.Letters && !came {
			var done bool
			if done, err = d.lettersDone(ctx, con); done {
				return nil
			}
		}
		if err != nil {
			if err := d.again(ctx, con, err); err != nil {
				return err
			}
		}
	}
}

// again says what to do about an error of reading: nil is to read again.
func (d *Deliverer) again(ctx context.Context, con jetstream.Consumer, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if d.opt.Conn.NC.IsClosed() {
		return fmt.Errorf("read offers: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, is := con.Info(within); errors.Is(is, jetstream.ErrConsumerNotFound) {
		if d.opt.Letters {
			return fmt.Errorf("consumer %s-letters is gone: somebody has removed it, and with it what was sent again. A new one begins with all letters", d.opt.Name)
		}
		return fmt.Errorf("consumer %s is gone: somebody has removed it, and with it where it was. A new one begins with all that OFFERS has: start with --start new if these were sent", d.opt.Name)
	}
	d.opt.Log.Warn("offers cannot be read: trying again", "error", err)
	d.sleep(ctx, afterFailed)
	return nil
}

// taken takes a message.
func (d *Deliverer) taken(ctx, hard context.Context, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		d.opt.Log.Error("a message without metadata", "subject", m.Subject(), "error", err)
		return
	}
	d.met.behind.Set(float64(meta.NumPending))
	pos, err := broker.ParsePosition(m.Headers())
	mark := m.Headers().Get("ce-type") != offerType
	if meta.NumDelivered == 1 && err == nil {
		d.follows(m.Subject(), pos.N, mark)
	}
	if mark {
		_ = m.Ack()
		d.passed(meta.Sequence.Stream)
		return
	}
	h := &held{seq: meta.Sequence.Stream, stored: meta.Timestamp, raw: m.Data(), key: m.Subject(), s: pos.S, t: pos.T, damaged: err}
	var notOffer, noPartition error
	if h.offer, notOffer = readOffer(m.Data()); notOffer == nil {
		h.key = h.offer.Entity()
	}
	h.partition, noPartition = strconv.Atoi(m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:])
	h.damaged = errors.Join(h.damaged, notOffer, noPartition)
	d.put(ctx, h, m, func() { d.deliver(ctx, hard, h) })
}

// follows warns if offers were left out before the one with number n on a subject: they
// were trimmed before they could be taken. A mark leaves numbers out.
func (d *Deliverer) follows(subject string, n uint64, mark bool) {
	last := d.numbers[subject]
	d.numbers[subject] = n
	if !mark && last != 0 && n > last+1 {
		d.met.missed.Add(float64(n - last - 1))
		d.opt.Log.Error("OFFERS MISSED: the stream has trimmed them before they could be sent", "subject", subject, "after", last, "before", n)
	}
}

// heartbeats tells the server of each offer that it is still being worked on, often
// enough that it does not give it to anybody else.
func (d *Deliverer) heartbeats(ended <-chan struct{}) {
	tick := time.NewTicker(d.opt.ackWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			for _, m := range d.messages(time.Now().Add(-d.opt.ackWait / 3)) {
				_ = m.InProgress() // without a connection the offer comes again, and is recognised
			}
		}
	}
}

// giveBack gives back what was not sent, so that the next process gets it at once.
func (d *Deliverer) giveBack() {
	for _, m := range d.messages(time.Now()) {
		_ = m.Nak()
	}
	if err := d.opt.Conn.NC.FlushTimeout(5 * time.Second); err != nil {
		d.opt.Log.Warn("the last acknowledgements may be lost: these offers are sent again, under the same ids", "error", err)
	}
}

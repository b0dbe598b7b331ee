package deliver

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

// by begins the detail of a letter: whose it is.
func (d *Deliverer) by(h *held) string { return fmt.Sprintf("%s by %s: ", h.who(), d.opt.Name) }

// bury stores an offer as a dead letter, and returns true when it is stored. Until then
// the offer is not acknowledged: if ctx is done before, it is worked on again later.
func (d *Deliverer) bury(ctx, hard context.Context, h *held, end *ending) bool {
	letter := pipeline.Dead{Raw: h.raw, Reason: end.reason, Detail: d.by(h) + end.detail}
	id := d.opt.Name + " " + h.who()
	if d.opt.Letters { // another letter than the one that it is of
		id = fmt.Sprint(id, " after ", h.seq)
	}
	for tries := 1; ; tries++ {
		within, cancel := context.WithTimeout(hard, 5*time.Second)
		err := d.dead.Put(within, id, letter)
		cancel()
		if err == nil {
			d.met.letters.Inc()
			return true
		}
		d.opt.Log.Error("an offer that is given up cannot be stored as a dead letter: it waits", "offer", h.who(), "error", err)
		d.sleep(ctx, min(d.opt.firstWait<<min(tries, 5), 30*time.Second))
		if ctx.Err() != nil {
			return false
		}
	}
}

// letters is what is known of the letters that are sent again.
type letters struct {
	upto   uint64          // the last message of DEADLETTERS at the start
	late   map[uint64]bool // later ones, such as what has failed again: they are for the next time
	others int             // other senders' letters, and what is no offer

	delivered, failed atomic.Int64
}

// takenLetter takes a letter, and reports whether it was there at the start.
func (d *Deliverer) takenLetter(ctx, hard context.Context, m jetstream.Msg) bool {
	l, err := broker.Letter(m)
	if err != nil {
		d.opt.Log.Error("a letter cannot be read", "subject", m.Subject(), "error", err)
		return false
	}
	if l.Number > d.letters.upto {
		_ = m.NakWithDelay(d.opt.ackWait)
		d.letters.late[l.Number] = true
		return false
	}
	h := &held{seq: l.Number, raw: l.Raw}
	if h.offer, err = readOffer(l.Raw); err != nil || h.offer.Channel != d.opt.Channel || !strings.HasPrefix(l.Detail, d.by(h)) {
		_ = m.Ack()
		d.passed(h.seq)
		d.letters.others++
		return true
	}
	h.key = h.offer.Entity()
	h.partition = event.Partition(h.key, d.opt.Conn.Partitions)
	h.stored = time.Unix(0, nanoseconds(h.offer.Time)) // nearly: the letter does not have it
	d.put(ctx, h, m, func() { d.deliver(ctx, hard, h) })
	return true
}

// lettersDone reports whether all letters that were there at the start have ended. It is
// asked when none of them has come for a moment.
func (d *Deliverer) lettersDone(ctx context.Context, con jetstream.Consumer) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	info, err := con.Info(ctx)
	if err != nil {
		return false, err
	}
	return info.NumAckPending <= len(d.letters.late) && (info.NumPending == 0 || info.Delivered.Stream >= d.letters.upto), nil
}

package deliver

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"offerstream/pipeline"
)

// An ending is what has become of an offer. Reason and detail say why it was not
// delivered.
type ending struct {
	delivered bool
	dead      bool // it becomes a dead letter
	reason    string
	detail    string
}

// deliver works on an offer until it is delivered, given up or parked, or until ctx is
// done: then it stays what it was. What has begun may go on until hard is done.
func (d *Deliverer) deliver(ctx, hard context.Context, h *held) {
	end := d.work(ctx, hard, h)
	if end == nil {
		return
	}
	if end.dead && !d.bury(ctx, hard, h, end) {
		return
	}
	if d.opt.Report != nil && !d.tell(hard, h, end) {
		return
	}
	d.note(h, end)
	d.acknowledge(h)
}

// note counts an ending and logs why an offer was not delivered.
func (d *Deliverer) note(h *held, end *ending) {
	if end.delivered {
		d.letters.delivered.Add(1)
		d.met.sent.Inc()
		d.met.latency.Observe(time.Since(h.stored).Seconds())
		return
	}
	d.letters.failed.Add(1)
	d.met.failed.WithLabelValues(end.reason).Inc()
	id, of := "", ""
	if h.offer != nil {
		id, of = h.offer.ID, h.offer.Campaign
	}
	d.opt.Log.Warn("an offer is not delivered", "offer", id, "campaign", of, "reason", end.reason, "detail", end.detail, "dead letter", end.dead)
}

// work makes attempts until the offer has ended; nil: it has not, and is not worked on
// any more.
func (d *Deliverer) work(ctx, hard context.Context, h *held) *ending {
	if h.damaged != nil {
		return &ending{dead: true, reason: reasonDamaged, detail: h.damaged.Error()}
	}
	for unanswered := 0; ; {
		if end := d.over(h, time.Now()); end != nil {
			return end
		}
		if !d.begin(ctx) {
			return nil
		}
		turn := d.turn(ctx, hard, h)
		<-d.slots
		switch {
		case ctx.Err() != nil && turn.end == nil:
			return nil
		case turn.end != nil:
			return turn.end
		case turn.until != 0:
			d.met.parked.Inc()
			d.park(h, time.Until(time.Unix(0, turn.until)))
			return nil
		case turn.unanswered != nil:
			if unanswered++; unanswered%20 == 10 {
				d.opt.Log.Warn("nobody says whether an offer may go out: it waits", "offer", h.offer.ID, "partition", h.partition, "error", turn.unanswered)
			}
			d.met.unanswered.Inc()
			d.sleep(ctx, min(askFirst<<min(unanswered, 10), askLast))
		default:
			unanswered = 0
			d.sleep(ctx, max(d.backoff.after(h.attempts), turn.wait))
		}
	}
}

// over returns how an offer has ended by itself, nil if it has not.
func (d *Deliverer) over(h *held, now time.Time) *ending {
	end := &ending{dead: h.attempts > 0} // what was never tried has not failed
	switch e := h.expires(); {
	case e != 0 && now.UnixNano() >= e:
		end.reason = pipeline.DeliveryExpired
	case now.Sub(h.stored) > d.opt.Within:
		end.reason = reasonAge
	case h.attempts >= d.opt.Attempts:
		end.reason = reasonAttempts
	default:
		return nil
	}
	end.detail = h.failed()
	return end
}

// failed says in words which attempts have failed.
func (h *held) failed() string {
	if h.last == nil {
		return ""
	}
	return fmt.Sprintf("attempt %d: %s: %s", h.attempts, h.last.reason, h.last.detail)
}

// begin waits for a slot. It returns false if ctx is done or the receiver is gone.
func (d *Deliverer) begin(ctx context.Context) bool {
	select {
	case d.slots <- struct{}{}:
		if ctx.Err() == nil && !d.isStopped() {
			return true
		}
		<-d.slots
	case <-ctx.Done():
	}
	return false
}

// A turn is what comes of one question and one attempt, of which at most one is set.
type turn struct {
	end        *ending
	until      int64         // quiet hours end then
	unanswered error         // nobody has said whether the offer may go out
	wait       time.Duration // the attempt failed: at least so long until the next one
}

// answered is how long an answer counts: whatever takes longer between it and the
// attempt needs another.
const answered = time.Second

// turn asks, and makes an attempt if it may.
func (d *Deliverer) turn(ctx, hard context.Context, h *held) turn {
	asked := time.Now()
	may, err := d.ask(ctx, h)
	if err != nil {
		return turn{unanswered: err}
	}
	if may.Stops == "" {
		if !d.admit(ctx) {
			return turn{}
		}
		if time.Since(asked) > answered {
			if may, err = d.ask(ctx, h); err != nil {
				return turn{unanswered: err}
			}
		}
	}
	switch {
	case may.Stops != "" && may.Until != 0:
		return turn{until: may.Until}
	case may.Stops != "":
		return turn{end: &ending{reason: may.Stops, dead: may.Stops == pipeline.DeliveryExpired && h.attempts > 0, detail: h.failed()}}
	}
	start := time.Now()
	m, fail := d.preset.message(h, may.Traits, start)
	if fail == nil {
		within, cancel := context.WithTimeout(hard, d.opt.Timeout)
		fail = d.to.send(within, m)
		cancel()
		d.met.attempt.Observe(time.Since(start).Seconds())
	}
	switch {
	case fail == nil:
		return turn{end: &ending{delivered: true}}
	case hard.Err() != nil: // not the receiver's fault
		return turn{}
	}
	return d.after(h, fail)
}

// after is what follows of a failed attempt.
func (d *Deliverer) after(h *held, fail *failure) turn {
	h.last = fail
	h.attempts++
	switch fail.verdict {
	case gone:
		d.stop(fail.detail)
		return turn{}
	case never:
		return turn{end: &ending{reason: fail.reason, detail: h.failed(), dead: fail.reason != reasonNoAddress}}
	}
	if fail.after > 0 {
		d.pause(time.Now().Add(fail.after))
		d.opt.Log.Warn("the receiver asks to be left alone: nothing is sent meanwhile", "for", fail.after)
	}
	d.met.retries.WithLabelValues(fail.reason).Inc()
	d.opt.Log.Info("an attempt failed", "offer", h.offer.ID, "attempt", h.attempts, "reason", fail.reason, "detail", fail.detail)
	return turn{wait: fail.after}
}

// pause lets no attempt of the channel begin before a time.
func (d *Deliverer) pause(until time.Time) {
	d.pauseMu.Lock()
	defer d.pauseMu.Unlock()
	if until.After(d.paused) {
		d.paused = until
	}
}

// admit waits until the receiver takes messages again, and for the rate. It returns
// false if ctx is done.
func (d *Deliverer) admit(ctx context.Context) bool {
	for {
		d.pauseMu.Lock()
		wait := time.Until(d.paused)
		d.pauseMu.Unlock()
		if wait <= 0 {
			break
		}
		if d.sleep(ctx, wait); ctx.Err() != nil {
			return false
		}
	}
	return d.limiter == nil || d.limiter.Wait(ctx) == nil
}

// sleep waits for a time, or until ctx is done.
func (d *Deliverer) sleep(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// who is the offer's id, or what is known instead.
func (h *held) who() string {
	if h.offer == nil {
		return fmt.Sprint("message ", h.seq)
	}
	return cmp.Or(h.offer.ID, fmt.Sprint("message ", h.seq))
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/task"
)

// A chain publishes its records one by one, in order.
type chain struct {
	all     *Chains
	name    string
	subject string
	tail    tail // changed by run alone, under all.mu
	log     *slog.Logger

	queue  []pipeline.Effect // under all.mu, as is stored
	stored uint64            // the last record of the fold's known stored
	wake   task.Event        // there is something in the queue

	publisher Publisher
	msg       nats.Msg // the one that is published, its memory used again
}

// run publishes what waits until ctx is done.
func (ch *chain) run(ctx context.Context) error {
	for {
		e, ok := ch.next()
		if !ok {
			if ctx.Err() != nil {
				return nil
			}
			ch.wake.Wait(ctx, task.Forever)
			continue
		}
		if err := ch.put(ctx, e); err != nil {
			if ctx.Err() != nil {
				return nil // closed: what waits is for whoever opens the chains next
			}
			return err
		}
		ch.moved(e.Pos.N)
	}
}

func (ch *chain) next() (pipeline.Effect, bool) {
	ch.all.mu.Lock()
	defer ch.all.mu.Unlock()
	if len(ch.queue) == 0 {
		return pipeline.Effect{}, false
	}
	return ch.queue[0], true
}

// moved notes that record n is stored and no longer waits.
func (ch *chain) moved(n uint64) {
	cs := ch.all
	cs.mu.Lock()
	defer cs.mu.Unlock()
	ch.queue[0] = pipeline.Effect{}
	ch.queue = ch.queue[1:]
	ch.stored = n
	cs.waiting--
	if cs.awaited {
		cs.awaited = false
		cs.room.Set()
		cs.settled.Set()
	}
}

// followEvery is how often a follower looks whether the owner has written what
// waits here.
const followEvery = 250 * time.Millisecond

// put returns when the record is on the chain, whoever wrote it. A follower
// leaves that to the owner (P6).
func (ch *chain) put(ctx context.Context, e pipeline.Effect) error {
	for attempt := 0; ; {
		if e.Pos.N <= ch.tail.N {
			if ch.tail.against(e.Pos) != nil { // read it again before that is believed
				return ch.check(ctx, func(t tail) error { return t.against(e.Pos) })
			}
			return nil
		}
		if e.Pos.N != ch.tail.N+1 {
			return Loud(fmt.Errorf("chain %s ends at record %d, the state goes on at record %d", ch.subject, ch.tail.N, e.Pos.N))
		}
		if ch.all.muted.Load() {
			ch.wake.Wait(ctx, followEvery)
			if err := ch.again(ctx, 0, nil); err != nil {
				return err
			}
			continue
		}
		err := ch.publish(ctx, e)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if err := ch.again(ctx, attempt, err); err != nil {
			return err
		}
		attempt++
	}
}

// publish sends the record, expecting that the tail is what is known of it,
// and waits for the acknowledgement.
func (ch *chain) publish(ctx context.Context, e pipeline.Effect) error {
	if err := compose(&ch.msg, e); err != nil {
		return err
	}
	seq, err := ch.publisher.Publish(ctx, ch.msg.Header, ch.msg.Data, ch.tail.seq)
	if err == nil {
		ch.saw(tail{e.Pos, seq})
	}
	return err
}

// codeOneInFlight is the answer when another publish on the subject is under
// way on R3: trying at once makes no progress.
const codeOneInFlight = 10164

// again waits as long as the failure asks for and reads the tail.
func (ch *chain) again(ctx context.Context, attempt int, failure error) error {
	var api *jetstream.APIError
	wait := time.Duration(0)
	crowded := errors.As(failure, &api) && int(api.ErrorCode) == codeOneInFlight
	switch {
	case crowded:
		wait = 3*time.Millisecond + ch.all.conn.World.Jitter(3*time.Millisecond)
	case attempt > 0:
		wait = min(10*time.Millisecond<<min(attempt, 10), 2*time.Second)
		wait += ch.all.conn.World.Jitter(wait / 2)
	}
	if attempt > 0 && (!crowded || attempt%200 == 0) {
		ch.log.Warn("an offer is not stored yet: trying again", "error", failure, "attempt", attempt+1)
	}
	if err := task.Sleep(ctx, ch.all.conn.World, wait); err != nil {
		return err
	}
	acknowledged := ch.tail
	return ch.check(ctx, func(t tail) error {
		if t.N == acknowledged.N && t != acknowledged {
			return fmt.Errorf("its record %d is %+v in message %d, it was %+v in message %d", t.N, t.Position, t.seq, acknowledged.Position, acknowledged.seq)
		}
		return nil
	})
}

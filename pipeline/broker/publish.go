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

	queue  []pipeline.Effect // under all.mu
	stored uint64            // number of the fold's last record that is known stored; under all.mu
	wake   task.Signal       // set when the queue has a record

	publisher Publisher
	msg       nats.Msg // the message to publish; its memory is reused
}

// run publishes waiting records until ctx is done.
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
				return nil // closed: whoever opens the chains next publishes the waiting records
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

// moved records that record n is stored, and removes it from the queue.
func (ch *chain) moved(n uint64) {
	cs := ch.all
	cs.failing.note(ch.subject, time.Time{}, nil)
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

// followEvery is the time between two looks of a follower at whether the owner
// has stored the records that wait here.
const followEvery = 250 * time.Millisecond

// put returns when the record is on the chain, whoever wrote it. A follower
// waits for the owner to write it (P6).
func (ch *chain) put(ctx context.Context, e pipeline.Effect) error {
	for attempt := 0; ; {
		if e.Pos.N <= ch.tail.N {
			if ch.tail.against(e.Pos) != nil { // the tail may be stale: read it again before reporting a mismatch
				return ch.check(ctx, func(t tail) error { return t.against(e.Pos) })
			}
			return nil
		}
		if !ch.follows(e) {
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
		ch.all.failing.note(ch.subject, ch.all.conn.World.Now(), fmt.Errorf("publish to %s: %w", ch.subject, err))
		if err := ch.again(ctx, attempt, err); err != nil {
			return err
		}
		attempt++
	}
}

// follows reports whether a record is the next one on the chain. A mark, and the
// first record of a chain that begins after an acceptance, leave numbers out
// (pipeline.Acceptance).
func (ch *chain) follows(e pipeline.Effect) bool {
	return e.Pos.N == ch.tail.N+1 || e.Mark != nil || ch.tail.N == 0 && ch.stored == 0
}

// publish sends the record, expecting the known tail, and waits for the
// acknowledgement.
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

// codeOneInFlight is the error code when, with several replicas, another publish
// on the subject is under way. Retrying at once makes no progress.
const codeOneInFlight = 10164

// again waits as long as the kind of failure demands, and then reads the tail.
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
		ch.log.Warn("a record is not stored yet: trying again", "error", failure, "attempt", attempt+1)
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

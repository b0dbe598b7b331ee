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

// A chain publishes its records in order: dead letters one by one, offers as batches
// where many wait (batch.go), mails that wait together in one message (mail.go).
type chain struct {
	all     *Chains
	name    string
	subject string
	mails   bool
	to      int       // of mails: the partition that receives them
	tail    tail      // changed by run alone, under all.mu
	known   ChainTail // the last record that was acknowledged or seen stored; changed likewise
	log     *slog.Logger

	queue  []pipeline.Effect // under all.mu
	stored pipeline.Position // of the fold's last record that is known stored; under all.mu
	wake   task.Signal       // set when the queue has a record
	hurry  task.Signal       // of a follower's mails: set when it should look at once; else: when what waits should go

	publisher Publisher
	msg       nats.Msg // the message to publish; its memory is reused
}

// run publishes waiting records until ctx is done.
func (ch *chain) run(ctx context.Context) error {
	for {
		es := ch.next()
		if len(es) == 0 {
			if ctx.Err() != nil {
				return nil
			}
			ch.wake.Wait(ctx, task.Forever)
			continue
		}
		if ch.patient(len(es)) {
			ch.hurry.Wait(ctx, gatherFor)
			es = ch.next()
		}
		n, err := ch.put(ctx, es)
		if err != nil {
			if ctx.Err() != nil {
				return nil // closed: whoever opens the chains next publishes the waiting records
			}
			return err
		}
		ch.moved(es[:n])
	}
}

// next returns the records that are published next, together or not at all.
func (ch *chain) next() []pipeline.Effect {
	ch.all.mu.Lock()
	defer ch.all.mu.Unlock()
	if ch.mails {
		return ch.queue[:together(ch.queue)]
	}
	return ch.queue[:batched(ch.queue, ch.all.conn.least)]
}

// moved records that the first records of the queue are stored, and removes them
// from it.
func (ch *chain) moved(stored []pipeline.Effect) {
	cs := ch.all
	cs.failing.note(ch.subject, time.Time{}, nil)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	ch.stored = stored[len(stored)-1].Pos
	ch.queue = ch.queue[len(stored):]
	cs.waiting -= len(stored)
	if ch.mails {
		cs.mailsWaiting -= len(stored)
	}
	for i := range stored {
		cs.bytes -= len(stored[i].Mail)
		stored[i] = pipeline.Effect{}
	}
	if cs.awaited {
		cs.awaited = false
		cs.room.Set()
		cs.settled.Set()
	}
}

// followEvery is the time between two looks of a follower at whether the owner
// has stored the records that wait here.
const followEvery = 250 * time.Millisecond

// put returns when the first of the records is on the chain, whoever wrote it, and
// how many are. A follower waits for the owner to write them (P6).
func (ch *chain) put(ctx context.Context, es []pipeline.Effect) (stored int, err error) {
	for attempt := 0; ; {
		if stored, err = ch.skip(ctx, es); stored > 0 || err != nil {
			return stored, err
		}
		if !ch.follows(es[0]) {
			return 0, Loud(fmt.Errorf("chain %s ends at record %d, the state goes on at record %d", ch.subject, ch.known.N, es[0].Pos.N))
		}
		if ch.all.muted.Load() {
			ch.follow(ctx)
			if err := ch.again(ctx, 0, nil); err != nil {
				return 0, err
			}
			continue
		}
		err := ch.publish(ctx, es)
		switch {
		case err == nil || ctx.Err() != nil:
			return len(es), err
		case ch.mails && errors.Is(err, nats.ErrMaxPayload) && len(es) > 1:
			es = es[:len(es)/2]
			continue
		case ch.mails && errors.Is(err, nats.ErrMaxPayload):
			return 0, Loud(fmt.Errorf("chain %s: mail %d, from message %d, has %d bytes, and the server takes no message of that size: set max_payload in the configuration of NATS to more than that, and start the worker again", ch.subject, es[0].Pos.N, es[0].Pos.S, len(es[0].Mail)))
		}
		ch.all.failing.note(ch.subject, ch.all.conn.World.Now(), fmt.Errorf("publish to %s: %w", ch.subject, err))
		if err := ch.again(ctx, attempt, err); err != nil {
			return 0, err
		}
		if attempt++; !ch.mails {
			es = es[:1] // a batch may be refused where a single record is not
		}
	}
}

// follow waits until a follower looks at the tail again: for offers at the latest when
// the next one comes. Mails come by the thousands and on as many chains as there are
// partitions, so for them a look is not due before the time is over or there is no room
// for more, and the time grows with the number of chains.
func (ch *chain) follow(ctx context.Context) {
	if !ch.mails {
		ch.wake.Wait(ctx, followEvery)
		return
	}
	ch.all.mu.Lock()
	n := len(ch.all.chains)
	ch.all.mu.Unlock()
	ch.hurry.Wait(ctx, max(followEvery, time.Duration(n)*followEvery/16))
}

// skip returns how many of the records are stored already, as far as is known.
func (ch *chain) skip(ctx context.Context, es []pipeline.Effect) (stored int, err error) {
	for _, e := range es {
		if order(e.Pos, ch.known.Position) > 0 {
			break
		}
		if ch.tail.against(e.Pos) != nil { // the tail may be stale: read it again before reporting a mismatch
			if err := ch.check(ctx, func(t tail) error { return t.against(e.Pos) }); err != nil {
				return stored, err
			}
		}
		stored++
	}
	return stored, nil
}

// follows reports whether a record is the next one on the chain. A mark, and the
// first record of a chain that begins after an acceptance, leave numbers out
// (pipeline.Acceptance). Mails leave no numbers out, and begin anew with number 0.
func (ch *chain) follows(e pipeline.Effect) bool {
	if ch.mails {
		return e.Pos.G == ch.known.G && e.Pos.N == ch.known.N+1 || e.Pos.G > ch.known.G && e.Pos.N == 0
	}
	return e.Pos.N == ch.tail.N+1 || e.Mark != nil || ch.tail.N == 0 && ch.stored.N == 0
}

// publish sends the records, expecting the known tail, and waits for the
// acknowledgement.
func (ch *chain) publish(ctx context.Context, es []pipeline.Effect) error {
	seq, err := ch.send(ctx, es)
	if err == nil {
		ch.saw(tail{Position: es[len(es)-1].Pos, seq: seq})
	}
	return err
}

func (ch *chain) send(ctx context.Context, es []pipeline.Effect) (seq uint64, err error) {
	switch {
	case ch.mails:
		composeMails(&ch.msg, es)
	case len(es) > 1:
		return ch.publisher.Batch(ctx, len(es), func(i int) (nats.Header, []byte, error) {
			err := compose(&ch.msg, es[i])
			return ch.msg.Header, ch.msg.Data, err
		}, ch.tail.seq)
	default:
		if err := compose(&ch.msg, es[0]); err != nil {
			return 0, err
		}
	}
	return ch.publisher.Publish(ctx, ch.msg.Header, ch.msg.Data, ch.tail.seq)
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
		restored := ch.mails && t.seq > acknowledged.seq // after it had expired, by a late publish
		if order(t.Position, acknowledged.Position) == 0 && (t.Position != acknowledged.Position || t.seq != acknowledged.seq && !restored) {
			return fmt.Errorf("its record %d is %+v in message %d, it was %+v in message %d", t.N, t.Position, t.seq, acknowledged.Position, acknowledged.seq)
		}
		return nil
	})
}

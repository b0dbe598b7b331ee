package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
)

// A chain publishes its records one by one, in order.
type chain struct {
	all     *Chains
	name    string
	subject string
	stream  jetstream.Stream
	tail    tail // changed by run alone, under all.mu
	log     *slog.Logger

	queue  []pipeline.Effect // under all.mu, as is stored
	stored uint64            // the last record of the fold's known stored
	wake   chan struct{}

	msg     nats.Msg       // the one that is published, its memory used again
	inbox   string         // acknowledgements come to inbox.<attempt>
	acks    chan *nats.Msg // from there
	attempt uint64
	timeout *time.Timer
}

// run publishes what waits until ctx is done.
func (ch *chain) run(ctx context.Context) error {
	for {
		e, ok := ch.next()
		if !ok {
			select {
			case <-ch.wake:
				continue
			case <-ctx.Done():
				return nil
			}
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
		close(cs.moved)
		cs.moved, cs.awaited = make(chan struct{}), false
	}
}

// put returns when the record is on the chain, whoever wrote it.
func (ch *chain) put(ctx context.Context, e pipeline.Effect) error {
	for attempt := 0; ; attempt++ {
		if e.Pos.N <= ch.tail.N {
			if ch.tail.against(e.Pos) != nil { // read it again before that is believed
				return ch.check(ctx, func(t tail) error { return t.against(e.Pos) })
			}
			return nil
		}
		if e.Pos.N != ch.tail.N+1 {
			return Loud(fmt.Errorf("chain %s ends at record %d, the state goes on at record %d", ch.subject, ch.tail.N, e.Pos.N))
		}
		err := ch.publish(ctx, e)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if err := ch.again(ctx, attempt, err); err != nil {
			return err
		}
	}
}

// publish sends the record, expecting that the tail is what is known of it,
// and waits for the acknowledgement.
func (ch *chain) publish(ctx context.Context, e pipeline.Effect) error {
	if err := compose(&ch.msg, e); err != nil {
		return err
	}
	setHeader(ch.msg.Header, jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(ch.tail.seq, 10))
	ch.attempt++
	ch.msg.Reply = ch.inbox + strconv.FormatUint(ch.attempt, 10)
	conn := ch.all.conn
	if err := conn.NC.PublishMsg(&ch.msg); err != nil {
		return err
	}
	ch.timeout.Reset(publishFor)
	for {
		select {
		case m := <-ch.acks:
			if m.Subject != ch.msg.Reply {
				continue // late, of an attempt that was given up
			}
			seq, err := acknowledged(m)
			if err == nil {
				ch.saw(tail{e.Pos, seq})
			}
			return err
		case <-ch.timeout.C:
			return errNoAnswer
		case <-conn.Closed():
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errNoAnswer = fmt.Errorf("no answer within %v", publishFor)

// listen makes where acknowledgements come to.
func (ch *chain) listen() (stop func(), err error) {
	nc := ch.all.conn.NC
	inbox := nc.NewInbox()
	ch.inbox, ch.acks = inbox+".", make(chan *nats.Msg, 16)
	ch.msg = nats.Msg{Subject: ch.subject, Header: nats.Header{}}
	ch.timeout = time.NewTimer(time.Hour)
	sub, err := nc.ChanSubscribe(inbox+".*", ch.acks)
	if err != nil {
		return nil, fmt.Errorf("chain %s: %w", ch.subject, err)
	}
	return func() { sub.Unsubscribe(); ch.timeout.Stop() }, nil
}

// acknowledged reads the server's answer to a publish: the message's sequence.
func acknowledged(m *nats.Msg) (uint64, error) {
	var answer struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	if seq, ok := plainAck(m.Data); ok {
		return seq, nil
	}
	if len(m.Data) == 0 { // nobody listens: there is no such stream, or no leader
		return 0, jetstream.ErrNoStreamResponse
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return 0, fmt.Errorf("the answer %q: %w", m.Data, err)
	}
	switch {
	case answer.Error != nil:
		return 0, answer.Error
	case answer.Seq == 0:
		return 0, fmt.Errorf("the answer %q has no sequence", m.Data)
	}
	return answer.Seq, nil
}

// plainAck reads {"stream":"OFFERS","seq":7}, which nearly all answers are.
func plainAck(b []byte) (seq uint64, ok bool) {
	b, found := bytes.CutPrefix(b, []byte(`{"stream":"`))
	i := bytes.IndexByte(b, '"')
	if !found || i < 0 {
		return 0, false
	}
	b, found = bytes.CutPrefix(b[i:], []byte(`","seq":`))
	if !found || len(b) < 2 || len(b) > 19 || b[len(b)-1] != '}' {
		return 0, false
	}
	for _, c := range b[:len(b)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		seq = 10*seq + uint64(c-'0')
	}
	return seq, seq > 0
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
		wait = 3*time.Millisecond + rand.N(3*time.Millisecond)
	case attempt > 0:
		wait = min(10*time.Millisecond<<min(attempt, 10), 2*time.Second)
		wait += rand.N(wait / 2)
	}
	if attempt > 0 && (!crowded || attempt%200 == 0) {
		ch.log.Warn("an offer is not stored yet: trying again", "error", failure, "attempt", attempt+1)
	}
	if err := pause(ctx, wait); err != nil {
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

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

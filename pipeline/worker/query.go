package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/state"
)

// listen accepts queries about the partition while this worker owns it. They come
// over core NATS, so they are not stored.
func (p *partition) listen(conn *broker.Conn) (unlisten func(), err error) {
	return conn.Wire.Listen(conn.Names.QuerySubject(p.number), func(q broker.Question) {
		if p.muted.Load() {
			return
		}
		select {
		case p.queries <- q:
			p.wake.Set()
		default: // too many queries: the asker gets no answer and asks again
		}
	})
}

// answer answers a query, or begins to.
func (a *attempt) answer(within context.Context, asked broker.Question) {
	var q broker.Query
	if json.Unmarshal(asked.Data, &q) == nil && q.Pending {
		a.survey(within, asked)
		return
	}
	a.say(asked, a.find(asked.Data))
}

// say answers a query.
func (a *attempt) say(asked broker.Question, answer broker.Answer) {
	b, err := json.Marshal(answer)
	if err != nil {
		b = []byte(`{"error":"the answer cannot be encoded"}`)
	}
	err = asked.Answer(b)
	if err != nil { // the reason fits
		if b, errJSON := json.Marshal(broker.Answer{Error: err.Error()}); errJSON == nil {
			err = errors.Join(err, asked.Answer(b))
		}
		a.p.log.Debug("cannot answer a query", "error", err)
	}
}

// find answers a query. A panic must not end the worker: nothing has changed.
func (a *attempt) find(data []byte) (answer broker.Answer) {
	defer func() {
		if cause := recover(); cause != nil {
			a.p.log.Error("a query panicked", "cause", cause, "stack", string(debug.Stack()))
			answer = broker.Answer{Error: fmt.Sprintf("the query panicked in the worker, whose log has the stack: %v", cause)}
		}
	}()
	var q broker.Query
	if err := json.Unmarshal(data, &q); err != nil || q.Key == "" && !q.Held {
		return broker.Answer{Error: "the query cannot be decoded: use the offerctl of the worker's version"}
	}
	if q.Deliver != nil {
		var err error
		if answer.Delivery, err = a.delivery(&q); err != nil {
			answer.Error = err.Error()
		}
		return answer
	}
	found, to, err := a.look(&q, &answer)
	if err == nil {
		*to, err = json.Marshal(found)
	}
	if err != nil {
		return broker.Answer{Error: err.Error()}
	}
	return answer
}

// look finds what a query asks for, and where it belongs in the answer.
func (a *attempt) look(q *broker.Query, answer *broker.Answer) (found any, to *json.RawMessage, err error) {
	switch pool, isPool := strings.CutPrefix(q.Key, pipeline.PoolKey("")); {
	case q.Held:
		found, err = a.fold.Holdings(a.present(), math.MaxInt)
		return found, &answer.Held, err
	case q.Render != nil:
		if now := a.present(); now != 0 {
			q.Render.Now = now
		}
		found, err = a.fold.Render(q.Key, *q.Render)
		return found, &answer.Rendered, err
	case pipeline.IsItem(q.Key):
		found, err = a.fold.Item(q.Key)
		return found, &answer.Item, err
	case isPool:
		found, err = a.fold.Pool(pool)
		return found, &answer.Pool, err
	}
	found, err = a.fold.User(q.Key)
	return found, &answer.User, err
}

// deliveryLag is how old the last applied message may be, while others wait, for the
// state to count as that of now: consent may have been revoked in those.
const deliveryLag = 10 * time.Second

// lags reports whether the state is too old for that.
func lags(caughtUp bool, now, stored int64) bool { return !caughtUp && now-stored > int64(deliveryLag) }

// delivery answers whether an offer may go out now.
func (a *attempt) delivery(q *broker.Query) (*pipeline.Delivery, error) {
	if !pipeline.IsUser(q.Key) {
		return nil, fmt.Errorf("%q is not the key of a user", q.Key)
	}
	now := a.present()
	if now != 0 && lags(a.reader.CaughtUp(), now, a.fold.Stored()) {
		return &pipeline.Delivery{Behind: true}, nil
	}
	q.Deliver.Now = now
	return a.fold.Delivery(q.Key, *q.Deliver)
}

// present is the time of now, which log time may be long behind if nothing has come
// since; 0 where log time comes from the events.
func (a *attempt) present() int64 {
	if a.fold.Clock() == campaign.ClockBroker {
		return a.now().UnixNano()
	}
	return 0
}

// longestWhy is the size in bytes to which the reason of a stop is cut in a
// report: the report of all partitions must fit into one message.
const longestWhy = 500

// report answers requests for the worker's status. It asks no attempt, since an
// attempt that hangs must not keep the report from being sent.
func (w *Worker) report(conn *broker.Conn) (unlisten func(), err error) {
	return conn.Wire.Listen(conn.Names.StatusSubject(), func(q broker.Question) {
		b, err := json.Marshal(w.reports())
		if err == nil {
			err = q.Answer(b)
		}
		if err != nil {
			w.opt.Log.Debug("cannot answer a request for the status", "error", err)
		}
	})
}

func clip(why string) string {
	if len(why) <= longestWhy {
		return why
	}
	return strings.ToValidUTF8(why[:longestWhy], "") + "..."
}

func (w *Worker) reports() broker.Report {
	r := broker.Report{Member: w.id, Ahead: time.Duration(w.ahead.Load()), Engines: pipeline.Engines()}
	if err := w.refused(); err != nil {
		r.Refused = clip(err.Error())
	}
	if free, err := w.disk.free(w.opt.Dir); err == nil {
		r.Free = free
	}
	ps := w.all()
	for n, s := range w.Status() {
		if !s.Owned && !s.Follows && s.Stopped == "" {
			continue
		}
		s.Stopped, s.Refused = clip(s.Stopped), clip(s.Refused)
		bytes, err := state.Bytes(ps[n].dir)
		if err != nil {
			bytes = 0 // the directory is being made or restored
		}
		if s.Second != nil {
			with := *s.Second
			with.Bytes = onDisk(ps[n].secondDir())
			s.Second = &with
		}
		r.Partitions = append(r.Partitions, broker.PartitionReport{Partition: n, PartitionStatus: s, Bytes: bytes})
	}
	return r
}

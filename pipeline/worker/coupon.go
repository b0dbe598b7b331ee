package worker

import (
	"encoding/json"
	"fmt"
	"runtime/debug"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// coupon.go is how a partition's owner tells gateways what has become of a coupon: the
// gateway has put an event into the log, and asks what that has come to when the owner
// has applied it. The answer is a function of the log, so it does not matter who answers,
// nor whether the state is on a disk yet.

const (
	mostCouponQueries = 1024            // that wait for the fold at a time; a further one is refused
	couponsFor        = 2 * time.Second // for which one waits: the gateway gives up then
)

// A couponAsked is a question that waits until the fold has applied its message.
type couponAsked struct {
	broker.CouponQuery
	broker.Question
	until time.Time
}

// listenCoupons accepts questions about coupons while this worker owns the partition.
func (p *partition) listenCoupons(conn *broker.Conn) (unlisten func(), err error) {
	return conn.Wire.Listen(conn.Names.CouponsSubject(p.number), func(q broker.Question) {
		if p.muted.Load() {
			return
		}
		select {
		case p.coupons <- q:
			p.wake.Set()
		default:
			p.w.met.couponsRefused.Inc()
			p.tellCoupon(q, broker.Answer{Error: "too many gateways ask about coupons at once: ask again"})
		}
	})
}

// answerCoupons answers the questions whose messages are applied.
func (a *attempt) answerCoupons() {
	for more := true; more; {
		select {
		case q := <-a.p.coupons:
			is := couponAsked{Question: q, until: a.now().Add(couponsFor)}
			switch err := json.Unmarshal(q.Data, &is.CouponQuery); {
			case err != nil || is.Key == "":
				a.p.tellCoupon(q, broker.Answer{Error: "the question cannot be decoded: run a gateway of the worker's version"})
			case is.Seq <= a.at.seq:
				a.p.tellCoupon(q, a.coupon(is.CouponQuery))
			case len(a.asked) >= mostCouponQueries:
				a.p.w.met.couponsRefused.Inc()
				a.p.tellCoupon(q, broker.Answer{Error: "too many questions about coupons wait: ask again"})
			default:
				a.asked = append(a.asked, is)
			}
		default:
			more = false
		}
	}
	if len(a.asked) == 0 {
		return
	}
	left, now := a.asked[:0], a.now()
	for _, q := range a.asked {
		switch {
		case q.Seq <= a.at.seq:
			a.p.tellCoupon(q.Question, a.coupon(q.CouponQuery))
		case now.Before(q.until):
			left = append(left, q)
		}
	}
	clear(a.asked[len(left):])
	a.asked = left
}

// coupon tells the state of a code. A panic must not end the worker: nothing has
// changed.
func (a *attempt) coupon(q broker.CouponQuery) (answer broker.Answer) {
	defer func() {
		if cause := recover(); cause != nil {
			a.p.log.Error("a question about a coupon panicked", "cause", cause, "stack", string(debug.Stack()))
			answer = broker.Answer{Error: fmt.Sprintf("the question panicked in the worker, whose log has the stack: %v", cause)}
		}
	}()
	var state pipeline.CouponState
	state, err := a.fold.Coupon(q.Key, q.Code, q.Order)
	if err != nil {
		return broker.Answer{Error: err.Error()}
	}
	return broker.Answer{Coupon: &state}
}

func (p *partition) tellCoupon(asked broker.Question, answer broker.Answer) {
	b, err := json.Marshal(answer)
	if err == nil {
		err = asked.Answer(b)
	}
	if err != nil {
		p.log.Debug("cannot answer a question about a coupon", "error", err)
	}
}

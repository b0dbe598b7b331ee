package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/value"
	"offerstream/pipeline/zone"
)

// choose lets the best candidate of each channel go out (LANGUAGE.md, rule 10).
// A candidate that is stopped outranks no other.
func (s *step) choose() {
	if s.second {
		return // nothing goes out
	}
	ranked := s.candidates[:0]
	for _, e := range s.candidates {
		var err error
		if e.score, err = e.rank(s); err != nil {
			s.failed(e.c, "score", e.c.def.Score, err)
			e.trace.failed(stageGates, "score", err)
			s.end(&e, Failed)
			continue
		}
		ranked = append(ranked, e)
	}
	slices.SortStableFunc(ranked, func(a, b evaluation) int { // the evaluation of a session's end may have the key of one that was held
		return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(a.campaign, b.campaign), strings.Compare(a.key, b.key))
	})
	var out []*Offer
	for i := range ranked {
		e := &ranked[i]
		o, how := s.pass(e, out)
		switch how {
		case waiting:
			continue
		case asking:
			worth, err := s.worth(e)
			if err != nil {
				s.failed(e.c, "budget.of", e.c.def.Budget.Of, err)
				e.trace.failed(stageChannel, "budget", err)
				s.end(e, Failed)
				continue
			}
			out = append(out, o) // it keeps the channel
			s.request(e, e.wants(), worth)
			continue
		case Fired, Withheld:
			if out = append(out, o); how == Fired && e.ask != nil {
				o.grants = e.ask.got
			}
			s.entity.wentOut(e.c, o, s.now)
			e.trace.went(o)
		}
		s.end(e, how)
		if o != nil {
			s.out(o)
		}
	}
}

// rank is the campaign's priority or score at a step.
func (e *evaluation) rank(s *step) (float64, error) {
	if e.c.score == nil {
		return e.c.def.Priority, nil
	}
	v, err := e.c.score.Value(s.judge(e))
	if err != nil {
		return 0, err
	}
	x, ok := v.Number()
	if !ok || math.IsNaN(x) {
		return 0, fmt.Errorf("a score is a number, this is %v", v.CEL())
	}
	return x, nil
}

// waiting is the result of a candidate that has become pending again.
const waiting = outcomes

// asking is the result of a candidate that would go out and needs a grant first.
const asking = outcomes + 1

// pass takes a candidate through the remaining stages. out holds the offers
// that this step has let out so far. The offer is nil if a stage stops the
// candidate.
func (s *step) pass(e *evaluation, out []*Offer) (*Offer, Outcome) {
	e.waited = e.waited || e.stage.waits() && !stages[e.stage].mail
	for _, g := range e.c.gates {
		stopped := g.stops(s, e)
		e.trace.gate(&g, stopped, s, e)
		switch {
		case !stopped:
		case g.outcome == Quiet && e.c.holds():
			s.hold(*e)
			return nil, waiting
		default:
			return nil, g.outcome
		}
	}
	id := OfferID(e.campaign, s.entity.Key, e.key, e.event.ID, e.firstDue)
	if s.entity.remembers(id) {
		e.trace.told(stageGates, Duplicate.String(), false, toldText("offer", id))
		return nil, Duplicate
	}
	e.stage = stageChoice
	o, err := s.offer(e, id)
	switch {
	case errors.Is(err, errNoChoice):
		return nil, NoChoice
	case s.spanless(e, err):
		return nil, Condition
	case err != nil:
		s.failedOffer(e, err)
		return nil, Failed
	}
	e.stage = stageChannel
	by := slices.IndexFunc(out, func(other *Offer) bool { return other.Channel == o.Channel })
	if by >= 0 {
		e.trace.told(stageChannel, "channel", false, toldText("channel", o.Channel), toldText("taken by", out[by].Campaign))
		return nil, Outranked
	}
	e.trace.told(stageChannel, "channel", true, toldText("channel", o.Channel))
	e.stage = stageOut
	if o.Withheld = s.entity.withheld(e.c); o.Withheld {
		s.traceHoldout(e)
		return o, Withheld
	}
	if e.wants() != "" {
		return o, asking
	}
	return o, Fired
}

// hold makes an evaluation wait for the end of the quiet hours.
func (s *step) hold(e evaluation) {
	if e.held == NoDue {
		e.held = s.now
	}
	s.giveBack(&e.pending)
	q := e.c.quiet
	s.later(e, stageHold, zone.Loud(s.now, s.entity.location(), q.From, q.To))
}

// errNoChoice reports that `choose` gives nothing.
var errNoChoice = errors.New("there is nothing to choose")

// offer makes the offer of a candidate.
func (s *step) offer(e *evaluation, id string) (*Offer, error) {
	spec := &e.c.def.Offer
	o := &Offer{
		ID: id, Campaign: e.campaign, Channel: spec.Channel, Kind: spec.Kind, User: s.entity.Key[2:], Anon: s.entity.Key[0] == 'a',
		Event: strings.Clone(e.event.ID), Key: e.key, Time: value.FormatTime(s.now),
	}
	expires := int64(NoDue)
	sc := s.judge(e)
	defer func() { sc.chosen, sc.coupon = nil, nil }()
	var err error
	if e.c.choose != nil {
		sc.chosen, err = chosen(e.c.choose.Eval(sc))
		e.trace.chose(e.c.def.Choose, sc.chosen, err)
		if err != nil {
			return o, err
		}
	}
	if span, ok := int64(spec.Expires), spec.Expires > 0; ok || e.c.expires != nil {
		if e.c.expires != nil {
			if span, ok, err = spanOf(e.c.expires, sc, int64(spec.AtMost)); !ok {
				return o, &noSpan{spec.ExpiresIs, err}
			}
		}
		expires = value.Plus(s.now, span)
		o.Expires = value.FormatTime(expires)
	}
	if spec.Coupon != nil {
		if spec.Coupon.Expires > 0 {
			expires = value.Plus(s.now, int64(spec.Coupon.Expires))
		}
		o.Coupon = s.coupon(spec.Coupon, s.live.def.Coupons, e.campaign, s.entity.Key, id, expires)
		e.fromPool(o.Coupon, s.live.def.Coupons)
		o.pooled, o.until = e.c.pool() != "", expires
		sc.coupon, sc.couponExpires = o.Coupon, expires
	}
	if e.c.data != nil {
		o.Data, err = e.c.data.Render(sc)
	}
	e.trace.failed(stageChoice, "data", err)
	return o, err
}

// fromPool gives a coupon the code that its pool has granted.
func (e *evaluation) fromPool(o *OfferCoupon, set *campaign.Coupons) {
	pool := e.c.pool()
	if pool == "" {
		return
	}
	o.Code = coupon.Placeholder
	if e.ask != nil {
		for _, g := range e.ask.got {
			if g.of == poolPrefix+pool {
				o.Code = g.code
			}
		}
	}
	if set != nil {
		o.URL = coupon.URL(set.URL, o.Code)
	}
}

// A noSpan is the error of an offer whose `expires` gives no span of time: of a
// condition that does not hold.
type noSpan struct {
	text string
	err  error // nil: it is null, 0 or negative
}

func (n *noSpan) Error() string { return "expires gives no span of time" }

// spanless reports whether an offer cannot be made because its `expires` gives no span
// of time.
func (s *step) spanless(e *evaluation, err error) bool {
	n, ok := err.(*noSpan)
	if !ok {
		return false
	}
	if n.err != nil {
		s.failed(e.c, "offer.expires", n.text, n.err)
	}
	e.trace.failed(stageChoice, "expires", n)
	return true
}

// chosen is what a `choose` gives; errNoChoice if that is null or an empty
// optional.
func chosen(v ref.Val, err error) (ref.Val, error) {
	if err != nil {
		return nil, err
	}
	if o, ok := v.(*types.Optional); ok {
		if !o.HasValue() {
			return nil, errNoChoice
		}
		v = o.GetValue()
	}
	if v == types.NullValue {
		return nil, errNoChoice
	}
	return v, nil
}

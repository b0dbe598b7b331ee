package pipeline

import (
	"cmp"
	"slices"
	"strings"

	"offerstream/pipeline/value"
)

// choose lets the best candidate of each channel go out (LANGUAGE.md, rule 10).
// A candidate that is stopped outranks no other.
func (s *step) choose() {
	slices.SortFunc(s.candidates, func(a, b evaluation) int {
		return cmp.Or(cmp.Compare(b.c.def.Priority, a.c.def.Priority), strings.Compare(a.campaign, b.campaign), strings.Compare(a.key, b.key))
	})
	var out []*Offer
	for i := range s.candidates {
		e := &s.candidates[i]
		o, how := s.pass(e, out)
		if how == Fired {
			out = append(out, o)
			s.entity.wentOut(e.c.compiled, o.ID, s.now)
		}
		s.end(e, how)
		if how == Fired {
			s.out(o)
		}
	}
}

// pass takes a candidate through the remaining stages. out holds the offers
// that this step has let out so far. The offer is nil if a stage stops the
// candidate.
func (s *step) pass(e *evaluation, out []*Offer) (*Offer, Outcome) {
	id := OfferID(e.campaign, s.entity.Key, e.key, e.event.ID, e.firstDue)
	for _, g := range e.c.gates {
		stopped := g.stops(s, e, id)
		e.trace.gate(g.outcome, stopped)
		if stopped {
			return nil, g.outcome
		}
	}
	e.stage = stageChoice
	o, err := s.offer(e, id)
	e.trace.choice(err)
	if err != nil {
		e.c.counts.failed(err)
		return nil, Failed
	}
	e.stage = stageChannel
	by := slices.IndexFunc(out, func(other *Offer) bool { return other.Channel == o.Channel })
	if by >= 0 {
		e.trace.channel(o.Channel, out[by].Campaign)
		return nil, Outranked
	}
	e.trace.channel(o.Channel, "")
	e.stage = stageOut
	return o, Fired
}

// offer makes the offer of a candidate.
func (s *step) offer(e *evaluation, id string) (*Offer, error) {
	spec := &e.c.def.Offer
	o := &Offer{
		ID: id, Campaign: e.campaign, Channel: spec.Channel, Kind: spec.Kind, User: s.entity.Key[2:], Anon: s.entity.Key[0] == 'a',
		Event: strings.Clone(e.event.ID), Key: e.key, Time: value.FormatTime(s.now),
	}
	if spec.Expires > 0 {
		o.Expires = value.FormatTime(value.Plus(s.now, int64(spec.Expires)))
	}
	if e.c.data == nil {
		return o, nil
	}
	var err error
	o.Data, err = e.c.data.Render(s.scopeOf(e.event))
	return o, err
}

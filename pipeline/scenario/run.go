package scenario

import (
	"errors"
	"fmt"

	"offerstream/pipeline"
	"offerstream/pipeline/event"
)

// A Result holds the actual results of a scenario.
type Result struct {
	Offers     []Offer
	Whole      []*pipeline.Offer            // the same offers with all their fields
	Outcomes   map[string]map[string]uint64 // by campaign, all outcomes
	Rejected   map[string]uint64
	Duplicates uint64

	Late    []Late   // events that were too late
	Told    []Told   // one for each of the scenario's Explains
	Views   []Seen   // one for each of the scenario's Views
	refused []string // the rejected events, each with its line and the reason
}

// Run runs the scenario's events through its set, as a backtest does.
func (s *Scenario) Run() (*Result, error) {
	b, err := s.Set.Backtest()
	if err != nil {
		return nil, err
	}
	r := &Result{Outcomes: map[string]map[string]uint64{}}
	watch := s.watch(b)
	var dec event.Decoder
	var failed error
	out := func(o *pipeline.Offer) {
		e, err := offerOf(o)
		failed = errors.Join(failed, err)
		r.Offers, r.Whole = append(r.Offers, e), append(r.Whole, o)
	}
	looks := s.viewing(b)
	for _, e := range s.Events {
		ev, wrong := dec.AdmitLine(e.JSON)
		if err := looks.before(ev, out); err != nil {
			return nil, fmt.Errorf("line %d: %w", e.Line, err)
		}
		before := sum(b.Rejected)
		late := s.late(e, ev, b)
		if err := b.Admitted(ev, wrong, out); err != nil {
			return nil, fmt.Errorf("line %d: %w", e.Line, err)
		}
		if sum(b.Rejected) > before {
			if wrong == nil {
				wrong = errors.New("timestamp: neither the event nor one before it has a time")
			}
			late = nil
			r.refused = append(r.refused, fmt.Sprintf("the event of line %d: %v", e.Line, wrong))
		}
		if late != nil {
			r.Late = append(r.Late, *late)
		}
	}
	if r.Views, err = looks.end(); err != nil {
		return nil, err
	}
	if err := b.Conserved(); err != nil {
		return nil, err
	}
	if watch != nil {
		r.Told = s.told(watch)
	}
	counts, _ := b.Counts()
	for id, c := range counts {
		r.Outcomes[id] = Outcomes(c)
	}
	r.Rejected, r.Duplicates = b.Rejected, b.Duplicates()
	return r, failed
}

func sum(m map[string]uint64) (n uint64) {
	for _, of := range m {
		n += of
	}
	return n
}

// Outcomes returns a campaign's counts by name: its evaluations, how they ended,
// and the errors and bounds that they met.
func Outcomes(c pipeline.Counts) map[string]uint64 {
	m := map[string]uint64{"evaluated": c.Evaluated, "pending": c.Pending(), "missing": c.Missing, "errors": c.Errors, "bounds": c.Bounds}
	for o, n := range c.Ended {
		m[pipeline.Outcome(o).String()] = n
	}
	return m
}

// OutcomeNames returns the names of Outcomes in display order.
func OutcomeNames() []string {
	names := []string{"evaluated"}
	for _, o := range pipeline.Outcomes() {
		names = append(names, o.String())
	}
	return append(names, "pending", "missing", "errors", "bounds")
}

package survey

import (
	"fmt"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
)

// A Survey takes the events of a sample one after the other, and runs the set over
// them at the same time.
type Survey struct {
	def        *campaign.Definition
	readings   *readings
	sample     sample
	judge      *judge
	conditions map[string]*conditions
	backtest   *pipeline.Backtest
	dec        event.Decoder
	trace      tracing
	first      int64                      // the log time of the first event
	counts     map[string]pipeline.Counts // by campaign, since Result
}

// New begins a survey for a set that has been checked.
func New(def *campaign.Definition) (*Survey, error) {
	b, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	j, err := newJudge(def)
	if err != nil {
		return nil, err
	}
	s := &Survey{def: def, readings: readingsOf(def), judge: j, conditions: map[string]*conditions{}, backtest: b}
	s.trace.most, s.trace.waits = mostTraced, map[*conditions]bool{}
	s.sample = sample{kinds: map[kindKey]*kind{}}
	s.want()
	for i := range def.Campaigns {
		c := &def.Campaigns[i]
		s.conditions[c.ID] = conditionsOf(c, expr.NewReader())
	}
	return s, nil
}

// want finds what must be counted.
func (s *Survey) want() {
	index := map[place]*wanted{}
	holders := map[place]bool{}
	parsed := map[string]*rows{}
	rowsOf := func(c *campaign.Campaign) *rows {
		if parsed[c.ID] == nil {
			parsed[c.ID] = newRows(c)
		}
		return parsed[c.ID]
	}
	for i := range s.readings.all {
		r := &s.readings.all[i]
		p := r.target.place
		w := index[p]
		if w == nil {
			w = &wanted{place: p}
			index[p], s.sample.wanted = w, append(s.sample.wanted, w)
		}
		r.literals = literalsOf(r, rowsOf)
		for _, key := range r.literals {
			if w.literals == nil {
				w.literals = map[string]bool{}
			}
			w.literals[key] = true
		}
		if p.base == "event" {
			continue
		}
		for h, name := p.parent(); name != ""; {
			if !holders[h] {
				holders[h] = true
				s.sample.holders = append(s.sample.holders, h)
			}
			if h.names == "" {
				break
			}
			h, name = h.parent()
		}
	}
	// A property that a reading misses may be among the items, or the other way round.
	for _, base := range []string{"properties", "items", "traits"} {
		if h := (place{base: base}); !holders[h] {
			s.sample.holders = append(s.sample.holders, h)
		}
	}
}

// Event takes the next event. One that the gateway would refuse is an
// *event.Reject, and is left out.
func (s *Survey) Event(raw []byte) error {
	ev, err := s.dec.AdmitLine(raw)
	if err == nil && ev.HasReceived && (!ev.HasTimestamp || ev.Timestamp > ev.ReceivedAt) {
		ev.Timestamp, ev.HasTimestamp = ev.ReceivedAt, true // as live: a client's clock that is ahead moves no log time
	}
	before := s.backtest.Duplicates()
	s.aim(ev)
	if err := s.backtest.Admitted(ev, err, func(*pipeline.Offer) {}); err != nil {
		return fmt.Errorf("running the set over the sample: %w", err)
	}
	if s.backtest.Refused != nil {
		return s.backtest.Refused
	}
	if ev.Type == event.Clock || ev.Type == event.Fact || s.backtest.Duplicates() > before {
		return nil
	}
	if s.sample.n++; s.sample.n == 1 {
		s.first = s.backtest.LogTime()
	}
	k, isNew := s.sample.kind(ev)
	if k == nil {
		return nil
	}
	if isNew {
		s.judge.meet(k)
	}
	s.sample.add(k, ev)
	s.judge.event(k, ev, s.backtest.LogTime())
	return nil
}

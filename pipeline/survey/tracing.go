package survey

import (
	"math"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// A tracing says which evaluations are traced. To judge the conditions of one takes
// much longer than the backtest itself, so after the first mostTraced only those of
// one user in traceOneIn are.
type tracing struct {
	most, n int
	after   uint64               // the number of events that came before; 0: all are traced
	due     int64                // when the next traced evaluation is due that waits for dwell
	waits   map[*conditions]bool // those with traced evaluations that wait, few of many campaigns
}

const (
	mostTraced = 1_000_000
	traceOneIn = 32
)

// user reports whether a user's evaluations are traced.
func (t *tracing) user(key string) bool { return t.n < t.most || event.Partition(key, traceOneIn) == 0 }

// aim decides whether the next event is traced, nil if it was refused. What is due
// before it is traced with it.
func (s *Survey) aim(ev *event.Event) {
	t := &s.trace
	if t.n < t.most {
		s.backtest.Trace(s.take)
		return
	}
	if t.after == 0 {
		t.after = s.sample.n
	}
	t.due = math.MaxInt64
	for c := range t.waits {
		for key, w := range c.waiting {
			if w.due < s.backtest.LogTime() { // it was cancelled while nothing was traced
				delete(c.waiting, key)
			} else {
				t.due = min(t.due, w.due)
			}
		}
	}
	if ev != nil && (t.user(ev.Key) || ev.HasTimestamp && ev.Timestamp >= t.due) {
		s.backtest.Trace(s.take)
	} else {
		s.backtest.Trace(nil)
	}
}

// take takes the trace of an evaluation.
func (s *Survey) take(t *pipeline.Trace) {
	c := s.conditions[campaign.NameOf(t.Campaign)]
	if c == nil {
		return
	}
	if _, waits := c.waiting[waited(t)]; waits || s.trace.user(t.User) {
		c.traced(t)
		s.trace.n++
		if len(c.waiting) > 0 {
			s.trace.waits[c] = true
		} else {
			delete(s.trace.waits, c)
		}
	}
}

// judged tells of which events the conditions in `if` are judged.
func (r *Result) judged() string {
	if r.JudgedAll == r.Events {
		return ""
	}
	return "if is judged for the first " + count(r.JudgedAll, "event") + ", then for one user in " + thousands(traceOneIn)
}

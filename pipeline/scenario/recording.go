package scenario

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A Recording makes a scenario of what a log has of one user. It is shown the log's
// events twice, in order: first by Event, and then, if the user's campaigns read
// facts, by Fact. It keeps the user's newest events and the facts that matter to
// them; those before still count in Offers.
type Recording struct {
	Key    string // of the user's entity
	Older  uint64 // the user's events that are left out because others are newer
	From   int64  // the log time of the first event that is kept
	Events int    // the user's events that are kept

	// The log's first and last time.
	First, Last int64

	set     *pipeline.Set
	most    int
	kept    []logged // the user's newest events
	n       int      // events that were shown
	begun   bool
	fold    *pipeline.Fold
	seq     uint64
	facts   reads
	offers  []Offer // of the user, the newest
	inForce map[string]logged
	changes []logged // facts, after From
	ready   bool     // for Fact
}

// A logged is an event as the log has it.
type logged struct {
	n        int // its number in the log
	raw      []byte
	log, own int64 // log time and event time
	id       string
}

// Limits of what a Recording keeps.
const (
	mostOffers  = 1000
	mostChanges = 1000 // of facts
)

// reads holds the entities, and remembers which facts are read and when last.
type reads struct {
	pipeline.Memory
	last map[string]int
	now  *int
	own  string // the fact that is given now, which the fold itself reads
}

func (r *reads) Read(key string) (*pipeline.Entity, error) {
	if strings.HasPrefix(key, "f:") && key != r.own {
		r.last[strings.Clone(key)] = *r.now
	}
	return r.Memory.Read(key)
}

// NewRecording makes a recording of the user with an entity key under a set, of which
// it keeps so many events. The set must be compiled for clock: event.
func NewRecording(set *pipeline.Set, key string, most int) (*Recording, error) {
	r := &Recording{Key: key, set: set, most: most, inForce: map[string]logged{}}
	r.facts = reads{Memory: pipeline.Memory{}, last: map[string]int{}, now: &r.n}
	var err error
	r.fold, err = pipeline.NewFold(pipeline.Cursor{Set: set.Hash()}, func(string) (*pipeline.Set, error) { return set, nil }, &r.facts)
	return r, err
}

// Event shows an event of the log, with the log time after it and its own time.
func (r *Recording) Event(ev *event.Event, log, own int64) error {
	r.n++
	if !r.begun {
		r.begun, r.First = true, log
		if err := r.tables(log); err != nil {
			return err
		}
	}
	r.Last = log
	switch {
	case ev.Type == event.Fact && r.declares(ev.Name):
		if err := r.step(passing(), log, log); err != nil { // timers may read the fact as it was
			return err
		}
		r.facts.own = ev.Key
		err := r.step(ev, log, min(own, log))
		r.facts.own = ""
		return err
	case ev.Type == event.Clock || ev.Type == event.Fact || ev.Key != r.Key:
		return nil
	}
	own = max(min(own, log), value.Minus(log, int64(r.set.Definition().Lateness)))
	r.keep(logged{r.n, bytes.Clone(ev.Raw), log, own, strings.Clone(ev.ID)})
	return r.step(ev, log, own)
}

// passing is an event that only lets time pass.
func passing() *event.Event { return &event.Event{Type: event.Clock, Raw: []byte("{}")} }

func (r *Recording) keep(e logged) {
	if len(r.kept) == r.most {
		r.kept = slices.Delete(r.kept, 0, 1)
		r.Older++
	}
	r.kept = append(r.kept, e)
	r.From, r.Events = r.kept[0].log, len(r.kept)
}

func (r *Recording) declares(fact string) bool {
	for _, f := range r.set.Definition().Facts {
		if f.Name == fact {
			return true
		}
	}
	return false
}

// step folds one event.
func (r *Recording) step(ev *event.Event, log, own int64) error {
	ev.LogTime, ev.HasLogTime, ev.Timestamp, ev.HasTimestamp = log, true, own, true
	r.seq++
	if err := r.fold.BeginEvent(r.seq, ev); err != nil {
		return err
	}
	for {
		more, err := r.fold.Next()
		if err != nil || !more {
			return err
		}
		for _, e := range r.fold.Effects() {
			if e.Page != nil {
				continue
			}
			if e.Offer == nil {
				return fmt.Errorf("the event cannot be applied: %s", e.Dead.Detail)
			}
			o, err := offerOf(e.Offer)
			if err != nil {
				return err
			}
			if len(r.offers) == mostOffers {
				r.offers = slices.Delete(r.offers, 0, 1)
			}
			r.offers = append(r.offers, o)
		}
	}
}

// tables folds the rows of the facts' tables, as a backtest does at its first event.
func (r *Recording) tables(at int64) error {
	_, err := pipeline.EachTableRow(r.set.Definition(), at, func(ev *event.Event) error {
		r.facts.own = ev.Key
		err := r.step(ev, at, at)
		r.facts.own = ""
		return err
	})
	return err
}

// End tells the log time at which the log ends, after Event has seen all of it.
// It reports whether the facts of the log matter, so that Fact must see them.
func (r *Recording) End(log int64) (facts bool, err error) {
	r.Last = max(r.Last, log)
	if err := r.step(passing(), r.Last, r.Last); err != nil {
		return false, err
	}
	if len(r.kept) > 0 {
		maps.DeleteFunc(r.facts.last, func(_ string, n int) bool { return n < r.kept[0].n })
	}
	r.n, r.ready = 0, true
	return len(r.facts.last) > 0, nil
}

// Fact shows an event of the log again.
func (r *Recording) Fact(ev *event.Event, log, own int64) {
	r.n++
	if ev.Type != event.Fact {
		return
	}
	if _, read := r.facts.last[ev.Key]; !read || !r.declares(ev.Name) {
		return
	}
	r.change(logged{n: r.n, raw: bytes.Clone(ev.Raw), log: log, own: min(own, log), id: strings.Clone(ev.Key)})
}

func (r *Recording) change(e logged) {
	if len(r.kept) > 0 && e.n > r.kept[0].n {
		if r.changes = append(r.changes, e); len(r.changes) <= mostChanges {
			return
		}
		e, r.changes = r.changes[0], r.changes[1:]
	}
	if was, known := r.inForce[e.id]; !known || e.own >= was.own {
		r.inForce[e.id] = e
	}
}

// Offers are the user's offers under the set, from the first event on that is kept.
func (r *Recording) Offers() (offers []Offer) {
	for _, o := range r.offers {
		if o.Time >= r.From {
			offers = append(offers, o)
		}
	}
	return offers
}

// Same reports whether the offers of the recorded scenario are those of the log: they
// can differ if events are left out, or if conditions read what was replaced.
func (r *Recording) Same(got *Result) bool {
	return slices.EqualFunc(r.Offers(), got.Offers, func(a, b Offer) bool {
		return a.Time == b.Time && a.Campaign == b.Campaign && a.Key == b.Key && a.Withheld == b.Withheld
	})
}

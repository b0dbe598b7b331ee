package pipeline

import (
	"math"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// Use puts a set in force, as a control message does: another than the one with
// which the log goes on (LANGUAGE.md, rule 14). It is for a fold that is between
// two steps.
func (f *Fold) Use(set *Set) {
	if set.hash == f.cur.Set {
		return
	}
	if f.cur.Set == "" && set.def.Clock == campaign.ClockEvent {
		f.cur.LogTime, f.epoch = 0, false // log time so far is the broker's, and nothing was timed with it
	}
	f.retire(set)
	f.cur.Set = set.hash
	f.cur.Epoch++
	f.enforce(set)
}

// GiveTables gives the rows of the facts' tables of the set in force, as facts of the
// log time of the message that has begun. It returns how many there are.
func (f *Fold) GiveTables() (rows uint64, err error) {
	at := f.target
	if f.Clock() == campaign.ClockEvent {
		var dec event.Decoder
		first, _ := line(f.lines)
		if ev, err := dec.Decode(first); err == nil {
			if now, err := f.logTimeOf(ev); err == nil {
				at = now
			}
		}
	}
	return EachTableRow(f.step.live.def, at, func(ev *event.Event) error { return f.takeFact(ev, at, at) })
}

// CountPending counts what is pending of an entity as evaluated, where the fold goes on
// from a state of which it has counted nothing.
func (f *Fold) CountPending(key string) error {
	e, err := f.ents.Look(key)
	if err != nil {
		return err
	}
	for i := range e.waiting {
		f.step.live.tally.counts(e.waiting[i].campaign).Evaluated++
	}
	return nil
}

// PauseAt makes Next make no step later than a log time. What Next is about to do
// then stays, and Stopped is true, until PauseAt names a later time. Without a call
// it is the end of time.
func (f *Fold) PauseAt(at int64) { f.until, f.stopped = at, false }

// endOfTime is the latest log time.
const endOfTime = math.MaxInt64

// Stopped reports whether the message's next step would be later than PauseAt
// allows.
func (f *Fold) Stopped() bool { return f.stopped }

// stop ends the steps up to PauseAt; log time is as late as they could be.
func (f *Fold) stop() { f.stopped, f.cur.LogTime = true, max(f.cur.LogTime, f.until) }

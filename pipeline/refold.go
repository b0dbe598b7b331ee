package pipeline

import (
	"bytes"
	"fmt"
	"math"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
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
	f.cur.Set = set.hash
	f.cur.Epoch++
	f.enforce(set)
}

// GiveTables gives the rows of the facts' tables of the set in force, as facts of the
// log time of the message that has begun. It returns how many there are.
func (f *Fold) GiveTables() (rows uint64, err error) {
	at := f.target
	var dec event.Decoder
	if f.Clock() == campaign.ClockEvent {
		first, _ := line(f.lines)
		if ev, err := dec.Decode(first); err == nil {
			if now, err := f.logTimeOf(ev); err == nil {
				at = now
			}
		}
	}
	given := fmt.Sprintf(`"timestamp":%q`, value.FormatTime(at))
	for _, fact := range f.step.live.def.Facts {
		for _, r := range fact.Rows {
			ev, err := dec.AdmitLine(event.AppendFact(nil, fact.Name, r.ID, r.Values, given))
			if err == nil {
				err = f.takeFact(ev, at, at)
			}
			if err != nil {
				return rows, fmt.Errorf("fact %s, key %q of its table: %w", fact.Name, r.ID, err)
			}
			rows++
		}
	}
	return rows, nil
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

// skippable reports whether the events of a pack do no more than move log time to
// the message's, as none is a fact or of one of the entities of Only. It does not
// decode them: so it may say no where it need not.
func (f *Fold) skippable(pack []byte) bool {
	if f.only == nil || f.Clock() == campaign.ClockEvent || bytes.IndexByte(pack, '\\') >= 0 || bytes.Contains(pack, []byte(`"fact"`)) {
		return false
	}
	for key := range f.only {
		id := key[len("u:"):]
		if bytes.Contains(pack, []byte(id)) || id != "" && (id[0] == '-' || id[0] >= '0' && id[0] <= '9') && hasFraction(pack) {
			return false
		}
	}
	return true
}

// hasFraction reports whether the value of a member whose name ends with Id, such
// as userId, is a number that may have another text than the one that stands there.
func hasFraction(pack []byte) bool {
	for {
		var found bool
		if _, pack, found = bytes.Cut(pack, []byte(`Id"`)); !found {
			return false
		}
		number := bytes.TrimLeft(pack, " \t\r\n:")
		end := bytes.IndexAny(number, ",}] \t\r\n")
		if end < 0 {
			end = len(number)
		}
		if number = number[:end]; len(number) > 0 && number[0] != '"' && bytes.ContainsAny(number, ".eE") {
			return true
		}
	}
}

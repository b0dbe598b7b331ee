package pipeline

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// Memory holds all entities in a map; backtests use it.
type Memory map[string]*Entity

// Entity implements Entities.
func (m Memory) Entity(key string) (*Entity, error) {
	e := m[key]
	if e == nil {
		e = NewEntity(strings.Clone(key))
		m[e.Key] = e
	}
	return e, nil
}

// Look implements Entities.
func (m Memory) Look(key string) (*Entity, error) {
	if e := m[key]; e != nil {
		return e, nil
	}
	return NewEntity(strings.Clone(key)), nil
}

// Read implements Entities.
func (m Memory) Read(key string) (*Entity, error) { return m.Look(key) }

// Pending calls fn with each pending evaluation of the users, in no particular
// order: the id of its unit, the stage in which it waits, and when it continues.
func (m Memory) Pending(fn func(campaign, stage string, due int64)) {
	for _, e := range m {
		for i := range e.waiting {
			w := &e.waiting[i]
			fn(w.campaign, w.stage.String(), w.due)
		}
	}
}

// LongJump is the longest move of log time between two events without a warning
// of the backtest: after a single timestamp in the far future, all later events
// would be too old to trigger anything.
const LongJump = 7 * 24 * time.Hour

// A Backtest runs a campaign set over a file of events, under clock: event,
// with the same core as the live path.
type Backtest struct {
	fold *Fold
	dec  event.Decoder
	seq  uint64

	Lines    uint64            // lines that are not empty
	Loaded   uint64            // rows of facts' tables, taken before the first event
	Applied  uint64            // events applied, including duplicates
	Rejected map[string]uint64 // events that the gateway would have rejected, and those with an unreadable timestamp, by reason
	Refused  error             // why the last line was rejected; nil if it was not
	Jumps    []Jump            // the first 10 jumps of log time
	Users    Memory
}

// A Jump is a line at which log time moved by more than 7 days, in nanoseconds
// since 1970.
type Jump struct {
	Line     uint64
	From, To int64
}

// NewBacktest compiles a definition and makes a backtest of it.
func NewBacktest(def *campaign.Definition) (*Backtest, []campaign.Problem) {
	timed := *def
	timed.Clock = campaign.ClockEvent
	set, problems := Compile(&timed)
	if len(problems) > 0 {
		return nil, problems
	}
	b, err := set.Backtest()
	if err != nil {
		return nil, []campaign.Problem{{What: err.Error()}}
	}
	return b, nil
}

// Backtest makes a backtest of a compiled set. Many backtests may share the
// set: for a file of a few events, compilation takes most of the time. The set
// must be compiled for clock: event.
func (s *Set) Backtest() (*Backtest, error) {
	if s.def.Clock != campaign.ClockEvent {
		return nil, fmt.Errorf("a backtest runs under clock: %s, the set is compiled for clock: %s", campaign.ClockEvent, s.def.Clock)
	}
	b := &Backtest{Rejected: map[string]uint64{}, Users: Memory{}}
	var err error
	b.fold, err = NewFold(Cursor{Set: s.hash}, func(string) (*Set, error) { return s, nil }, b.Users)
	return b, err
}

// Line takes the next line of the file, and calls out with each resulting
// offer. The caller may reuse the bytes of the line afterwards.
func (b *Backtest) Line(raw []byte, out func(*Offer)) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil
	}
	ev, err := b.dec.AdmitLine(raw)
	return b.Admitted(ev, err, out)
}

// Admitted is Line for the result of Decoder.AdmitLine.
func (b *Backtest) Admitted(ev *event.Event, err error, out func(*Offer)) error {
	b.Lines++
	b.Refused = nil
	if err != nil {
		return b.reject(err)
	}
	if ev.Type != event.Clock {
		ev.HasLogTime = false // log time follows this file, not the log from which the event was exported
	}
	before, begun := b.fold.cur.LogTime, b.fold.begun()
	now, err := b.fold.logTimeOf(ev)
	if err != nil {
		return b.reject(err)
	}
	if b.seq == 0 {
		if err := b.takeTables(now, out); err != nil {
			return err
		}
	}
	if err := b.step(ev, out); err != nil {
		return err
	}
	if after := b.fold.cur.LogTime; begun && value.Minus(after, before) > int64(LongJump) && len(b.Jumps) < 10 {
		b.Jumps = append(b.Jumps, Jump{b.Lines, before, after})
	}
	b.Applied = b.fold.cur.Applied - b.Loaded
	return nil
}

// step folds one event.
func (b *Backtest) step(ev *event.Event, out func(*Offer)) error {
	b.seq++
	if err := b.fold.BeginEvent(b.seq, ev); err != nil {
		return err
	}
	for {
		more, err := b.fold.Next()
		if err != nil || !more {
			return err
		}
		for _, e := range b.fold.Effects() {
			if e.Offer != nil { // else it is a page record
				out(e.Offer)
			}
		}
	}
}

// takeTables folds the rows of the facts' tables, as facts given at the log time of
// the first event.
func (b *Backtest) takeTables(at int64, out func(*Offer)) (err error) {
	b.Loaded, err = EachTableRow(b.fold.step.live.def, at, func(ev *event.Event) error { return b.step(ev, out) })
	return err
}

func (b *Backtest) reject(err error) error {
	r, ok := err.(*event.Reject)
	if !ok {
		return err
	}
	b.Rejected[r.Reason]++
	b.Refused = err
	return nil
}

// Counts are the counts so far, by campaign, and those of all features.
func (b *Backtest) Counts() (campaigns map[string]Counts, features Counts) { return b.fold.Counts() }

// UserCount is the number of users with any event.
func (b *Backtest) UserCount() (n int) {
	for key := range b.Users {
		if IsUser(key) {
			n++
		}
	}
	return n
}

// Definition is the definition of the set.
func (b *Backtest) Definition() *campaign.Definition { return b.fold.Definition() }

// Trace is Fold.Trace.
func (b *Backtest) Trace(fn func(*Trace)) { b.fold.Trace(fn) }

// TraceTriggers is Fold.TraceTriggers.
func (b *Backtest) TraceTriggers(fn func(*TriggerTrace), campaigns ...string) {
	b.fold.TraceTriggers(fn, campaigns...)
}

// Failures is Fold.Failures.
func (b *Backtest) Failures(fn func(Failure)) { b.fold.Failures(fn) }

// Only is Fold.Only.
func (b *Backtest) Only(keys ...string) { b.fold.Only(keys...) }

// Conserved checks that every evaluation has one outcome or is pending (LANGUAGE.md,
// rule 13). An error is a mistake of this program.
func (b *Backtest) Conserved() error {
	waiting := map[string]uint64{}
	for _, e := range b.Users {
		for i := range e.waiting {
			waiting[e.waiting[i].campaign]++
		}
	}
	counts, _ := b.Counts()
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		if c := counts[id]; c.Pending() != waiting[id] {
			return fmt.Errorf("campaign %s: %d of %d evaluations have no outcome, and %d are pending: please report this", id, c.Pending(), c.Evaluated, waiting[id])
		}
	}
	return nil
}

// Duplicates is the number of duplicate events so far.
func (b *Backtest) Duplicates() uint64 { return b.fold.Duplicates() }

// LogTime is the current log time.
func (b *Backtest) LogTime() int64 { return b.fold.cur.LogTime }

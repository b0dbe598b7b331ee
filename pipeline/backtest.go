package pipeline

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// Memory holds all entities in a map: what a backtest folds on.
type Memory map[string]*Entity

// Entity is Entities'.
func (m Memory) Entity(key string) (*Entity, error) {
	e := m[key]
	if e == nil {
		e = NewEntity(strings.Clone(key))
		m[e.Key] = e
	}
	return e, nil
}

// Look is Entities'.
func (m Memory) Look(key string) (*Entity, error) {
	if e := m[key]; e != nil {
		return e, nil
	}
	return NewEntity(strings.Clone(key)), nil
}

// longJump is how far log time may move at once before a backtest warns: a
// single wrong timestamp would silence all that comes after it.
const longJump = 7 * 24 * time.Hour

// A Backtest runs a campaign set over a file of events, under clock: event,
// with the same core as the live path.
type Backtest struct {
	fold *Fold
	dec  event.Decoder
	seq  uint64

	Lines    uint64            // lines that were not empty
	Applied  uint64            // events applied, duplicates included
	Rejected map[string]uint64 // what the gateway would have rejected, by reason
	Jumps    []Jump            // the first 10 long jumps of log time
	Users    Memory
}

// A Jump is a line at which log time moved by more than 7 days.
type Jump struct {
	Line     uint64
	From, To int64
}

// NewBacktest makes a backtest of the definition.
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

// Backtest makes a backtest of a set that is compiled already, which many of
// them may share: where an input has a few events, compiling takes most of
// the time. The set must have been compiled under clock: event.
func (s *Set) Backtest() (*Backtest, error) {
	if s.def.Clock != campaign.ClockEvent {
		return nil, fmt.Errorf("a backtest runs under clock: %s, the set is compiled for clock: %s", campaign.ClockEvent, s.def.Clock)
	}
	b := &Backtest{Rejected: map[string]uint64{}, Users: Memory{}}
	var err error
	b.fold, err = NewFold(Cursor{Set: s.hash}, func(string) (*Set, error) { return s, nil }, b.Users)
	return b, err
}

// Line takes the next line of the file and calls out with every offer that
// it brings. The line's bytes may be reused afterwards.
func (b *Backtest) Line(raw []byte, out func(*Offer)) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil
	}
	ev, err := b.dec.AdmitLine(raw)
	return b.Admitted(ev, err, out)
}

// Admitted is Line for an event that is admitted already, or refused.
func (b *Backtest) Admitted(ev *event.Event, err error, out func(*Offer)) error {
	b.Lines++
	if err != nil {
		return b.reject(err)
	}
	if ev.Type != event.Clock {
		ev.HasLogTime = false // log time is this file's, not that of the log it came from
	}
	before := b.fold.cur.LogTime
	if _, err := b.fold.logTimeOf(ev); err != nil {
		return b.reject(err)
	}
	b.seq++
	if err := b.fold.BeginEvent(b.seq, ev); err != nil {
		return err
	}
	for {
		more, err := b.fold.Next()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		for _, e := range b.fold.Effects() {
			out(e.Offer)
		}
	}
	if after := b.fold.cur.LogTime; before != 0 && after-before > int64(longJump) && len(b.Jumps) < 10 {
		b.Jumps = append(b.Jumps, Jump{b.Lines, before, after})
	}
	b.Applied = b.fold.cur.Applied
	return nil
}

func (b *Backtest) reject(err error) error {
	r, ok := err.(*event.Reject)
	if !ok {
		return err
	}
	b.Rejected[r.Reason]++
	return nil
}

// Counts are the outcomes so far, by campaign, and what features met.
func (b *Backtest) Counts() (campaigns map[string]Counts, features Counts) { return b.fold.Counts() }

// Duplicates is how many events had come before.
func (b *Backtest) Duplicates() uint64 { return b.fold.Duplicates() }

// LogTime is how far log time has come.
func (b *Backtest) LogTime() int64 { return b.fold.cur.LogTime }

package pipeline

import "fmt"

// Backtest makes a backtest of a set that is compiled already, which many of
// them may share: where an input has a few events, compiling takes most of
// the time. The set must have been compiled under clock: event.
func (s *Set) Backtest() (*Backtest, error) {
	if s.def.Clock != ClockEvent {
		return nil, fmt.Errorf("a backtest runs under clock: %s, the set is compiled for clock: %s", ClockEvent, s.def.Clock)
	}
	b := &Backtest{Rejected: map[string]uint64{}, Users: Memory{}}
	var err error
	b.fold, err = NewFold(Cursor{Set: s.hash}, func(string) (*Set, error) { return s, nil }, b.Users)
	return b, err
}

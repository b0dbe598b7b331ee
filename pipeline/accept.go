package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An Acceptance is the content of an Accept message, which an operator writes
// into the log after the pipeline has stopped because of a loss. It has the last
// number that was stored on each chain at that time. From here on, each chain
// continues, with a Mark, after both that number and the last number from the log
// before. Earlier records of the chain that are missing, or that come from
// another log, are accepted.
type Acceptance struct {
	Chains map[string]uint64 `json:"chains"`
	Why    string            `json:"why"`
}

// A Mark is the record on a chain at which an Acceptance continues it.
type Mark struct{ Why string }

func readAcceptance(data []byte) (*Acceptance, error) {
	var a Acceptance
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, err
	}
	for name := range a.Chains {
		if name != "dead" && !strings.HasPrefix(name, "offers.") {
			return nil, fmt.Errorf("%q is not the name of a chain", name)
		}
	}
	return &a, nil
}

// mark makes the only step of an Acceptance: it puts a Mark on each chain. It
// returns false if the step is already made.
func (f *Fold) mark() bool {
	if f.cur.Within > 0 {
		f.cur.Accepted = f.msg.Stored
		f.finish()
		return false
	}
	names := slices.Collect(maps.Keys(f.accept.Chains))
	names = slices.AppendSeq(names, maps.Keys(f.cur.Chains))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		ch := f.cur.Chains[name]
		ch.Last.N = max(ch.Last.N, f.accept.Chains[name])
		if f.cur.Chains == nil {
			f.cur.Chains = map[string]Chain{}
		}
		f.cur.Chains[name] = ch
		f.emit(Effect{Chain: name, Mark: &Mark{f.accept.Why}})
	}
	f.cur.Within++
	return true
}

// Skip makes the fold continue after message seq. The messages in between are
// lost, and an operator has accepted that.
func (f *Fold) Skip(seq uint64) { f.cur.Seq, f.cur.Within, f.cur.Partly = max(f.cur.Seq, seq), 0, 0 }

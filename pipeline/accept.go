package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An Acceptance is the content of an Accept message, which an operator writes
// into the log after the pipeline has stopped because of a loss. Earlier records
// of the chains that are missing, or that come from another log, are accepted.
//
// Chains has the last number that was stored on each chain at that time. But a
// chain may have given out more numbers than it, and the log, still show: NATS may
// be back from a backup. Subscribers have seen those numbers and drop what comes
// under them. So the acceptance has a number, After, beyond all that any chain of
// the partition can have given out. From here on, each chain continues after it
// with a Mark, and so does each chain that begins later: it may have existed before
// the loss.
type Acceptance struct {
	Chains map[string]uint64 `json:"chains"`
	After  uint64            `json:"after,omitempty"` // 0 in the messages of earlier versions: chains continue after the numbers in Chains
	Why    string            `json:"why"`

	Granted []byte `json:"granted,omitempty"` // grants of the partition's budgets and pools that its log does not give: they are counted again (recount.go)
	Out     []byte `json:"out,omitempty"`     // grants with which its offers have gone out, though its log does not give these: they stay granted

	granted []spending
	out     []grant
	spent   map[Ref]bool // those of out
}

// AfterAll returns a number that is beyond all numbers that chains have given out
// before a time (nanoseconds since 1970), whatever was lost of them and however
// often chains were continued after such numbers: the microseconds since 1970.
// The first number of a chain was below that when it was given out, and numbers
// rise more slowly than time passes: each record is published after the one before
// has been acknowledged, which takes far more than a microsecond. The number is
// exact in a float64 until the year 2255, as some readers of JSON demand.
func AfterAll(now int64) uint64 { return uint64(max(now, 0)) / 1000 }

// A Mark is the record on a chain at which an Acceptance continues it.
type Mark struct{ Why string }

func readAcceptance(data []byte) (*Acceptance, error) {
	var a Acceptance
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, err
	}
	for name := range a.Chains {
		if name != deadChain && name != withheldChain && name != pageChain && !strings.HasPrefix(name, offersPrefix) {
			return nil, fmt.Errorf("%q is not the name of a chain", name)
		}
	}
	return &a, a.readRecounted()
}

// mark makes the only step of an Acceptance: it puts a Mark on each chain. It
// returns false if the step is already made.
func (f *Fold) mark() bool {
	if f.cur.Within > 0 {
		f.cur.Accepted = f.msg.Stored
		if f.recount() {
			f.cur.Within++
			return true // a step for each grant
		}
		f.step.spent = f.accept.spent
		more := f.lose(func(int) bool { return true })
		if f.step.spent = nil; more {
			return true // a step for each entity
		}
		f.finish()
		return false
	}
	names := slices.Collect(maps.Keys(f.accept.Chains))
	names = slices.AppendSeq(names, maps.Keys(f.cur.Chains))
	names = slices.DeleteFunc(names, func(name string) bool { _, mails := MailsTo(name); return mails })
	f.cur.After = max(f.cur.After, f.accept.After)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		f.emitAfter(f.accept.Chains[name], Effect{Chain: name, Mark: &Mark{f.accept.Why}})
	}
	for q := range f.partitions {
		f.emitMail(q, &mail{now: f.cur.LogTime, kind: mailMark}, true)
	}
	f.cur.Within++
	return true
}

// Skip makes the fold continue after message seq. The messages in between are
// lost, and an operator has accepted that.
func (f *Fold) Skip(seq uint64) { f.cur.Seq, f.cur.Within, f.cur.Partly = max(f.cur.Seq, seq), 0, 0 }

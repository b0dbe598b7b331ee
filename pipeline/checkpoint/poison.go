package checkpoint

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"offerstream/pipeline"
)

// A Poison is a step of a fold that panicked. The step may have changed entities
// in part, so the fold and its cache cannot be used any more. Another fold, which
// begins at the last checkpoint, guards the step: then the step alone is rolled
// back and becomes a dead letter.
type Poison struct {
	Step  pipeline.StepID
	Cause any    // the value of the panic
	Stack []byte // the stack at the panic
}

func (p *Poison) Error() string {
	return fmt.Sprintf("a step of message %d panicked: %v", p.Step.Seq, p.Cause)
}

// Next makes the fold's next step. If the step panics, the error is a *Poison.
func Next(f *pipeline.Fold) (more bool, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &Poison{f.StepID(), cause, debug.Stack()}
		}
	}()
	return f.Next()
}

// NewPoison returns the *Poison in err. ok is false if err has none, or if the
// step was guarded already, so that guarding it would not help.
func NewPoison(err error, guarded []pipeline.StepID) (p *Poison, ok bool) {
	ok = errors.As(err, &p) && !slices.Contains(guarded, p.Step)
	return p, ok
}

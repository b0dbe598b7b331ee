package checkpoint

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"offerstream/pipeline"
)

// A Poison is a step of a fold that panicked. What the step did to entities
// may be half done: the fold and its cache are of no use any more. Another
// fold, which begins at the last checkpoint, guards the step: the step alone
// is rolled back and becomes a dead letter.
type Poison struct {
	Step  pipeline.StepID
	Cause any    // what it panicked with
	Stack []byte // where
}

func (p *Poison) Error() string {
	return fmt.Sprintf("a step of message %d panicked: %v", p.Step.Seq, p.Cause)
}

// Next makes the fold's next step, and returns a panic in it as a *Poison.
func Next(f *pipeline.Fold) (more bool, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &Poison{f.StepID(), cause, debug.Stack()}
		}
	}()
	return f.Next()
}

// NewPoison is the step that err says has panicked; ok is false where err says
// nothing of that, or where the step was guarded, so that guarding it is of no
// help.
func NewPoison(err error, guarded []pipeline.StepID) (p *Poison, ok bool) {
	ok = errors.As(err, &p) && !slices.Contains(guarded, p.Step)
	return p, ok
}

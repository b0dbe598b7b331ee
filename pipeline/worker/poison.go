package worker

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"offerstream/pipeline"
)

// A poison is a step that panicked. The session ends with it, and the next
// one guards the step: it is rolled back alone and becomes a dead letter.
type poison struct {
	step  pipeline.StepID
	cause any
	stack []byte
}

func (p *poison) Error() string {
	return fmt.Sprintf("a step of message %d panicked: %v", p.step.Seq, p.cause)
}

// next makes the fold's next step and returns a panic in it as an error.
func next(f *pipeline.Fold) (more bool, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &poison{f.StepID(), cause, debug.Stack()}
		}
	}()
	return f.Next()
}

// newPoison is the step that err says has panicked, if it was not guarded.
func newPoison(err error, guarded []pipeline.StepID) (*poison, bool) {
	var p *poison
	ok := errors.As(err, &p) && !slices.Contains(guarded, p.step)
	return p, ok
}

// poisoned notes a step that panicked for the next session.
func (p *partition) poisoned(err error) bool {
	bad, ok := newPoison(err, p.guarded)
	if ok {
		p.guarded = append(p.guarded, bad.step)
		p.log.Error("a step panicked: it becomes a dead letter", "error", bad, "step", bad.step, "stack", string(bad.stack))
	}
	return ok
}

// guard guards the steps that panicked and may come again.
func (s *session) guard() {
	s.guarded = slices.DeleteFunc(s.guarded, func(p pipeline.StepID) bool { return p.Seq <= s.from.Seq })
	for _, p := range s.guarded {
		s.fold.Guard(p)
	}
}

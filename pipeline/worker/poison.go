package worker

import (
	"slices"

	"offerstream/pipeline"
	"offerstream/pipeline/checkpoint"
)

// poisoned reports whether err says that a step has panicked, and records the
// step for the next attempt.
func (p *partition) poisoned(err error) bool {
	bad, ok := checkpoint.NewPoison(err, p.guarded)
	if ok {
		p.guarded = append(p.guarded, bad.Step)
		p.log.Error("a step panicked: it becomes a dead letter", "error", bad, "step", bad.Step, "stack", string(bad.Stack))
	}
	return ok
}

// guard guards the steps that have panicked and may come again.
func (a *attempt) guard() {
	a.p.guarded = slices.DeleteFunc(a.p.guarded, func(p pipeline.StepID) bool { return p.Seq <= a.from.Seq })
	for _, p := range a.p.guarded {
		a.fold.Guard(p)
	}
}

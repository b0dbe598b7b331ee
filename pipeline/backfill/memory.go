package backfill

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"offerstream/pipeline"
)

// JoinMemory is a Join of a live state that is in memory.
func JoinMemory(fold *pipeline.Fold, live pipeline.Memory, second *Second) error {
	sw, _ := fold.Switching()
	if sw == nil {
		return errors.New("the fold stands at no switch")
	}
	if seq, _, _, _ := fold.At(); second.Seq() != seq {
		return fmt.Errorf("the second state is at message %d, and the switch is message %d", second.Seq(), seq+1)
	}
	j := &Join{Fold: fold, Second: second, facts: live.Look}
	w, err := j.worker()
	if err != nil {
		return err
	}
	of := inOrder(second.store, "")
	defer of.stop()
	for _, key := range slices.Sorted(maps.Keys(live)) {
		if !pipeline.IsUser(key) || live[key].Empty() {
			continue
		}
		u := joined{key: key, live: live[key].AppendBinary(nil)}
		if u.second, u.has, err = of.find(key); err != nil {
			return err
		}
		if err := w.user(&u); err != nil {
			return err
		}
		if u.after.Empty() {
			delete(live, key)
			continue
		}
		if live[key] = u.after; u.due != pipeline.NoDue {
			fold.Schedule(u.due, key)
		}
	}
	fold.Switched(second.fold.Cursor(), j.joins...)
	return nil
}

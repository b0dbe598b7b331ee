package backfill

import (
	"errors"
	"maps"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// TestSecondPanic: a step that panics under the set to come is guarded, and the fold
// goes on from its last commit. A commit that is too big is made in smaller ones.
func TestSecondPanic(t *testing.T) {
	s := newScene(t, *seed)
	limit := state.Limit{Entries: 2000, Bytes: 1 << 20}
	sound := state.NewMemory(limit)
	s.second(sound)
	want, wantTimers := contents(t, sound)

	for _, name := range []string{"panic", "too big"} {
		store := &refusing{Memory: state.NewMemory(limit)}
		second, err := Begin(store, s.n.Definition().Hash(), Options{Sets: s.sets, CacheBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		panics, bad := 0, map[pipeline.StepID]bool{}
		second.next = func(f *pipeline.Fold) (bool, error) {
			more, err := checkpoint.Next(f)
			if step := f.StepID(); err == nil && name == "panic" && step.Seq > 0 && step.Seq%17 == 0 && !bad[step] && panics < 3 {
				panics++
				bad[step] = true
				return false, &checkpoint.Poison{Step: step, Cause: "bang"}
			}
			return more, err
		}
		if name == "too big" {
			store.refuses = 3
		}
		again := 0
		for second.Seq() < uint64(len(s.log)) {
			seq := second.Seq()
			if err := second.take(s.log[seq]); err != nil {
				t.Fatal(err)
			}
			if second.Seq() <= seq {
				again++
			} else if second.Seq()%10 == 0 {
				if err := second.Commit(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := second.Commit(); err != nil || second.Seq() != uint64(len(s.log)) {
			t.Fatal(second.Seq(), err)
		}
		if name == "too big" && second.shrink != 16 {
			t.Errorf("commits are smaller by %d, want 16", second.shrink)
		}
		if name == "panic" && (panics != 3 || again != 3 || len(second.guarded) != 3) {
			t.Errorf("%d panics, %d times again", panics, again)
		}
		got, timers := contents(t, store)
		if !maps.Equal(got, want) || len(timers) != len(wantTimers) {
			t.Errorf("%s: %d users, want %d, or others", name, len(got), len(want))
		}
		t.Logf("%s: %d panics, %d times again, commits smaller by %d", name, panics, again, second.shrink)
	}
}

// A refusing store says of some commits that they are too big, or fails all of them.
type refusing struct {
	*state.Memory
	refuses int
	fails   error
}

func (r *refusing) Commit(b *state.Batch, cursor []byte) error {
	if r.refuses > 0 {
		r.refuses--
		return state.ErrTooBig
	}
	if r.fails != nil {
		return r.fails
	}
	return r.Memory.Commit(b, cursor)
}

// TestJoinPanic: a user whose join panics is joined without what the second state has,
// the same with one core as with several; if it panics even so, the partition has to
// stop.
func TestJoinPanic(t *testing.T) {
	s := newScene(t, *seed)
	var first map[string]string
	for _, cores := range []int{1, 3} {
		store, store2 := state.NewMemory(state.Limit{Entries: 40, Bytes: 1 << 20}), state.NewMemory(state.Limit{Entries: 2000, Bytes: 1 << 20})
		second := s.second(store2)
		var key string
		if err := store2.Entities("u", func(k string, _ []byte, _ state.Pieces) error { key = k; return errStop }); !errors.Is(err, errStop) {
			t.Fatal(err)
		}
		m := s.switchTo(second.fold.Cursor(), "now")
		always := false
		j := &Join{Fold: s.standing(store, m), Live: store, Second: second, Cores: cores, before: func(live, of *pipeline.Entity) {
			if live.Key == key && (of != nil || always) {
				panic("bang")
			}
		}}
		if _, err := j.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, _ := contents(t, store)
		if first == nil {
			first = got
		}
		if !maps.Equal(got, first) {
			t.Errorf("%d cores: another state", cores)
		}
		always = true
		store = state.NewMemory(state.Limit{Entries: 40, Bytes: 1 << 20})
		j = &Join{Fold: s.standing(store, m), Live: store, Second: second, Cores: cores, before: j.before}
		if _, err := j.Run(t.Context()); !errors.Is(err, broker.ErrLoud) {
			t.Errorf("%d cores: %v", cores, err)
		}
	}
}

// TestJoinCommitFails: whether a commit of a join that failed is stored is not known,
// unless it was too big.
func TestJoinCommitFails(t *testing.T) {
	s := newScene(t, *seed)
	limit := state.Limit{Entries: 40, Bytes: 1 << 20}
	second := s.second(state.NewMemory(limit))
	for _, r := range []refusing{{refuses: 1}, {fails: state.ErrFailed}} {
		r.Memory = state.NewMemory(limit)
		f := s.standing(r.Memory, s.switchTo(second.fold.Cursor(), "now"))
		_, err := (&Join{Fold: f, Live: &r, Second: second, Cores: 1}).Run(t.Context())
		var failed CommitError
		if is := errors.As(err, &failed); err == nil || is != (r.fails != nil) {
			t.Errorf("%v", err)
		}
	}
}

// TestSecondOtherLog: a message that was applied, all of it or in part, must be the one that
// the log has: another one, as after an acceptance, makes the second state useless.
func TestSecondOtherLog(t *testing.T) {
	s := Second{at: place{seq: 5, stored: 50}, partly: place{seq: 6, stored: 60}}
	for _, c := range []struct {
		seq    uint64
		stored int64
		same   bool
	}{{5, 50, true}, {5, 51, false}, {6, 60, true}, {6, 59, false}, {7, 51, true}} {
		if err := s.sameAs(pipeline.Message{Seq: c.seq, Stored: c.stored}); (err == nil) != c.same || err != nil && !errors.Is(err, ErrLog) {
			t.Errorf("message %d of %d: %v", c.seq, c.stored, err)
		}
	}
}

package worker

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"offerstream/pipeline/task"
)

// A simulation runs tasks one at a time, each until it waits. The seed decides
// which task runs next, and time passes only when all wait. So each seed gives
// one history.
type simulation struct {
	rng   *rand.Rand
	time  time.Duration // since the simulation began
	tasks []*simTask    // the tasks that have not ended, in the order of their start
	runs  *simTask      // the task that runs now
	steps int
	trace uint64 // hash of which task ran when: equal histories have equal traces
	count int    // number of tasks so far
}

// A process is a set of tasks that die together: a worker, or the world around it.
type process struct {
	name   string
	dead   bool
	frozen time.Duration // until then
}

type simTask struct {
	of     *process
	number int
	resume func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool

	waits *simSignal // the signal it waits on; nil: it goes on at due
	ctx   context.Context
	due   time.Duration
}

type killed struct{}

// maxSteps is more than any history takes, unless it loops for ever.
const maxSteps = 1_000_000

func newSimulation(seed uint64) *simulation {
	return &simulation{rng: rand.New(rand.NewPCG(seed, 5))}
}

// simEpoch is the time at which every simulation begins.
var simEpoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (s *simulation) now() time.Time { return simEpoch.Add(s.time) }

// chance returns true with the given probability in thousandths.
func (s *simulation) chance(permille int) bool { return s.rng.IntN(1000) < permille }

func (s *simulation) upTo(d time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(d)))
}

// start makes a task of a process. The task runs later.
func (s *simulation) start(of *process, fn func()) {
	t := &simTask{of: of, number: s.count, ctx: context.Background(), due: s.time}
	s.count++
	t.resume, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if p := recover(); p != nil && p != any(killed{}) {
				panic(p)
			}
		}()
		t.yield = yield
		fn()
	})
	s.tasks = append(s.tasks, t)
}

// rest runs other tasks until d has passed, the signal is set or ctx is done. It
// does not return to a task whose process has died.
func (s *simulation) rest(ctx context.Context, e *simSignal, d time.Duration) {
	t := s.runs
	if t.of.dead {
		panic(killed{})
	}
	t.waits, t.ctx, t.due = e, ctx, s.time+max(d, 0)
	if !t.yield(struct{}{}) {
		panic(killed{})
	}
}

func (s *simulation) ready(t *simTask) bool {
	if t.of.frozen > s.time {
		return false
	}
	return t.due <= s.time || t.ctx.Err() != nil || t.waits != nil && t.waits.set
}

// run runs tasks until done returns true, at most until the given time.
func (s *simulation) run(done func() bool, until time.Duration) error {
	var ready []*simTask
	for !done() {
		ready = ready[:0]
		next := until + 1
		for _, t := range s.tasks {
			switch {
			case s.ready(t):
				ready = append(ready, t)
			default:
				next = min(next, max(t.due, t.of.frozen))
			}
		}
		if len(ready) == 0 {
			if next > until {
				return fmt.Errorf("not done after %v", s.time)
			}
			s.time = next
			continue
		}
		t := ready[s.rng.IntN(len(ready))]
		if s.steps++; s.steps > maxSteps {
			return fmt.Errorf("not done after %d steps, at %v", s.steps, s.time)
		}
		s.trace = s.trace*1_000_003 ^ uint64(t.number)<<20 ^ uint64(s.time)
		s.runs = t
		if _, more := t.resume(); !more {
			s.remove(t)
		}
		s.runs = nil
	}
	return nil
}

func (s *simulation) remove(t *simTask) {
	for i, o := range s.tasks {
		if o == t {
			s.tasks = append(s.tasks[:i], s.tasks[i+1:]...)
			return
		}
	}
}

// kill ends a process at once: its tasks do not continue.
func (s *simulation) kill(p *process) {
	p.dead = true
	var left []*simTask
	for _, t := range s.tasks {
		if t.of != p || t == s.runs { // the running task ends at its next rest
			left = append(left, t)
			continue
		}
		s.unwind(t)
	}
	s.tasks = left
}

// unwind runs the deferred calls of a task whose process is dead.
func (s *simulation) unwind(t *simTask) {
	was := s.runs
	s.runs = t
	t.stop()
	s.runs = was
}

// end ends all tasks.
func (s *simulation) end() {
	for _, t := range s.tasks {
		t.of.dead = true
	}
	for _, t := range s.tasks {
		s.unwind(t)
	}
	s.tasks = nil
}

// simWorld is the task.World of a process.
type simWorld struct {
	*simulation
	of *process
}

var _ task.World = simWorld{}

func (w simWorld) Go(fn func()) {
	if !w.of.dead {
		w.start(w.of, fn)
	}
}

func (w simWorld) Now() time.Time { return w.now() }

func (w simWorld) Jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return w.upTo(d)
}

func (w simWorld) NewSignal() task.Signal { return &simSignal{s: w.simulation} }

type simSignal struct {
	s   *simulation
	set bool
}

func (e *simSignal) Set() { e.set = true }

func (e *simSignal) Wait(ctx context.Context, d time.Duration) {
	if !e.set && d > 0 && ctx.Err() == nil {
		e.s.rest(ctx, e, d)
	}
	e.set = false
}

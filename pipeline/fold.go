package pipeline

import (
	"bytes"
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// An Effect is a record that a step appends to one of its partition's chains.
type Effect struct {
	Chain string // "offers.<channel>" or "dead"
	Pos   Position
	Offer *Offer // set on offers.*
	Dead  *Dead  // set on dead
	Mark  *Mark  // set where an Acceptance begins the chain anew
}

// A Mark stands on a chain where an operator has accepted what was lost before.
type Mark struct{ Why string }

// A Dead letter is what could not be applied.
type Dead struct {
	Reason string
	Detail string
	Raw    []byte
}

// Entities holds the entities of one partition for a fold: a map for
// backtests, a cache over Badger for workers. A key is valid until a method
// returns.
type Entities interface {
	// Entity returns the entity under key, a new one where there is none. The
	// fold may change it until its next call to any method here; the holder
	// takes it as changed.
	Entity(key string) (*Entity, error)
	// Look returns the entity under key for reading alone, a new one that is
	// kept nowhere where there is none.
	Look(key string) (*Entity, error)
}

// maxAhead is how far a stored time may lie before the writer's own stamp:
// one clock that is ahead must not freeze a partition.
const maxAhead = int64(time.Minute)

// A Fold applies one partition's log to its entities. Between two steps it
// may be checkpointed, and a new Fold made from the Cursor goes on exactly
// there. Not for concurrent use.
type Fold struct {
	cur    Cursor
	sets   func(hash string) (*Set, error)
	ents   Entities
	step   step
	timers timers
	dec    event.Decoder

	msg     Message
	lines   []byte       // what is left of msg.Data
	one     *event.Event // BeginEvent's
	control *control
	accept  *Acceptance
	newest  int   // engine; it runs the one before as well
	target  int64 // log time that the message brings, under clock: broker
	busy    bool
	err     error // of the entities; the fold is of no use afterwards
	effects []Effect
	id      StepID // of the step that is made, or was made last
	guarded map[StepID]bool
}

// NewFold makes a fold that goes on at the cursor (the zero Cursor: at the
// beginning). sets gives compiled sets by their hash: the cursor's now, and a
// Control message's at Begin. What is pending in the entities must be told by
// Schedule.
func NewFold(cursor Cursor, sets func(hash string) (*Set, error), ents Entities) (*Fold, error) {
	f := &Fold{cur: cursor.clone(), sets: sets, ents: ents, newest: Engine}
	f.step.out = f.offer
	set, err := f.set(cursor.Set)
	if err != nil {
		return nil, err
	}
	f.enforce(set)
	return f, nil
}

var emptySet = sync.OnceValue(func() *Set {
	set, _ := Compile(&campaign.Definition{Engine: Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
		Forget: campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown}})
	return set
})

// set is the set of that hash; before the first, one without campaigns.
func (f *Fold) set(hash string) (*Set, error) {
	if hash == "" {
		return emptySet(), nil
	}
	return f.sets(hash)
}

// Schedule tells the fold that something is pending for an entity. Telling
// it too early or twice is harmless. The queue is what grows with users who
// wait, also those who are in no cache: about 50 bytes each, keys included.
func (f *Fold) Schedule(due int64, key string) { heap.Push(&f.timers, timer{due, key}) }

// NextDue is when the next timer may be due; false when none is pending.
func (f *Fold) NextDue() (int64, bool) {
	if len(f.timers) == 0 {
		return 0, false
	}
	return f.timers[0].due, true
}

// Clock is that of the set in force.
func (f *Fold) Clock() string { return f.step.live.def.Clock }

// Counts are the outcomes since the fold was made, by campaign, and what
// features met. They only grow: a change of sets resets none, and a campaign
// that is gone keeps its own.
func (f *Fold) Counts() (campaigns map[string]Counts, features Counts) {
	campaigns = make(map[string]Counts, len(f.step.live.tally.campaigns))
	features = f.EachCount(func(id string, n Counts) { campaigns[id] = n })
	return campaigns, features
}

// EachCount is Counts without a map: fn has each campaign, in no order.
func (f *Fold) EachCount(fn func(campaign string, n Counts)) (features Counts) {
	for id, n := range f.step.live.tally.campaigns {
		fn(id, *n)
	}
	return *f.step.live.tally.features
}

// Duplicates is how many events changed nothing because they had come before.
func (f *Fold) Duplicates() uint64 { return f.step.duplicates }

// Cursor is where the fold stands; it may be taken between any two steps.
func (f *Fold) Cursor() Cursor { return f.cur.clone() }

// At is how far the fold has come: the last message applied whole, the events
// applied, log time and the set in force. Unlike Cursor it copies nothing.
func (f *Fold) At() (seq, applied uint64, logTime int64, set string) {
	return f.cur.Seq, f.cur.Applied, f.cur.LogTime, f.cur.Set
}

// Effects are what the last step appends to the chains, valid until the next.
func (f *Fold) Effects() []Effect { return f.effects }

// Begin takes the next message. Its sequence must follow the cursor's. Steps
// of it that the cursor has passed are skipped.
func (f *Fold) Begin(m Message) error {
	if m.Seq != f.cur.Seq+1 {
		return fmt.Errorf("message %d does not follow %d", m.Seq, f.cur.Seq)
	}
	f.msg, f.lines, f.one, f.control, f.accept = m, nil, nil, nil, nil
	stamp, stamped := int64(0), false
	switch m.Kind {
	case In:
		f.lines = m.Data
		for range f.cur.Within {
			_, f.lines = line(f.lines)
		}
		if len(m.Data) > 0 {
			stamp, stamped = lastReceived(m.Data)
		}
	case Tick:
		stamp, stamped = readAt(m.Data)
	case Control:
		c, err := f.readControl(m.Data)
		if err != nil {
			return fmt.Errorf("control message %d: %w", m.Seq, err)
		}
		f.control, stamp, stamped = c, c.at, c.at != 0
	case Accept:
		a, err := readAcceptance(m.Data)
		if err != nil {
			return fmt.Errorf("accept message %d: %w", m.Seq, err)
		}
		f.accept, f.busy = a, true
		f.target = f.cur.LogTime // it moves no time: no timer fires of it, and nothing stands before the marks
		return nil
	default:
		return fmt.Errorf("message %d is of no known kind", m.Seq)
	}
	f.target = m.Stored
	if stamped {
		f.target = min(f.target, stamp+maxAhead)
	}
	f.target = max(f.target, f.cur.LogTime)
	if f.Clock() == campaign.ClockEvent || (f.control != nil && f.control.set.def.Clock == campaign.ClockEvent) {
		f.target = f.cur.LogTime // time stands in the events
	}
	f.busy = true
	return nil
}

// BeginEvent takes one event as a message of its own: a line of a file.
func (f *Fold) BeginEvent(seq uint64, ev *event.Event) error {
	if err := f.Begin(Message{Seq: seq, Stored: f.cur.LogTime, Kind: In}); err != nil {
		return err
	}
	f.one = ev
	return nil
}

// Next makes the next step, a due timer or an event, and says whether it
// did; false means that the message is done.
func (f *Fold) Next() (bool, error) {
	f.effects = f.effects[:0]
	if !f.busy {
		return false, nil
	}
	f.cur.Partly = f.msg.Stored
	if f.accept != nil {
		return f.mark(), nil
	}
	if f.Clock() == campaign.ClockEvent && f.msg.Kind == In {
		return f.nextTimed()
	}
	if f.fire(f.target) {
		return true, f.err
	}
	f.cur.LogTime = f.target
	ev, raw, err := f.take()
	switch {
	case raw == nil:
		f.finish()
		return false, nil
	case err != nil:
		f.reject(raw, err)
	case ev.Type != event.Clock: // under clock: broker it means nothing
		f.apply(ev, f.target, f.ownTime(ev))
	}
	f.cur.Within++
	return true, f.err
}

// nextTimed is Next under clock: event, where every event brings its own log
// time: its timers fire first, one a step, and the event waits.
func (f *Fold) nextTimed() (bool, error) {
	ahead := f.lines
	ev, raw, err := f.take()
	if raw == nil {
		f.finish()
		return false, nil
	}
	var now int64
	if err == nil {
		now, err = f.logTimeOf(ev)
	}
	if err != nil {
		f.reject(raw, err)
		f.cur.Within++
		return true, nil
	}
	if f.fire(now) {
		f.lines = ahead
		if f.lines == nil {
			f.one = ev
		}
		return true, f.err
	}
	f.cur.LogTime = now
	if ev.Type != event.Clock {
		own := now
		if ev.HasTimestamp {
			own = ev.Timestamp
		}
		f.apply(ev, now, own)
	}
	f.cur.Within++
	return true, f.err
}

// logTimeOf is the log time that an event brings under clock: event.
func (f *Fold) logTimeOf(ev *event.Event) (int64, error) {
	switch {
	case ev.HasLogTime:
		return max(f.cur.LogTime, ev.LogTime), nil
	case ev.HasTimestamp:
		return max(f.cur.LogTime, ev.Timestamp), nil
	case f.cur.LogTime != 0:
		return f.cur.LogTime, nil
	}
	return 0, event.Rejectf("timestamp", "the event has no timestamp, and none came before it")
}

// ownTime is an event's own time under clock: broker, corrected by how far
// the client's clock was off when it sent.
func (f *Fold) ownTime(ev *event.Event) int64 {
	switch {
	case ev.HasTimestamp && ev.HasSentAt && ev.HasReceived:
		return ev.ReceivedAt - (ev.SentAt - ev.Timestamp)
	case ev.HasTimestamp:
		return ev.Timestamp
	case ev.HasReceived:
		return ev.ReceivedAt
	}
	return f.target
}

// take decodes the message's next event. raw is nil when there is none.
func (f *Fold) take() (ev *event.Event, raw []byte, err error) {
	if f.one != nil {
		ev, f.one = f.one, nil
		return ev, ev.Raw, nil
	}
	if raw, f.lines = line(f.lines); raw == nil {
		return nil, nil, nil
	}
	ev, err = f.dec.Decode(raw)
	return ev, raw, err
}

// apply steps the event's entity at log time now.
func (f *Fold) apply(ev *event.Event, now, own int64) {
	ev.Time = max(min(own, now), now-int64(f.step.live.def.Lateness))
	f.cur.Applied++
	e, err := f.ents.Entity(ev.Key)
	if err != nil {
		f.err = err
		return
	}
	s := StepID{Seq: f.msg.Seq, Within: f.cur.Within}
	f.run(s, e, func() []byte { return bytes.Clone(ev.Raw) }, func() { f.step.onEvent(e, ev, now) })
	f.reschedule(e)
}

// fire makes one step of the earliest timer that is due at or before now.
func (f *Fold) fire(now int64) bool {
	if len(f.timers) == 0 || f.timers[0].due > now {
		return false
	}
	t := heap.Pop(&f.timers).(timer)
	for len(f.timers) > 0 && f.timers[0] == t {
		heap.Pop(&f.timers)
	}
	f.cur.LogTime = max(f.cur.LogTime, t.due)
	e, err := f.ents.Entity(t.key)
	if err != nil {
		f.err = err
		return true
	}
	s := StepID{Seq: f.msg.Seq, Within: f.cur.Within, Due: t.due, Key: t.key}
	f.run(s, e, func() []byte { return e.dueEvent(t.due) }, func() { f.step.onDue(e, t.due) })
	if d := e.Due(); d != 0 && (e.loaded || e.scheduled <= t.due || d < e.scheduled) {
		f.Schedule(d, e.Key)
		e.scheduled, e.loaded = d, false
	} else if d == 0 || e.scheduled <= t.due {
		e.scheduled = 0
	}
	return true
}

// reschedule keeps the promise that the queue holds, for every entity with
// something pending, an entry at its Due or before.
func (f *Fold) reschedule(e *Entity) {
	if d := e.Due(); d != 0 && (e.scheduled == 0 || d < e.scheduled) {
		f.Schedule(d, e.Key)
		e.scheduled, e.loaded = d, false
	}
}

func (f *Fold) offer(o *Offer) {
	f.emit(Effect{Chain: "offers." + o.Channel, Offer: o})
}

func (f *Fold) reject(raw []byte, err error) {
	d := &Dead{Reason: "error", Detail: err.Error(), Raw: bytes.Clone(raw)}
	if r, ok := err.(*event.Reject); ok {
		d.Reason, d.Detail = r.Reason, r.Detail
	}
	f.emit(Effect{Chain: "dead", Dead: d})
}

// mark makes one step of an Acceptance, of which all chains go on.
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

// Skip goes on behind message seq: what lies between is lost, and an operator
// has accepted that.
func (f *Fold) Skip(seq uint64) { f.cur.Seq, f.cur.Within, f.cur.Partly = max(f.cur.Seq, seq), 0, 0 }

// emit numbers a record on its chain.
func (f *Fold) emit(e Effect) {
	ch := f.cur.Chains[e.Chain]
	ch.Last = Position{N: ch.Last.N + 1, S: f.msg.Seq, K: ch.K, T: f.msg.Stored}
	e.Pos = ch.Last
	ch.K++
	if f.cur.Chains == nil {
		f.cur.Chains = map[string]Chain{}
	}
	f.cur.Chains[e.Chain] = ch
	f.effects = append(f.effects, e)
}

// finish ends a message: what it controls is in force from here on.
func (f *Fold) finish() {
	if c := f.control; c != nil && c.set.hash != f.cur.Set {
		if f.cur.Set == "" && c.set.def.Clock == campaign.ClockEvent {
			f.cur.LogTime = 0 // nothing was timed yet that could count
		}
		f.cur.Set = c.set.hash
		f.cur.Epoch++
		f.enforce(c.set)
	}
	f.cur.Seq, f.cur.Stored, f.cur.Within, f.cur.Partly = f.msg.Seq, f.msg.Stored, 0, 0
	for name, ch := range f.cur.Chains {
		if ch.K != 0 {
			ch.K = 0
			f.cur.Chains[name] = ch
		}
	}
	f.busy = false
}

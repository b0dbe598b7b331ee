package pipeline

import (
	"bytes"
	"container/heap"
	"fmt"
	"strings"
	"sync"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// The names of a partition's chains. Whoever subscribes to offers gets no withheld
// record.
const (
	offersPrefix  = "offers." // and the channel
	withheldChain = "withheld"
	pageChain     = "page"
	deadChain     = "dead"
)

// An Effect is a record that a step appends to a chain of its partition.
type Effect struct {
	Chain string // "offers.<channel>", "withheld", "page", "dead", or that of mails to a partition (MailChain)
	Pos   Position
	Offer *Offer      // set on chains offers.* and withheld
	Page  *PageRecord // set on chain page
	Dead  *Dead       // set on chain dead
	Mark  *Mark       // set if an Acceptance continues the chain; that of a chain of mails is a mail
	Mail  []byte      // set on chains of mails (AppendPacked); it does not alias anything
}

// A Dead is a dead letter: what could not be applied, and why.
type Dead struct {
	Reason string
	Detail string
	Raw    []byte
	Sender string // of a gateway's: who sent it, in the words of pipeline/ingest; "": not known
}

// Entities holds the entities of one partition for a fold: a Memory for
// backtests, a cache over Badger for workers. A key passed to a method is valid
// only until the method returns.
type Entities interface {
	// Entity returns the entity with a key; if there is none, it makes one. The
	// fold may change the entity until its next call to a method of Entities,
	// hence the entity must be regarded as changed.
	Entity(key string) (*Entity, error)
	// Look returns the entity with a key for reading only; if there is none, it
	// returns a new one and does not keep it.
	Look(key string) (*Entity, error)
	// Read is Look within a step: the entity of the step stays valid, and what is
	// read may be kept in memory.
	Read(key string) (*Entity, error)
}

// A Fold applies the log of one partition to its entities. Between any two
// steps it may be checkpointed: a new Fold made from the Cursor continues from
// exactly there. It must not be used concurrently.
type Fold struct {
	cur    Cursor
	sets   func(hash string) (*Set, error)
	ents   Entities
	step   step
	timers timers
	dec    event.Decoder

	msg        Message
	lines      []byte       // the rest of msg.Data
	single     *event.Event // the event of BeginEvent
	control    *control
	retired    []retiredSet // Cursor.Retired
	next       *Fold        // at a switch: what the fold is after it (switch.go)
	dormants   []dormant    // of a second fold; nil: they are not found yet
	accept     *Acceptance
	newest     int   // the newest engine that it runs; it also runs the previous one
	target     int64 // the log time to which the message moves the fold, under clock: broker
	busy       bool
	err        error // an error of ents; the fold is of no use after it
	effects    []Effect
	coupons    *coupon.Keys // nil: codes of coupons are placeholders
	id         StepID       // the step in progress, or the last one
	guarded    map[StepID]bool
	only       map[string]bool // the entities whose events are applied; nil: all
	until      int64           // no step is later (PauseAt)
	stopped    bool            // the next step would be
	partitions int             // 0: not told (Partitions)
	brakes     []brake         // of the set in force; nil: none is in effect
	untimed    uint64
	undeclared uint64 // facts
	unnamed    uint64 // events about items of kinds that the set does not name

	partition int    // of the log
	queue     []mail // without partitions: what waits to be applied
	mails     []mail // the rest of a message of kind From

	mailChains []string        // by partition: the names of chains to it
	asking     map[string]bool // the entities that wait for a mail
	losing     []string        // while losses end questions: the entities that may wait; nil: not known
	epoch      bool            // log time is 0 as an event of 1970 has said, not because none came yet; not in the Cursor

	wanted func(key string) bool // of OnlyIf; nil: all are
}

// NewFold makes a fold that continues from the cursor; the zero Cursor is the
// beginning. sets returns compiled sets by their hash: now that of the cursor,
// later those of Control messages, at Begin. The caller must call Schedule for
// all entities with pending evaluations.
func NewFold(cursor Cursor, sets func(hash string) (*Set, error), ents Entities) (*Fold, error) {
	f := &Fold{cur: cursor.clone(), sets: sets, ents: ents, newest: Engine, until: endOfTime}
	f.step.out, f.step.page, f.step.read, f.step.second = f.offer, f.pageRecord, f.readIn, cursor.Second
	f.step.couponKeys = func() *coupon.Keys { return f.coupons }
	f.step.cur, f.step.newRef, f.step.unnumbered = &f.cur, f.newRef, true
	set, err := f.set(cursor.Set)
	if err != nil {
		return nil, err
	}
	if f.retired, err = f.retiredOf(cursor.Retired); err != nil {
		return nil, err
	}
	f.enforce(set)
	return f, nil
}

// emptySet is the set that is in force before the first Control message.
var emptySet = sync.OnceValue(func() *Set {
	set, _ := Compile(&campaign.Definition{Engine: Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
		Forget: campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown}})
	return set
})

// set is the set with a hash, emptySet if the hash is empty.
func (f *Fold) set(hash string) (*Set, error) {
	if hash == "" {
		return emptySet(), nil
	}
	return f.sets(hash)
}

// Schedule tells the fold the due time of an entity. A time that is too early,
// or is told twice, does no harm. The queue has an entry for every user with
// pending evaluations, cached or not: about 50 bytes each, including the key.
func (f *Fold) Schedule(due int64, key string) {
	switch {
	case f.cur.Second && due != DueByMail:
	case due == DueByMail: // it waits for a mail
		if f.asking == nil {
			f.asking = map[string]bool{}
		}
		f.asking[strings.Clone(key)] = true
	default:
		heap.Push(&f.timers, timer{due, key})
	}
}

// NextDue is the earliest due time in the queue; ok is false if the queue is
// empty.
func (f *Fold) NextDue() (due int64, ok bool) {
	if len(f.timers) == 0 {
		return 0, false
	}
	return f.timers[0].due, true
}

// Definition is the definition of the set in force.
func (f *Fold) Definition() *campaign.Definition { return f.step.live.def }

// Clock is the clock of the set in force.
func (f *Fold) Clock() string { return f.step.live.def.Clock }

// Counts are the counts since the fold was made, by campaign, and those of all
// features. They only grow: a change of sets resets none, and campaigns that
// are no longer in the set keep theirs.
func (f *Fold) Counts() (campaigns map[string]Counts, features Counts) {
	campaigns = make(map[string]Counts, len(f.step.live.tally.campaigns))
	features = f.EachCount(func(id string, n Counts) { campaigns[id] = n })
	return campaigns, features
}

// EachCount is Counts without a map: it calls fn with each campaign, in no
// particular order. Of a campaign with rows it calls fn with those that have counted
// anything, or with the campaign itself if none has.
func (f *Fold) EachCount(fn func(campaign string, n Counts)) (features Counts) {
	units := f.step.live.campaigns
	for first := 0; first < len(units); {
		c, counted := units[first].compiled, false
		for range max(len(c.def.Rows), 1) {
			counted = counted || f.step.live.tally.campaigns[units[first].id] != nil
			first++
		}
		if !counted {
			fn(c.def.ID, Counts{})
		}
	}
	for id, n := range f.step.live.tally.campaigns {
		fn(id, *n)
	}
	return *f.step.live.tally.features
}

// Duplicates is the number of events that were duplicates and so changed
// nothing.
func (f *Fold) Duplicates() uint64 { return f.step.duplicates }

// Untimed is the number of events whose timestamp could not be read, and that count
// as events of when they were received.
func (f *Fold) Untimed() uint64 { return f.untimed }

// Cursor is the fold's position. It may be taken between any two steps.
func (f *Fold) Cursor() Cursor { return f.cur.clone() }

// At is the essence of Cursor, without copying: the last message that was
// applied completely, the number of events applied, log time, and the hash of
// the set in force.
func (f *Fold) At() (seq, applied uint64, logTime int64, set string) {
	return f.cur.Seq, f.cur.Applied, f.cur.LogTime, f.cur.Set
}

// Stored is the stored time of the last message that was applied completely.
func (f *Fold) Stored() int64 { return f.cur.Stored }

// Effects are the records that the last step appends to chains. They are valid
// until the next step.
func (f *Fold) Effects() []Effect { return f.effects }

// Begin takes the next message, whose sequence must follow the cursor's. It skips
// the steps of the message that the cursor has passed.
func (f *Fold) Begin(m Message) error {
	if m.Seq != f.cur.Seq+1 {
		return fmt.Errorf("message %d does not follow message %d", m.Seq, f.cur.Seq)
	}
	f.msg, f.lines, f.single, f.control, f.accept, f.mails = m, nil, nil, nil, nil, nil
	stamp, stamped, err := f.read(m)
	if err != nil {
		return err
	}
	f.target = f.targetOf(m, stamp, stamped)
	f.busy = true
	return nil
}

// read decodes a message, and returns the writer's stamp if it has one.
func (f *Fold) read(m Message) (stamp int64, stamped bool, err error) {
	switch m.Kind {
	case In:
		f.lines = m.Data
		for range f.cur.Within {
			_, f.lines = line(f.lines)
		}
		if len(m.Data) > 0 {
			stamp, stamped = lastReceived(&f.dec, m.Data)
		}
		if f.skippable(m.Data) {
			f.lines = nil
		}
	case Tick:
		stamp, stamped = readStamp(m.Data)
	case Control:
		if f.control, err = f.readControl(m.Data); err != nil {
			return 0, false, fmt.Errorf("control message %d: %w", m.Seq, err)
		}
		stamp, stamped = f.control.at, f.control.at != 0
	case Accept:
		if f.accept, err = readAcceptance(m.Data); err != nil {
			return 0, false, fmt.Errorf("accept message %d: %w", m.Seq, err)
		}
	case From:
		if stamp, err = f.unpack(m); err != nil {
			return 0, false, fmt.Errorf("message %d from partition %d: %w", m.Seq, m.From, err)
		}
		stamped = true
	default:
		return 0, false, fmt.Errorf("message %d is of an unknown kind", m.Seq)
	}
	return stamp, stamped, nil
}

// BeginEvent takes a single event, such as a line of a file, as a message of
// its own.
func (f *Fold) BeginEvent(seq uint64, ev *event.Event) error {
	if err := f.Begin(Message{Seq: seq, Stored: f.cur.LogTime, Kind: In}); err != nil {
		return err
	}
	f.single = ev
	return nil
}

// Next makes the message's next step, that of a due time or of an event. It
// returns false if there is none, and the message is done.
func (f *Fold) Next() (bool, error) {
	f.effects = f.effects[:0]
	if !f.busy || f.stopped {
		return false, nil
	}
	f.cur.Partly = f.msg.Stored
	if f.goOn() {
		return true, f.err
	}
	if f.accept != nil {
		return f.mark(), nil
	}
	if f.Clock() == campaign.ClockEvent && f.msg.Kind == In {
		return f.nextTimed()
	}
	if f.cur.Joined == nil && f.fire(min(f.target, f.until)) {
		return true, f.err
	}
	if f.target > f.until {
		f.stop()
		return false, nil
	}
	f.cur.LogTime = f.target
	if f.switches() {
		return false, nil
	}
	if f.nextMail() {
		return true, f.err
	}
	ev, raw, err := f.take()
	switch {
	case raw == nil:
		f.finish()
		return false, f.err
	case err != nil:
		f.reject(raw, err)
	case ev.Type != event.Clock: // clock events do nothing under clock: broker
		f.apply(ev, f.target, f.ownTime(ev))
	}
	f.cur.Within++
	return true, f.err
}

// goOn makes the next step of what an earlier one has begun: of a fan-out, or of a mail
// in the fold's own queue. It returns false if there is none.
func (f *Fold) goOn() bool {
	if f.cur.Fan != "" {
		f.fanOut()
		return true
	}
	if len(f.queue) == 0 {
		return false
	}
	m := f.queue[0]
	if f.queue = f.queue[1:]; len(f.queue) == 0 {
		f.queue = nil
	}
	f.deliver(&m, f.cur.LogTime)
	return true
}

// take decodes the message's next event. raw is nil if there is none.
func (f *Fold) take() (ev *event.Event, raw []byte, err error) {
	if f.single != nil {
		ev, f.single = f.single, nil
		return ev, ev.Raw, nil
	}
	if raw, f.lines = line(f.lines); raw == nil {
		return nil, nil, nil
	}
	ev, err = f.dec.Decode(raw)
	return ev, raw, err
}

// apply makes the step of an event at log time now. own is the event's own
// time.
func (f *Fold) apply(ev *event.Event, now, own int64) {
	ev.Time = max(min(own, now), value.Minus(now, int64(f.step.live.def.Lateness)))
	ev.Bare = f.step.live.bareUser()
	f.cur.Applied++
	if ev.TimestampErr != nil {
		f.untimed++
	}
	switch ev.Type {
	case event.Fact:
		f.err = f.takeFact(ev, now, own)
		return
	case event.Item:
		f.applyItem(ev, now)
		return
	case event.Codes:
		f.err = f.takeCodes(ev, now)
		return
	}
	if f.only != nil && f.passesOver(ev) || f.wanted != nil && !f.wanted(ev.Key) {
		return
	}
	e, err := f.ents.Entity(ev.Key)
	if err != nil {
		f.err = err
		return
	}
	s := StepID{Seq: f.msg.Seq, Within: f.cur.Within}
	f.run(s, e, func() []byte { return bytes.Clone(ev.Raw) }, func() { f.step.onEvent(e, ev, now) })
	f.stepped(e)
}

// applyItem makes the step of an event about an item, of no person.
func (f *Fold) applyItem(ev *event.Event, now int64) {
	kind, ok := f.step.live.kinds[ev.Kind]
	if !ok {
		f.unnamed++
		return
	}
	if f.cur.Second || f.only != nil && !f.local() && !f.only[ev.Key] || f.wanted != nil && !f.wanted(ev.Key) {
		return
	}
	e, err := f.ents.Entity(ev.Key)
	if err != nil {
		f.err = err
		return
	}
	ev.SetItem(f.step.live.def.Items[kind].Key)
	s := StepID{Seq: f.msg.Seq, Within: f.cur.Within}
	f.run(s, e, func() []byte { return bytes.Clone(ev.Raw) }, func() { f.step.onItem(e, ev, now) })
	if e.fan != nil {
		f.cur.Fan = e.Key
	}
	f.stepped(e)
}

// readIn is Entities.Read within a step. An error stops the fold.
func (f *Fold) readIn(key string) (*Entity, error) {
	e, err := f.ents.Read(key)
	if err != nil {
		f.err = err
	}
	return e, err
}

// fire makes one step, that of the earliest timer, if it is due at or before
// now. It reports whether it did.
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
	due := e.Due() > DueByMail && e.Due() <= t.due
	if due { // else another fold of the log need not have this timer
		s := StepID{Seq: f.msg.Seq, Within: f.cur.Within, Due: t.due, Key: t.key}
		f.run(s, e, func() []byte { return e.dueEvent(t.due) }, func() { f.step.onDue(e, t.due) })
	}
	if d := e.Due(); d > DueByMail && (e.loaded || e.scheduled <= t.due || d < e.scheduled) {
		f.Schedule(d, e.Key)
		e.scheduled, e.loaded = d, false
	} else if d <= DueByMail || e.scheduled <= t.due {
		e.scheduled = NoDue
	}
	if due {
		f.stepped(e)
	}
	return true
}

// reschedule ensures that the queue holds, for an entity with pending
// evaluations, an entry at its Due or before.
func (f *Fold) reschedule(e *Entity) {
	if d := e.Due(); d > DueByMail && (e.scheduled == NoDue || d < e.scheduled) {
		f.Schedule(d, e.Key)
		e.scheduled, e.loaded = d, false
	}
}

// offer appends an offer, or a withheld record, to its chain.
func (f *Fold) offer(o *Offer) {
	chain := withheldChain
	if !o.Withheld {
		chain = offersPrefix + o.Channel
	}
	f.emit(Effect{Chain: chain, Offer: o})
}

// reject makes a dead letter of an event that cannot be applied.
func (f *Fold) reject(raw []byte, err error) {
	d := &Dead{Reason: "error", Detail: err.Error(), Raw: bytes.Clone(raw)}
	if r, ok := err.(*event.Reject); ok {
		d.Reason, d.Detail = r.Reason, r.Detail
	}
	f.emit(Effect{Chain: deadChain, Dead: d})
}

// emit gives a record the next position on its chain.
func (f *Fold) emit(e Effect) { f.emitAfter(0, e) }

// emitAfter gives a record the next position on its chain with a number above
// stored.
func (f *Fold) emitAfter(stored uint64, e Effect) {
	if f.cur.Second {
		return
	}
	ch := f.cur.Chains[e.Chain]
	ch.Last = Position{N: max(ch.Last.N, f.cur.After, stored) + 1, S: f.msg.Seq, K: ch.K, T: f.msg.Stored}
	e.Pos = ch.Last
	ch.K++
	if f.cur.Chains == nil {
		f.cur.Chains = map[string]Chain{}
	}
	f.cur.Chains[e.Chain] = ch
	f.effects = append(f.effects, e)
}

// finish ends a message. What it controls is carried out from here on.
func (f *Fold) finish() {
	if f.control != nil {
		f.carryOut(f.control)
	}
	f.expire()
	f.cur.Seq, f.cur.Stored, f.cur.Within, f.cur.Partly = f.msg.Seq, f.msg.Stored, 0, 0
	for name, ch := range f.cur.Chains {
		if ch.K != 0 {
			ch.K = 0
			f.cur.Chains[name] = ch
		}
	}
	f.busy = false
}

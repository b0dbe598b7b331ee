package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
)

// A folded is a fold in memory that takes a log message by message, and makes the
// second states of its switches itself.
type folded struct {
	t        *testing.T
	f        *Fold
	ents     Memory
	sets     map[string]*Set
	log      []Message
	offers   []string
	at       map[uint64]stateAt // states that switches can begin with, by message
	restarts bool               // second folds go on from their cursors
	p, n     int                // the partition, and how many there are; 0: none
	mails    []Effect           // that are not delivered yet
}

// A stateAt is a live state between two messages.
type stateAt struct {
	cursor Cursor
	ents   Memory
}

func newFolded(t *testing.T, sets ...*Set) *folded {
	t.Helper()
	d := &folded{t: t, ents: Memory{}, sets: map[string]*Set{}, at: map[uint64]stateAt{0: {}}}
	for _, s := range sets {
		d.sets[s.hash] = s
	}
	d.fold(Cursor{})
	return d
}

func (d *folded) find(hash string) (*Set, error) {
	if s := d.sets[hash]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("set %s is not known", hash)
}

// fold makes the fold from a cursor.
func (d *folded) fold(c Cursor) {
	d.t.Helper()
	var err error
	if d.f, err = NewFold(c, d.find, d.ents); err != nil {
		d.t.Fatal(err)
	}
	d.f.Partition(d.p, d.n)
	for key, e := range d.ents {
		if e.Due() != NoDue {
			d.f.Schedule(e.Due(), key)
		}
	}
}

// decoded is a copy of entities, as if they were read from a store.
func decoded(t *testing.T, m Memory) Memory {
	t.Helper()
	c := Memory{}
	for key, e := range m {
		o, err := DecodeEntity(key, e.AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		c[key] = o
	}
	return c
}

// keep keeps the state for a switch that begins with it.
func (d *folded) keep() {
	d.at[d.f.cur.Seq] = stateAt{d.f.Cursor(), decoded(d.t, d.ents)}
}

func (d *folded) take(m Message) {
	d.t.Helper()
	d.log = append(d.log, m)
	if err := d.f.Begin(m); err != nil {
		d.t.Fatal(err)
	}
	for {
		more, err := d.f.Next()
		if err != nil {
			d.t.Fatal(err)
		}
		for _, e := range d.f.Effects() {
			if e.Offer != nil {
				d.offers = append(d.offers, asJSON(e.Offer))
			}
			if e.Mail != nil {
				d.mails = append(d.mails, e)
			}
		}
		if !more {
			break
		}
	}
	if sw, _ := d.f.Switching(); sw != nil {
		c, ents := d.second(sw)
		if err := d.f.JoinMemory(c, d.ents, ents); err != nil {
			d.t.Fatal(err)
		}
	}
}

// second is the second state before the last message.
func (d *folded) second(sw *Switch) (Cursor, Memory) {
	d.t.Helper()
	from, ok := d.at[sw.From]
	if !ok {
		d.t.Fatalf("no state at message %d is kept", sw.From)
	}
	c, err := BeginSecond(from.cursor, d.sets[sw.Set], sw.Features, d.find)
	if err != nil {
		d.t.Fatal(err)
	}
	ents := decoded(d.t, from.ents)
	f, err := NewFold(c, d.find, ents)
	if err != nil {
		d.t.Fatal(err)
	}
	f.Partition(d.p, d.n)
	for key, e := range ents {
		f.Schedule(e.Due(), key)
	}
	for _, key := range slices.Sorted(maps.Keys(ents)) {
		if err := f.Dormant(key); err != nil {
			d.t.Fatal(err)
		}
	}
	for _, m := range d.log[sw.From : len(d.log)-1] {
		if err := f.Begin(m); err != nil {
			d.t.Fatal(err)
		}
		for more := true; more; {
			if more, err = f.Next(); err != nil {
				d.t.Fatal(err)
			}
			if len(f.Effects()) > 0 {
				d.t.Fatal("a second fold has effects")
			}
		}
		if d.restarts && m.Seq%7 == 0 { // it may go on from a store at any message
			if f, err = NewFold(f.Cursor(), d.find, decoded(d.t, ents)); err != nil {
				d.t.Fatal(err)
			}
			ents = f.ents.(Memory)
			f.Partition(d.p, d.n)
			for key, e := range ents {
				f.Schedule(e.Due(), key)
			}
		}
	}
	return f.Cursor(), ents
}

// switchAt makes a message a switch to all of a set. object is the cursor of the
// stored second state.
func switchAt(m Message, set *Set, from uint64, object Cursor, revision uint64, overdue string) Message {
	sw := Switch{From: from, Seq: object.Seq, Stored: object.Stored, LogTime: object.LogTime, Accepted: object.Accepted}
	for _, ft := range set.features {
		sw.Features = append(sw.Features, ft.def.Name)
	}
	for _, c := range set.def.Campaigns {
		sw.Campaigns = append(sw.Campaigns, c.ID)
	}
	var err error
	if sw.Overdue, err = ParseOverdue(overdue); err != nil {
		panic(err)
	}
	m.Kind, m.Data = Control, fmt.Appendf(nil, `{"set":%q,"engine":%d,"revision":%d,"switch":%s}`, set.hash, Engine, revision, asJSON(sw))
	return m
}

// reading is what a user's features read as, how far sequences are, and what is pending and not due, of a
// fold, by user. dormants: also of absences that any event begins, which a second
// fold that does not begin with the log begins without their event.
func reading(t *testing.T, f *Fold, dormants bool) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(f.ents.(Memory))) {
		if key[0] != 'u' && key[0] != 'a' {
			continue
		}
		u, err := f.User(key)
		if err != nil {
			t.Fatal(err)
		}
		var waits []string
		e, err := f.copyOf(key)
		if err != nil {
			t.Fatal(err)
		}
		e.bind(f.step.live)
		for _, w := range e.waiting {
			if !dormants && slices.ContainsFunc(f.step.live.dormants(), func(d dormant) bool { return &f.step.live.campaigns[d.unit] == w.c }) {
				continue
			}
			if w.due > f.cur.LogTime && w.stage != stageHold && w.stage != stageDelay && !waitsOn(&w) {
				waits = append(waits, fmt.Sprint(w.campaign, " ", w.stage, " ", w.key, " due ", w.due, " first ", w.firstDue, " at ", w.stored.at, " ", string(w.stored.event())))
			}
		}
		for _, q := range e.sequences {
			waits = append(waits, fmt.Sprint(q.campaign, " began ", q.starts))
		}
		slices.Sort(waits)
		all[key] = asJSON(u.Features) + "\n" + strings.Join(waits, "\n")
	}
	return all
}

// waitsOn reports whether an absence that does not restart may be followed by another
// wait: in a replay a later trigger then starts none, while in a second fold it ends
// what is overdue.
func waitsOn(w *pending) bool {
	u := w.triggered().unless
	return u != nil && u.NoRestart && (w.c.def.At != nil || w.c.holds())
}

// brokerCase is a random set, and a log of it under clock: broker, whose first
// message, a tick, leaves room for a Control message.
func brokerCase(t *testing.T, seed uint64) (*campaign.Definition, []Message) {
	t.Helper()
	set, log := clocked(t, seed, campaign.ClockBroker)
	for i := range log {
		log[i].Seq++
	}
	def := *set.def
	def.Forget = campaign.Forget{} // what is pending in one of two folds keeps a user there from being forgotten
	return &def, append([]Message{{Seq: 1, Stored: 1, Kind: Tick, Data: []byte("{}")}}, log...)
}

// live makes a message that puts a set in force.
func (m Message) live(set *Set, revision uint64) Message {
	m.Kind, m.Data = Control, fmt.Appendf(nil, `{"set":%q,"engine":%d,"revision":%d}`, set.hash, Engine, revision)
	return m
}

// fewer is a definition with some of the features and campaigns left out, and the
// features that the others need.
func fewer(t *testing.T, def *campaign.Definition, drop func(i int) bool) *Set {
	t.Helper()
	less := *def
	less.Campaigns = nil
	for i, c := range def.Campaigns {
		if !drop(i) {
			less.Campaigns = append(less.Campaigns, c)
		}
	}
	set, problems := Compile(&less)
	if set == nil {
		t.Fatal(problems)
	}
	return set
}

// bare is a definition of the same policies without features and campaigns.
func bare(t *testing.T, def *campaign.Definition) *Set {
	t.Helper()
	none := *def
	none.Features, none.Campaigns = nil, nil
	return mustRun(t, &none)
}

// TestBackfillReadsAsReplay: after a switch, whose second fold has seen the whole
// log, features, and what is pending and not due, read as if the set had always been
// in force. On random sets and logs; what was in force before has no features, some
// of the campaigns, or all of them.
func TestBackfillReadsAsReplay(t *testing.T) {
	t.Parallel()
	met := map[string]int{}
	for s := *seed; s < *seed+uint64(*seeds)/4+1; s++ {
		def, log := brokerCase(t, s)
		n := mustCompile(t, def)
		before := bare(t, def)
		switch s % 3 {
		case 1:
			before = fewer(t, def, func(i int) bool { return i%2 == 0 })
		case 2:
			before = n
		}
		always, d := newFolded(t, n), newFolded(t, n, before)
		d.restarts = s%2 == 0
		last, from := log[len(log)-1], uint64(0)
		if before == n && s%2 == 0 {
			from = last.Seq / 2
		}
		for i, m := range log {
			first, other := m, m
			if i == 0 {
				first, other = m.live(n, 1), m.live(before, 1)
			}
			always.take(first)
			d.take(other)
			if m.Seq == from {
				d.keep()
			}
		}
		tick := Message{Seq: last.Seq + 1, Stored: last.Stored, Kind: Tick, Data: []byte(`{}`)}
		always.take(tick)
		d.take(switchAt(tick, n, from, d.f.Cursor(), 2, "drop"))
		if d.f.cur.Revision != 2 || d.f.cur.Set != n.hash {
			t.Fatalf("seed %d: the switch did not count", s)
		}
		if err := conserved(d.f); err != nil {
			t.Errorf("seed %d: %v", s, err)
		}
		want, got := reading(t, always.f, from == 0), reading(t, d.f, from == 0)
		for _, key := range slices.Sorted(maps.Keys(want)) {
			met["users"]++
			if strings.Contains(want[key], " due ") {
				met["pending"]++
			}
			if got[key] != want[key] {
				t.Errorf("seed %d, %s:\n got %s\nwant %s", s, key, got[key], want[key])
				break
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("seed %d: %v", *seed, met)
}

// conserved checks that evaluations are outcomes and what is pending.
func conserved(f *Fold) error {
	waits := map[string]uint64{}
	for _, e := range f.ents.(Memory) {
		for _, w := range e.waiting {
			waits[w.campaign]++
		}
	}
	counts, _ := f.Counts()
	for id, n := range counts {
		if n.Pending() != waits[id] {
			return fmt.Errorf("%s: %d evaluations without an outcome, %d are pending", id, n.Pending(), waits[id])
		}
	}
	return nil
}

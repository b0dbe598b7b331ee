package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/event"
	"offerstream/state"
)

// A shop is a deployment for tests of backfills: a set that is live, one that is to
// come, and all messages of the logs, also those that have expired since.
type shop struct {
	t           *testing.T
	c           *broker.Conn
	url         string
	before, n   *campaign.Definition
	log         [][]pipeline.Message // by partition
	sent        int
	users, live int // users that visit; of these, those that still do
}

// comes is the set to come: with a feature that no user has yet, one that has it by a
// key, an absence that goes on and one that finds whoever is away.
func comes(t *testing.T) *campaign.Definition {
	t.Helper()
	def := views(t, 1)
	def.Features = append(def.Features,
		campaign.Feature{Name: "by_kind", On: []string{"Product Viewed"}, By: "kind", Agg: "count"},
		campaign.Feature{Name: "kinds", On: []string{"Product Viewed"}, Agg: "list", Key: "kind", Fields: []string{"kind"}, Keep: 10})
	web := campaign.OfferSpec{Channel: "web", Kind: campaign.Service, Data: []byte(`{"n":"{{ by_kind.size() }}"}`)}
	def.Campaigns = append(def.Campaigns,
		campaign.Campaign{ID: "kind", On: []string{"Product Viewed"}, If: []string{`"a" in by_kind`}, Offer: web},
		campaign.Campaign{ID: "wait", On: []string{"Product Viewed"}, Unless: &campaign.Unless{On: []string{"Order Completed"}, Within: time.Hour}, Offer: web},
		campaign.Campaign{ID: "away", On: []string{"*"}, Unless: &campaign.Unless{On: []string{"*"}, Within: 2 * time.Second}, Offer: web})
	return def
}

func newShop(t *testing.T, partitions int) *shop {
	t.Helper()
	ns := startNATS(t, t.TempDir(), -1)
	s := &shop{t: t, url: ns.ClientURL(), c: connect(t, ns.ClientURL(), partitions), before: views(t, 1), n: comes(t), log: make([][]pipeline.Message, partitions), users: 40, live: 30}
	s.record(broker.Live{Set: s.put(s.before)})
	return s
}

func (s *shop) put(def *campaign.Definition) string {
	s.t.Helper()
	hash, err := s.c.PutSet(within(s.t), def)
	if err != nil {
		s.t.Fatal(err)
	}
	return hash
}

// record writes the bucket's record, with the next revision.
func (s *shop) record(live broker.Live) broker.Live {
	s.t.Helper()
	was, rev, err := s.c.Live(within(s.t))
	if err == nil {
		live.Revision, err = s.c.NextRevision(within(s.t), was.Revision, broker.LiveRevision)
	}
	if err == nil {
		err = s.c.PutLive(within(s.t), live, rev)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return live
}

// ask asks for a backfill of the set to come.
func (s *shop) ask(overdue string) {
	s.t.Helper()
	n := s.put(s.n)
	b := &broker.Backfill{Set: n, Engine: s.n.Engine, Overdue: overdue, Rate: 1}
	for _, f := range s.n.Features {
		if !slices.ContainsFunc(s.before.Features, func(o campaign.Feature) bool { return o.Name == f.Name }) {
			b.Features = append(b.Features, f.Name)
		}
	}
	for _, c := range s.n.Campaigns {
		if !slices.ContainsFunc(s.before.Campaigns, func(o campaign.Campaign) bool { return o.ID == c.ID }) {
			b.Campaigns = append(b.Campaigns, c.ID)
		}
	}
	s.record(broker.Live{Set: s.put(s.before), Backfill: b})
}

// goes makes the set that is asked for live.
func (s *shop) goes() {
	s.t.Helper()
	live, _, err := s.c.Live(within(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	s.record(broker.Live{Set: live.Backfill.Set, Backfill: live.Backfill})
}

// visits publishes events of users, in packs.
func (s *shop) visits(packs int) {
	s.t.Helper()
	for range packs {
		parts := map[int][]byte{}
		for range 10 {
			s.sent++
			user := fmt.Sprint("user", s.sent*7%s.users)
			name := "Product Viewed"
			if s.sent%11 == 0 {
				name = "Order Completed"
			}
			p := event.Partition("u:"+user, s.c.Partitions)
			parts[p] = fmt.Appendf(parts[p], `{"type":"track","event":%q,"userId":%q,"messageId":"m%d","properties":{"kind":%q}}`+"\n", name, user, s.sent, string(rune('a'+s.sent%5)))
		}
		for _, p := range slices.Sorted(maps.Keys(parts)) {
			publish(s.t, s.c, []scripted{{p, parts[p]}})
		}
	}
}

// read reads what has come to the logs.
func (s *shop) read() {
	s.t.Helper()
	for p := range s.log {
		err := s.c.ScanLog(within(s.t), p, uint64(len(s.log[p]))+1, func(m pipeline.Message) error {
			if m.Seq != uint64(len(s.log[p]))+1 {
				return fmt.Errorf("message %d comes after message %d", m.Seq, len(s.log[p]))
			}
			s.log[p] = append(s.log[p], m)
			return nil
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// expire makes the beginning of the logs expire, up to what workers have applied.
func (s *shop) expire() {
	s.t.Helper()
	s.read()
	for p := range s.log {
		st, err := s.c.JS.Stream(within(s.t), s.c.Names.EventsStream(p))
		if err == nil {
			err = st.Purge(within(s.t), jetstream.WithPurgeSequence(uint64(len(s.log[p]))+1))
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// seconds waits until the second folds of the partitions have caught up.
func (s *shop) caughtUp(w *running) {
	s.t.Helper()
	await(s.t, "the second folds catch up", func() bool {
		all := w.Status()
		for _, st := range all {
			if st.Second == nil || !st.Second.CaughtUp {
				return false
			}
		}
		return len(all) > 0
	})
}

// switched waits until the set to come is in force, and everything is applied.
func (s *shop) switched(w *running) {
	s.t.Helper()
	w.inForce(s.t, s.n.Hash())
	await(s.t, "the status says so", func() bool {
		for _, st := range w.Status() {
			if st.Second == nil || !st.Second.Switched {
				return false
			}
		}
		return true
	})
}

// check compares the states that a worker has left in its directory, and the stored
// offers, with a fold of the logs in memory.
func (s *shop) check(dir string) {
	s.t.Helper()
	s.read()
	want := map[string]int{}
	joined := 0
	for p := range s.log {
		o := s.model(p)
		joined += o.joined
		for offer, n := range o.offers {
			want[offer] += n
		}
		store, err := openState(filepath.Join(dir, fmt.Sprint("partition-", p)), state.Options{Identity: state.Identity{Partitions: s.c.Partitions, Partition: p}, MemTable: 64 << 20})
		if err != nil {
			s.t.Fatal(err)
		}
		got := map[string]string{}
		err = store.Entities("", func(key string, b []byte, _ state.Pieces) error { got[key] = string(b); return nil })
		cursor, errCursor := checkpoint.LoadCursor(store)
		if err = errors.Join(err, errCursor, store.Close()); err != nil {
			s.t.Fatal(err)
		}
		if cursor.Seq != uint64(len(s.log[p])) {
			s.t.Fatalf("partition %d is at message %d, the log at %d", p, cursor.Seq, len(s.log[p]))
		}
		for key, e := range o.users {
			if !e.Empty() && got[key] != string(e.AppendBinary(nil)) {
				s.t.Errorf("partition %d: %s is\n%q, want\n%q", p, key, got[key], e.AppendBinary(nil))
			}
		}
		for key := range got {
			if e := o.users[key]; e == nil || e.Empty() {
				s.t.Errorf("partition %d: %s is not in a fold of the log", p, key)
			}
		}
	}
	same(s.t, stored(s.t, s.c), want)
	s.t.Logf("%d messages, %d users joined, %d offers", s.sent, joined, len(want))
	if joined == 0 {
		s.t.Error("nobody was joined")
	}
}

// A model is a fold of a log in memory, with second states of its own.
type model struct {
	*shop
	sets   map[string]*pipeline.Set
	log    []pipeline.Message
	fold   *pipeline.Fold
	users  pipeline.Memory
	offers map[string]int
	at     map[uint64]begun // the states with which second states begin
	joined int
}

type begun struct {
	cursor pipeline.Cursor
	users  pipeline.Memory
}

func (s *shop) model(p int) *model {
	s.t.Helper()
	o := &model{shop: s, log: s.log[p], sets: map[string]*pipeline.Set{}, users: pipeline.Memory{}, offers: map[string]int{}, at: map[uint64]begun{0: {users: pipeline.Memory{}}}}
	for _, def := range []*campaign.Definition{s.before, s.n} {
		set, problems := pipeline.Compile(def)
		if len(problems) > 0 {
			s.t.Fatal(problems)
		}
		o.sets[def.Hash()] = set
	}
	begins := map[uint64]bool{}
	for _, m := range o.log {
		if sw := switchOf(m); sw != nil {
			begins[sw.From] = true
		}
	}
	var err error
	if o.fold, err = pipeline.NewFold(pipeline.Cursor{}, o.find, o.users); err != nil {
		s.t.Fatal(err)
	}
	for _, m := range o.log {
		o.take(m)
		if begins[m.Seq] {
			o.at[m.Seq] = begun{o.fold.Cursor(), decoded(s.t, o.users)}
		}
	}
	return o
}

func switchOf(m pipeline.Message) *pipeline.Switch {
	var c struct{ Switch *pipeline.Switch }
	if m.Kind != pipeline.Control || json.Unmarshal(m.Data, &c) != nil {
		return nil
	}
	return c.Switch
}

func (o *model) find(hash string) (*pipeline.Set, error) {
	if set := o.sets[hash]; set != nil {
		return set, nil
	}
	return nil, fmt.Errorf("set %s is not known", hash)
}

// decoded is a copy of entities.
func decoded(t *testing.T, users pipeline.Memory) pipeline.Memory {
	t.Helper()
	c := pipeline.Memory{}
	for key, e := range users {
		if e.Empty() {
			continue
		}
		d, err := pipeline.DecodeEntity(key, e.AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		c[key] = d
	}
	return c
}

func (o *model) take(m pipeline.Message) {
	o.t.Helper()
	if err := o.fold.Begin(m); err != nil {
		o.t.Fatal(err)
	}
	for {
		more, err := o.fold.Next()
		if err != nil {
			o.t.Fatal(err)
		}
		for _, e := range o.fold.Effects() {
			if e.Offer != nil {
				o.offers[asJSON(o.t, e.Offer)]++
			}
		}
		if !more {
			break
		}
	}
	sw, _ := o.fold.Switching()
	if sw == nil {
		return
	}
	cursor, seconds := o.second(sw)
	for _, e := range o.users {
		if !e.Empty() {
			o.joined++
		}
	}
	if err := o.fold.JoinMemory(cursor, o.users, seconds); err != nil {
		o.t.Fatal(err)
	}
}

// second folds the second state that a switch needs.
func (o *model) second(sw *pipeline.Switch) (pipeline.Cursor, pipeline.Memory) {
	o.t.Helper()
	from, ok := o.at[sw.From]
	if !ok {
		o.t.Fatalf("no state at message %d", sw.From)
	}
	users := decoded(o.t, from.users)
	cursor, err := pipeline.BeginSecond(from.cursor, o.sets[sw.Set], sw.Features, o.find)
	if err != nil {
		o.t.Fatal(err)
	}
	f, err := pipeline.NewFold(cursor, o.find, users)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, key := range slices.Sorted(maps.Keys(users)) {
		if err := f.Dormant(key); err != nil {
			o.t.Fatal(err)
		}
	}
	seq, _, _, _ := o.fold.At()
	for _, m := range o.log[sw.From:seq] {
		if err := f.Begin(m); err != nil {
			o.t.Fatal(err)
		}
		for more := true; more; {
			if more, err = f.Next(); err != nil {
				o.t.Fatal(err)
			}
		}
	}
	return f.Cursor(), users
}

// often makes checkpoints and snapshots often.
func often(o *Options) { o.Snapshot = 100 * time.Millisecond }

// TestBackfill asks for a backfill, waits until the second folds have caught up, and
// lets the set go live, while events come. The states and offers are those of a fold
// of the logs in memory, and nothing is left of the second states.
func TestBackfill(t *testing.T) {
	t.Parallel()
	for _, overdue := range []string{"drop", "now", "1s"} {
		t.Run(overdue, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 2)
			dir := t.TempDir()
			w := start(t, s.url, dir, func(o *Options) {
				if overdue == "drop" {
					o.Checkpoint = 2 * time.Second // so that the state has changes that are not stored when it comes to the switch
				}
			})
			w.inForce(t, s.before.Hash())
			s.visits(30)
			w.applied(t, s.c)
			s.ask(overdue)
			s.visits(10)
			s.caughtUp(w)
			for _, st := range w.Status() {
				if sec := st.Second; sec.Set != s.n.Hash() || sec.From != 0 || sec.Failed != "" || sec.Switched {
					t.Errorf("%+v", sec)
				}
			}
			s.goes()
			s.visits(10)
			for overdue == "drop" && w.Status()[0].Set != s.n.Hash() {
				s.visits(1) // until the last message before the switch
				await(t, "the partition comes near the end of its log, without which it makes no switch", func() bool {
					_, last, err := s.c.Extent(t.Context(), 0)
					return err == nil && w.Status()[0].Seq+20 >= last
				})
			}
			s.switched(w)
			s.visits(10)
			w.applied(t, s.c)
			w.stop(t)
			s.check(dir)
			for p := range 2 {
				if _, err := os.Stat(filepath.Join(dir, fmt.Sprint("partition-", p, secondSuffix))); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the second state of partition %d is left: %v", p, err)
				}
			}
		})
	}
}

// TestBackfillFromSnapshot: the log's beginning has expired, so the second fold begins
// with a snapshot, and finds users there who are away. Before the go its worker is
// replaced by one with an empty directory, which goes on from the stored state. A
// standby, which has no second state, joins with the object.
func TestBackfillFromSnapshot(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	w := start(t, s.url, t.TempDir(), often)
	w.inForce(t, s.before.Hash())
	s.visits(30)
	w.applied(t, s.c)
	snapshotted(t, s.c)
	w.stop(t) // which leaves no snapshot
	s.expire()
	s.users = 20 // the others stay away
	w = start(t, s.url, t.TempDir(), often)
	w.inForce(t, s.before.Hash())
	s.visits(10)
	w.applied(t, s.c)
	s.ask("now")
	s.caughtUp(w)
	from := w.Status()[0].Second.From
	if from == 0 {
		t.Error("the second fold begins with the log, whose beginning has expired")
	}
	s.visits(5)
	await(t, "a stored state", func() bool {
		all, err := s.c.Seconds(within(t), 0)
		return err == nil && len(all) > 0 && all[0].Seq > from
	})
	w.stop(t)
	log := &said{}
	dir := t.TempDir()
	w = start(t, s.url, dir, func(o *Options) { o.Snapshot, o.Log, o.Standbys = time.Hour, log.logger(), 1 })
	s.visits(5)
	s.caughtUp(w)
	if !strings.Contains(log.String(), "second fold goes on from a stored state") || w.Status()[0].Second.From != from {
		t.Errorf("it does not go on from the stored state: from %d, %d before\n%s", w.Status()[0].Second.From, from, log)
	}
	two, log2 := t.TempDir(), &said{}
	other := start(t, s.url, two, func(o *Options) { o.Snapshot, o.Log, o.Standbys = 100*time.Millisecond, log2.logger(), 1 })
	owns := func(w *running) bool { st := w.Status(); return len(st) > 0 && st[0].Owned && w.Ready() == nil }
	follows := func(w *running) bool { st := w.Status(); return len(st) > 0 && st[0].Follows && w.Ready() == nil }
	await(t, "one owns and the other follows", func() bool { return owns(w) && follows(other) || owns(other) && follows(w) })
	owner := w
	if owns(other) {
		owner = other
	}
	s.visits(2)
	s.caughtUp(owner)
	s.goes()
	s.visits(5)
	w.inForce(t, s.n.Hash())
	other.inForce(t, s.n.Hash())
	s.visits(5)
	w.applied(t, s.c)
	other.applied(t, s.c)
	other.stop(t)
	w.stop(t)
	if object := "second state restored from its object"; !strings.Contains(log.String(), object) && !strings.Contains(log2.String(), object) {
		t.Errorf("nobody takes the object:\n%s\n%s", log, log2)
	}
	s.check(dir)
	other = start(t, s.url, two, func(o *Options) { o.Snapshot = time.Hour })
	other.inForce(t, s.n.Hash())
	other.applied(t, s.c)
	other.stop(t)
	s.check(two)
}

// TestBackfillInterrupted ends the worker's attempts between the transactions of the
// join, then the worker: it goes on where it was.
func TestBackfillInterrupted(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	s.users = 2000
	dir := t.TempDir()
	var transactions, ends atomic.Int32
	interrupts := func(o *Options) {
		o.memTable = 1 << 20
		o.joining = func() error {
			if transactions.Add(1)%2 == 0 {
				ends.Add(1)
				return errors.New("interrupted by the test")
			}
			return nil
		}
	}
	w := start(t, s.url, dir, interrupts)
	w.inForce(t, s.before.Hash())
	s.visits(300)
	w.applied(t, s.c)
	s.ask("now")
	s.caughtUp(w)
	s.goes()
	await(t, "interruptions", func() bool { return ends.Load() > 0 })
	w.stop(t)
	w = start(t, s.url, dir, interrupts)
	s.switched(w)
	s.visits(10)
	w.applied(t, s.c)
	w.stop(t)
	t.Logf("%d transactions, %d interruptions", transactions.Load(), ends.Load())
	if transactions.Load() < 3 {
		t.Error("too few transactions for this test")
	}
	s.check(dir)
}

// TestBackfillLostAtSwitch: when the live state comes to the switch, the directory of
// the second state is gone, or damaged, or there is one that began elsewhere, is beyond
// the switch or from before an acceptance: the object is joined.
func TestBackfillLostAtSwitch(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"lost", "another", "beyond", "before an acceptance", "damaged"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 1)
			s.users = 1200
			dir := t.TempDir()
			hold := make(chan struct{})
			var held atomic.Bool
			w := start(t, s.url, dir, func(o *Options) {
				o.memTable = 1 << 20 // several transactions
				o.joining = func() error {
					held.Store(true)
					<-hold
					return errors.New("interrupted by the test")
				}
			})
			w.inForce(t, s.before.Hash())
			s.visits(150)
			w.applied(t, s.c)
			s.ask("now")
			s.caughtUp(w)
			s.goes()
			await(t, "the join", held.Load)
			go func() { <-time.After(100 * time.Millisecond); close(hold) }()
			w.stop(t)
			second := filepath.Join(dir, "partition-0"+secondSuffix)
			o := state.Options{Identity: state.Identity{Partitions: 1}, MemTable: 1 << 20}
			switch what {
			case "beyond":
				s.visits(1)
				ofAnotherLog(t, second, func(c *pipeline.Cursor) {
					st, err := s.c.JS.Stream(t.Context(), s.c.Names.EventsStream(0))
					if err != nil {
						t.Fatal(err)
					}
					c.Seq++
					m, err := st.GetMsg(t.Context(), c.Seq)
					if err != nil {
						t.Fatal(err)
					}
					c.Stored = m.Time.UnixNano()
				})
			case "lost":
				if err := os.RemoveAll(second); err != nil {
					t.Fatal(err)
				}
			case "before an acceptance":
				ofAnotherLog(t, second, func(c *pipeline.Cursor) { c.Accepted = 7 })
			case "another", "damaged":
				store, err := openState(second, o)
				if err != nil {
					t.Fatal(err)
				}
				b := store.NewBatch()
				if what == "another" {
					b.Note("second", fmt.Appendf(nil, `{"set":%q,"engine":%d,"from":7}`, s.n.Hash(), pipeline.Engine))
				} else {
					b.Put("u:user999", []byte("\x06no record"), nil)
				}
				cursor, err := store.Cursor()
				if err == nil {
					err = store.Commit(b, cursor)
				}
				if err = errors.Join(err, store.Close()); err != nil {
					t.Fatal(err)
				}
			}
			log := &said{}
			w = start(t, s.url, dir, func(o *Options) { o.Log, o.memTable = log.logger(), 1<<20 })
			s.switched(w)
			s.visits(10)
			w.applied(t, s.c)
			w.stop(t)
			if !strings.Contains(log.String(), "second state restored from its object") {
				t.Errorf("the object was not taken:\n%s", log)
			}
			s.check(dir)
		})
	}
}

// TestBackfillObjectGone: the live state comes to the switch, and neither its own
// second state nor the object is there: the partition stops loudly, with a way out. A
// worker with an empty directory goes on from a snapshot from after the switch.
func TestBackfillObjectGone(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	dir := t.TempDir()
	w := start(t, s.url, dir, nil)
	w.inForce(t, s.before.Hash())
	s.visits(20)
	w.applied(t, s.c)
	s.ask("drop")
	s.caughtUp(w)
	old := t.TempDir()
	w.stop(t)
	if err := os.CopyFS(old, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	w = start(t, s.url, dir, func(o *Options) { o.Snapshot = time.Hour })
	s.goes()
	s.switched(w)
	s.visits(5)
	w.applied(t, s.c)
	w.stop(t)
	s.check(dir)
	if err := s.c.DropSeconds(within(t), 0, func(broker.SecondMeta) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(old, "partition-0"+secondSuffix)); err != nil {
		t.Fatal(err)
	}
	stuck := start(t, s.url, old, nil)
	stuck.stopsLoudly(t, "cannot be had any more")
	stuck.stop(t)
	w = start(t, s.url, dir, often) // it makes a snapshot from after the switch
	s.visits(1)
	w.applied(t, s.c)
	snapshotted(t, s.c)
	w.stop(t)
	w = start(t, s.url, old, nil)
	s.visits(1)
	w.applied(t, s.c)
	w.stop(t)
	s.check(old)
}

// TestBackfillAbort: what nobody asks for any more is dropped, on disk and in the
// object store, and nothing comes of it.
func TestBackfillAbort(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	dir := t.TempDir()
	w := start(t, s.url, dir, often)
	w.inForce(t, s.before.Hash())
	s.visits(20)
	s.ask("now")
	s.caughtUp(w)
	s.visits(5)
	await(t, "a stored state", func() bool {
		all, err := s.c.Seconds(within(t), 0)
		return err == nil && len(all) > 0
	})
	live := s.record(broker.Live{Set: s.before.Hash()})
	await(t, "the abort is carried out", func() bool { return w.Status()[0].Revision == live.Revision })
	await(t, "the second state is dropped", func() bool {
		_, err := os.Stat(filepath.Join(dir, "partition-0"+secondSuffix))
		return errors.Is(err, os.ErrNotExist) && w.Status()[0].Second == nil
	})
	await(t, "the stored state is dropped", func() bool {
		s.visits(1)
		all, err := s.c.Seconds(within(t), 0)
		return err == nil && len(all) == 0
	})
	w.applied(t, s.c)
	verified(t, s.c)
	if set := w.Status()[0].Set; set != s.before.Hash() {
		t.Errorf("set %s is in force", set)
	}

	s.ask("now") // it begins anew
	s.caughtUp(w)
	w.stop(t)
	s.record(broker.Live{Set: s.before.Hash()}) // nobody is there to see it
	w = start(t, s.url, dir, often)
	w.inForce(t, s.before.Hash())
	await(t, "what is left on disk is dropped", func() bool {
		_, err := os.Stat(filepath.Join(dir, "partition-0"+secondSuffix))
		return errors.Is(err, os.ErrNotExist)
	})

	s.ask("now")
	s.caughtUp(w)
	s.goes()
	s.switched(w)
	w.applied(t, s.c)
	w.stop(t)
	s.check(dir)
}

// audited verifies the stored offers, and replays them, from the log's beginning or,
// if that has expired, from the oldest snapshot to which the log reaches back.
func (s *shop) audited(what string, from uint64) {
	s.t.Helper()
	for _, fromSnapshot := range []bool{false, true} {
		v, err := audit.Verify(within(s.t), s.c, &audit.VerifyOptions{FromSnapshot: fromSnapshot})
		if err != nil || !v.OK() || v.Offers == 0 {
			s.t.Errorf("%s, from snapshot %v: %+v, %v", what, fromSnapshot, v, err)
		} else if fromSnapshot && v.Partitions[0].From != from {
			s.t.Errorf("%s: it is verified from message %d, want %d", what, v.Partitions[0].From, from)
		}
	}
	want := stored(s.t, s.c)
	got := map[string]int{}
	err := audit.Replay(within(s.t), s.c, audit.ReplayOptions{Effect: func(_ int, _ int64, e pipeline.Effect) error {
		if e.Offer != nil {
			got[asJSON(s.t, e.Offer)]++
		}
		return nil
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	for offer, n := range got {
		if n != 1 || want[offer] != 1 {
			s.t.Errorf("%s: %d times in a replay, stored %d times: %s", what, n, want[offer], offer)
		}
	}
	s.t.Logf("%s: %d offers replayed, %d stored", what, len(got), len(want))
}

// TestBackfillAudit verifies and replays a log with a switch, from snapshots from
// before the second fold began, between that and the switch, and after the switch.
func TestBackfillAudit(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	dir := t.TempDir()
	run := func(packs int, change func(*running)) (seq uint64) {
		w := start(t, s.url, dir, func(o *Options) { o.Snapshot = time.Hour })
		await(t, "it is ready", func() bool { return w.Ready() == nil && len(w.Status()) > 0 })
		s.visits(packs)
		w.applied(t, s.c)
		if change != nil {
			change(w)
			s.visits(2)
			w.applied(t, s.c)
		}
		w.stop(t)
		if change == nil {
			return 0
		}
		return s.archived(dir)
	}
	var at []uint64
	at = append(at, run(20, func(w *running) { w.inForce(t, s.before.Hash()) }))
	at = append(at, run(10, func(w *running) { s.ask("now"); s.caughtUp(w) }))
	at = append(at, run(10, func(w *running) { s.goes(); s.switched(w) }))
	run(10, nil)
	s.check(dir)
	s.audited("whole", at[0])
	s.read()
	for i, seq := range at {
		s.cut(seq)
		s.audited(fmt.Sprintf("from message %d", seq), seq)
		of := ""
		err := audit.Replay(within(t), s.c, audit.ReplayOptions{Users: []string{"u:user1"}, End: func(_ int, f *pipeline.Fold, r audit.Replayed) error {
			u, err := f.User("u:user1")
			of = string(u.Features["by_kind"])
			return err
		}})
		if err != nil || len(of) < 5 {
			t.Errorf("a user alone has %s: %v", of, err)
		}
		if i == 1 { // the last snapshot from before the switch
			if err := s.c.DropSeconds(within(t), 0, func(broker.SecondMeta) bool { return true }); err != nil {
				t.Fatal(err)
			}
			if _, err := audit.Verify(within(t), s.c, nil); err == nil || !strings.Contains(err.Error(), "the log can be folded only from a snapshot from after that message") {
				t.Errorf("without the object: %v", err)
			}
		}
	}
}

// archived stores a snapshot of the state that a worker has left.
func (s *shop) archived(dir string) (seq uint64) {
	s.t.Helper()
	store, err := openState(filepath.Join(dir, "partition-0"), state.Options{Identity: state.Identity{Partitions: 1}, MemTable: 64 << 20})
	if err != nil {
		s.t.Fatal(err)
	}
	defer store.Close()
	cursor, err := checkpoint.LoadCursor(store)
	if err != nil {
		s.t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := store.Snapshot(&b); err != nil {
		s.t.Fatal(err)
	}
	if err := s.c.PutSnapshot(within(s.t), 0, cursor.Seq, checkpoint.Metadata(cursor), &b); err != nil {
		s.t.Fatal(err)
	}
	return cursor.Seq
}

// cut makes all messages up to one expire.
func (s *shop) cut(seq uint64) {
	s.t.Helper()
	st, err := s.c.JS.Stream(within(s.t), s.c.Names.EventsStream(0))
	if err == nil {
		err = st.Purge(within(s.t), jetstream.WithPurgeSequence(seq+1))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestBackfillAccept accepts losses in a log with a switch: the second state is that
// of the object. If that is lost, too, what the switch lists begins empty, and the
// acceptance says so.
func TestBackfillAccept(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint("object lost ", lost), func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 1)
			dir := t.TempDir()
			w := start(t, s.url, dir, often)
			w.inForce(t, s.before.Hash())
			s.visits(20)
			w.applied(t, s.c)
			snapshotted(t, s.c)
			metas, err := s.c.Snapshots(within(t), 0)
			if err != nil {
				t.Fatal(err)
			}
			s.ask("drop")
			s.caughtUp(w)
			s.goes()
			s.switched(w)
			w.applied(t, s.c)
			w.stop(t)
			if lost {
				s.read()
				s.cut(metas[0].Seq)
				if err := s.c.DropSeconds(within(t), 0, func(broker.SecondMeta) bool { return true }); err != nil {
					t.Fatal(err)
				}
				if err := s.c.DropSnapshots(within(t), 0, func(seq uint64) bool { return seq > metas[0].Seq }); err != nil {
					t.Fatal(err)
				}
			}
			a, err := audit.Accept(within(t), s.c, audit.AcceptOptions{Partition: 0, Why: "a test", Dir: t.TempDir(), Log: quiet(), Lost: func(e audit.Example) { t.Log(e) },
				Connect: func(ctx context.Context) (*broker.Conn, error) {
					return broker.Connect(ctx, broker.Options{URL: s.url, Client: "accept", Log: quiet()})
				}})
			if err != nil {
				t.Fatal(err)
			}
			if empty := len(a.Empty) > 0; empty != lost || lost && a.Empty[0] != "by_kind, kinds, kind, wait, away" {
				t.Errorf("empty begins %v", a.Empty)
			}
			w = start(t, s.url, dir, nil)
			s.visits(2)
			w.applied(t, s.c)
			w.inForce(t, s.n.Hash())
			u, _ := shown(t, s.c, "u:user1")
			var kinds map[string]int
			if err := json.Unmarshal(u.Features["by_kind"], &kinds); err != nil {
				t.Fatal(err)
			}
			if full := kinds["d"] > 3; full == lost {
				t.Errorf("object lost %v: the feature has %v", lost, kinds)
			}
			if v, err := audit.Verify(within(t), s.c, nil); !lost && (err != nil || !v.OK()) {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

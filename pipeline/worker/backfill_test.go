package worker

import (
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
		for _, st := range w.Status() {
			if st.Second == nil || !st.Second.CaughtUp {
				return false
			}
		}
		return true
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
		store, err := state.Open(filepath.Join(dir, fmt.Sprint("partition-", p)), state.Options{Identity: state.Identity{Partitions: s.c.Partitions, Partition: p}, MemTable: 64 << 20})
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
	cursor, err := pipeline.BeginSecond(from.cursor, o.sets[sw.Set], o.find)
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
			w := start(t, s.url, dir, nil)
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

var _ = strings.Contains
var _ atomic.Bool

package backfill

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fastjson"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
	"offerstream/state"
)

var seed = flag.Uint64("seed", 1, "of the first random log")

// A scene is a random log under clock: broker, whose first message puts a set in
// force that has some of the campaigns of the set to come.
type scene struct {
	t         *testing.T
	before, n *pipeline.Set
	log       []pipeline.Message
}

func newScene(t *testing.T, seed uint64) *scene {
	t.Helper()
	setJSON, events := oracle.Generate(seed)
	def, err := campaign.ParseDefinition(setJSON)
	if err != nil {
		t.Fatal(err)
	}
	def.Clock = campaign.ClockBroker
	less := *def
	less.Campaigns = nil
	for i, c := range def.Campaigns {
		if i%2 == int(seed%2) {
			less.Campaigns = append(less.Campaigns, c)
		}
	}
	s := &scene{t: t, before: compiled(t, &less), n: compiled(t, def)}
	s.add(pipeline.Control, 1, fmt.Sprintf(`{"set":%q,"engine":%d,"revision":1}`, s.before.Definition().Hash(), pipeline.Engine))
	for _, raw := range events {
		if at, err := value.ParseTime(fastjson.GetString(raw, "timestamp")); err == nil {
			s.add(pipeline.In, at, string(raw))
		}
	}
	return s
}

func compiled(t *testing.T, def *campaign.Definition) *pipeline.Set {
	t.Helper()
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

func (s *scene) add(kind pipeline.Kind, stored int64, data string) {
	if len(s.log) > 0 {
		stored = max(stored, s.log[len(s.log)-1].Stored)
	}
	s.log = append(s.log, pipeline.Message{Seq: uint64(len(s.log) + 1), Stored: stored, Kind: kind, Data: []byte(data)})
}

// sets finds the sets by their hashes.
func (s *scene) sets(hash string) (*pipeline.Set, error) {
	for _, set := range []*pipeline.Set{s.before, s.n} {
		if set.Definition().Hash() == hash {
			return set, nil
		}
	}
	return nil, fmt.Errorf("set %s is not known", hash)
}

// switchTo is a switch to all of the set to come, with a second state from the log's
// beginning.
func (s *scene) switchTo(c pipeline.Cursor, overdue string) pipeline.Message {
	var sw pipeline.Switch
	for _, f := range s.n.Definition().Features {
		sw.Features = append(sw.Features, f.Name)
	}
	for _, c := range s.n.Definition().Campaigns {
		sw.Campaigns = append(sw.Campaigns, c.ID)
	}
	sw.Seq, sw.Stored, sw.LogTime = c.Seq, c.Stored, c.LogTime
	var err error
	if sw.Overdue, err = pipeline.ParseOverdue(overdue); err != nil {
		s.t.Fatal(err)
	}
	b, err := json.Marshal(sw)
	if err != nil {
		s.t.Fatal(err)
	}
	last := s.log[len(s.log)-1]
	return pipeline.Message{Seq: last.Seq + 1, Stored: last.Stored, Kind: pipeline.Control,
		Data: fmt.Appendf(nil, `{"set":%q,"engine":%d,"revision":2,"switch":%s}`, s.n.Definition().Hash(), pipeline.Engine, b)}
}

// fold folds a message.
func (s *scene) fold(f *pipeline.Fold, m pipeline.Message) {
	s.t.Helper()
	if err := f.Begin(m); err != nil {
		s.t.Fatal(err)
	}
	for {
		more, err := f.Next()
		if err != nil {
			s.t.Fatal(err)
		}
		if !more {
			return
		}
	}
}

// live folds the log, in memory.
func (s *scene) live() (*pipeline.Fold, pipeline.Memory) {
	s.t.Helper()
	users := pipeline.Memory{}
	f, err := pipeline.NewFold(pipeline.Cursor{}, s.sets, users)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range s.log {
		s.fold(f, m)
	}
	return f, users
}

// second folds the log as a second state, in a store.
func (s *scene) second(store checkpoint.Store) *Second {
	s.t.Helper()
	second, err := Begin(store, s.n.Definition().Hash(), Options{Sets: s.sets, CacheBytes: 1 << 20})
	if err != nil {
		s.t.Fatal(err)
	}
	for i, m := range s.log {
		if err := second.apply(m); err != nil {
			s.t.Fatal(err)
		}
		if i%10 == 9 {
			if err := second.Commit(); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if err := second.Commit(); err != nil {
		s.t.Fatal(err)
	}
	return second
}

// standing makes a fold that stands at the switch, with its entities in a store.
func (s *scene) standing(store checkpoint.Store, m pipeline.Message) *pipeline.Fold {
	s.t.Helper()
	cursor, err := checkpoint.LoadCursor(store)
	if err != nil {
		s.t.Fatal(err)
	}
	cache := checkpoint.NewCache(store, 1<<20, checkpoint.Lookups{})
	f, err := pipeline.NewFold(cursor, s.sets, cache)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := store.Timers(func(due int64, key string) error { f.Schedule(due, key); return nil }); err != nil {
		s.t.Fatal(err)
	}
	log := s.log
	for _, m := range append(log[cursor.Seq:len(log):len(log)], m) {
		s.fold(f, m)
	}
	if sw, _ := f.Switching(); sw == nil {
		s.t.Fatal("it stands at no switch")
	}
	writer := checkpoint.NewWriter(cache, cursor.Epoch)
	if err := errors.Join(writer.Encode(f.Cursor()), writer.Commit()); err != nil {
		s.t.Fatal(err)
	}
	writer.Done()
	return f
}

// contents are the records of all entities, and the timers.
func contents(t *testing.T, store checkpoint.Store) (records map[string]string, timers []string) {
	t.Helper()
	records = map[string]string{}
	err := store.Entities("", func(key string, b []byte, _ state.Pieces) error { records[key] = string(b); return nil })
	if err == nil {
		err = store.Timers(func(due int64, key string) error { timers = append(timers, fmt.Sprint(key, " ", due)); return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(timers)
	return records, timers
}

// memoryContents are those of a Memory.
func memoryContents(m pipeline.Memory) (records map[string]string, timers []string) {
	records = map[string]string{}
	for key, e := range m {
		if e.Empty() {
			continue
		}
		records[key] = string(e.AppendBinary(nil))
		if d := e.Due(); d != pipeline.NoDue {
			timers = append(timers, fmt.Sprint(key, " ", d))
		}
	}
	slices.Sort(timers)
	return records, timers
}

var errStop = errors.New("interrupted")

// TestJoin joins two states in stores, on one core and on several, at once and with
// an interruption after each transaction, and in memory: all users are then what the
// core's join in memory makes of them.
func TestJoin(t *testing.T) {
	t.Parallel()
	users, interrupted := 0, 0
	for seed, last := *seed, *seed+12; seed < last; seed++ {
		s := newScene(t, seed)
		overdue := []string{"drop", "now", "6h"}[seed%3]
		f, live := s.live()
		m := s.switchTo(f.Cursor(), overdue)
		s.fold(f, m)
		store2 := state.NewMemory(state.Limit{Entries: 2000, Bytes: 1 << 20})
		second := s.second(store2)
		seconds := pipeline.Memory{}
		if err := store2.Entities("", func(key string, b []byte, _ state.Pieces) (err error) {
			seconds[key], err = pipeline.DecodeEntity(key, b)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := f.JoinMemory(second.fold.Cursor(), live, seconds); err != nil {
			t.Fatal(err)
		}
		want, wantTimers := memoryContents(live)
		wantCursor := f.Cursor()
		users += len(want)
		check := func(what string, got map[string]string, timers []string, f *pipeline.Fold) {
			t.Helper()
			for key := range maps.Keys(want) {
				if got[key] != want[key] {
					t.Errorf("seed %d, %s: %s is\n%q, want\n%q", seed, what, key, got[key], want[key])
				}
			}
			if len(got) != len(want) || !slices.Equal(timers, wantTimers) {
				t.Errorf("seed %d, %s: %d users and timers %v, want %d and %v", seed, what, len(got), timers, len(want), wantTimers)
			}
			a, b := f.Cursor(), wantCursor
			if a.Set != b.Set || a.Revision != 2 || a.Seq != b.Seq || a.Joined != nil || a.Partly != 0 || !maps.Equal(a.Since, b.Since) || !maps.Equal(a.Began, b.Began) {
				t.Errorf("seed %d, %s: cursor %+v, want %+v", seed, what, a, b)
			}
			due, ok := f.NextDue()
			for _, timer := range timers { // a timer may be too early, none too late
				var at int64
				fmt.Sscan(timer[strings.LastIndexByte(timer, ' ')+1:], &at)
				if !ok || due > at {
					t.Errorf("seed %d, %s: the first timer is at %d, want one at %s", seed, what, due, timer)
				}
			}
		}
		for _, cores := range []int{1, 3} {
			for _, stops := range []bool{false, true} {
				what := fmt.Sprintf("%d cores, interrupted %v", cores, stops)
				store := state.NewMemory(state.Limit{Entries: 40, Bytes: 1 << 20})
				fold := s.standing(store, m)
				j := &Join{Fold: fold, Live: store, Second: second, Cores: cores}
				for {
					if stops {
						j.Moment = func() error { return errStop }
					}
					_, err := j.Run(t.Context())
					if err == nil {
						break
					}
					if !errors.Is(err, errStop) {
						t.Fatal(err)
					}
					interrupted++
					c, err := checkpoint.LoadCursor(store)
					if err != nil || c.Joined == nil || *c.Joined == "" {
						t.Fatalf("%+v, %v", c, err)
					}
					fold = s.standing(store, m)
					j = &Join{Fold: fold, Live: store, Second: second, Cores: cores}
				}
				got, timers := contents(t, store)
				check(what, got, timers, fold)
			}
		}
		f, live = s.live()
		s.fold(f, m)
		if err := JoinMemory(f, live, second); err != nil {
			t.Fatal(err)
		}
		got, timers := memoryContents(live)
		check("in memory", got, timers, f)
		if t.Failed() {
			return
		}
	}
	t.Logf("seed %d: %d users, %d interruptions", *seed, users, interrupted)
	if interrupted < 20 {
		t.Error("too few interruptions for this test")
	}
}

// TestJoinDamaged: damage of the second state is not that of the live one.
func TestJoinDamaged(t *testing.T) {
	s := newScene(t, *seed)
	store, store2 := state.NewMemory(state.Limit{Entries: 2000, Bytes: 1 << 20}), state.NewMemory(state.Limit{Entries: 2000, Bytes: 1 << 20})
	second := s.second(store2)
	f := s.standing(store, s.switchTo(second.fold.Cursor(), "now"))
	var key string
	if err := store.Entities("u", func(k string, _ []byte, _ state.Pieces) error { key = k; return errStop }); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	b := store2.NewBatch()
	b.Put(key, []byte("\x06no record"), nil)
	if err := store2.Commit(b, bytes.Repeat([]byte("x"), 3)); err != nil {
		t.Fatal(err)
	}
	for _, cores := range []int{1, 2} {
		var of SecondError
		if _, err := (&Join{Fold: f, Live: store, Second: second, Cores: cores}).Run(t.Context()); !errors.As(err, &of) || !errors.Is(err, state.ErrDamaged) {
			t.Errorf("%d cores: %v", cores, err)
		}
	}
}

package audit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// gathered are the options of a replay that gathers what it gives.
type gathered struct {
	ReplayOptions
	mu      sync.Mutex
	given   offersOf
	times   map[int][]int64 // of the effects, by partition
	users   uint64
	ends    map[int]Replayed
	pending uint64 // evaluations
}

func (g *gathered) run(t *testing.T, c *broker.Conn) *gathered {
	t.Helper()
	g.given, g.times, g.ends = offersOf{}, map[int][]int64{}, map[int]Replayed{}
	g.Effect = func(p int, now int64, e pipeline.Effect) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.times[p] = append(g.times[p], now)
		if e.Offer == nil {
			return fmt.Errorf("an effect that is no offer: %+v", e)
		}
		if value.FormatTime(now) != e.Offer.Time {
			t.Errorf("log time %s, the offer says %s", value.FormatTime(now), e.Offer.Time)
		}
		data, err := e.Offer.AppendJSON(nil)
		g.given.add(p, e.Chain, e.Pos, e.Offer.ID, data)
		return err
	}
	g.End = func(p int, f *pipeline.Fold, r Replayed) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.users += r.Users
		g.ends[p] = r
		campaigns, _ := f.Counts()
		for _, c := range campaigns {
			g.pending += c.Pending()
		}
		return nil
	}
	g.Dir = t.TempDir()
	if err := Replay(within(t), c, g.ReplayOptions); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(g.Dir); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	return g
}

// TestReplay: a replay of the live log gives the offers that are stored, record for
// record: with timers, offers that waited for the end of the quiet hours, ticks, and a
// change of the set, in several partitions. The same goes if the beginning of the log
// has expired, from the oldest snapshot on.
func TestReplay(t *testing.T) {
	t.Parallel()
	n := newNight(t, 3)
	n.holdsAll(t)
	whole := (&gathered{}).run(t, n.conn)
	whole.given.equal(t, "the whole log", n.stored)
	if whole.users != 14 {
		t.Errorf("%d users, want 14", whole.users)
	}
	t.Run("users", func(t *testing.T) { n.users(t) })
	t.Run("times", func(t *testing.T) { n.times(t) })
	t.Run("another set", func(t *testing.T) { n.anotherSet(t) })
	t.Run("errors", func(t *testing.T) { n.errors(t) })
	t.Run("panic", func(t *testing.T) { n.panics(t) })
	t.Run("snapshot", func(t *testing.T) { n.snapshots(t) })
}

// holdsAll checks that the stored offers are such that the test tests something.
func (n *night) holdsAll(t *testing.T) {
	t.Helper()
	var all []string
	for _, records := range n.stored {
		all = append(all, records...)
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{`"campaign":"fan"`, `"campaign":"stays"`, `"campaign":"left"`, `"campaign":"added"`, `"time":"2026-03-02T07:00:00Z"`, `"withheld":true`} {
		if !strings.Contains(text, want) {
			t.Errorf("no offer has %s", want)
		}
	}
	ticks := 0
	for p := range n.conn.Partitions {
		err := n.conn.ScanLog(within(t), p, 1, func(m pipeline.Message) error {
			if m.Kind == pipeline.Tick {
				ticks++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d offers, %d ticks", len(all), ticks)
	if ticks == 0 {
		t.Error("there are no ticks")
	}
}

// users: a replay of some users gives their offers, and reads only the partitions
// that have them.
func (n *night) users(t *testing.T) {
	for i := range 5 {
		ids := []string{fmt.Sprint("u", i), fmt.Sprint("u", i+7)}
		g := (&gathered{ReplayOptions: ReplayOptions{Users: []string{"u:" + ids[0], "u:" + ids[1]}}}).run(t, n.conn)
		if got, want := g.given.of(ids...), n.stored.of(ids...); !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%v:\n%s\nwant\n%s", ids, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if g.users != 2 {
			t.Errorf("%d users", g.users)
		}
	}
	var read []int
	opt := ReplayOptions{Workers: 1, Users: []string{"u:u1"}, Begin: func(p int, _ *pipeline.Fold) error { read = append(read, p); return nil }}
	if err := Replay(within(t), n.conn, opt); err != nil || !slices.Equal(read, []int{event.Partition("u:u1", 3)}) {
		t.Errorf("partitions %v are read, %v", read, err)
	}
}

// times: no step is made after Until, and Reached is called between the last step
// before From and the next.
func (n *night) times(t *testing.T) {
	whole := (&gathered{}).run(t, n.conn)
	began, over := time.Date(2026, 3, 1, 16, 0, 0, 0, time.UTC).UnixNano(), time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC).UnixNano()
	spans := [][2]int64{{began, began + 1}, {began + 1, began + int64(3*time.Hour)}, {over - 1, over}}
	for _, all := range whole.times {
		spans = append(spans, [2]int64{all[len(all)/3], all[len(all)/2]}, [2]int64{all[len(all)/3] + 1, all[len(all)/2] - 1})
	}
	for _, span := range spans {
		from, until, at := span[0], span[1], value.FormatTime(span[1])
		g := &gathered{ReplayOptions: ReplayOptions{From: from, Until: until}}
		reached := map[int]int{} // how many effects came before From
		g.Reached = func(p int, f *pipeline.Fold) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			if _, again := reached[p]; again {
				t.Errorf("partition %d reaches it again", p)
			}
			reached[p] = len(g.times[p])
			if due, ok := f.NextDue(); ok && due < from && from < over-1 {
				t.Errorf("partition %d reached it, and something is due before", p)
			}
			return nil
		}
		g.run(t, n.conn)
		for p, all := range whole.times {
			upTo := slices.DeleteFunc(slices.Clone(all), func(now int64) bool { return now > until })
			if !slices.Equal(g.times[p], upTo) {
				t.Errorf("until %s partition %d has %d effects, want %d", at, p, len(g.times[p]), len(upTo))
			}
			before := slices.DeleteFunc(slices.Clone(all), func(now int64) bool { return now >= from })
			if got, called := reached[p]; !called || got != len(before) {
				t.Errorf("before %s partition %d has had %d effects (reached: %v), want %d", value.FormatTime(from), p, got, called, len(before))
			}
		}
	}
}

// anotherSet: with another set, it is in force from the beginning, and the control
// messages only move log time.
func (n *night) anotherSet(t *testing.T) {
	for _, def := range []*campaign.Definition{n.before, n.after, setOf(t, shopSet, "2m", "3m", ">= 3", ">= 2")} {
		set := compiled(t, def)
		want := offersOf{}
		for p := range n.conn.Partitions {
			f, err := pipeline.NewFold(pipeline.Cursor{Set: set.Hash()}, func(string) (*pipeline.Set, error) { return set, nil }, pipeline.Memory{})
			if err != nil {
				t.Fatal(err)
			}
			n.fold(t, p, f, func(pipeline.Message, bool) error { return want.take(p, f) })
		}
		g := (&gathered{ReplayOptions: ReplayOptions{Set: set}}).run(t, n.conn)
		g.given.equal(t, "another set", want)
	}
}

// fold folds the log of a partition and calls fn after each step, until it returns
// errEnough.
func (n *night) fold(t *testing.T, p int, f *pipeline.Fold, fn func(m pipeline.Message, more bool) error) {
	t.Helper()
	err := n.conn.ScanLog(within(t), p, 1, func(m pipeline.Message) error {
		if err := f.Begin(m); err != nil {
			return err
		}
		for more := true; more; {
			var err error
			if more, err = f.Next(); err == nil {
				err = fn(m, more)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && err != errEnough {
		t.Fatal(err)
	}
}

// take adds the offers of a fold's last step.
func (o offersOf) take(p int, f *pipeline.Fold) error {
	for _, e := range f.Effects() {
		data, err := e.Offer.AppendJSON(nil)
		if err != nil {
			return err
		}
		o.add(p, e.Chain, e.Pos, e.Offer.ID, data)
	}
	return nil
}

// errors: an error of a function ends the replay, and so does the end of ctx.
func (n *night) errors(t *testing.T) {
	stop := fmt.Errorf("stop")
	for name, opt := range map[string]ReplayOptions{
		"begin":   {Begin: func(int, *pipeline.Fold) error { return stop }},
		"reached": {Reached: func(int, *pipeline.Fold) error { return stop }},
		"effect":  {Effect: func(int, int64, pipeline.Effect) error { return stop }},
		"end":     {End: func(int, *pipeline.Fold, Replayed) error { return stop }},
	} {
		if err := Replay(within(t), n.conn, opt); err == nil || !strings.Contains(err.Error(), "replay partition") || !strings.Contains(err.Error(), "stop") {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(within(t))
	err := Replay(ctx, n.conn, ReplayOptions{Progress: func(int, uint64, uint64) { cancel() }})
	if err == nil || ctx.Err() == nil {
		t.Errorf("cancelled: %v", err)
	}
}

// panics: a step that panics is guarded, and the partition is folded anew.
func (n *night) panics(t *testing.T) {
	var begun, dead int
	given := offersOf{}
	opt := &ReplayOptions{
		Begin: func(int, *pipeline.Fold) error { begun++; given = offersOf{}; return nil },
		Effect: func(p int, _ int64, e pipeline.Effect) error {
			if e.Dead != nil {
				dead++
				return nil
			}
			data, err := e.Offer.AppendJSON(nil)
			given.add(p, e.Chain, e.Pos, e.Offer.ID, data)
			return err
		},
	}
	l := newLiveLog(newReplay(n.conn, 1, filepath.Join(t.TempDir(), "state"), nil, &checkpoint.Sets{}, nil), opt)
	l.next = func(f *pipeline.Fold) (bool, error) {
		more, err := checkpoint.Next(f)
		if s := f.StepID(); err == nil && s.Seq == 30 && begun == 1 {
			return false, &checkpoint.Poison{Step: s, Cause: "bang"}
		}
		return more, err
	}
	if err := l.past(func() error { return l.run(within(t)) }); err != nil || begun != 2 || len(l.guarded) != 1 {
		t.Fatalf("it began %d times, guarded are %v, %v", begun, l.guarded, err)
	}
	want := offersOf{}
	for name, records := range n.stored {
		if strings.HasSuffix(name, ".1") {
			want[name] = records
		}
	}
	given.equal(t, "after a panic", want)
}

// snapshots: if the log's beginning has expired, the replay gives what is stored after
// the oldest snapshot to which the log reaches back.
func (n *night) snapshots(t *testing.T) {
	whole, cursors := (&gathered{}).run(t, n.conn), map[int]pipeline.Cursor{}
	changed, after := offersOf{}, compiled(t, n.after)
	for p := range n.conn.Partitions {
		at := n.pause[p] - uint64(p%2)
		n.archive(t, p, at/2)
		cursors[p] = n.archive(t, p, at)
		n.archive(t, p, at+5)
		n.changes(t, p, at, after, changed)
		st, err := n.conn.JS.Stream(within(t), n.conn.Names.EventsStream(p))
		if err == nil {
			err = st.Purge(within(t), jetstream.WithPurgeSequence(at-2))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	g := (&gathered{}).run(t, n.conn)
	g.given.equal(t, "from a snapshot", n.stored.after(cursors))
	if len(g.given) == 0 || g.users == 0 || g.users > 14 {
		t.Errorf("%d chains, %d users", len(g.given), g.users)
	}
	if g.pending != whole.pending {
		t.Errorf("%d evaluations are pending, from the beginning %d", g.pending, whole.pending)
	}
	for p, c := range cursors {
		if r := g.ends[p]; r.From != c.Seq || r.First < c.LogTime || r.First > c.LogTime+int64(24*time.Hour) {
			t.Errorf("partition %d: %+v, the snapshot is of message %d at %d", p, r, c.Seq, c.LogTime)
		}
	}
	one := (&gathered{ReplayOptions: ReplayOptions{Users: []string{"u:u3"}}}).run(t, n.conn)
	if got, want := one.given.of("u3"), g.given.of("u3"); !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("one user:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	other := (&gathered{ReplayOptions: ReplayOptions{Set: after}}).run(t, n.conn)
	other.given.equal(t, "another set from a snapshot", changed)
}

// archive stores a snapshot of the state after the first step of the message that
// follows message seq.
func (n *night) archive(t *testing.T, p int, seq uint64) pipeline.Cursor {
	t.Helper()
	r := newReplay(n.conn, p, filepath.Join(t.TempDir(), "state"), nil, &checkpoint.Sets{}, nil)
	defer r.remove()
	if err := r.begin(within(t), nil, 1, seq); err != nil {
		t.Fatal(err)
	}
	n.fold(t, p, r.fold, func(m pipeline.Message, more bool) error {
		if m.Seq > seq {
			return errEnough
		}
		return nil
	})
	cursor := r.fold.Cursor()
	if err := r.commit(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := r.store.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	if err := n.conn.PutSnapshot(within(t), p, cursor.Seq, checkpoint.Metadata(cursor), &b); err != nil {
		t.Fatal(err)
	}
	return cursor
}

// changes adds what a partition gives if another set comes into force where archive
// makes a snapshot, and stays.
func (n *night) changes(t *testing.T, p int, seq uint64, set *pipeline.Set, want offersOf) {
	t.Helper()
	var sets checkpoint.Sets
	live := sets.Get(within(t), n.conn)
	changed := false
	f, err := pipeline.NewFold(pipeline.Cursor{}, func(hash string) (*pipeline.Set, error) {
		if changed {
			return set, nil
		}
		return live(hash)
	}, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	n.fold(t, p, f, func(m pipeline.Message, more bool) error {
		if changed {
			return want.take(p, f)
		}
		if m.Seq > seq {
			changed = true
			f.Use(set)
		}
		return nil
	})
}

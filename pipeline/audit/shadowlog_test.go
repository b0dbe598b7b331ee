package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/backfill"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/change"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
	"offerstream/state"
)

// A shopLog is the log of a deployment without workers, under clock: event.
type shopLog struct {
	conn    *broker.Conn
	url     string
	rng     *rand.Rand
	now     int64
	n       int
	control map[int]uint64             // the last control message of each partition
	begin   func(*Shadow)              // called before a shadow runs; may be nil
	kept    map[int][]pipeline.Message // what has expired, and what followed until then
}

// logShop is shopSet under clock: event, with replacements in its text.
func logShop(t *testing.T, replace ...string) *campaign.Definition {
	t.Helper()
	return setOf(t, shopSet, append([]string{"clock: broker", "clock: event"}, replace...)...)
}

func newShopLog(t *testing.T, partitions int, live *campaign.Definition) *shopLog {
	t.Helper()
	seed := *verifySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e9
	}
	t.Logf("go test ./pipeline/audit -run '^%s$' -seed %d", t.Name(), seed)
	ns := startNATS(t, t.TempDir())
	l := &shopLog{url: ns.ClientURL(), conn: connect(t, ns.ClientURL(), partitions), rng: rand.New(rand.NewPCG(seed, 4)), now: time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC).UnixNano(), control: map[int]uint64{}, kept: map[int][]pipeline.Message{}}
	l.live(t, live, 1, nil)
	return l
}

// live appends a control message to all partitions.
func (l *shopLog) live(t *testing.T, def *campaign.Definition, revision uint64, switches map[int]*pipeline.Switch) {
	t.Helper()
	hash, err := l.conn.PutSet(within(t), def)
	if err != nil {
		t.Fatal(err)
	}
	for p := range l.conn.Partitions {
		content := map[string]any{"set": hash, "engine": pipeline.Engine, "revision": revision}
		if sw := switches[p]; sw != nil {
			content["switch"] = sw
		}
		data, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.conn.Control(within(t), p, l.control[p], data); err != nil {
			t.Fatal(err)
		}
		m, err := l.conn.LastControl(within(t), p)
		if err != nil {
			t.Fatal(err)
		}
		l.control[p] = m.Seq
	}
}

// shop publishes events.
func (l *shopLog) shop(t *testing.T, events int) {
	t.Helper()
	var packs []scripted
	for range events {
		l.n++
		l.now += int64(time.Duration(20+l.rng.IntN(200)) * time.Second)
		user := fmt.Sprint("u", l.rng.IntN(14))
		name := []string{"Product Viewed", "Product Viewed", "Product Viewed", "Product Added", "Order Completed"}[l.rng.IntN(5)]
		line := fmt.Appendf(nil, `{"type":"track","event":%q,"userId":%q,"messageId":"m%d","timestamp":%q,"properties":{"category":%q}}`+"\n",
			name, user, l.n, value.FormatTime(l.now), []string{"bag", "hat"}[l.rng.IntN(2)])
		if p := event.Partition("u:"+user, l.conn.Partitions); len(packs) > 0 && packs[len(packs)-1].p == p {
			packs[len(packs)-1].data = append(packs[len(packs)-1].data, line...)
		} else {
			packs = append(packs, scripted{p, line})
		}
	}
	publish(t, l.conn, packs)
}

// sums are the messages that each stream has, and how many it ever had.
func (l *shopLog) sums(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	list := l.conn.JS.ListStreams(within(t))
	for info := range list.Info() {
		all[info.Config.Name] = fmt.Sprintf("%d messages, the last %d", info.State.Msgs, info.State.LastSeq)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// A shadowing is a shadow of a test.
type shadowing struct {
	*Shadow
	list         *ShadowList
	live, offers []string // offers of both sides since the join, sorted
	traced       map[string]bool
	changes      []string
	joins        map[int]uint64 // after which message of each partition
}

// wholeList is what a change lists for a backfill.
func wholeList(set *pipeline.Set) func(ShadowFrom) (*ShadowList, error) {
	return func(from ShadowFrom) (*ShadowList, error) {
		list := change.Between(from.Live, set, nil, from.Now, from.Reach).Backfill
		return &ShadowList{list.Features, list.Campaigns}, nil
	}
}

// shadow runs a shadow, and during when the set has begun. It ends the shadow when that
// has come to the ends of the logs.
func (l *shopLog) shadow(t *testing.T, opt ShadowOptions, during func(), wantErr string) *shadowing {
	t.Helper()
	sh := &shadowing{traced: map[string]bool{}, joins: map[int]uint64{}}
	begun := make(chan struct{})
	opt.Dir, opt.Joined = t.TempDir(), func() { close(begun) }
	list := wholeList(opt.Set)
	opt.List = func(from ShadowFrom) (_ *ShadowList, err error) { sh.list, err = list(from); return sh.list, err }
	opt.Folded = func(m ShadowMessage) error {
		for i, of := range [][]*pipeline.Offer{m.Live, m.Shadow} {
			for _, o := range of {
				data, err := o.AppendJSON(nil)
				if err != nil {
					return err
				}
				if to := []*[]string{&sh.live, &sh.offers}[i]; true {
					*to = append(*to, string(data))
				}
			}
		}
		for _, tr := range m.Traces {
			if tr.Offer != nil {
				sh.traced[tr.Offer.ID] = true
			}
		}
		return nil
	}
	opt.Changed = func(p int, _ uint64, hash string) { sh.changes = append(sh.changes, fmt.Sprint(p, " ", hash)) }
	sh.Shadow = NewShadow(l.conn, opt)
	if l.begin != nil {
		l.begin(sh.Shadow)
	}
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- sh.Run(ctx) }()
	seqOf := func(p int) uint64 {
		f := sh.followers[p]
		f.mu.Lock()
		defer f.mu.Unlock()
		seq, _, _, _ := f.fold.At()
		return seq
	}
	ended := func(err error) *shadowing {
		if err == nil && wantErr != "" || err != nil && (wantErr == "" || !strings.Contains(err.Error(), wantErr)) {
			t.Fatalf("%v, want %q", err, wantErr)
		}
		slices.Sort(sh.live)
		slices.Sort(sh.offers)
		if left, err := os.ReadDir(opt.Dir); err != nil || len(left) > 0 {
			t.Errorf("it leaves %v, %v", left, err)
		}
		return sh
	}
	select {
	case <-begun:
	case err := <-done:
		return ended(err)
	}
	for p := range l.conn.Partitions {
		sh.joins[p] = seqOf(p)
	}
	during()
	for p := range l.conn.Partitions {
		_, last, err := l.conn.Extent(within(t), p)
		if err != nil {
			t.Fatal(err)
		}
		for seqOf(p) < last {
			select {
			case err := <-done:
				return ended(err)
			case <-time.After(time.Millisecond):
			}
		}
	}
	cancel()
	return ended(<-done)
}

// naive folds the log of all partitions as a shadow should: what both sides send after
// the joins. from are the messages at which the folds begin, with the states that the
// sets have made by then.
func (l *shopLog) naive(t *testing.T, set *pipeline.Set, sh *shadowing, overdue pipeline.Overdue, from map[int]uint64) (live, offers []string) {
	t.Helper()
	var known checkpoint.Sets
	known.Add(set.Hash(), set)
	find := known.Get(within(t), l.conn)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	newFold := func(p int, c pipeline.Cursor, m pipeline.Memory) *pipeline.Fold {
		f, err := pipeline.NewFold(c, find, m)
		check(err)
		f.Partition(p, l.conn.Partitions)
		for key, e := range m {
			if e.Due() != pipeline.NoDue {
				f.Schedule(e.Due(), key)
			}
		}
		return f
	}
	for p := range l.conn.Partitions {
		a, b, c := pipeline.Memory{}, pipeline.Memory{}, pipeline.Memory{}
		first, second := newFold(p, pipeline.Cursor{}, a), (*pipeline.Fold)(nil)
		var third *pipeline.Fold
		take := func(f *pipeline.Fold, m pipeline.Message, out *[]string) {
			check(f.Begin(m))
			for more := true; more; {
				var err error
				more, err = f.Next()
				check(err)
				for _, e := range f.Effects() {
					data, err := e.Offer.AppendJSON(nil)
					check(err)
					if out != nil {
						*out = append(*out, string(data))
					}
				}
			}
		}
		pass := func(m pipeline.Message, out *[]string) { // the live fold, also past a switch
			take(first, m, out)
			sw, _ := first.Switching()
			if sw == nil {
				return
			}
			n, err := find(sw.Set)
			check(err)
			cursor, err := pipeline.BeginSecond(pipeline.Cursor{}, n, nil, find)
			check(err)
			filled := pipeline.Memory{}
			fill := newFold(p, cursor, filled)
			check(l.scan(t, p, func(before pipeline.Message) error {
				if before.Seq < m.Seq {
					take(fill, before, nil)
				}
				return nil
			}))
			check(first.JoinMemory(fill.Cursor(), a, filled))
		}
		begin := func(seq uint64) {
			if seq != from[p] {
				return
			}
			cursor, err := pipeline.BeginSecond(first.Cursor(), set, nil, find)
			check(err)
			b, err = copied(a)
			check(err)
			second = newFold(p, cursor, b)
			for key := range b {
				check(second.Dormant(key))
			}
		}
		join := func() {
			cursor := first.Cursor()
			var err error
			c, err = copied(a)
			check(err)
			third = newFold(p, cursor, c)
			sw := &pipeline.Switch{Seq: cursor.Seq, Stored: cursor.Stored, LogTime: cursor.LogTime, Accepted: cursor.Accepted, Features: sh.list.Features, Campaigns: sh.list.Campaigns, Overdue: overdue}
			data, err := json.Marshal(map[string]any{"set": set.Hash(), "engine": pipeline.Engine, "revision": 1000, "at": value.FormatTime(cursor.LogTime), "switch": sw})
			check(err)
			take(third, pipeline.Message{Seq: cursor.Seq + 1, Stored: cursor.Stored, Kind: pipeline.Control, Data: data}, nil)
			check(third.JoinMemory(second.Cursor(), c, b))
		}
		begin(0)
		check(l.scan(t, p, func(m pipeline.Message) error {
			if m.Seq <= sh.joins[p] {
				pass(m, nil)
				if second != nil {
					take(second, m, nil)
				}
				if begin(m.Seq); m.Seq == sh.joins[p] {
					join()
				}
				return nil
			}
			pass(m, &live)
			if m.Seq++; m.Kind == pipeline.Control && pipeline.ControlSet(m.Data) != "" {
				m.Kind = pipeline.Tick
			}
			take(third, m, &offers)
			return nil
		}))
	}
	slices.Sort(live)
	slices.Sort(offers)
	return live, offers
}

// only are the offers that one list has and the other lacks.
func only(a, b []string) (all []string) {
	for _, o := range a {
		if _, found := slices.BinarySearch(b, o); !found {
			all = append(all, o)
		}
	}
	return all
}

// backfill makes a set live by a backfill from the log's beginning. The second states
// are stored a few messages before it.
func (l *shopLog) backfill(t *testing.T, def *campaign.Definition, revision uint64) {
	t.Helper()
	hash, err := l.conn.PutSet(within(t), def)
	if err != nil {
		t.Fatal(err)
	}
	var known checkpoint.Sets
	switches := map[int]*pipeline.Switch{}
	for p := range l.conn.Partitions {
		store, err := checkpoint.Badgers{}.Open(filepath.Join(t.TempDir(), "second"), state.Options{Identity: state.Identity{Prefix: l.conn.Names.Prefix, Partitions: l.conn.Partitions, Partition: p}, Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		second, err := backfill.Begin(store, hash, backfill.Options{Conn: l.conn, Partition: p, Sets: known.Get(within(t), l.conn), CacheBytes: 1 << 20, Confirm: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		_, last, err := l.conn.Extent(within(t), p)
		if err == nil {
			err = second.To(within(t), last-3)
		}
		var name broker.SecondName
		if err == nil {
			name, err = second.Put(within(t), checkpoint.Objects{Conn: l.conn, Connect: connecting(l.url)}, true)
		}
		if err != nil {
			t.Fatal(err)
		}
		at := second.Cursor()
		sw := &pipeline.Switch{Object: name.Object(p), Seq: at.Seq, Stored: at.Stored, LogTime: at.LogTime, Accepted: at.Accepted}
		for _, f := range def.Features {
			sw.Features = append(sw.Features, f.Name)
		}
		for _, c := range def.Campaigns {
			sw.Campaigns = append(sw.Campaigns, c.ID)
		}
		switches[p] = sw
	}
	l.live(t, def, revision, switches)
}

// scan reads the log of a partition, also what has expired of it.
func (l *shopLog) scan(t *testing.T, p int, fn func(pipeline.Message) error) error {
	t.Helper()
	next := uint64(1)
	for _, m := range l.kept[p] {
		if err := fn(m); err != nil {
			return err
		}
		next = m.Seq + 1
	}
	return l.conn.ScanLog(within(t), p, next, fn)
}

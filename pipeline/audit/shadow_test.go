package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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
	newFold := func(c pipeline.Cursor, m pipeline.Memory) *pipeline.Fold {
		f, err := pipeline.NewFold(c, find, m)
		check(err)
		f.Partitions(l.conn.Partitions)
		for key, e := range m {
			if e.Due() != pipeline.NoDue {
				f.Schedule(e.Due(), key)
			}
		}
		return f
	}
	for p := range l.conn.Partitions {
		a, b, c := pipeline.Memory{}, pipeline.Memory{}, pipeline.Memory{}
		first, second := newFold(pipeline.Cursor{}, a), (*pipeline.Fold)(nil)
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
			cursor, err := pipeline.BeginSecond(pipeline.Cursor{}, n, find)
			check(err)
			filled := pipeline.Memory{}
			fill := newFold(cursor, filled)
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
			cursor, err := pipeline.BeginSecond(first.Cursor(), set, find)
			check(err)
			b, err = copied(a)
			check(err)
			second = newFold(cursor, b)
			for key := range b {
				check(second.Dormant(key))
			}
		}
		join := func() {
			cursor := first.Cursor()
			var err error
			c, err = copied(a)
			check(err)
			third = newFold(cursor, c)
			sw := &pipeline.Switch{Seq: cursor.Seq, Stored: cursor.Stored, LogTime: cursor.LogTime, Features: sh.list.Features, Campaigns: sh.list.Campaigns, Overdue: overdue}
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

// TestShadow: the shadow of the live set sends what that sends; that of another set
// sends what the set would send if it had gone live by a backfill at the same place.
// Nothing is written to any stream.
func TestShadow(t *testing.T) {
	t.Parallel()
	live := logShop(t)
	lower := logShop(t, ">= 3", ">= 2")
	other := logShop(t, "within: 40m", "within: 3h", "within: 30m", "within: 2h", "  thanks:", "  away:\n    on: \"*\"\n    unless: {on: \"*\", within: 30m}\n    offer: {channel: web}\n  thanks:")
	l := newShopLog(t, 3, live)
	l.shop(t, 300)
	for _, c := range []struct {
		name    string
		def     *campaign.Definition
		overdue string
	}{{"the same", live, "drop"}, {"a lower threshold", lower, "drop"}, {"other features", other, "drop"}, {"overdue goes on", other, "now"}} {
		set := compiled(t, c.def)
		overdue, err := pipeline.ParseOverdue(c.overdue)
		if err != nil {
			t.Fatal(err)
		}
		before := l.sums(t)
		sh := l.shadow(t, ShadowOptions{Set: set, Overdue: overdue}, func() {
			l.shop(t, 200)
			after := l.sums(t)
			for p := range l.conn.Partitions {
				delete(before, l.conn.Names.EventsStream(p))
				delete(after, l.conn.Names.EventsStream(p))
			}
			if !maps.Equal(before, after) {
				t.Errorf("%s: %v, before %v", c.name, after, before)
			}
			before = l.sums(t)
		}, "")
		if after := l.sums(t); !maps.Equal(before, after) {
			t.Errorf("%s: something was stored: %v, before %v", c.name, after, before)
		}
		wantLive, want := l.naive(t, set, sh, overdue, map[int]uint64{})
		if !slices.Equal(sh.live, wantLive) || len(wantLive) == 0 {
			t.Errorf("%s: live sent %d, want %d; it lacks\n%s", c.name, len(sh.live), len(wantLive), strings.Join(only(wantLive, sh.live), "\n"))
		}
		if !slices.Equal(sh.offers, want) {
			t.Errorf("%s: the shadow sent %d, want %d; it lacks\n%s\nand has too many\n%s", c.name, len(sh.offers), len(want), strings.Join(only(want, sh.offers), "\n"), strings.Join(only(sh.offers, want), "\n"))
		}
		gained, lost := len(only(sh.offers, sh.live)), len(only(sh.live, sh.offers))
		t.Logf("%s: list %v, live %d, gained %d, lost %d, overdue %v", c.name, sh.list, len(sh.live), gained, lost, sh.State(true).Overdue)
		if differs := gained+lost > 0; differs != (c.name != "the same") {
			t.Errorf("%s: %d gained, %d lost", c.name, gained, lost)
		}
		st := sh.State(true)
		if st.Events != 200 || st.Users != 14 || st.Share != 1 || st.Measured == 0 || st.Measured > 100 || st.LiveTime <= 0 || st.ShadowTime <= 0 || len(sh.traced) == 0 {
			t.Errorf("%s: %+v, %d traced", c.name, st, len(sh.traced))
		}
		sent := uint64(0)
		for _, n := range st.Shadow {
			sent += n.Ended[pipeline.Fired] + n.Ended[pipeline.Withheld]
		}
		if now := overdue.String() == "now"; !now && sent != uint64(len(want)) {
			t.Errorf("%s: it counted %d offers, and sent %d", c.name, sent, len(want))
		}
	}
}

// TestShadowLive: the live side follows a set that goes live meanwhile, and the shadow
// does not.
func TestShadowLive(t *testing.T) {
	t.Parallel()
	live, next := logShop(t), logShop(t, ">= 3", ">= 4")
	set := compiled(t, logShop(t, ">= 3", ">= 2"))
	l := newShopLog(t, 2, live)
	l.shop(t, 100)
	sh := l.shadow(t, ShadowOptions{Set: set}, func() {
		l.shop(t, 50)
		l.live(t, next, 5, nil)
		l.shop(t, 100)
	}, "")
	wantLive, want := l.naive(t, set, sh, pipeline.Overdue{}, map[int]uint64{})
	if !slices.Equal(sh.live, wantLive) || !slices.Equal(sh.offers, want) {
		t.Errorf("live\n%s\nshadow\n%s", strings.Join(only(wantLive, sh.live), "\n"), strings.Join(only(want, sh.offers), "\n"))
	}
	slices.Sort(sh.changes)
	if wanted := []string{"0 " + next.Hash(), "1 " + next.Hash()}; !slices.Equal(sh.changes, wanted) {
		t.Errorf("%v changed, want %v", sh.changes, wanted)
	}
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
		sw := &pipeline.Switch{Object: name.Object(p), Seq: at.Seq, Stored: at.Stored, LogTime: at.LogTime}
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

// TestShadowSwitch: a shadow goes past switches, in the log before it begins and while
// it is followed; without the second state of one it says why it cannot.
func TestShadowSwitch(t *testing.T) {
	t.Parallel()
	one, two := logShop(t, "within: 30m", "within: 2h", "within: 40m", "within: 3h"), logShop(t, "within: 30m", "within: 4h")
	set := compiled(t, logShop(t, ">= 3", ">= 2", "within: 40m", "within: 1h"))
	l := newShopLog(t, 2, logShop(t))
	l.shop(t, 150)
	l.backfill(t, one, 2)
	l.shop(t, 100)
	sh := l.shadow(t, ShadowOptions{Set: set}, func() {
		l.shop(t, 100)
		l.backfill(t, two, 3)
		l.shop(t, 150)
	}, "")
	wantLive, want := l.naive(t, set, sh, pipeline.Overdue{}, map[int]uint64{})
	if !slices.Equal(sh.live, wantLive) || !slices.Equal(sh.offers, want) || len(sh.changes) != 2 {
		t.Errorf("live lacks\n%s\nand has too many\n%s\nshadow\n%s\n%v", strings.Join(only(wantLive, sh.live), "\n"), strings.Join(only(sh.live, wantLive), "\n"), strings.Join(only(want, sh.offers), "\n"), sh.changes)
	}
	l.live(t, one, 4, map[int]*pipeline.Switch{0: {Seq: 1, LogTime: l.now}, 1: {Seq: 1, LogTime: l.now}})
	l.shadow(t, ShadowOptions{Set: set}, func() { t.Error("it has begun") }, "there is no second state stored")
}

// TestShadowSample: where there are too many users, a part of them is followed, and
// for these both sides are as if all were.
func TestShadowSample(t *testing.T) {
	t.Parallel()
	live := logShop(t)
	set := compiled(t, logShop(t, "within: 40m", "within: 3h", ">= 3", ">= 2"))
	l := newShopLog(t, 2, live)
	l.shop(t, 200)
	sh := l.shadow(t, ShadowOptions{Set: set, Users: 8}, func() { l.shop(t, 300) }, "")
	wantLive, want := l.naive(t, set, sh, pipeline.Overdue{}, map[int]uint64{})
	users := map[string]bool{}
	followed := func(all []string) []string {
		return slices.DeleteFunc(all, func(o string) bool {
			var of pipeline.Offer
			if err := json.Unmarshal([]byte(o), &of); err != nil {
				t.Fatal(err)
			}
			follows := sh.followers[0].follows(of.Entity())
			users[of.User] = users[of.User] || follows
			return !follows
		})
	}
	wantLive, want = followed(wantLive), followed(want)
	if !slices.Equal(sh.live, wantLive) || !slices.Equal(sh.offers, want) {
		t.Errorf("live sent %d, want %d; the shadow sent %d, want %d", len(sh.live), len(wantLive), len(sh.offers), len(want))
	}
	if st := sh.State(true); st.Share >= 1 || st.Users > 10 || slices.Equal(slices.Collect(maps.Values(users)), []bool{true}) {
		t.Errorf("%+v, %v", st, users)
	}
	t.Logf("share %g of %v", sh.State(false).Share, users)
	few := compiled(t, live)
	l.shadow(t, ShadowOptions{Set: few, Users: 8}, func() {
		var packs []scripted
		for i := range 200 {
			key := fmt.Sprint("new", i)
			packs = append(packs, scripted{event.Partition("u:"+key, 2), at(l.now, key, key, 0)})
		}
		publish(t, l.conn, packs)
	}, "so many users have come")
}

// TestShadowSnapshot: where the beginning of the log has expired, the shadow begins
// with the oldest snapshot, also if that is within a message.
func TestShadowSnapshot(t *testing.T) {
	t.Parallel()
	l := newShopLog(t, 2, logShop(t))
	publish(t, l.conn, []scripted{{event.Partition("u:gone", 2), at(l.now, "gone", "gone", 0)}})
	l.shop(t, 300)
	set := compiled(t, logShop(t, "within: 40m", "within: 3h", "  thanks:", "  away:\n    on: \"*\"\n    unless: {on: \"*\", within: 12h}\n    offer: {channel: web}\n  thanks:"))
	from := map[int]uint64{}
	n := &night{conn: l.conn}
	for p := range 2 {
		_, last, err := l.conn.Extent(within(t), p)
		if err != nil {
			t.Fatal(err)
		}
		c := n.archive(t, p, last/2)
		if from[p] = c.Seq; c.Within != 0 || c.Partly != 0 {
			from[p]++
		}
	}
	for p := range 2 {
		l.kept[p] = nil
		err := l.scan(t, p, func(m pipeline.Message) error { l.kept[p] = append(l.kept[p], m); return nil })
		if err != nil {
			t.Fatal(err)
		}
		st, err := l.conn.JS.Stream(within(t), l.conn.Names.EventsStream(p))
		if err == nil {
			err = st.Purge(within(t), jetstream.WithPurgeSequence(from[p]-1))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sh := l.shadow(t, ShadowOptions{Set: set}, func() { l.shop(t, 200) }, "")
	wantLive, want := l.naive(t, set, sh, pipeline.Overdue{}, from)
	if !slices.Equal(sh.live, wantLive) || !slices.Equal(sh.offers, want) {
		t.Errorf("live\n%s\nshadow\n%s\ntoo many\n%s", strings.Join(only(wantLive, sh.live), "\n"), strings.Join(only(want, sh.offers), "\n"), strings.Join(only(sh.offers, want), "\n"))
	}
	if !slices.ContainsFunc(want, func(o string) bool {
		return strings.Contains(o, `"campaign":"away"`) && strings.Contains(o, `"user":"gone"`)
	}) {
		t.Error("who was away before the snapshot got no offer")
	}
	if st := sh.State(true); !slices.Equal(st.Snapshots, []int{0, 1}) || len(sh.list.Campaigns) == 0 {
		t.Errorf("%+v, %+v", st, sh.list)
	}
	t.Logf("from %v, list %v, live %d, gained %d", from, sh.list, len(sh.live), len(only(sh.offers, sh.live)))
}

// TestShadowPanic: a partition in which a step panics before the set has begun is
// folded anew, without that step; afterwards the shadow ends.
func TestShadowPanic(t *testing.T) {
	t.Parallel()
	set := compiled(t, logShop(t, ">= 3", ">= 2"))
	l := newShopLog(t, 2, logShop(t))
	l.shop(t, 100)
	panics := func(seq uint64) {
		l.begin = func(s *Shadow) {
			told := false
			s.followers[0].next = func(f *pipeline.Fold) (bool, error) {
				more, err := checkpoint.Next(f)
				if at, _, _, _ := f.At(); at == seq && !told {
					told = true
					return false, &checkpoint.Poison{Step: f.StepID(), Cause: "a test"}
				}
				return more, err
			}
		}
	}
	panics(7)
	sh := l.shadow(t, ShadowOptions{Set: set}, func() { l.shop(t, 50) }, "")
	wantLive, want := l.naive(t, set, sh, pipeline.Overdue{}, map[int]uint64{})
	if !slices.Equal(sh.live, wantLive) || !slices.Equal(sh.offers, want) {
		t.Errorf("live sent %d, want %d; the shadow sent %d, want %d", len(sh.live), len(wantLive), len(sh.offers), len(want))
	}
	_, last, err := l.conn.Extent(within(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	panics(last + 3)
	l.shadow(t, ShadowOptions{Set: set}, func() { l.shop(t, 50) }, "panicked: a test: start this command again")
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

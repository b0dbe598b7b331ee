package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/event"
)

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

package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/campaign"
)

// A shop is a log of one message a second, with a fold of it.
type shop struct {
	*folded
	seq uint64
}

func newShop(t *testing.T, sets ...*Set) *shop {
	s := &shop{folded: newFolded(t, sets...)}
	s.control(sets[0], 1)
	return s
}

func (s *shop) next() Message {
	s.seq++
	return Message{Seq: s.seq, Stored: int64(s.seq) * 1e9, Kind: Tick, Data: []byte("{}")}
}

func (s *shop) control(set *Set, revision uint64) { s.take(s.next().live(set, revision)) }

func (s *shop) message(kind Kind, data string) {
	m := s.next()
	m.Kind, m.Data = kind, []byte(data)
	s.take(m)
}

func (s *shop) event(user, name, props string) {
	s.message(In, fmt.Sprintf(`{"type":"track","event":%q,"userId":%q,"messageId":"m%d","properties":{%s}}`, name, user, s.seq+1, props))
}

// ticks passes the time until a number of seconds.
func (s *shop) ticks(until uint64) {
	for s.seq < until {
		s.message(Tick, "{}")
	}
}

// toSwitch switches to all of a set. change changes the switch.
func (s *shop) toSwitch(set *Set, from, revision uint64, overdue string, change func(*Cursor)) {
	object := s.f.Cursor()
	if change != nil {
		change(&object)
	}
	s.take(switchAt(s.next(), set, from, object, revision, overdue))
}

// sent are the campaigns and users of the offers since the last call.
func (s *shop) sent() string {
	var all []string
	for _, o := range s.offers {
		var v struct{ Campaign, User string }
		unmarshal(s.t, o, &v)
		all = append(all, v.Campaign+" "+v.User)
	}
	s.offers = nil
	return strings.Join(all, ", ")
}

func (s *shop) wants(offers, id, outcomes string) {
	s.t.Helper()
	if got := s.sent(); got != offers {
		s.t.Errorf("after message %d: offers %q, want %q", s.seq, got, offers)
	}
	counts, _ := s.f.Counts()
	if got := fmt.Sprint(nonzero(ints(outcomesOf(counts[id])))); got != "map["+outcomes+"]" {
		s.t.Errorf("after message %d: %s %s, want %s", s.seq, id, got, outcomes)
	}
}

const (
	away = `"on":["*"],"unless":{"on":["*"],"within":10000000000}`
	cart = `"on":["Add"],"unless":{"on":["Order"],"match":"item","within":10000000000,"no_restart":true}`
)

// TestRevisions: what is not above the last revision changes nothing.
func TestRevisions(t *testing.T) {
	a, b := setOf(t, sends("a", "", `"on":["View"]`)), setOf(t, sends("b", "", `"on":["View"]`))
	s := newShop(t, a, b)
	s.control(b, 3)
	for _, revision := range []uint64{1, 2, 3} {
		s.control(a, revision)
		s.toSwitch(a, 0, revision, "now", nil)
	}
	s.message(Control, fmt.Sprintf(`{"set":"not stored","engine":%d,"revision":3}`, Engine))
	s.event("u", "View", "")
	s.wants("b u", "b", "evaluated:1 fired:1")
	pause := func(names string, pauses int) {
		s.message(Control, fmt.Sprintf(`{"paused":[%s],"engine":%d,"pauses":%d}`, names, Engine, pauses))
	}
	pause(`"b"`, 2)
	pause("", 1)
	pause("", 2)
	s.fold(s.f.Cursor())
	s.event("v", "View", "")
	s.wants("", "b", "evaluated:1 paused:1")
	pause("", 3)
	s.event("v", "View", "")
	s.wants("b v", "b", "evaluated:2 fired:1 paused:1")
	s.control(a, 4)
	s.event("w", "View", "")
	s.wants("a w", "a", "evaluated:1 fired:1")
}

// TestSwitchThatDoesNotCount: a switch whose engine is below that in force, or whose
// second state is too far or an acceptance behind it, or not before it, changes
// nothing, and the next one with its revision counts.
func TestSwitchThatDoesNotCount(t *testing.T) {
	a, b := setOf(t, sends("a", "", `"on":["View"]`)), setOf(t, sends("b", "", `"on":["View"]`))
	old := *b.def
	old.Engine = oldestEngine
	before := mustRun(t, &old)
	timed := *b.def
	timed.Clock = campaign.ClockEvent
	for name, c := range map[string]struct {
		set    *Set
		change func(*Cursor)
		accept bool
	}{
		"engine":     {set: before},
		"clock":      {set: mustRun(t, &timed)},
		"stale":      {set: b, change: func(c *Cursor) { c.LogTime -= int64(time.Hour) }},
		"acceptance": {set: b, accept: true, change: func(c *Cursor) { c.Accepted = 0 }},
		"lost log":   {set: b, change: func(c *Cursor) { c.Seq++ }},
	} {
		s := newShop(t, a, b, before, c.set)
		s.ticks(5)
		if c.accept {
			s.message(Accept, `{"chains":{},"why":"x"}`)
		}
		s.toSwitch(c.set, 0, 2, "now", c.change)
		if s.f.cur.Set != a.hash || s.f.cur.Revision != 1 {
			t.Errorf("%s: the switch counts", name)
		}
		s.toSwitch(b, 0, 2, "now", nil)
		if s.f.cur.Set != b.hash || s.f.cur.Revision != 2 {
			t.Errorf("%s: the switch after it does not count", name)
		}
	}
}

// TestDormant: who sent no event since the state with which the second fold begins is
// reached: at the switch, if the condition holds then, without the event, once.
func TestDormant(t *testing.T) {
	none := setOf(t, sends("other", "", `"on":["View"],"unless":{"on":["Order"],"within":500000000000}`))
	def := defOf(t, []string{`{"name":"n","on":["View"],"agg":"count"}`}, sends("away", "n", away+`,"if":["n < 3","!profile.?vip.orValue(false)"]`))
	set := mustRun(t, def)
	run := func(overdue string, from uint64) *shop {
		s := newShop(t, none, set)
		s.event("gone", "View", "")
		s.event("vip", "View", "")
		s.message(In, `{"type":"identify","userId":"vip","messageId":"v","traits":{"vip":true}}`)
		s.event("back", "View", "")
		s.keep()
		s.event("back", "View", "")
		s.event("new", "View", "")
		s.ticks(40)
		s.toSwitch(set, from, 2, overdue, nil)
		s.sent()
		return s
	}
	s := run("now", 5)
	s.message(Tick, "{}")
	ids := s.ids()
	s.wants("away back, away gone, away new", "away", "evaluated:3 fired:3")
	s = run("drop", 5)
	s.ticks(100)
	s.wants("", "away", "")
	s = run("1h", 5)
	s.event("gone", "View", "") // its own unless cancels it, and begins another
	s.wants("", "away", "cancelled:1 evaluated:4 pending:3")
	s.message(In, `{"type":"track","event":"View","userId":"x","timestamp":"1970-01-01T00:00:00Z","messageId":"x"}`)
	m := s.next()
	m.Stored += int64(2 * time.Hour)
	s.take(m)
	spread := 0
	for user, id := range s.ids() {
		if spread++; user != "gone" && user != "x" && id != ids[user] {
			t.Errorf("the offer of %s has the id %s, and %s if it goes out at once", user, id, ids[user])
		}
	}
	if spread < 3 {
		t.Errorf("%d offers that were spread go out: %s", spread, s.offers)
	}
}

// ids are the ids of the offers, by user.
func (s *shop) ids() map[string]string {
	all := map[string]string{}
	for _, o := range s.offers {
		var v struct{ User, ID string }
		unmarshal(s.t, o, &v)
		all[v.User] = v.ID
	}
	return all
}

func defOf(t *testing.T, features []string, campaigns ...string) *campaign.Definition {
	t.Helper()
	def, err := campaign.ParseDefinition((&scene{features: features, campaigns: campaigns}).set())
	if err != nil {
		t.Fatal(err)
	}
	def.Clock = campaign.ClockBroker
	return def
}

// TestSwitchOnce: where live has sent an offer of the campaign for the key since the
// trigger, it does not go out again, though its due time and so its id are others.
func TestSwitchOnce(t *testing.T) {
	slow := strings.Replace(cart, "10000000000", "30000000000", 1)
	for _, engine := range Engines() {
		def := defOf(t, nil, sends("cart", "", cart))
		def.Engine = engine
		before, after := mustRun(t, def), setOf(t, sends("cart", "", slow))
		s := newShop(t, before, after)
		s.event("u", "Add", `"item":"a"`)
		s.event("v", "Add", `"item":"a"`)
		s.ticks(14)
		s.wants("cart u, cart v", "cart", "evaluated:2 fired:2")
		if o := s.ents["u:u"].offers[0]; o.campaign != "cart" || o.key != "a" {
			t.Errorf("engine %d remembers %+v", engine, o)
		}
		s.event("v", "Add", `"item":"a"`) // after the offer; in the second state it restarts nothing
		s.event("v", "Add", `"item":"b"`)
		s.toSwitch(after, 0, 2, "now", nil)
		s.wants("", "cart", "cancelled:2 duplicate:2 evaluated:7 fired:2 pending:1")
		s.ticks(60)
		s.wants("cart v", "cart", "cancelled:2 duplicate:2 evaluated:7 fired:3")
	}
}

// TestSwitchTraces: the traces tell of all evaluations that a switch cancels, begins or
// finds to be duplicate, so that none seems to wait that does not.
func TestSwitchTraces(t *testing.T) {
	slow := strings.Replace(cart, "10000000000", "30000000000", 1)
	before, after := setOf(t, sends("cart", "", cart)), setOf(t, sends("cart", "", slow))
	s := newShop(t, before, after)
	told, waits := map[string]int{}, map[string]bool{}
	s.f.Trace(func(tr *Trace) {
		was, is := fmt.Sprint(tr.User, tr.From), fmt.Sprint(tr.User, tr.Wait)
		switch {
		case tr.From == 0:
			told["evaluated"]++
		case !waits[was]:
			t.Errorf("at %d an evaluation goes on that did not wait: %+v", s.seq, tr)
		}
		delete(waits, was)
		if tr.Wait == 0 {
			told[tr.Outcome.String()]++
		} else {
			waits[is] = true
		}
	})
	s.event("u", "Add", `"item":"a"`)
	s.event("v", "Add", `"item":"a"`)
	s.ticks(14)
	s.event("v", "Add", `"item":"a"`)
	s.event("v", "Add", `"item":"b"`)
	s.toSwitch(after, 0, 2, "now", nil)
	want := "map[cancelled:2 duplicate:2 evaluated:7 fired:2]"
	if got := fmt.Sprint(told); got != want || len(waits) != 1 {
		t.Errorf("the traces tell %s, and of %d that wait; want %s, and one", got, len(waits), want)
	}
	s.ticks(60)
	s.wants("cart u, cart v, cart v", "cart", "cancelled:2 duplicate:2 evaluated:7 fired:3")
	if len(waits) > 0 {
		t.Errorf("the traces tell that %v wait", waits)
	}
}

// TestLaterTrigger: what is overdue in a second fold ends with a later trigger, also
// where the absence does not restart, as a replay would have ended it when it was due.
func TestLaterTrigger(t *testing.T) {
	none, set := setOf(t, sends("other", "", `"on":["View"]`)), setOf(t, sends("cart", "", cart))
	s := newShop(t, none, set)
	s.event("u", "Add", `"item":"a"`) // due at 12
	s.ticks(14)
	s.event("u", "Add", `"item":"a"`) // due at 25
	s.toSwitch(set, 0, 2, "now", nil)
	s.ticks(20)
	s.wants("", "cart", "evaluated:1 pending:1")
	s.ticks(26)
	s.wants("cart u", "cart", "evaluated:1 fired:1")
}

// TestGoesOn: what is pending in both states, and may have come further in the live
// one, goes on once.
func TestGoesOn(t *testing.T) {
	def := defOf(t, nil, sends("cart", "", cart))
	def.Zone = "UTC"
	def.Quiet = &campaign.QuietHours{Channels: []string{"cart"}, From: 0, To: 60, AtMost: 2 * time.Hour}
	set := mustRun(t, def)
	s := newShop(t, set)
	s.event("u", "Add", `"item":"a"`) // due at 12, then held until 01:00
	s.ticks(20)
	s.event("v", "Add", `"item":"a"`)
	s.toSwitch(set, 0, 2, "now", nil)
	s.wants("", "cart", "evaluated:2 pending:2")
	m := s.next()
	m.Stored = int64(2 * time.Hour)
	s.take(m)
	s.wants("cart u, cart v", "cart", "evaluated:2 fired:2")
}

// TestJoinGoesOn: a switch that is interrupted after any user, and goes on from the
// stored cursor, gives the state and the offers that it gives at once.
func TestJoinGoesOn(t *testing.T) {
	none := setOf(t, sends("other", "", `"on":["View"],"unless":{"on":["Order"],"within":500000000000}`))
	set := mustRun(t, defOf(t, []string{`{"name":"n","on":["View"],"agg":"count"}`}, sends("away", "n", away)))
	users := 5
	run := func(breaks []int) *shop {
		s := newShop(t, none, set)
		for i := range users {
			s.event(fmt.Sprint("u", i), "View", "")
		}
		s.ticks(30)
		m := switchAt(s.next(), set, 0, s.f.Cursor(), 2, "now")
		s.log = append(s.log, m)
		keys := slices.Sorted(maps.Keys(s.ents))
		for at := 0; ; {
			if err := s.f.Begin(m); err != nil {
				t.Fatal(err)
			}
			for more := true; more; {
				var err error
				if more, err = s.f.Next(); err != nil {
					t.Fatal(err)
				}
				if len(s.f.Effects()) > 0 {
					t.Error("offers at the switch")
				}
			}
			sw, from := s.f.Switching()
			if sw == nil {
				t.Fatal("the fold stands at no switch")
			}
			c, seconds := s.second(sw)
			j, err := s.f.NewJoin(c, func(key string) (*Entity, error) { return s.ents.Look(key) })
			if err != nil {
				t.Fatal(err)
			}
			until := users
			if len(breaks) > 0 {
				until, breaks = breaks[0], breaks[1:]
			}
			for ; at < until; at++ {
				if keys[at] <= from {
					t.Errorf("%s is joined already", keys[at])
				}
				j.User(s.ents[keys[at]], seconds[keys[at]])
				s.f.JoinedTo(keys[at])
			}
			if at == users {
				s.f.Switched(c, j)
				break
			}
			b, err := s.f.Cursor().JSON()
			if err != nil {
				t.Fatal(err)
			}
			cursor, err := ReadCursor(b)
			if err != nil {
				t.Fatal(err)
			}
			s.ents = decoded(t, s.ents)
			s.fold(cursor)
		}
		cursor := s.f.Cursor()
		s.ents = decoded(t, s.ents)
		s.fold(cursor)
		s.offers = nil
		s.ticks(60)
		return s
	}
	want := run(nil)
	if len(want.offers) != users {
		t.Errorf("%d offers, want %d", len(want.offers), users)
	}
	for _, breaks := range [][]int{{0}, {1}, {4}, {1, 1, 3}, {2, 4}} {
		got := run(breaks)
		if !slices.Equal(got.offers, want.offers) || asJSON(got.f.Cursor()) != asJSON(want.f.Cursor()) {
			t.Errorf("interrupted after %d users:\n%s\nwant\n%s", breaks, strings.Join(got.offers, "\n"), strings.Join(want.offers, "\n"))
		}
	}
}

func unmarshal(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
}

// TestSwitchRetires: what a set lacks that goes live by a backfill is kept for a day
// as at any change, so that a rollback finds it.
func TestSwitchRetires(t *testing.T) {
	counts := `{"name":"n","on":["View"],"agg":"count"}`
	with, without := mustRun(t, defOf(t, []string{counts}, sends("a", "n", `"on":["Ask"]`))), mustRun(t, defOf(t, nil, sends("b", "", `"on":["Buy"]`)))
	s := newShop(t, with, without)
	s.event("u", "View", "")
	s.toSwitch(without, 0, 2, "now", nil)
	s.event("u", "View", "")
	s.control(with, 3)
	s.event("u", "Ask", "")
	if !strings.Contains(strings.Join(s.offers, ""), `"data":2`) {
		t.Errorf("the feature was not kept: %s", s.offers)
	}
}

// TestSwitchSessionEnd: the end of a session that a switch finds under way is noticed by
// the campaigns that have come with it.
func TestSwitchSessionEnd(t *testing.T) {
	set := setOf(t, sends("a", "", `"on":["session_end"]`))
	s := newShop(t, setOf(t, sends("b", "", `"on":["Buy"]`)), set)
	s.event("u", "Product Viewed", "")
	s.toSwitch(set, 0, 2, "now", nil)
	m := s.next()
	m.Stored += int64(31 * time.Minute)
	s.take(m)
	s.wants("a u", "a", "evaluated:1 fired:1")
}

// TestSwitchForgotten: what waits for a user in the second state alone does not begin
// if the live state has forgotten the user.
func TestSwitchForgotten(t *testing.T) {
	other := defOf(t, nil, sends("other", "", `"on":["Buy"]`))
	def := defOf(t, nil, sends("away", "", away))
	for _, d := range []*campaign.Definition{other, def} {
		d.Forget = campaign.Forget{Known: 50 * time.Second, Anonymous: 50 * time.Second}
	}
	s := newShop(t, mustRun(t, other), mustRun(t, def))
	s.event("gone", "View", "")
	s.ticks(30)
	s.event("here", "View", "")
	s.ticks(70)
	s.toSwitch(mustRun(t, def), 0, 2, "now", nil)
	s.ticks(80)
	s.wants("away here", "away", "evaluated:1 fired:1")
}

// TestSwitchDwell: where a dwell comes from the second state, and what waits for it
// from the live one, it is due when the dwell is long enough as joined.
func TestSwitchDwell(t *testing.T) {
	none := setOf(t, sends("other", "", `"on":["Buy"]`))
	set := mustRun(t, defOf(t, []string{looking}, sends("stay", "", looked)))
	s := newShop(t, none, set)
	s.event("u", "View", "")
	s.ticks(40)
	s.control(set, 2)        // the feature starts empty
	s.event("u", "View", "") // at 42, 40 seconds after the first: due at 102
	object := s.f.Cursor()
	sw := Switch{Seq: object.Seq, Stored: object.Stored, LogTime: object.LogTime, Accepted: object.Accepted, Features: []string{"looking"}}
	m := s.next()
	m.Kind, m.Data = Control, fmt.Appendf(nil, `{"set":%q,"engine":%d,"revision":3,"switch":%s}`, set.hash, Engine, asJSON(sw))
	s.take(m)
	s.ticks(61)
	s.wants("", "stay", "evaluated:1 pending:1")
	s.ticks(63)
	s.wants("stay u", "stay", "evaluated:1 fired:1")
}

// TestSecondForgets: what is overdue in a second state does not keep a user from being
// forgotten, as it would have gone out.
func TestSecondForgets(t *testing.T) {
	other := defOf(t, nil, sends("other", "", `"on":["Buy"]`))
	def := defOf(t, []string{countViews}, sends("away", "n", away))
	for _, d := range []*campaign.Definition{other, def} {
		d.Forget = campaign.Forget{Known: 50 * time.Second, Anonymous: 50 * time.Second}
	}
	set := mustRun(t, def)
	s := newShop(t, mustRun(t, other), set)
	s.event("u", "View", "")
	s.ticks(100)
	s.event("u", "View", "")
	s.toSwitch(set, 0, 2, "now", nil)
	if u, err := s.f.User("u:u"); err != nil || string(u.Features["n"]) != "1" {
		t.Errorf("n is %s (%v), want 1", u.Features["n"], err)
	}
}

// TestSecondBound: at the bound of bytes of what is pending, what is overdue leaves
// first: the live fold would not have it any more.
func TestSecondBound(t *testing.T) {
	waits := func(on, within string) string {
		return fmt.Sprintf(`"on":[%q],"unless":{"on":["Order"],"match":"item","within":%s}`, on, within)
	}
	none := setOf(t, sends("other", "", `"on":["View"]`))
	set := setOf(t, sends("long", "event.properties.x", waits("Buy", "500000000000")), sends("short", "event.properties.x", waits("Add", "5000000000")))
	always, s := newShop(t, set), newShop(t, none, set)
	x := strings.Repeat("x", 7000)
	for _, shop := range []*shop{always, s} {
		shop.event("u", "Buy", fmt.Sprintf(`"item":"a","x":%q`, x))
		for i := range 20 {
			shop.event("u", "Add", fmt.Sprintf(`"item":"i%d","x":%q`, i, x))
		}
	}
	always.message(Tick, "{}")
	s.toSwitch(set, 0, 2, "drop", nil)
	want, got := reading(t, always.f, true)["u:u"], reading(t, s.f, true)["u:u"]
	if got != want || !strings.Contains(got, "long absence") {
		t.Errorf("got %.300s\nwant %.300s", got, want)
	}
}

// TestSwitchBounds: what both states have of a user together fits the bounds.
func TestSwitchBounds(t *testing.T) {
	lists := `{"name":"l","on":["View"],"agg":"list","fields":["x"],"keep":50}`
	more := `{"name":"m","on":["View"],"agg":"list","fields":["y"],"keep":50}`
	before, after := defOf(t, []string{lists}, sends("a", "size(l)", `"on":["Ask"]`)), defOf(t, []string{lists, more}, sends("a", "size(l) + size(m)", `"on":["Ask"]`))
	before.Bounds.UserEntries, after.Bounds.UserEntries = 30, 30
	set := mustRun(t, after)
	s := newShop(t, mustRun(t, before), set)
	for range 25 {
		s.event("u", "View", `"x":1,"y":2`)
	}
	object := s.f.Cursor()
	sw := Switch{Seq: object.Seq, Stored: object.Stored, LogTime: object.LogTime, Accepted: object.Accepted, Features: []string{"m"}}
	m := s.next()
	m.Kind, m.Data = Control, fmt.Appendf(nil, `{"set":%q,"engine":%d,"revision":2,"switch":%s}`, set.hash, Engine, asJSON(sw))
	s.take(m)
	if n := s.ents["u:u"].size.Entries; n != 30 {
		t.Errorf("the user holds %d entries, want 30", n)
	}
}

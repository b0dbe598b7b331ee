package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"offerstream/pipeline/event"
)

// A loss is a partition before and after its log has lost what followed some message.
type loss struct {
	t      *testing.T
	s      scene
	before *posted
	after  *posted
}

// lose lets the partition live through all of it, and again through what is kept.
func lose(t *testing.T, s scene, kept, lost func(p *posted)) *loss {
	t.Helper()
	l := &loss{t, s, newPosted(t, s), newPosted(t, s)}
	kept(l.before)
	lost(l.before)
	l.after.recount = l.after.f.Recount(l.after.f.step.live.Set)
	for _, o := range l.before.sent {
		l.stored(o, true)
	}
	kept(l.after)
	l.after.offers, l.after.held = nil, nil
	return l
}

func (l *loss) stored(o Effect, own bool) {
	l.t.Helper()
	if err := l.after.recount.Stored(o.Offer.Granted(), own, o.Pos); err != nil {
		l.t.Fatal(err)
	}
}

// accept applies the acceptances, each of about size bytes, and checks what they count.
func (l *loss) accept(size int, want map[string]int, records int) {
	l.t.Helper()
	p := l.after
	all, counted := p.recount.Acceptances(Acceptance{Why: "a test"}, size)
	if p.recount = nil; !maps.Equal(counted, want) || len(all) != records {
		l.t.Errorf("%v are counted again, in %d records, want %v in %d", counted, len(all), want, records)
	}
	for _, a := range all {
		data, err := json.Marshal(a)
		if err != nil {
			l.t.Fatal(err)
		}
		p.message(Accept, data)
		p.held = p.held[1:] // the mark
	}
}

func (l *loss) spent(want float64) {
	l.t.Helper()
	h, err := l.after.f.Holdings(0, 10)
	if is := h.Budgets["a"].Spent; err != nil || is != want {
		l.t.Errorf("%g are spent, want %g, %v", is, want, err)
	}
}

func asksOf(budget string) scene {
	return scene{nil, []string{sends("a", "", `"on":["View"],"unless":{"on":["Buy"],"within":1000000000},"budget":`+budget)}}
}

// reach lets an offer go out to each of some users.
func reach(users ...string) func(p *posted) {
	return func(p *posted) {
		for _, user := range users {
			p.event(user, "View", "")
			p.tick(1)
			p.deliver(0)
		}
	}
}

// TestBudgetCountedAgain: what the lost log had granted counts again, once, however many
// acceptances there are.
func TestBudgetCountedAgain(t *testing.T) {
	l := lose(t, asksOf(`{"offers":4}`), reach("u", "v"), func(p *posted) { p.tick(500); reach("w")(p) })
	l.spent(2)
	l.accept(1<<10, map[string]int{"c:a": 1}, 1)
	l.after.to("c:a") // it stays granted
	l.after.deliver(0)
	l.spent(3)
	l.after.recount = l.after.f.Recount(nil)
	for _, o := range l.before.sent {
		l.stored(o, false)
	}
	l.accept(1<<10, map[string]int{}, 1) // the next acceptance finds nothing
	l.spent(3)
	reach("x", "y")(l.after)
	l.after.want("a x", "a", "budget:1 evaluated:4 fired:3")
}

// TestBudgetCountedTwice: an acceptance that names what an earlier one has counted, as it
// was interrupted, changes nothing; nor does one whose record is folded again.
func TestBudgetCountedTwice(t *testing.T) {
	l := lose(t, asksOf(`{"offers":4}`), reach("u"), reach("v", "w"))
	all, _ := l.after.recount.Acceptances(Acceptance{}, 1<<10)
	data, err := json.Marshal(all[0])
	if err != nil {
		t.Fatal(err)
	}
	l.after.message(Accept, data)
	l.after.message(Accept, data)
	l.spent(3)
}

// TestBudgetCountedInParts: more than one record can name is named by several.
func TestBudgetCountedInParts(t *testing.T) {
	l := lose(t, asksOf(`{"offers":9}`), reach("u"), reach("v", "w", "x"))
	l.accept(1, map[string]int{"c:a": 3}, 6) // each also stays granted
	l.spent(4)
}

// TestBudgetCountedInWindow: what has left the window, or is of an earlier day, does not
// count; the day of a grant may not have begun in what the log still has.
func TestBudgetCountedInWindow(t *testing.T) {
	l := lose(t, asksOf(`{"offers":9,"within":60000000000}`), reach("u"), reach("v", "w"))
	l.after.tick(64)
	l.accept(1<<10, map[string]int{"c:a": 1}, 1)
	l.spent(1) // w alone: u and v have left it
	day := func(p *posted) { p.tick(86_400) }
	l = lose(t, asksOf(`{"offers":3,"per_day":true}`), reach("u"), func(p *posted) { reach("v")(p); day(p); reach("w", "x")(p) })
	l.accept(1<<10, map[string]int{"c:a": 3}, 1)
	reach("y")(l.after) // its time is that of w and x
	day(l.after)
	reach("z")(l.after)
	l.after.want("a y", "a", "budget:1 evaluated:3 fired:2")
}

// TestBudgetCountedUnlessReturned: what another partition's log has of the lost grants may
// still go out, unless the log that is left has its return.
func TestBudgetCountedUnlessReturned(t *testing.T) {
	for returned, want := range map[bool]float64{false: 2, true: 1} {
		l := lose(t, asksOf(`{"offers":9}`), reach("u"), func(p *posted) {
			p.event("v", "View", "")
			p.tick(1)
			p.deliver(1)
		})
		if err := l.after.recount.Sent(l.before.held[0].Mail); err != nil {
			t.Fatal(err)
		}
		if returned {
			l.before.event("v", "Buy", "")
			l.before.deliver(1)
			m := l.before.held[0]
			m.Pos.G++ // it has come after what the log that is left has
			l.after.held = []Effect{m}
			l.after.deliver(0)
		}
		counted := map[string]int{"c:a": 1}
		if returned {
			counted = map[string]int{}
		}
		l.accept(1<<10, counted, 1)
		l.spent(want)
	}
}

// TestBudgetOut: an ask whose offer has gone out is not withdrawn where its answer is
// lost, nor is its grant returned by anything that comes later.
func TestBudgetOut(t *testing.T) {
	var answer []Effect
	kept := func(p *posted) {
		p.event("u", "View", "")
		p.tick(1)
		p.deliver(1) // it is granted, and the answer under way
		answer = p.held
		p.held = nil
	}
	l := lose(t, asksOf(`{"offers":1}`), kept, func(p *posted) { p.held = answer; p.deliver(0) })
	l.spent(1)
	l.accept(1<<10, map[string]int{}, 1)
	l.after.to("c:a") // it stays granted
	l.after.deliver(0)
	l.after.want("", "a", "evaluated:1 lost:1")
	l.after.message(From, AppendPacked(nil, Position{N: 9, S: l.after.seq, G: l.after.f.cur.Accepted}, answer[0].Mail)) // it is sent once more
	l.after.to("c:a")                                                                                                   // a return
	l.after.deliver(0)
	l.spent(1)
}

// TestBudgetCodesCountedAgain: a code that the lost log has given out is given to nobody else,
// whether the log still has its import or not.
func TestBudgetCodesCountedAgain(t *testing.T) {
	s := scene{nil, []string{`{"id":"a","on":["View"],"unless":{"on":["Buy"],"within":1000000000},"offer":{"channel":"web","kind":"service","coupon":{"pool":"spring"},"data":"{{ coupon.code }}"}}`}}
	load := func(p *posted) {
		p.message(In, event.AppendCodes(nil, "spring", []string{"A", "B", "C", "D"}, `"messageId":"1"`))
	}
	for name, c := range map[string]struct{ kept, lost func(p *posted) }{
		"its import is kept": {func(p *posted) { load(p); reach("u")(p) }, reach("v", "w")},
		"its import is lost": {func(p *posted) {}, func(p *posted) { load(p); reach("u", "v", "w")(p) }},
	} {
		l := lose(t, s, c.kept, c.lost)
		counted := len(l.before.sent) - len(l.after.sent)
		l.accept(1<<10, map[string]int{"p:spring": counted}, 1)
		l.after.deliver(0)
		load(l.after)
		reach("x", "y")(l.after)
		if got := fmt.Sprint(l.after.offers); got != `[a x  "D"]` {
			t.Errorf("%s: %s", name, got)
		}
		if is, err := l.after.f.Pool("spring"); err != nil || is != (PoolState{Imported: 4, Given: 4}) {
			t.Errorf("%s: the pool is %+v, %v", name, is, err)
		}
	}
}

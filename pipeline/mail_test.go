package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// take delivers a mail.
func (p *posted) take(e Effect) {
	p.t.Helper()
	p.message(From, AppendPacked(nil, e.Pos, e.Mail))
}

// takeLate delivers a mail of another partition, whose log has lost nothing.
func (p *posted) takeLate(e Effect) {
	p.t.Helper()
	p.seq++
	if err := p.f.Begin(Message{Seq: p.seq, Stored: int64(p.seq) * 1e9, Kind: From, From: 1, Data: AppendPacked(nil, e.Pos, e.Mail)}); err != nil {
		p.t.Fatal(err)
	}
	for more := true; more; {
		var err error
		if more, err = p.f.Next(); err != nil {
			p.t.Fatal(err)
		}
		p.held = append(p.held, p.f.Effects()...)
	}
}

// first takes the first mail that is under way out of those that are to be delivered.
func (p *posted) first() Effect {
	p.t.Helper()
	e := p.held[0]
	p.held = p.held[1:]
	return e
}

// TestMailOnce: a mail that comes again is passed over, also in a pack with others, and
// by a fold that goes on from its cursor.
func TestMailOnce(t *testing.T) {
	p := newPosted(t, scene{[]string{views}, []string{sends("a", "views", `"on":["View"],"if":["views > 0"]`)}})
	p.event("u", "View", `"p":"p1"`)
	p.event("u", "View", `"p":"p1"`)
	one, two := p.first(), p.first()
	p.take(one)
	p.take(one)
	c, err := ReadCursor(mustJSON(t, p.f.Cursor()))
	if err != nil {
		t.Fatal(err)
	}
	set := p.f.step.live.Set
	if p.f, err = NewFold(c, func(string) (*Set, error) { return set, nil }, p.ents); err != nil {
		t.Fatal(err)
	}
	p.f.Partition(0, 1)
	p.take(one)
	p.message(From, AppendPacked(AppendPacked(nil, one.Pos, one.Mail), two.Pos, two.Mail))
	p.deliver(0)
	p.offered("a u p1 2") // each view counts once
}

// offered checks the offers of a fold that has counted others before.
func (p *posted) offered(want string) {
	p.t.Helper()
	if got := strings.Join(p.offers, ", "); got != want {
		p.t.Errorf("the offers are %q, want %q", got, want)
	}
}

func mustJSON(t *testing.T, c Cursor) []byte {
	t.Helper()
	b, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestMailOfAnotherLog: the same number from another message is an error.
func TestMailOfAnotherLog(t *testing.T) {
	p := newPosted(t, scene{[]string{views}, []string{sends("a", "views", `"on":["View"],"if":["views > 0"]`)}})
	p.event("u", "View", `"p":"p1"`)
	e := p.first()
	p.take(e)
	e.Pos.T++
	p.seq++
	if err := p.f.Begin(Message{Seq: p.seq, Stored: int64(p.seq) * 1e9, Kind: From, Data: AppendPacked(nil, e.Pos, e.Mail)}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.f.Next(); err == nil || !strings.Contains(err.Error(), "log is not the one that it was") {
		t.Errorf("the error is %v", err)
	}
}

// TestReturnedOnce: a grant that was withdrawn is not given back again when it comes late
// and nothing waits for it, so that it takes no other grant's place.
func TestReturnedOnce(t *testing.T) {
	p := newPosted(t, scene{nil, []string{sends("a", "", `"on":["View"],"budget":{"offers":2}`)}})
	p.event("u", "View", "")
	p.event("v", "View", "")
	both := AppendPacked(nil, p.held[0].Pos, p.held[0].Mail)
	both = AppendPacked(both, p.held[1].Pos, p.held[1].Mail)
	p.held = p.held[2:]
	p.message(From, both) // granted at one time
	late, granted := p.first(), p.first()
	p.take(granted)
	p.want("a v", "a", "evaluated:2 fired:1 pending:1")
	p.message(Accept, []byte(`{"chains":{},"why":"a disk"}`)) // u's ask ends, and is withdrawn
	p.deliver(0)
	p.takeLate(late)
	p.to("c:a")
	p.deliver(0)
	for _, user := range []string{"w", "x"} {
		p.event(user, "View", "")
		p.deliver(0)
	}
	p.want("a w", "a", "budget:1 evaluated:4 fired:2 lost:1")
}

// TestMergeStray: a record that no claim waits for is dropped: what is pending ends, and
// items are told.
func TestMergeStray(t *testing.T) {
	p := newPosted(t, scene{[]string{watchers}, []string{sends("a", "", `"on":["Price"],"users":"watchers"`), sends("b", "", `"on":["View"],"unless":{"on":["Buy"],"within":60000000000}`)}})
	p.event("~v", "Watch", `"p":"p1"`)
	p.event("~v", "View", "")
	p.identify("u", "v")
	p.deliver(2)
	p.message(Accept, []byte(`{"chains":{},"why":"a disk"}`)) // the claim ends
	record := p.first()
	p.deliver(0)
	p.takeLate(record)
	p.to("i:product:p1")
	p.deliver(0)
	p.message(In, itemEvent("p1", "Price", "", 1))
	p.to("")
	p.tick(100)
	p.want("", "b", "cancelled:1 evaluated:1")
	if n := p.f.Strays(); n != 1 {
		t.Errorf("%d mails have come that nothing waited for, want 1", n)
	}
}

// TestRenamedForgotten: an item remembers a visitor who became a user until all has come
// that the visitor had sent before.
func TestRenamedForgotten(t *testing.T) {
	p := newPosted(t, scene{[]string{watchers}, []string{sends("a", "", `"on":["Price"],"users":"watchers"`)}})
	p.event("~v", "Watch", `"p":"p1"`)
	p.identify("u", "v")
	p.deliver(0)
	key := event.ItemKey("product", "p1")
	if at := decoded(t, p.ents)[key].renamed; len(at) != 1 || at[0].at == (Position{}) {
		t.Errorf("it remembers %+v", at)
	}
	p.event("w", "Watch", `"p":"p1"`)
	p.deliver(0)
	if at := p.ents[key].renamed; len(at) != 0 {
		t.Errorf("it remembers %+v, though all has come", at)
	}
}

// TestMailPoison: a mail that cannot be applied becomes a dead letter of its step, and
// the mails behind it in the pack are applied.
func TestMailPoison(t *testing.T) {
	p := newPosted(t, scene{[]string{views}, []string{sends("a", "views", `"on":["View"],"if":["views > 0"]`)}})
	p.event("u", "View", `"p":"p1"`)
	p.event("v", "View", `"p":"p1"`)
	bad, good := p.first(), p.first()
	bad.Mail = bad.Mail[:len(bad.Mail)-1]
	m := Message{Seq: p.seq + 1, Stored: int64(p.seq+1) * 1e9, Kind: From, Data: AppendPacked(AppendPacked(nil, bad.Pos, bad.Mail), good.Pos, good.Mail)}
	step, died := StepID{}, false
	func() {
		defer func() { died = recover() != nil }()
		if err := p.f.Begin(m); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			more, _ = p.f.Next()
		}
	}()
	if step = p.f.StepID(); !died || step.Seq != m.Seq || step.Within != 0 {
		t.Fatalf("it has failed: %v, in %+v", died, step)
	}
	set, cursor := p.f.step.live.Set, p.f.Cursor()
	cursor.Within, cursor.Partly = 0, 0
	var err error
	if p.f, err = NewFold(cursor, func(string) (*Set, error) { return set, nil }, decoded(t, p.ents)); err != nil {
		t.Fatal(err)
	}
	p.f.Partition(0, 1)
	p.f.Guard(step)
	p.seq++
	if err := p.f.Begin(m); err != nil {
		t.Fatal(err)
	}
	dead := 0
	for more := true; more; {
		if more, err = p.f.Next(); err != nil {
			t.Fatal(err)
		}
		for _, e := range p.f.Effects() {
			if e.Dead != nil {
				dead++
			} else if e.Mail != nil {
				p.held = append(p.held, e)
			}
		}
	}
	p.to("u:v")
	p.deliver(0)
	if dead != 1 {
		t.Errorf("%d dead letters, want 1", dead)
	}
	p.offered("a v p1 1")
}

// TestMailAfterAcceptance: mails since an acceptance come after all from before it, though
// they may be from earlier messages; late ones from before it are passed over.
func TestMailAfterAcceptance(t *testing.T) {
	p := newPosted(t, scene{[]string{views}, []string{sends("a", "views", `"on":["View"],"if":["views > 0"]`)}})
	for _, user := range []string{"u", "v", "w"} {
		p.event(user, "View", `"p":"p1"`)
	}
	one, two, three := p.first(), p.first(), p.first()
	p.takeLate(three)
	one.Pos = Position{N: 1, S: 1, T: 7e9, G: 6e9}
	p.takeLate(one)
	p.takeLate(two)
	p.deliver(0)
	p.want("a w p1 1, a u p1 2", "a", "evaluated:3 fired:2 pending:1")
}

// TestGrantHeld: what is held when its grant comes gives it back, and asks again when it is
// released.
func TestGrantHeld(t *testing.T) {
	def := scene{nil, []string{sends("a", "", `"on":["View"],"budget":{"offers":1}`)}}.withItems(t, campaign.ClockBroker)
	def.Quiet = &campaign.QuietHours{Channels: []string{def.Campaigns[0].Offer.Channel}, From: 1, To: 2}
	def.Campaigns[0].Offer.Kind = campaign.Advertising
	p := newPostedOf(t, mustRun(t, def))
	p.tick(50)
	p.event("u", "View", "")
	p.deliver(1)
	p.tick(20) // the quiet hours have begun
	p.deliver(1)
	p.to("c:a") // given back
	p.deliver(0)
	p.tick(60)
	p.to("c:a")
	p.deliver(0)
	p.want("a u", "a", "evaluated:1 fired:1")
}

// TestMark: the mark of a partition that has lost mails ends what waits for it, and what
// waits for another and has come with one of its visitors, to whom the answer goes.
func TestMark(t *testing.T) {
	set := mustRun(t, scene{[]string{views}, []string{sends("a", "views", `"on":["View"],"if":["views > 0"]`)}}.withItems(t, campaign.ClockBroker))
	in := func(p int, kind string) (id string) { // of that partition
		for i := 0; ; i++ {
			if id = fmt.Sprint("x", i); event.Partition(kind+id, 2) == p {
				return id
			}
		}
	}
	u, v := in(0, "u:"), in(1, "a:")
	for item, viewer := range map[string]string{in(1, "i:product:"): `"userId":"` + u, in(0, "i:product:"): `"anonymousId":"` + v} {
		s := newParted(t, 2, set)
		for p := range s.parts {
			s.parts[p].take(s.message(p, Tick, []byte("{}")).live(set, 1))
		}
		key := map[bool]string{true: "u:" + u, false: "a:" + v}[strings.HasPrefix(viewer, `"userId`)]
		s.event(fmt.Appendf(nil, `{"type":"track","event":"View",%s","messageId":"m","properties":{"p":%q}}`, viewer, item), key)
		s.parts[0].mails, s.parts[1].mails = nil, nil // lost
		s.event(fmt.Appendf(nil, `{"type":"identify","userId":%q,"anonymousId":%q,"messageId":"login","traits":{}}`, u, v), "u:"+u)
		s.settle()
		if !s.parts[0].ents["u:"+u].anyWaits(func(*pending) bool { return true }) {
			t.Fatalf("%s: the user waits for nothing", key)
		}
		s.parts[1].take(s.message(1, Accept, []byte(`{"chains":{},"why":"a disk"}`)))
		s.settle()
		if counts, _ := s.parts[0].f.Counts(); counts["a"].Ended[Lost] != 1 {
			t.Errorf("%s: %v", key, outcomesOf(counts["a"]))
		}
	}
}

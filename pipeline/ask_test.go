package pipeline

import "testing"

const (
	views  = `{"name":"views","per":"product","on":["View"],"agg":"count"}`
	buyers = `{"name":"buyers","per":"product","on":["View"],"agg":"distinct","of":"event.user"}`
	two    = `"products":[{"p":"p2"},{"p":"p1"},{"p":"p2"}]`
)

// TestFeedOrder: the mails of a step go out in the order of rule 20: budgets, then
// items by first appearance, then claims; each item gets one, with all that the event
// has for it.
func TestFeedOrder(t *testing.T) {
	p := newPosted(t, scene{[]string{views, buyers}, []string{sends("a", "", `"on":["View"],"budget":{"offers":1}`)}})
	p.event("u", "View", two)
	p.to("c:a i:product:p2 i:product:p1")
	p.message(In, []byte(`{"type":"alias","userId":"u","previousId":"v","messageId":"x"}`))
	p.to("c:a i:product:p2 i:product:p1 a:v")
	p.deliver(0)
	p.event("u", "View", `"q":"p1"`)
	p.event("u", "View", `"p":null`)
	p.to("c:a c:a")
}

// TestAsk: one evaluation for each different key, in order; the values are those that
// the item has with this event, and those of before.x without it; `if` of what needs no
// item is judged at the event, and an event without an item is one evaluation.
func TestAsk(t *testing.T) {
	p := newPosted(t, scene{[]string{views, countViews}, []string{sends("a", "[views, before.views, n]", `"on":["View"],"if":["n < 4","views > 1"]`)}})
	p.event("u", "View", two)
	p.want("", "a", "evaluated:2 pending:2")
	p.deliver(0)
	p.want("a u p2 [2,0,1]", "a", "condition:1 evaluated:2 fired:1")
	p.event("v", "View", `"p":"p1"`)
	p.deliver(1)
	p.event("w", "View", `"p":"p1"`)
	p.deliver(0)
	p.want("a v p1 [2,1,1], a w p1 [3,2,1]", "a", "condition:1 evaluated:4 fired:3")
	p.event("u", "View", `"q":"p1"`)
	p.want("", "a", "condition:2 evaluated:5 fired:3")
	p.event("u", "View", `"p":"p9"`)
	p.event("u", "View", two) // n is 4
	p.want("", "a", "condition:3 evaluated:7 fired:3 pending:1")
	p.to("i:product:p9 i:product:p2 i:product:p1")
}

// TestAskStands: an ask stands beside the absence of its key, which only an answer for
// which `if` holds takes the place of; an ask is superseded only by an ask.
func TestAskStands(t *testing.T) {
	const waits = `"on":["View"],"if":["views != 2"],"unless":{"on":["Buy"],"within":60000000000}`
	p := newPosted(t, scene{[]string{views}, []string{sends("a", "views", waits)}})
	p.event("u", "View", `"p":"p1"`)
	p.deliver(0)
	p.event("u", "View", `"p":"p1"`)
	p.want("", "a", "evaluated:2 pending:2")
	p.deliver(0)
	p.want("", "a", "condition:1 evaluated:2 pending:1")
	p.event("u", "View", `"p":"p1"`)
	p.event("u", "View", `"p":"p1"`)
	p.want("", "a", "condition:1 evaluated:4 pending:2 superseded:1")
	p.deliver(0) // one of the two answers finds nothing that waits
	p.want("", "a", "condition:1 evaluated:4 pending:1 superseded:2")
	if n := p.f.Strays(); n != 1 {
		t.Errorf("%d answers found nothing, want 1", n)
	}
	p.event("u", "Buy", ``)
	p.want("", "a", "cancelled:1 condition:1 evaluated:4 superseded:2")
}

// TestAskCancelled: an event of `unless` cancels asks, and one that is a trigger too
// cancels what was pending, and then asks.
func TestAskCancelled(t *testing.T) {
	p := newPosted(t, scene{[]string{views}, []string{sends("a", "views", `"on":["View","Buy"],"if":["views >= 0"],"unless":{"on":["Buy"],"match":"p","within":60000000000}`)}})
	p.event("u", "View", two)
	p.event("u", "Buy", `"p":"p1"`)
	p.want("", "a", "cancelled:1 evaluated:3 pending:2")
	p.deliver(0)
	p.want("", "a", "cancelled:1 evaluated:3 pending:2")
	p.tick(61)
	p.want("a u p2 2, a u p1 1", "a", "cancelled:1 evaluated:3 fired:2")
}

// TestAskChoice: the answers of one item to one event are one step with its own choice,
// apart from that of the event.
func TestAskChoice(t *testing.T) {
	on := func(id, channel, rest string) string {
		return `{"id":"` + id + `","on":["View"],"offer":{"channel":"` + channel + `","kind":"service"}` + rest + `}`
	}
	p := newPosted(t, scene{[]string{views}, []string{on("a", "web", `,"if":["views > 0"]`), on("b", "web", `,"if":["views > 0"],"priority":2`), on("c", "web", "")}})
	p.event("u", "View", two)
	p.want("c u", "c", "evaluated:1 fired:1")
	p.deliver(0)
	p.want("b u p2, b u p1", "a", "evaluated:2 outranked:2")
}

// TestAskForget: who waits for an answer is not forgotten; a question neither makes an
// item nor renews one.
func TestAskForget(t *testing.T) {
	s := scene{[]string{`{"name":"bought","per":"product","on":["Buy"],"agg":"count"}`}, []string{sends("a", "bought", `"on":["View"],"if":["bought >= 0"]`)}}
	p := newPosted(t, s)
	p.event("u", "View", `"p":"p1"`)
	p.deliver(0)
	p.want("a u p1 0", "a", "evaluated:1 fired:1")
	if e := p.ents["i:product:p1"]; e != nil && !e.Empty() {
		t.Error("a question has made an item")
	}
	p.event("u", "Buy", `"p":"p1"`)
	p.deliver(0)
	const forget = 1095 * 24 * 3600
	p.tick(forget - 60)
	p.event("u", "View", `"p":"p1"`)
	p.deliver(0)
	p.want("a u p1 1", "a", "evaluated:2 fired:2")
	p.tick(60)
	p.event("u", "View", `"p":"p1"`)
	p.deliver(0)
	p.want("a u p1 0", "a", "evaluated:3 fired:3")
}

// TestAskKeeps: who waits for an answer is not forgotten, however long that takes.
func TestAskKeeps(t *testing.T) {
	p := newPosted(t, scene{[]string{`{"name":"bought","per":"product","on":["Buy"],"agg":"count"}`, countViews}, []string{sends("a", "[bought, n]", `"on":["View"],"if":["bought >= 0"]`)}})
	p.event("u", "View", `"p":"p1"`)
	p.tick(1095 * 24 * 3600) // forget.known
	p.event("u", "View", `"p":"p2"`)
	p.deliver(0)
	p.want("a u p1 [0,2], a u p2 [0,2]", "a", "evaluated:2 fired:2")
}

// TestLost: an acceptance ends all that waits for an answer, and a mark what waits for
// the partition that sends it.
func TestLost(t *testing.T) {
	p := newPosted(t, scene{[]string{views}, []string{sends("a", "views", `"on":["View"],"if":["views > 0"]`), sends("b", "", `"on":["Put"],"budget":{"offers":1}`)}})
	p.event("u", "View", `"p":"p1"`)
	p.event("u", "Put", ``)
	p.held = nil // lost
	p.message(Accept, []byte(`{"chains":{},"why":"a disk"}`))
	p.want("", "a", "evaluated:1 lost:1")
	p.want("", "b", "evaluated:1 lost:1")
	if e := p.held[0]; e.Pos.N != 0 || e.Pos.G != int64(p.seq)*1e9 {
		t.Errorf("the mark is at %+v", e.Pos)
	}
	p.to(" c:b") // the mark, and a withdrawal
	p.deliver(0)
	p.event("u", "View", `"p":"p1"`)
	if at := p.held[0].Pos; at.N != 2 || at.G == 0 {
		t.Errorf("after an acceptance a mail is at %+v", at)
	}
	p.deliver(0)
	p.want("a u p1 1", "a", "evaluated:2 fired:1 lost:1")
}

// TestAskDwell: each key waits for dwell by itself.
func TestAskDwell(t *testing.T) {
	p := newPosted(t, scene{[]string{views, looking}, []string{`{"id":"a","on":["View"],"if":["views > 0","looking >= duration(\"60s\")"],"offer":{"channel":"web","kind":"service","data":"{{ views }}"},"limits":[{"max":9}]}`}})
	p.event("u", "View", two)
	p.deliver(0)
	p.want("", "a", "evaluated:2 pending:2")
	p.tick(61)
	p.want("a u p1 1", "a", "evaluated:2 fired:1 outranked:1") // one channel
}

package pipeline

import (
	"fmt"
	"testing"

	"offerstream/pipeline/campaign"
)

// TestMerge: what the visitor did counts for the user once the record is there; the
// identify's own triggers do not see it, and the union triggers nothing.
func TestMerge(t *testing.T) {
	p := newPosted(t, scene{[]string{countViews}, []string{sends("a", "n", `"on":["View","identify"],"limits":[{"max":5}]`)}})
	p.event("~v", "View", "")
	p.event("~v", "View", "")
	p.event("u", "View", "")
	p.want("a v  1, a v  2, a u  1", "a", "evaluated:3 fired:3")
	p.identify("u", "v")
	p.to("a:v")
	p.event("u", "View", "") // the record is not there yet
	p.want("a u  1, a u  2", "a", "evaluated:5 fired:5")
	p.deliver(0)
	p.event("u", "View", "") // 5 went out to both
	p.want("", "a", "evaluated:6 fired:5 limit:1")
	if n := p.ents["u:u"].seq; n != 6 {
		t.Errorf("the user has %d events, want those of both", n)
	}
}

// TestForward: what comes for the visitor from then on is the user's, and proves
// nothing; one id counts once.
func TestForward(t *testing.T) {
	p := newPosted(t, scene{[]string{countViews}, []string{sends("a", "n", `"on":["View"]`)}})
	p.event("~v", "View", "")
	p.identify("u", "v")
	p.deliver(1) // the visitor has given its record, which is under way
	p.event("~v", "View", "")
	p.to("u:u u:u")
	p.deliver(0)
	p.want("a v  1, a u  2", "a", "evaluated:2 fired:2")
	again := fmt.Appendf(nil, `{"type":"track","event":"View","anonymousId":"v","messageId":"same","properties":{}}`)
	p.message(In, again)
	p.message(In, again)
	p.deliver(0)
	p.want("a u  3", "a", "evaluated:3 fired:3")
	if n := p.f.Duplicates(); n != 1 {
		t.Errorf("%d duplicates, want 1", n)
	}
}

// TestClaimOnce: of two users who claim one visitor the first gets it; an alias that
// comes twice, junk ids, what has no proof, and a visitor's id beside a user's claim
// nothing.
func TestClaimOnce(t *testing.T) {
	p := newPosted(t, scene{[]string{countViews}, []string{sends("a", "n", `"on":["View"]`)}})
	p.event("~v", "View", "")
	p.identify("u", "v")
	p.identify("w", "v")
	p.identify("u", "v") // it waits for an answer already
	p.to("a:v a:v")
	p.deliver(0)
	p.event("u", "View", "")
	p.event("w", "View", "")
	p.want("a v  1, a u  2, a w  1", "a", "evaluated:3 fired:3")
	if n := p.f.RefusedClaims(); n != 1 {
		t.Errorf("%d claims were refused, want 1", n)
	}
	for key, e := range p.ents {
		if len(e.claims) > 0 {
			t.Errorf("%s waits for answers to %+v, though all have come", key, e.claims)
		}
	}
	for i, raw := range []string{
		`"type":"identify","userId":"w","anonymousId":"undefined","traits":{}`,
		`"type":"identify","userId":"w","anonymousId":"x","traits":{},"proof":"none"`,
		`"type":"track","event":"View","userId":"w","anonymousId":"x","properties":{}`,
	} {
		p.message(In, fmt.Appendf(nil, `{%s,"messageId":"r%d"}`, raw, i))
	}
	p.to("")
	p.message(In, []byte(`{"type":"alias","userId":"w","previousId":"x","messageId":"y"}`))
	p.to("a:x")
}

// TestMergePending: what waits for the visitor waits for the user; of two with one
// campaign and key that one stays whose event came later.
func TestMergePending(t *testing.T) {
	p := newPosted(t, scene{nil, []string{sends("a", "event.properties.v", `"on":["View"],"unless":{"on":["Buy"],"match":"p","within":60000000000}`)}})
	p.event("~v", "View", `"p":"1","v":"visitor"`)
	p.event("u", "View", `"p":"1","v":"user"`)
	p.event("~v", "View", `"p":"2","v":"visitor"`)
	p.event("~v", "View", `"p":"3","v":"visitor"`)
	p.identify("u", "v")
	p.deliver(0)
	p.want("", "a", "evaluated:4 pending:3 superseded:1")
	p.event("u", "Buy", `"p":"3"`)
	p.tick(70)
	p.want(`a u 1 "user", a u 2 "visitor"`, "a", "cancelled:1 evaluated:4 fired:2 superseded:1")
}

// TestMergeAsks: an answer that comes for the visitor goes on to the user.
func TestMergeAsks(t *testing.T) {
	p := newPosted(t, scene{[]string{views}, []string{sends("a", "views", `"on":["View"],"if":["views > 0"]`)}})
	p.event("~v", "View", `"p":"p1"`)
	p.identify("u", "v")
	p.to("i:product:p1 a:v")
	p.deliver(0)
	p.want("a u p1 1", "a", "evaluated:1 fired:1")
}

// TestMergeLists: the items whose lists hold the visitor hold the user after it, once,
// and pass over what the visitor sent before its record.
func TestMergeLists(t *testing.T) {
	p := newPosted(t, scene{[]string{watchers}, []string{sends("a", "", `"on":["Price"],"users":"watchers"`)}})
	p.event("~v", "Watch", `"p":"p1"`)
	p.event("~v", "Watch", `"p":"p2"`)
	p.event("u", "Watch", `"p":"p2"`)
	p.identify("u", "v")
	p.deliver(0)
	for i, id := range []string{"p1", "p2"} {
		p.message(In, itemEvent(id, "Price", "", i))
		p.to("u:u")
		p.deliver(0)
	}
	p.want("a u p1, a u p2", "a", "evaluated:2 fired:2")
	p.event("~v", "Unwatch", `"p":"p1"`)
	p.deliver(0)
	p.message(In, itemEvent("p1", "Price", "", 9))
	p.to("")
}

// TestMergeForget: a visitor who became a user is new again when nothing has come for
// it for as long as visitors are remembered; what came for it in between counts.
func TestMergeForget(t *testing.T) {
	s := scene{[]string{countViews}, []string{sends("a", "n", `"on":["View"]`)}}
	p := newPosted(t, s)
	p.event("~v", "View", "")
	p.identify("u", "v")
	p.deliver(0)
	const day = 24 * 3600
	p.tick(80 * day)
	p.event("~v", "View", "")
	p.deliver(0)
	p.tick(80 * day)
	p.event("~v", "View", "")
	p.deliver(0)
	p.tick(91 * day)
	p.event("~v", "View", "")
	p.to("")
	p.want("a v  1, a u  2, a u  3, a v  1", "a", "evaluated:4 fired:4")
	p.identify("w", "v") // it belongs to nobody now
	p.deliver(0)
	p.event("w", "View", "")
	p.want("a w  2", "a", "evaluated:5 fired:5")
}

// TestMergeOtherwise: what the visitor has asked under the set before ends with the merge
// where the campaign reads something else now: no answer would be the right one.
func TestMergeOtherwise(t *testing.T) {
	reads := func(name string) *Set {
		s := scene{[]string{views, buyers}, []string{sends("a", name, `"on":["View"],"if":["`+name+` > 0"]`)}}
		return mustRun(t, s.withItems(t, campaign.ClockBroker))
	}
	old, now := reads("views"), reads("buyers")
	p := newPostedOf(t, old, now)
	p.event("~v", "View", `"p":"p1"`)
	p.held = nil // the answer is late
	p.identify("u", "v")
	p.deliver(1)
	p.control(now)
	p.deliver(0)
	p.want("", "a", "cancelled:1 evaluated:1")
}

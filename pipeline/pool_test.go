package pipeline

import (
	"fmt"
	"testing"

	"offerstream/pipeline/event"
)

// TestPool: codes go out in the order of their import, each once; one that is returned
// goes out again after all others; without a code the outcome is budget.
func TestPool(t *testing.T) {
	p := newPosted(t, scene{nil, []string{`{"id":"a","on":["View"],"unless":{"on":["Buy"],"within":1000000000},"offer":{"channel":"web","kind":"service","coupon":{"pool":"spring"},"data":"{{ coupon.code }}"}}`}})
	asks := func(user string) {
		p.event(user, "View", "")
		p.tick(1)
	}
	asks("u")
	p.to("p:spring")
	p.deliver(0)
	p.want("", "a", "budget:1 evaluated:1")
	load := func(id string, codes ...string) {
		p.message(In, event.AppendCodes(nil, "spring", codes, fmt.Sprintf(`"messageId":%q`, id)))
	}
	load("1", "A", "B")
	load("2", "C")
	load("2", "C") // a retry
	if is, err := p.f.Pool("spring"); err != nil || is != (PoolState{Imported: 3, Left: 3}) {
		t.Errorf("the pool is %+v, %v", is, err)
	}
	asks("u")
	p.deliver(1)
	p.event("u", "Buy", "") // A is granted to nothing that waits
	p.deliver(0)
	asks("u")
	p.deliver(0)
	p.want(`a u  "B"`, "a", "budget:1 cancelled:1 evaluated:3 fired:1")
	for range 3 {
		asks("v")
		p.deliver(0)
	}
	p.want(`a v  "C", a v  "A"`, "a", "budget:2 cancelled:1 evaluated:6 fired:3")
	if is, err := p.f.Pool("spring"); err != nil || is != (PoolState{Imported: 3, Given: 3}) {
		t.Errorf("the pool is %+v, %v", is, err)
	}
}

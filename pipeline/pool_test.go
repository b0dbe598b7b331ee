package pipeline

import (
	"fmt"
	"testing"

	"offerstream/pipeline/event"
)

// TestPool: codes go out in the order of their import, each once; one that is returned
// goes out again after all others; without a code the outcome is budget.
func TestPool(t *testing.T) {
	p := newPosted(t, scene{nil, []string{`{"id":"a","on":["View"],"offer":{"channel":"web","kind":"service","coupon":{"pool":"spring"},"data":"{{ coupon.code }}"}}`}})
	p.event("u", "View", "")
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
	p.event("u", "View", "")
	p.deliver(1)
	p.event("u", "View", "") // A is granted to nothing that waits
	p.deliver(0)
	p.want(`a u  "B"`, "a", "budget:1 evaluated:3 fired:1 superseded:1")
	for range 3 {
		p.event("v", "View", "")
		p.deliver(0)
	}
	p.want(`a v  "C", a v  "A"`, "a", "budget:2 evaluated:6 fired:3 superseded:1")
	if is, err := p.f.Pool("spring"); err != nil || is != (PoolState{Imported: 3, Given: 3}) {
		t.Errorf("the pool is %+v, %v", is, err)
	}
}

package pipeline

import (
	"fmt"
	"testing"
)

// TestBudget: grants are given in the order of the budget's log, exactly as many as it
// has; the winner of a channel keeps it for the step, and a refusal lets nobody in; a
// grant is a step of its own, in which templates are evaluated.
func TestBudget(t *testing.T) {
	on := func(id, rest string) string {
		return fmt.Sprintf(`{"id":%q,"on":["View"],"offer":{"channel":"web","kind":"service","data":"{{ n }}"}%s}`, id, rest)
	}
	p := newPosted(t, scene{[]string{countViews}, []string{on("a", `,"priority":2,"budget":{"offers":2}`), on("b", "")}})
	for i := range 3 {
		p.event(fmt.Sprint("u", i), "View", "")
	}
	p.want("", "a", "evaluated:3 pending:3")
	p.want("", "b", "evaluated:3 outranked:3")
	p.event("u1", "View", "") // asks once more: every request counts for itself
	p.deliver(0)
	p.want("a u0  1, a u1  2", "a", "budget:2 evaluated:4 fired:2")
	p.event("u2", "View", "")
	p.deliver(0)
	p.want("", "a", "budget:3 evaluated:5 fired:2")
}

// TestBudgetReturns: a grant that nothing waits for is returned, and so is one whose
// offer cannot go out then; what is returned is granted again, but to nobody who was
// refused.
func TestBudgetReturns(t *testing.T) {
	p := newPosted(t, scene{nil, []string{sends("a", "", `"on":["View"],"unless":{"on":["Buy"],"within":1000000000},"budget":{"offers":1},"limits":[{"max":1}]`)}})
	p.event("u", "View", "")
	p.tick(1) // u asks
	p.deliver(1)
	p.to("u:u") // a grant
	p.event("u", "Buy", "")
	p.want("", "a", "cancelled:1 evaluated:1")
	p.event("v", "View", "")
	p.tick(1) // v asks before the return has come
	p.deliver(0)
	p.want("", "a", "budget:1 cancelled:1 evaluated:2")
	p.event("u", "View", "")
	p.tick(1)
	p.event("u", "View", "")
	p.tick(1)
	p.deliver(0) // both requests are granted one after the other; the second offer is one too many for u
	p.want("a u", "a", "budget:2 cancelled:1 evaluated:4 fired:1")
	p.event("u", "View", "") // asks nothing: its limit is reached
	p.tick(1)
	p.want("", "a", "budget:2 cancelled:1 evaluated:5 fired:1 limit:1")
	p.to("")
}

// TestBudgetWindow: the sum is that of (now - W, now] by the times of grants; a return
// belongs to the time of its grant.
func TestBudgetWindow(t *testing.T) {
	p := newPosted(t, scene{nil, []string{sends("a", "", `"on":["View"],"budget":{"value":10,"of":"event.properties.v","within":100000000000}`)}})
	want := func(user, v, outcomes string) {
		p.event(user, "View", `"v":`+v)
		p.deliver(0)
		p.want(map[bool]string{true: "a " + user}[outcomes[0] == '+'], "a", outcomes[1:])
	}
	want("u", "6.5", "+evaluated:1 fired:1") // granted at 2 s
	want("v", "4", "-budget:1 evaluated:2 fired:1")
	want("w", "3.5", "+budget:1 evaluated:3 fired:2")
	want("x", "-1", "-budget:1 error:1 errors:1 evaluated:4 fired:2")
	want("y", `"1"`, "-budget:1 error:2 errors:2 evaluated:5 fired:2")
	want("z", "0", "+budget:1 error:2 errors:2 evaluated:6 fired:3")
	p.tick(85)
	want("v", "6.5", "-budget:2 error:2 errors:2 evaluated:7 fired:3")
	p.tick(3)
	want("v", "6.5", "+budget:2 error:2 errors:2 evaluated:8 fired:4")
}

// TestBudgetWithheld: an offer that is withheld asks nothing.
func TestBudgetWithheld(t *testing.T) {
	p := newPosted(t, scene{nil, []string{sends("a", "", `"on":["View"],"holdout":10000,"budget":{"offers":1}`)}})
	p.event("u", "View", "")
	p.to("")
	p.want("a u", "a", "evaluated:1 withheld:1")
}

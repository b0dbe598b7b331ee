package pipeline

import (
	"testing"

	"offerstream/pipeline/campaign"
)

// granted are a set with a campaign that asks its budget and then a pool, and one without
// it.
func granted(t *testing.T) (with, without *Set) {
	gift := `{"id":"gift","on":["View"],"unless":{"on":["Buy"],"within":1000000000},"offer":{"channel":"gift","kind":"service","coupon":{"pool":"spring"}},"budget":{"offers":1}}`
	return mustRun(t, scene{nil, []string{gift}}.withItems(t, campaign.ClockBroker)), mustRun(t, scene{nil, []string{sends("b", "", `"on":["Put"]`)}}.withItems(t, campaign.ClockBroker))
}

// TestGrantEnds: what has one of its grants and waits for the other gives it back when it
// ends: by an event, by a set without it, also where the user's next step is a mail with an
// event of a visitor, and by a switch.
func TestGrantEnds(t *testing.T) {
	with, without := granted(t)
	begin := func() *posted {
		p := newPostedOf(t, with, without)
		p.identify("u", "v")
		p.deliver(0)
		p.event("u", "View", "")
		p.tick(2)
		p.to("c:gift")
		p.deliver(2) // the grant
		p.to("p:spring")
		p.held = nil // no code comes
		return p
	}
	p := begin()
	p.event("u", "Buy", "")
	p.to("c:gift")

	p = begin()
	p.control(without)
	p.event("u", "Put", "")
	p.to("c:gift")

	p = begin()
	p.control(without)
	p.event("~v", "Put", "")
	p.deliver(1)
	p.to("c:gift")
}

// deliver delivers the next mail.
func (s *shop) deliver() {
	s.t.Helper()
	e := s.mails[0]
	s.mails = s.mails[1:]
	m := s.next()
	m.Kind, m.Data = From, AppendPacked(nil, e.Pos, e.Mail)
	s.take(m)
}

// TestSwitchReturns: what a switch cancels gives its grants back with the user's next step.
func TestSwitchReturns(t *testing.T) {
	with, without := granted(t)
	s := newShop(t, with, without)
	s.f.Partition(0, 1)
	s.event("u", "View", "")
	s.ticks(5)
	for range 2 { // the grant comes
		s.deliver()
	}
	s.mails = nil // no code comes
	s.toSwitch(without, 0, 2, "drop", nil)
	s.event("u", "Put", "")
	if len(s.mails) != 1 {
		t.Fatalf("%d mails, want one that returns the grant", len(s.mails))
	}
	if to, err := MailTo(s.mails[0].Mail); to != "c:gift" || err != nil {
		t.Errorf("a mail goes to %s, %v", to, err)
	}
}

// TestSwitchAsks: what waits for an answer in the state with which a backfill begins does
// not wait again from the switch on: the second state gets no answers.
func TestSwitchAsks(t *testing.T) {
	gift := `{"id":"gift","on":["View"],"offer":{"channel":"gift","kind":"service","coupon":{"pool":"spring"}}}`
	before := mustRun(t, scene{nil, []string{gift}}.withItems(t, campaign.ClockBroker))
	n := mustRun(t, scene{nil, []string{gift, sends("b", "", `"on":["Put"]`)}}.withItems(t, campaign.ClockBroker))
	s := newShop(t, before, n)
	s.f.Partition(0, 1)
	s.event("u", "View", "")
	s.keep()
	from := s.seq
	for range 2 { // there is no code
		s.deliver()
	}
	s.toSwitch(n, from, 2, "now", nil)
	if counts, _ := s.f.Counts(); counts["gift"].Evaluated != 1 || counts["gift"].Ended[OverBudget] != 1 {
		t.Errorf("%v", outcomesOf(counts["gift"]))
	}
}

package pipeline

import (
	"fmt"
	"strings"
	"testing"
)

const watchers = `{"name":"watchers","per":"product","on":["Watch"],"agg":"users","keep":5000,"remove_on":["Unwatch"]}`

func itemEvent(id, name, props string, n int) []byte {
	return fmt.Appendf(nil, `{"type":"item","kind":"product","id":%q,"event":%q,"messageId":"i%d","properties":{%s}}`, id, name, n, props)
}

// TestTo: the list is read after the event; where `if` holds each user in it goes on in
// a step of its own, with its own state, in the order of the list; false, or nobody in
// the list, is one evaluation.
func TestTo(t *testing.T) {
	p := newPosted(t, scene{[]string{watchers, countViews, `{"name":"price","per":"product","on":["Price"],"agg":"last","of":"event.properties.price"}`},
		[]string{sends("a", "[price, n]", `"on":["Price"],"if":["price < 10"],"users":"watchers","limits":[{"max":1}]`)}})
	price := func(price int) { p.message(In, itemEvent("p1", "Price", fmt.Sprint(`"price":`, price), price)) }
	price(1)
	p.want("", "a", "condition:1 evaluated:1")
	for _, user := range []string{"u", "v", "~w", "u"} { // u is the latest
		p.event(user, "Watch", `"p":"p1"`)
	}
	p.event("u", "View", ``)
	p.deliver(0)
	price(11)
	p.want("", "a", "condition:2 evaluated:2")
	price(2)
	p.to("u:v a:w u:u")
	p.want("", "a", "condition:2 evaluated:2")
	p.event("u", "View", ``) // before the mail reaches u
	p.deliver(0)
	p.want("a v p1 [2,0], a w p1 [2,0], a u p1 [2,2]", "a", "condition:2 evaluated:5 fired:3")
	p.event("v", "Unwatch", `"p":"p1"`)
	p.deliver(0)
	price(3)
	p.deliver(0)
	p.want("", "a", "condition:2 evaluated:7 fired:3 limit:2")
	price(3) // a duplicate
	p.to("")
}

// TestToTrack: a track event goes to the watchers of each different key once, and feeds
// the list before that; an event about an item starts nothing else and feeds no user.
func TestToTrack(t *testing.T) {
	p := newPosted(t, scene{[]string{watchers, `{"name":"n","on":["Watch"],"agg":"count"}`},
		[]string{sends("a", "", `"on":["Watch"],"where":"event.properties.loud","users":"watchers"`), sends("b", "n", `"on":["Watch"]`)}})
	p.event("u", "Watch", `"loud":true,`+two)
	p.deliver(0)
	p.want("b u  1, a u p2, a u p1", "a", "evaluated:2 fired:2")
	p.event("v", "Watch", `"loud":false,"p":"p1"`)
	p.deliver(0)
	p.want("b v  1", "a", "evaluated:2 fired:2")
	p.message(In, itemEvent("p1", "Watch", `"loud":true`, 1))
	p.deliver(0)
	p.want("a u p1, a v p1", "b", "evaluated:2 fired:2")
	p.event("w", "Watch", `"loud":true`) // names no item
	p.want("b w  1", "a", "condition:1 evaluated:5 fired:4")
	p.message(In, []byte(`{"type":"item","kind":"shop","id":"x","event":"Watch","messageId":"k","properties":{}}`))
	if n := p.f.Unnamed(); n != 1 {
		t.Errorf("%d events are about items of unknown kinds, want 1", n)
	}
}

// TestToSteps: a long list is gone through in steps of fanStep users; a fold that goes
// on from its cursor between two of them sends the rest, once.
func TestToSteps(t *testing.T) {
	p := newPosted(t, scene{[]string{watchers}, []string{sends("a", "", `"on":["Price"],"users":"watchers"`)}})
	const users = 2*fanStep + 7
	for i := range users {
		p.event(fmt.Sprint("u", i), "Watch", `"p":"p1"`)
	}
	p.deliver(0)
	p.seq++
	m := Message{Seq: p.seq, Stored: int64(p.seq) * 1e9, Kind: In, Data: itemEvent("p1", "Price", "", 1)}
	met, steps := map[string]int{}, 0
	for busy := true; busy; steps++ {
		if err := p.f.Begin(m); err != nil {
			t.Fatal(err)
		}
		more, err := p.f.Next()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.f.Effects() {
			key, err := MailTo(e.Mail)
			if err != nil {
				t.Fatal(err)
			}
			met[key]++
		}
		if n := len(p.f.Effects()); n > fanStep {
			t.Errorf("a step has sent %d mails, at most %d are wanted", n, fanStep)
		}
		c := p.f.Cursor()
		p.ents = decoded(t, p.ents)
		set := p.f.step.live.Set
		if p.f, err = NewFold(c, func(string) (*Set, error) { return set, nil }, p.ents); err != nil {
			t.Fatal(err)
		}
		p.f.Partition(0, 1)
		busy = more
	}
	if len(met) != users || met["u:u0"] != 1 || met[fmt.Sprint("u:u", users-1)] != 1 || steps < 3 {
		t.Errorf("%d users got a mail in %d steps, want %d", len(met), steps, users)
	}
}

// TestToStepsOfMail: a mail that begins a long list is done when that is, and not the mail
// behind it in its pack.
func TestToStepsOfMail(t *testing.T) {
	p := newPosted(t, scene{[]string{watchers}, []string{sends("a", "", `"on":["Watch"],"where":"event.properties.loud","users":"watchers"`), sends("b", "", `"on":["Price"],"users":"watchers"`)}})
	for i := range fanStep + 7 {
		p.event(fmt.Sprint("u", i), "Watch", `"p":"p1","loud":false`)
	}
	p.deliver(0)
	p.event("x", "Watch", `"p":"p1","loud":true`)
	p.event("y", "Watch", `"p":"p2","loud":false`)
	long, behind := p.first(), p.first()
	p.message(From, AppendPacked(AppendPacked(nil, long.Pos, long.Mail), behind.Pos, behind.Mail))
	p.deliver(0)
	if n := len(p.offers); n != fanStep+8 {
		t.Errorf("%d offers, want one for each who watches", n)
	}
	p.offers = nil
	p.message(In, itemEvent("p2", "Price", "", 1))
	p.deliver(0)
	p.offered("b y p2")
}

// TestToReads: what a campaign with `to` may not read is an error.
func TestToReads(t *testing.T) {
	for reads, want := range map[string]string{`"if":["n > 1"]`: "n", `"where":"watchers.size() > 1"`: "watchers", `"if":["profile.age > 1"]`: "profile"} {
		def := scene{[]string{watchers, countViews}, []string{sends("a", "", `"on":["Price"],"users":"watchers",`+reads)}}.withItems(t, "event")
		if _, problems := Compile(def); len(problems) == 0 || !strings.Contains(fmt.Sprint(problems), want) {
			t.Errorf("%s: problems %v, want one of %s", reads, problems, want)
		}
	}
}

package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
)

// A posted is a fold of the only partition's log, whose mails wait until the test
// delivers them: what is under way between two steps can be looked at. Each message is
// a second after the one before.
type posted struct {
	t      *testing.T
	f      *Fold
	ents   Memory
	seq    uint64
	held   []Effect // mails that are not delivered yet
	offers []string // campaign, user, key and data of each offer
	sent   []Effect // all offers
	pages  []Effect // page records

	recount *Recount // nil: nothing is counted again
}

// newPosted compiles the scene with a kind of items, product, that events name by p.
func newPosted(t *testing.T, s scene) *posted {
	t.Helper()
	return newPostedOf(t, mustRun(t, s.withItems(t, campaign.ClockBroker)))
}

// newPostedOf begins with the first of the sets; control puts others in force.
func newPostedOf(t *testing.T, sets ...*Set) *posted {
	t.Helper()
	p, all := &posted{t: t, ents: Memory{}}, map[string]*Set{}
	for _, set := range sets {
		all[set.hash] = set
	}
	var err error
	if p.f, err = NewFold(Cursor{Set: sets[0].hash}, func(hash string) (*Set, error) { return all[hash], nil }, p.ents); err != nil {
		t.Fatal(err)
	}
	p.f.Partition(0, 1)
	return p
}

// control puts a set in force.
func (p *posted) control(set *Set) {
	p.t.Helper()
	m := Message{}.live(set, p.seq+1)
	p.message(m.Kind, m.Data)
}

func (s scene) withItems(t *testing.T, clock string) *campaign.Definition {
	t.Helper()
	def, err := campaign.ParseDefinition(s.set())
	if err != nil {
		t.Fatal(err)
	}
	def.Clock, def.Items = clock, []campaign.Item{{Kind: "product", Key: "p"}}
	return def
}

func (p *posted) message(kind Kind, data []byte) {
	p.t.Helper()
	p.seq++
	if p.recount != nil {
		if err := p.recount.Folds(Message{Kind: kind, Data: data}); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := p.f.Begin(Message{Seq: p.seq, Stored: int64(p.seq) * 1e9, Kind: kind, Data: data}); err != nil {
		p.t.Fatal(err)
	}
	for more := true; more; {
		var err error
		if more, err = p.f.Next(); err != nil {
			p.t.Fatal(err)
		}
		for _, e := range p.f.Effects() {
			if p.recount != nil {
				if err := p.recount.Gives(e); err != nil {
					p.t.Fatal(err)
				}
			}
			switch {
			case e.Offer != nil:
				p.sent = append(p.sent, e)
				p.offers = append(p.offers, strings.TrimSpace(fmt.Sprint(e.Offer.Campaign, " ", e.Offer.User, " ", e.Offer.Key, " ", string(e.Offer.Data))))
			case e.Page != nil:
				p.pages = append(p.pages, e)
			case e.Mail != nil:
				p.held = append(p.held, e)
			}
		}
	}
}

// event is a track event of a user, or of a visitor whose name begins with ~.
func (p *posted) event(user, name, props string) {
	p.t.Helper()
	field := "userId"
	if id, visitor := strings.CutPrefix(user, "~"); visitor {
		field, user = "anonymousId", id
	}
	p.message(In, fmt.Appendf(nil, `{"type":"track","event":%q,%q:%q,"messageId":"m%d","properties":{%s}}`, name, field, user, p.seq, props))
}

func (p *posted) identify(user, visitor string) {
	p.t.Helper()
	p.message(In, fmt.Appendf(nil, `{"type":"identify","userId":%q,"anonymousId":%q,"messageId":"m%d","traits":{}}`, user, visitor, p.seq))
}

// tick lets log time pass.
func (p *posted) tick(seconds uint64) {
	p.t.Helper()
	p.seq += seconds - 1
	p.f.Skip(p.seq)
	p.message(Tick, []byte("{}"))
}

// deliver delivers the next n mails, one in a message; 0: until none is under way.
func (p *posted) deliver(n int) {
	p.t.Helper()
	for i := 0; len(p.held) > 0 && (n == 0 || i < n); i++ {
		e := p.held[0]
		p.held = slices.Delete(p.held, 0, 1)
		p.message(From, AppendPacked(nil, e.Pos, e.Mail))
	}
}

// to are the entities that the mails under way go to, in order.
func (p *posted) to(want string) {
	p.t.Helper()
	var all []string
	for _, e := range p.held {
		key, err := MailTo(e.Mail)
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, key)
	}
	if got := strings.Join(all, " "); got != want {
		p.t.Errorf("after message %d mails go to %q, want %q", p.seq, got, want)
	}
}

// want checks the offers since the last call, and the outcomes of a campaign that are
// not 0.
func (p *posted) want(offers, id, outcomes string) {
	p.t.Helper()
	if got := strings.Join(p.offers, ", "); got != offers {
		p.t.Errorf("after message %d the offers are %q, want %q", p.seq, got, offers)
	}
	p.offers = nil
	counts, _ := p.f.Counts()
	var all []string
	for name, n := range outcomesOf(counts[id]) {
		if n > 0 {
			all = append(all, fmt.Sprint(name, ":", n))
		}
	}
	slices.Sort(all)
	if got := strings.Join(all, " "); got != outcomes {
		p.t.Errorf("after message %d %s has %s, want %s", p.seq, id, got, outcomes)
	}
}

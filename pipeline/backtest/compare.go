package backtest

import (
	"encoding/hex"
	"strings"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline"
)

// A Sent is an offer that went out, as far as a comparison needs it.
type Sent struct {
	Campaign string // the id of its unit
	User     string // the entity's key
	Key      string // the match key
	Time     string // log time, RFC 3339

	id      [16]byte
	content uint64
}

// Offers are the offers that went out in a run, in order. They take about 100 bytes
// each.
type Offers struct{ sent []Sent }

// Add takes an offer of the run. One that is withheld has gone out to nobody.
func (o *Offers) Add(one *pipeline.Offer) {
	if one.Withheld {
		return
	}
	s := Sent{Campaign: one.Campaign, User: one.Entity(), Key: one.Key, Time: one.Time, content: contentOf(one)}
	if _, err := hex.Decode(s.id[:], []byte(one.ID)); err != nil {
		return // cannot happen: it is an OfferID
	}
	o.sent = append(o.sent, s)
}

// contentOf is a hash of what the person sees.
func contentOf(o *pipeline.Offer) uint64 {
	h := xxhash.New()
	for _, s := range []string{o.Channel, o.Kind, o.Expires} {
		h.WriteString(s)
		h.Write([]byte{0})
	}
	if o.Coupon != nil {
		for _, s := range []string{o.Coupon.Discount, o.Coupon.Claim, o.Coupon.Expires} {
			h.WriteString(s)
			h.Write([]byte{0})
		}
	}
	h.Write(o.Data)
	return h.Sum64()
}

// A Comparison tells what would change if another set were live instead of this
// one, over the same events.
type Comparison struct {
	All       Change
	Campaigns map[string]*Change // of both sets; the rows of a campaign together
}

// A Change is what would change for a campaign, or for all of them. Of its offers,
// Same + Moved + Lost go out with this set, and Same + Moved + Gained with the other.
type Change struct {
	OnlyThis, OnlyOther bool   // only one of the sets has the campaign
	Same                uint64 // at the same time
	Changed             uint64 // of these: with another channel or other content
	Moved               uint64 // at another time
	Gained, Lost        uint64
	Users, OtherUsers   uint64 // whom an offer goes out to, with each of the sets
	BothUsers           uint64 // with both
	GainedFirst         []Sent // the first of those gained, and of those lost
	LostFirst           []Sent
}

// mostExamples is how many offers a Change names.
const mostExamples = 10

// Compare compares two runs over the same events. An offer of one run is that of the
// other with the same id; what remains is paired, in order, by campaign (or row),
// user and match key.
func Compare(this, other *Result, sent, otherSent *Offers) *Comparison {
	c := &Comparison{Campaigns: map[string]*Change{}}
	c.users(this, other)
	met := func(a, b *Sent) {
		for _, ch := range []*Change{&c.All, c.change(a)} {
			switch {
			case a.Time != b.Time:
				ch.Moved++
			case a.content != b.content:
				ch.Changed++
				fallthrough
			default:
				ch.Same++
			}
		}
	}
	lost, gained := pair(pointers(sent), pointers(otherSent), func(s *Sent) [16]byte { return s.id }, met)
	type whom struct{ campaign, user, key string }
	lost, gained = pair(lost, gained, func(s *Sent) whom { return whom{s.Campaign, s.User, s.Key} }, met)
	for _, s := range lost {
		for _, ch := range []*Change{&c.All, c.change(s)} {
			ch.Lost++
			ch.LostFirst = example(ch.LostFirst, s)
		}
	}
	for _, s := range gained {
		for _, ch := range []*Change{&c.All, c.change(s)} {
			ch.Gained++
			ch.GainedFirst = example(ch.GainedFirst, s)
		}
	}
	return c
}

func example(list []Sent, s *Sent) []Sent {
	if len(list) < mostExamples {
		list = append(list, *s)
	}
	return list
}

// users counts whom the campaigns reach, and finds out which set has which.
func (c *Comparison) users(this, other *Result) {
	all, allOther := map[string]bool{}, map[string]bool{}
	for id, in := range this.Campaigns {
		ch := &Change{OnlyThis: other.Campaigns[id] == nil, Users: uint64(len(in.Users))}
		c.Campaigns[id] = ch
		for u := range in.Users {
			all[u] = true
			if !ch.OnlyThis && other.Campaigns[id].Users[u] {
				ch.BothUsers++
			}
		}
	}
	for id, in := range other.Campaigns {
		ch := c.Campaigns[id]
		if ch == nil {
			ch = &Change{OnlyOther: true}
			c.Campaigns[id] = ch
		}
		ch.OtherUsers = uint64(len(in.Users))
		for u := range in.Users {
			allOther[u] = true
		}
	}
	c.All.Users, c.All.OtherUsers = uint64(len(all)), uint64(len(allOther))
	for u := range all {
		if allOther[u] {
			c.All.BothUsers++
		}
	}
}

func (c *Comparison) change(s *Sent) *Change {
	campaign, _, _ := strings.Cut(s.Campaign, "/")
	return c.Campaigns[campaign]
}

func pointers(o *Offers) []*Sent {
	all := make([]*Sent, len(o.sent))
	for i := range o.sent {
		all[i] = &o.sent[i]
	}
	return all
}

// pair calls met with each two offers of a and b that have the same key: the first
// of a with the first of b, and so on. It returns those that remain.
func pair[K comparable](a, b []*Sent, key func(*Sent) K, met func(a, b *Sent)) (restA, restB []*Sent) {
	const none = -1
	first, next := make(map[K]int, len(a)), make([]int, len(a))
	for i := len(a) - 1; i >= 0; i-- {
		next[i] = none
		if n, ok := first[key(a[i])]; ok {
			next[i] = n
		}
		first[key(a[i])] = i
	}
	taken := make([]bool, len(a))
	for _, o := range b {
		i, ok := first[key(o)]
		if !ok || i == none {
			restB = append(restB, o)
			continue
		}
		first[key(o)], taken[i] = next[i], true
		met(a[i], o)
	}
	for i, o := range a {
		if !taken[i] {
			restA = append(restA, o)
		}
	}
	return restA, restB
}

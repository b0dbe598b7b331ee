package backtest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"offerstream/pipeline"
)

// randomRun is a run whose offers are drawn from few, so that many meet.
func randomRun(r *rand.Rand, campaigns []string) (*Result, []*pipeline.Offer) {
	res := &Result{Campaigns: map[string]*Campaign{}}
	for _, id := range campaigns {
		res.Campaigns[id] = &Campaign{Users: map[string]bool{}}
	}
	var offers []*pipeline.Offer
	for range r.IntN(30) {
		id := campaigns[r.IntN(len(campaigns))]
		o := &pipeline.Offer{
			Campaign: id, User: fmt.Sprint(r.IntN(3)), Anon: r.IntN(3) == 0, Time: fmt.Sprint(r.IntN(4)), Channel: "push",
			Data: json.RawMessage(fmt.Sprint(r.IntN(3))), Withheld: r.IntN(8) == 0,
		}
		if r.IntN(2) == 0 {
			o.Campaign += fmt.Sprint("/", r.IntN(2))
		}
		if r.IntN(4) == 0 {
			o.Key = "k"
		}
		o.ID = pipeline.OfferID(o.Campaign, o.Entity(), o.Key, fmt.Sprint(r.IntN(6)), pipeline.NoDue)
		if !o.Withheld {
			res.Campaigns[id].Users[o.Entity()] = true
		}
		offers = append(offers, o)
	}
	return res, offers
}

// modelChange compares the offers of a campaign, or of all for "", pair by pair.
func modelChange(campaign string, this, other *Result, a, b []*pipeline.Offer) Change {
	of := func(offers []*pipeline.Offer) (in []*pipeline.Offer) {
		for _, o := range offers {
			if !o.Withheld && (campaign == "" || o.Campaign == campaign || strings.HasPrefix(o.Campaign, campaign+"/")) {
				in = append(in, o)
			}
		}
		return in
	}
	a, b = of(a), of(b)
	var c Change
	join := func(same func(x, y *pipeline.Offer) bool) {
		for j := 0; j < len(b); j++ {
			for i := range a {
				if !same(a[i], b[j]) {
					continue
				}
				switch {
				case a[i].Time != b[j].Time:
					c.Moved++
				default:
					c.Same++
					if string(a[i].Data) != string(b[j].Data) {
						c.Changed++
					}
				}
				a, b = append(a[:i:i], a[i+1:]...), append(b[:j:j], b[j+1:]...)
				j--
				break
			}
		}
	}
	join(func(x, y *pipeline.Offer) bool { return x.ID == y.ID })
	join(func(x, y *pipeline.Offer) bool {
		return x.Campaign == y.Campaign && x.User == y.User && x.Anon == y.Anon && x.Key == y.Key
	})
	c.Lost, c.Gained = uint64(len(a)), uint64(len(b))
	first := func(offers []*pipeline.Offer) (list []Sent) {
		var o Offers
		for _, one := range offers[:min(len(offers), mostExamples)] {
			o.Add(one)
		}
		return o.sent
	}
	c.LostFirst, c.GainedFirst = first(a), first(b)
	users, otherUsers := map[string]bool{}, map[string]bool{}
	for id, in := range this.Campaigns {
		for u := range in.Users {
			if campaign == "" || id == campaign {
				users[u] = true
			}
		}
	}
	for id, in := range other.Campaigns {
		for u := range in.Users {
			if campaign == "" || id == campaign {
				otherUsers[u] = true
				if users[u] {
					c.BothUsers++
					delete(users, u)
					c.Users++
				}
			}
		}
	}
	c.Users, c.OtherUsers = c.Users+uint64(len(users)), uint64(len(otherUsers))
	if campaign != "" {
		c.OnlyThis, c.OnlyOther = other.Campaigns[campaign] == nil, this.Campaigns[campaign] == nil
	}
	return c
}

// TestCompare compares Compare with modelChange.
func TestCompare(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 0))
		this, a := randomRun(r, []string{"a", "b", "gone"})
		other, b := randomRun(r, []string{"a", "b", "new"})
		var sent, otherSent Offers
		for _, o := range a {
			sent.Add(o)
		}
		for _, o := range b {
			otherSent.Add(o)
		}
		c := Compare(this, other, &sent, &otherSent)
		if len(c.Campaigns) != 4 {
			t.Fatalf("seed %d: %d campaigns", seed, len(c.Campaigns))
		}
		c.Campaigns[""] = &c.All
		for id, got := range c.Campaigns {
			if want := modelChange(id, this, other, a, b); !reflect.DeepEqual(*got, want) {
				t.Fatalf("seed %d, campaign %q:\n got %+v\nwant %+v", seed, id, *got, want)
			}
		}
	}
}

// TestContent: another channel, kind, expiry or coupon is another content.
func TestContent(t *testing.T) {
	seen := map[uint64]int{}
	for i, o := range []pipeline.Offer{
		{}, {Channel: "push"}, {Kind: "push"}, {Expires: "push"}, {Data: json.RawMessage(`1`)}, {Coupon: &pipeline.OfferCoupon{}},
		{Coupon: &pipeline.OfferCoupon{Discount: "1"}}, {Coupon: &pipeline.OfferCoupon{Claim: "1"}}, {Coupon: &pipeline.OfferCoupon{Expires: "1"}},
	} {
		h := contentOf(&o)
		if before, ok := seen[h]; ok {
			t.Errorf("offers %d and %d have the same content", before, i)
		}
		seen[h] = i
	}
}

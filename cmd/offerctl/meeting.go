package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A meeting is what makes one shopper matter to another: shoppers watch prices, malls
// report prices, hotels and jobs tell how others have used them, and visitors log in. How
// soon one learns of another depends on the partitions and their workers. It makes its own
// events between those of the shop, which stay what they are.
type meeting struct {
	rng      *rand.Rand
	reported []product // products whose prices are reported, the newest last
}

const mostReported = 40

func newMeeting(seed uint64) *meeting { return &meeting{rng: rand.New(rand.NewPCG(seed, 2))} }

// next makes an event, or none.
func (m *meeting) next(s *shop, now time.Time) []byte {
	if len(s.shoppers) == 0 {
		return nil
	}
	p := s.shoppers[m.rng.IntN(len(s.shoppers))]
	switch n := m.rng.IntN(100); {
	case n < 3:
		it := m.product(p.category)
		if !slices.Contains(m.reported, it) {
			m.reported = append(m.reported, it)
			m.reported = m.reported[max(0, len(m.reported)-mostReported):]
		}
		return s.event(p, now, shopEvent{Type: "track", Event: "Price Watch Started", Properties: it})
	case n < 6 && len(m.reported) > 0:
		it := m.reported[m.rng.IntN(len(m.reported))]
		price := it.Price * float64(80+m.rng.IntN(30)) / 100
		return s.event(nil, now, shopEvent{Type: "item", Kind: "product", ID: it.ID, Event: "Price Changed",
			Properties: map[string]any{"mall": fmt.Sprint("mall-", 1+m.rng.IntN(3)), "price": float64(int(price))}})
	case n == 6 && p.anon:
		return s.login(p, now, fmt.Sprint("shopper-", m.rng.IntN(20*s.came+100)))
	case n == 7 || n == 8:
		return s.event(p, now, shopEvent{Type: "track", Event: "Posting Viewed", Properties: jobOf(m.popular()).Listing()})
	case n == 9:
		return s.event(p, now, shopEvent{Type: "track", Event: "Hotel Viewed", Properties: hotelOf(m.popular()).Listing()})
	case n == 10 && m.rng.IntN(6) == 0:
		return s.event(p, now, shopEvent{Type: "track", Event: "Hotel Booked", Properties: hotelOf(m.popular()).Listing()})
	}
	return nil
}

// popular is the number of a hotel or a job: the first is chosen some twenty times as often
// as the last.
func (m *meeting) popular() int { return m.rng.IntN(1 + m.rng.IntN(listings)) }

// product is one of the few products of a category that are worth watching.
func (m *meeting) product(category string) product { return productOf(category, m.rng.IntN(6)) }

// login makes the visitor a user.
func (s *shop) login(p *shopper, now time.Time, user string) []byte {
	visitor := p.id
	p.id, p.anon = user, false
	return s.event(p, now, shopEvent{Type: "identify", AnonymousID: visitor, Traits: map[string]any{"member": true}})
}

package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
)

// A generator makes a stream of events, as an SDK sends them, from a seed:
// sessions of 5 to 30 events, many of them at the same time, of users with a Zipf
// distribution. Half of the events (views, additions, orders) match the trigger
// of a campaign; the others (pages, searches, removals) change the state that
// conditions read: the session, the cart. An event takes about 490 bytes in the
// log.
type generator struct {
	rng   *rand.Rand
	users zipf
	open  []session
	made  int
	run   uint64
	id    []byte
	even  bool // all users are equally likely, instead of Zipf-distributed
	each  int  // if not 0: the users take turns, with this number of events each
	turn  int
	hot   float64 // the share of the views that are of one product
}

type session struct {
	user, left int
	category   int
}

const openSessions = 2000 // number of sessions at the same time

func newGenerator(seed uint64, users int) *generator {
	b := &generator{rng: rand.New(rand.NewPCG(seed, 4)), run: seed}
	b.users = newZipf(users)
	return b
}

var categories = func() []string {
	var c []string
	for i := range 40 {
		c = append(c, fmt.Sprintf("electronics.category-%02d", i))
	}
	return c
}()

// next appends the next event to dst.
func (b *generator) next(dst []byte) []byte {
	i := len(b.open)
	if i < openSessions {
		b.open = append(b.open, session{})
	} else {
		i = b.rng.IntN(i)
	}
	s := &b.open[i]
	if s.left == 0 {
		user := 0
		if b.even {
			user = b.rng.IntN(int(b.users.n))
		} else {
			user = b.users.draw(b.rng)
		}
		*s = session{user: user, left: 5 + b.rng.IntN(26), category: b.rng.IntN(len(categories))}
		if b.each > 0 {
			s.user, s.left, b.turn = b.turn, b.each, (b.turn+1)%int(b.users.n)
		}
	}
	s.left--
	b.made++
	kind, name := "track", ""
	switch n := b.rng.IntN(100); {
	case n < 42:
		name = "Product Viewed"
	case n < 48:
		name = "Product Added"
	case n < 50:
		name = orderCompleted
	case n < 58:
		name = "Product Removed"
	case n < 70:
		name = "Products Searched"
	default:
		kind = "page"
	}
	b.id = strconv.AppendUint(append(b.id[:0], "bench-"...), b.run, 36)
	b.id = strconv.AppendInt(append(b.id, '-'), int64(b.made), 10)
	b.id = append(b.id, "-4a7c-b1d2"...)
	return b.event(dst, kind, name, b.id, s)
}

const hotProduct = 999_999 // of which all sessions have views

const orderCompleted = "Order Completed" // with the shipped campaigns, each causes an offer

// order appends an order of a user who has a session.
func (b *generator) order(dst []byte, id string) []byte {
	return b.certain(dst, orderCompleted, id)
}

// certain appends an event of a user who has a session.
func (b *generator) certain(dst []byte, name, id string) []byte {
	if len(b.open) == 0 {
		b.next(nil)
	}
	b.id = append(b.id[:0], id...)
	return b.event(dst, "track", name, b.id, &b.open[b.rng.IntN(len(b.open))])
}

func (b *generator) event(dst []byte, kind, name string, id []byte, s *session) []byte {
	dst = append(append(append(dst, `{"type":"`...), kind...), `","messageId":"`...)
	dst = append(append(dst, id...), `","userId":"user-`...)
	dst = strconv.AppendInt(dst, int64(s.user), 10)
	dst = append(dst, '"')
	if kind == "page" {
		dst = append(dst, `,"name":"listing","properties":{"path":"/c/`...)
		dst = append(append(dst, categories[s.category]...), `","title":"Everything for you, and more of it"}`...)
	} else {
		dst = append(append(append(dst, `,"event":"`...), name...), `","properties":{"product_id":"p`...)
		product := b.rng.IntN(200)
		number := s.category*1000 + product
		if b.hot > 0 && name == "Product Viewed" && b.rng.Float64() < b.hot {
			number = hotProduct
		}
		dst = strconv.AppendInt(dst, int64(number), 10)
		dst = append(append(dst, `","category":"`...), categories[s.category]...)
		dst = append(dst, `","brand":"brand-`...)
		dst = strconv.AppendInt(dst, int64(product%7), 10)
		dst = append(dst, `","name":"A product with a name","price":`...)
		dst = strconv.AppendFloat(dst, float64(10+product*3)+0.99, 'f', 2, 64)
		dst = append(dst, `,"currency":"EUR","quantity":1}`...)
	}
	return append(dst, `,"context":{"ip":"203.0.113.7","locale":"de-DE","userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","page":{"url":"https://shop.example/p","referrer":"https://shop.example/"},"library":{"name":"analytics.js","version":"2.11.1"}}}`...)
}

// zipf draws k from 0 to n-1 with a weight of 1/(k + zipfFlat), by inverting the
// distribution. The most active of 100,000 users has 0.6 % of the sessions.
type zipf struct{ n float64 }

const zipfFlat = 20

func newZipf(n int) zipf { return zipf{float64(n)} }

func (z zipf) draw(r *rand.Rand) int {
	k := zipfFlat*math.Pow((z.n+zipfFlat)/zipfFlat, r.Float64()) - zipfFlat
	return min(int(k), int(z.n)-1)
}

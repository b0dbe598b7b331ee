package worker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A simShop makes events of a shop whose visitors log in, look at products, watch their
// prices and buy, for sets whose entities send mails to each other.
type simShop struct {
	*simGroup
	left    int
	queued  []scripted // packs that come next
	budgets map[string]*campaign.Budget
}

func (g *simGroup) newShop() *simShop {
	s := &simShop{simGroup: g, left: 60 + g.rng.IntN(120), budgets: map[string]*campaign.Budget{}}
	for _, id := range []string{"away", "bought", "price"} {
		s.budgets[id] = s.budget(id)
	}
	var codes []string
	for i := range 3 + g.rng.IntN(25) {
		codes = append(codes, fmt.Sprint("code-", i))
	}
	for i := 0; i < len(codes); i += 10 {
		s.pack("p:spring", event.AppendCodes(nil, "spring", codes[i:min(i+10, len(codes))], fmt.Sprintf(`"messageId":"codes-%d"`, i)))
	}
	return s
}

func (s *simShop) budget(id string) *campaign.Budget {
	if s.chance(400) {
		return nil
	}
	b := &campaign.Budget{Offers: 1 + s.rng.IntN(12)}
	if id == "bought" && s.chance(600) {
		b = &campaign.Budget{Value: float64(100 * (1 + s.rng.IntN(10))), Of: "event.properties.price"}
	}
	switch s.rng.IntN(3) {
	case 0:
		b.Within = time.Duration(2+s.rng.IntN(30)) * time.Second
	case 1:
		b.PerDay = true
	}
	return b
}

// set is a set of the shop. Sets differ in what does not count: when they are changed,
// some of their state begins anew.
func (s *simShop) set(t *testing.T) *campaign.Definition {
	def := waiting(t, campaign.ClockBroker, time.Duration(1+s.rng.IntN(10))*time.Second)
	def.Zone = "Etc/GMT-12" // where a day begins as the simulation does
	def.Campaigns = nil
	def.Items = []campaign.Item{{Kind: "product", Key: "product_id"}, {Kind: "mall", Key: "mall"}}
	def.Features = []campaign.Feature{
		{Name: "first_view", On: []string{"Product Viewed"}, By: "product_id", Agg: "first", Of: "event.time"},
		{Name: "lasted", Per: "product", On: []string{"Order Completed"}, Agg: "quantiles", Of: "event.time - first_view[item.product_id]"},
		{Name: "mall_views", Per: "mall", On: []string{"Product Viewed"}, Agg: "count", Within: time.Duration(5+s.rng.IntN(30)) * time.Second},
		{Name: "partners", Per: "product", On: []string{"Order Completed"}, Agg: "together", HalfLife: time.Minute},
		{Name: "prices", Per: "product", On: []string{"Price Changed"}, By: "event.properties.mall", Agg: "last", Of: "event.properties.price"},
		{Name: "seen", On: []string{"Product Viewed"}, Agg: "count"},
		{Name: "stay", On: []string{"Product Viewed"}, Agg: "dwell"},
		{Name: "viewers", Per: "product", On: []string{"Product Viewed"}, Agg: "distinct", Of: "event.user", Within: time.Duration(5+s.rng.IntN(60)) * time.Second},
		{Name: "watchers", Per: "product", On: []string{"Watched"}, RemoveOn: []string{"Unwatched"}, Agg: "users", Keep: []int{3, 1000}[s.rng.IntN(2)]},
	}
	offer := func(channel, kind, data string) campaign.OfferSpec {
		return campaign.OfferSpec{Channel: channel, Kind: kind, Data: []byte(data)}
	}
	within := func() time.Duration { return time.Duration(1+s.rng.IntN(8)) * time.Second }
	pool := offer("app", campaign.Service, `{"code":"{{ coupon.code }}"}`)
	pool.Coupon = &campaign.Coupon{Pool: "spring"}
	made := offer("mall", campaign.Advertising, `{"n":"{{ mall_views }}"}`)
	made.Coupon = &campaign.Coupon{Expires: within() + 10*time.Second}
	def.Campaigns = []campaign.Campaign{
		{ID: "away", On: []string{"Product Viewed"}, If: []string{"viewers >= 2"}, Unless: &campaign.Unless{On: []string{"Order Completed"}, Match: "product_id", Within: within()}, Offer: offer("mail", campaign.Advertising, `{"n":"{{ viewers }}"}`), Budget: s.budgets["away"]},
		{ID: "bought", On: []string{"Order Completed"}, If: []string{"seen >= 1"}, Offer: pool, Budget: s.budgets["bought"]},
		{ID: "busy", On: []string{"Product Viewed"}, If: []string{"seen >= 1", "viewers > before.viewers"}, Offer: offer("web", campaign.Service, `{"n":"{{ viewers }}","before":"{{ before.viewers }}"}`)},
		{ID: "looked", On: []string{"Product Viewed"}, If: []string{`stay >= duration("3s")`}, Offer: offer("web", campaign.Service, `{}`)},
		{ID: "mall", On: []string{"Product Viewed"}, If: []string{"mall_views >= 3"}, Offer: made, Limits: []campaign.Limit{{Max: 2}}},
		{ID: "price", On: []string{"Price Changed"}, If: []string{"prices.size() >= 1"}, Users: "watchers", Offer: offer("push", campaign.Service, `{"n":"{{ prices.size() }}"}`), Budget: s.budgets["price"]},
		{ID: "twice", On: []string{"Order Completed"}, If: []string{"partners.size() >= 0", "lasted.size >= 0"}, Unless: &campaign.Unless{On: []string{"Order Completed"}, Match: "product_id", WithinIs: `duration("2s") * (1 + lasted.size)`, AtMost: 20 * time.Second}, Offer: offer("mail", campaign.Advertising, `{"n":"{{ partners.size() }}"}`)},
	}
	if s.chance(300) {
		def.Caps = []campaign.Cap{{Channels: []string{"mail", "mall"}, Max: 1 + s.rng.IntN(3), Within: 20 * time.Second}}
	}
	if s.chance(200) {
		def.Campaigns[6].Holdout = 3000
	}
	return def
}

// next is the next pack.
func (s *simShop) next(t *testing.T) func() (scripted, bool) {
	return func() (scripted, bool) {
		switch {
		case s.chance(960):
		case s.chance(700):
			s.change(t, func() *campaign.Definition { return s.set(t) })
		default:
			s.pause(t)
		}
		if len(s.queued) == 0 {
			if s.left--; s.left <= 0 {
				return scripted{}, false
			}
			for range 1 + s.rng.IntN([]int{2, 2, 10}[s.rng.IntN(3)]) {
				s.happens()
			}
		}
		pk := s.queued[0]
		s.queued = s.queued[1:]
		return pk, true
	}
}

// pack adds an event of an entity to the packs that come next.
func (s *simShop) pack(key string, data []byte) {
	p := event.Partition(key, s.partitions)
	data = append(data, '\n')
	for i := range s.queued {
		if q := &s.queued[i]; q.p == p {
			q.data = append(q.data, data...)
			return
		}
	}
	s.queued = append(s.queued, scripted{p, data})
}

func (s *simShop) event(key string, members map[string]any) {
	members["receivedAt"] = value.FormatTime(s.now().UnixNano())
	if members["messageId"] == nil {
		members["messageId"] = fmt.Sprint("m", s.left, "-", s.rng.IntN(1_000_000))
	}
	data, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	s.pack(key, data)
}

// redeems makes an event about a coupon of an offer that is stored.
func (s *simShop) redeems() bool {
	var with []*pipeline.Offer
	for _, m := range s.broker.stream("OFFERS").messages {
		var o pipeline.Offer
		if strings.HasPrefix(m.Subject, "offers.") && json.Unmarshal(m.Data, &o) == nil && o.Coupon != nil {
			with = append(with, &o)
		}
	}
	if len(with) == 0 {
		return false
	}
	o := with[max(0, len(with)-1-s.rng.IntN(12))]
	code, user := o.Coupon.Code, o.Entity()
	if code == coupon.Placeholder {
		key, _ := coupon.NewKey(make([]byte, coupon.KeySize)) // any: the workers have no keys
		until, _ := value.ParseTime(o.Coupon.Expires)
		code = key.Mint(o.Campaign, user, o.ID, time.Unix(0, until))
	}
	if s.chance(300) {
		user = fmt.Sprint("u:u", s.rng.IntN(6))
	}
	name := pipeline.CouponRedeemed
	if s.chance(300) {
		name = pipeline.CouponVoided
	}
	field := "userId"
	if user[0] == 'a' {
		field = "anonymousId"
	}
	s.event(user, map[string]any{"type": "system", "event": name, field: user[2:], "properties": map[string]any{"code": code, "orderId": s.rng.IntN(4)}})
	return true
}

// happens makes an event.
func (s *simShop) happens() {
	if s.chance(200) && s.redeems() {
		return
	}
	user, visitor := fmt.Sprint("u", s.rng.IntN(6)), fmt.Sprint("v", s.rng.IntN(8))
	product := func() map[string]any {
		return map[string]any{"product_id": fmt.Sprint("p", s.rng.IntN(4)), "mall": fmt.Sprint("m", s.rng.IntN(2)), "price": 10 * s.rng.IntN(20)}
	}
	who := map[string]any{"userId": user}
	key := "u:" + user
	if s.chance(400) {
		who, key = map[string]any{"anonymousId": visitor}, "a:"+visitor
	}
	track := func(name string, properties map[string]any) {
		who["type"], who["event"], who["properties"] = "track", name, properties
		s.event(key, who)
	}
	switch s.rng.IntN(12) {
	case 0:
		s.event("u:"+user, map[string]any{"type": "identify", "userId": user, "anonymousId": visitor, "traits": map[string]any{"n": s.rng.IntN(9)}})
	case 1:
		s.event("u:"+user, map[string]any{"type": "alias", "userId": user, "previousId": visitor})
	case 2:
		p := product()
		s.event(fmt.Sprint("i:product:", p["product_id"]), map[string]any{"type": "item", "kind": "product", "id": p["product_id"], "event": "Price Changed", "properties": p})
	case 3:
		track("Price Changed", product())
	case 4, 5:
		track("Watched", product())
	case 6:
		track("Unwatched", product())
	case 7, 8:
		all := []any{product()}
		if s.chance(400) {
			all = append(all, product(), product())
		}
		track("Order Completed", map[string]any{"products": all, "price": 10 * s.rng.IntN(20)})
	default:
		track("Product Viewed", product())
	}
}

package oracle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// by returns an event of a user: by("u:x", at(..)); a:x is the visitor x.
func by(entity, line string) string {
	field := "userId"
	if entity[:2] == "a:" {
		field = "anonymousId"
	}
	return strings.Replace(line, `"userId":"u"`, fmt.Sprintf("%q:%q", field, entity[2:]), 1)
}

// about returns an event about a product.
func about(clock, id, name, props string) string {
	return fmt.Sprintf(`{"type":"item","kind":"product","id":%q,"event":%q,"timestamp":"2026-01-01T%sZ","properties":{%s}}`, id, name, clock, props)
}

// on moves a line to another day of January 2026.
func on(day int, line string) string {
	return strings.Replace(line, "2026-01-01", fmt.Sprintf("2026-01-%02d", day), 1)
}

const products = `,"items":[{"kind":"product","key":"product_id"}]`

// recipients returns to whom offers went, in order.
func (r Result) recipients() string {
	var out []string
	for _, o := range r.Offers {
		who := "u:" + o.User
		if o.Anon {
			who = "a:" + o.User
		}
		if o.Withheld {
			who += "*"
		}
		out = append(out, who)
	}
	return strings.Join(out, " ")
}

// TestJobkoreaViews: the event's own view counts, and of the ones before it those
// within the hour; each viewer counts once.
func TestJobkoreaViews(t *testing.T) {
	var events []string
	for i := range 9 {
		events = append(events, by(fmt.Sprintf("u:%d", i), at("10:00:00", "Posting Viewed", `"posting_id":"p1"`)))
	}
	events = append(events,
		by("u:1", at("10:10:00", "Posting Viewed", `"posting_id":"p1"`)),
		by("u:9", at("10:20:00", "Posting Viewed", `"posting_id":"p2"`)),
		by("a:1", at("10:30:00", "Posting Viewed", `"posting_id":"p1"`)),
		by("u:9", at("10:59:59", "Posting Viewed", `"posting_id":"p1"`)),
		by("u:9", at("11:00:00", "Posting Viewed", `"posting_id":"p1"`)),
		by("u:9", at("11:00:01", "Posting Viewed", `"n":1`)))
	r := scene{
		engine: 5, also: `,"items":[{"kind":"posting","key":"posting_id"}]`, events: events,
		features:  []string{`{"name":"viewers","per":"posting","on":["Posting Viewed"],"agg":"distinct","of":"event.user","within":3600000000000}`},
		campaigns: []string{offer("c", "web", "viewers", `"on":["Posting Viewed"],"if":["viewers >= 10"]`)},
		want:      []string{"10:30:00 c 10", "10:59:59 c 11"},
		counts:    "c condition 13, c fired 2", // at 11:00:00 only 1, a:1 and 9 are left
	}.run(t)
	if r.Offers[0].Key != "p1" || r.recipients() != "a:1 u:9" {
		t.Errorf("offers %+v", r.Offers)
	}
}

// TestAgodaLast: one evaluation for each different product, which has its own answer.
func TestAgodaLast(t *testing.T) {
	scene{
		engine: 5, also: products,
		features:  []string{`{"name":"last_booked","per":"product","on":["Order Completed"],"agg":"last","of":"event.time"}`},
		campaigns: []string{offer("c", "web", "clock(now - last_booked)", `"on":["Product Viewed"],"if":["last_booked != null && now - last_booked < duration(\"24h\")"],"fresh":60000000000`)},
		events: []string{
			by("u:b", at("10:00:00", "Order Completed", `"products":[{"product_id":"p1"},{"product_id":7}]`)),
			at("10:03:05", "Product Viewed", `"products":[{"product_id":"p1"},{"product_id":"p2"},{"product_id":"p1"}]`),
			at("12:03:05", "Product Viewed", `"product_id":7.0`),
			on(2, at("10:00:00", "Product Viewed", `"product_id":"7"`)),
			on(2, at("10:00:00", "Product Viewed", `"n":1`)),
			on(2, at("09:00:00", "Product Viewed", `"product_id":"p1"`)),
		},
		want:   []string{`10:03:05 c "3:05"`, `12:03:05 c "2:03:05"`},
		counts: "c fired 2, c condition 3, c age 1",
	}.run(t)
}

const together = `{"name":"partners","per":"product","on":["Order Completed"],"agg":"together","half_life":2592000000000000}`

// TestTogether: an order touches each other product once.
func TestTogether(t *testing.T) {
	order := func(clock string, ids ...string) string {
		var items []string
		for _, id := range ids {
			items = append(items, fmt.Sprintf(`{"product_id":%q}`, id))
		}
		return at(clock, "Order Completed", `"products":[`+strings.Join(items, ",")+`]`)
	}
	scene{
		engine: 5, also: products, features: []string{together},
		campaigns: []string{offer("c", "web", "partners", `"on":["Product Viewed"],"if":["partners.size() > 0"]`)},
		events: []string{
			order("10:00:00", "a", "b", "a", "c", "b"), order("10:00:01", "a", "c"), order("10:00:02", "b", "b"),
			at("10:00:03", "Product Viewed", `"product_id":"a"`), at("10:00:04", "Product Viewed", `"product_id":"b"`), at("10:00:05", "Product Viewed", `"product_id":"d"`),
		},
		want: []string{`10:00:03 c [{"key":"c","score":2},{"key":"b","score":1}]`, `10:00:04 c [{"key":"c","score":1},{"key":"a","score":1}]`},
	}.run(t)
}

// TestBiginTime: the time from the first view to the order is learned per product; the
// reminder comes at .8 of its median, unless the user buys that product before.
func TestBiginTime(t *testing.T) {
	features := []string{
		`{"name":"buy_after","per":"product","on":["Order Completed"],"agg":"quantiles","of":"event.time - first_view[item.product_id]"}`,
		`{"name":"first_view","on":["Product Viewed"],"by":"product_id","agg":"first","of":"event.time"}`,
	}
	view := func(who, clock, id string) string {
		return by(who, at(clock, "Product Viewed", `"product_id":"`+id+`","name":"`+id+`!"`))
	}
	buy := func(who, clock, id string) string {
		return by(who, at(clock, "Order Completed", `"product_id":"`+id+`"`))
	}
	c := offer("c", "email", "event.properties.name", `"on":["Product Viewed"],"if":["buy_after.size >= 3"],"unless":{"on":["Order Completed"],"match":"product_id","within":0,"within_is":"buy_after.p50 * 0.8","at_most":2400000000000}`)
	learn := []string{
		view("u:a", "10:00:00", "p"), view("u:b", "10:00:00", "p"), view("u:c", "10:00:00", "p"),
		buy("u:a", "10:10:00", "p"), buy("u:b", "10:20:00", "p"), buy("u:c", "10:30:00", "p"),
		buy("u:d", "10:31:00", "p"), // viewed nothing: no entry
	}
	r := scene{
		engine: 5, also: products, features: features, campaigns: []string{c},
		events: append(slices.Clone(learn),
			view("u:x", "11:00:00", "p"), view("u:y", "11:00:00", "p"), view("u:z", "11:00:00", "p"), view("u:z", "11:00:00", "q"),
			buy("u:y", "11:15:59", "p"), buy("u:z", "11:10:00", "q"), at("12:00:00", "x", ``)),
		want: []string{`11:16:00 c "p!"`, `11:16:00 c "p!"`},
	}.run(t)
	if r.recipients() != "u:x u:z" || r.Counts["c"]["cancelled"] != 1 || r.Counts["c"]["condition"] != 4 {
		t.Errorf("%s, %v", r.recipients(), r.Counts)
	}
	// An expression that is none: condition. One that is too long: at_most.
	for is, want := range map[string][]string{
		"buy_after.p50 * 0": {}, "buy_after.p50 * -1": {}, "null": {}, "5": {}, `duration("1d")`: {`11:40:00 c "p!"`}, "buy_after.p90 / 2": {`11:15:00 c "p!"`},
	} {
		scene{engine: 5, also: products, features: features, campaigns: []string{strings.Replace(c, "buy_after.p50 * 0.8", strings.ReplaceAll(is, `"`, `\"`), 1)},
			events: append(slices.Clone(learn), view("u:x", "11:00:00", "p"), at("12:00:00", "x", ``)), want: want}.run(t)
	}
}

// TestTmonCycle: the cycle reads what the user had before the order.
func TestTmonCycle(t *testing.T) {
	buy := func(who, clock string) string {
		return by(who, at(clock, "Order Completed", `"product_id":"p"`))
	}
	r := scene{
		engine: 5, also: products,
		features: []string{
			`{"name":"cycle","per":"product","on":["Order Completed"],"agg":"quantiles","of":"event.time - before.last_buy[item.product_id]"}`,
			`{"name":"last_buy","on":["Order Completed"],"by":"product_id","agg":"last","of":"event.time"}`,
		},
		campaigns: []string{offer("c", "push", "[cycle.size, cycle.p50]", `"on":["Order Completed"],"if":["cycle.size >= 2"],"unless":{"on":["Order Completed"],"match":"product_id","within":0,"within_is":"cycle.p50","at_most":86400000000000}`)},
		events: []string{
			buy("u:a", "10:00:00"), buy("u:b", "10:05:00"), buy("u:a", "10:10:00"), buy("u:b", "10:25:00"), // 10m, 20m; b waits until 10:35
			buy("u:a", "10:30:00"), // 20m: a waits until 10:50
			at("11:00:00", "x", ``),
		},
		want: []string{`10:35:00 c [2,"600s"]`, `10:50:00 c [3,"1200s"]`}, // b's values are those that were answered
	}.run(t)
	if r.recipients() != "u:b u:a" {
		t.Errorf("offers to %s", r.recipients())
	}
}

const (
	prices   = `{"name":"prices","per":"product","on":["Price Changed"],"by":"event.properties.mall","agg":"last","of":"event.properties.price","within":259200000000000}`
	watchers = `{"name":"watchers","per":"product","on":["Watch"],"agg":"users","keep":3,"remove_on":["Unwatch"]}`
	enuri    = `{"id":"w","on":["Price Changed"],"let":[{"name":"lowest","is":"prices.values().min()"},{"name":"was","is":"before.prices.values().min()"}],
		"if":["before.prices.size() > 0","lowest < was"],"users":"watchers","offer":{"channel":"push","kind":"service","data":"{{ lowest }} for {{ item.product_id }}"},"limits":[{"max":2}]}`
)

// TestEnuriWatch: a new lowest price over all malls reaches every watcher, in the order
// of the list.
func TestEnuriWatch(t *testing.T) {
	watch := func(who, clock, name string) string { return by(who, at(clock, name, `"product_id":"p"`)) }
	price := func(clock, mall string, price int) string {
		return about(clock, "p", "Price Changed", fmt.Sprintf(`"mall":%q,"price":%d`, mall, price))
	}
	r := scene{
		engine: 5, also: products, features: []string{prices, watchers}, campaigns: []string{enuri},
		events: []string{
			price("10:00:00", "m1", 100),
			watch("u:a", "10:00:01", "Watch"), watch("a:b", "10:00:02", "Watch"), watch("u:c", "10:00:03", "Watch"),
			watch("u:a", "10:00:04", "Watch"), watch("u:d", "10:00:05", "Watch"), watch("u:e", "10:00:05", "Unwatch"), // keep 3: a:b goes
			price("10:01:00", "m2", 90), price("10:02:00", "m1", 90),
			price("10:02:00", "m1", 90),                                       // a duplicate by its bytes
			watch("u:c", "10:03:00", "Unwatch"),                               // nobody else
			price("10:04:00", "m1", 95),                                       // rises
			price("10:05:00", "m1", 80),                                       // for a and d
			price("10:06:00", "m1", 70),                                       // both have had two
			about("10:07:00", "q", "Price Changed", `"price":1`),              // nobody watches q
			strings.Replace(price("10:08:00", "m1", 1), "product", "shop", 1), // no such kind
			at("10:09:00", "Price Changed", `"mall":"m1","price":60,"product_id":"p"`),
			at("10:10:00", "Price Changed", `"mall":"m1","price":50`),
		},
		want: []string{
			`10:01:00 w "90 for p"`, `10:01:00 w "90 for p"`, `10:01:00 w "90 for p"`, `10:05:00 w "80 for p"`, `10:05:00 w "80 for p"`,
		},
		counts: "w fired 5, w limit 4, w condition 5",
	}.run(t)
	if r.recipients() != "u:c u:a u:d u:a u:d" || r.Duplicates != 1 || r.Offers[0].Key != "p" {
		t.Errorf("offers to %s, %d duplicates", r.recipients(), r.Duplicates)
	}
}

// TestAnswers: what is asked is judged again with the user's state as it is when the
// answer comes; the answers of one item are one step, after the event's own.
func TestAnswers(t *testing.T) {
	n := `{"name":"n","per":"product","on":["View"],"agg":"count"}`
	mine := `{"name":"mine","on":["View"],"agg":"count"}`
	scene{
		engine: 5, also: products + `,"caps":[{"channels":["web","push"],"max":2,"within":60000000000}]`, features: []string{mine, n},
		campaigns: []string{
			offer("asks", "web", "[n, before.n]", `"on":["View"],"if":["mine < 9","n >= 1"],"priority":9`),
			offer("asks2", "web", "[n]", `"on":["View"],"if":["n >= 1"]`),
			offer("asks3", "email", "[n]", `"on":["View"],"if":["mine > 100 && n >= 1"]`),
			offer("own", "web", "mine", `"on":["View"]`),
		},
		events: []string{at("10:00:00", "View", `"products":[{"product_id":"a"},{"product_id":"b"},{"product_id":"a"}]`)},
		want:   []string{"10:00:00 own 1", "10:00:00 asks [2,0]"}, // the cap stops what asked about b
		counts: "asks fired 1, asks cap 1, asks2 cap 2, asks3 condition 1",
	}.run(t)
	// B cancels by match or, without it, all; dwell is judged with the answer.
	dwells := `{"name":"stay","on":["View"],"agg":"dwell"}`
	scene{
		engine: 5, also: products, features: []string{n, dwells},
		campaigns: []string{
			offer("all", "web", "n", `"on":["View"],"if":["n >= 1"],"unless":{"on":["B"],"within":60000000000}`),
			offer("key", "sms", "n", `"on":["View"],"if":["n >= 1"],"unless":{"on":["B"],"match":"product_id","within":60000000000}`),
			offer("stays", "push", "n", `"on":["View"],"if":["n >= 1","stay >= duration(\"30s\")"]`),
		},
		events: []string{
			at("10:00:00", "View", `"products":[{"product_id":"a"},{"product_id":"b"}]`), by("u:v", at("10:00:20", "View", `"product_id":"a"`)),
			`{"type":"system","event":"B","userId":"u","timestamp":"2026-01-01T10:00:40Z","properties":{"product_id":"a"}}`,
			at("10:02:00", "x", ``),
		},
		want:   []string{"10:00:30 stays 1", "10:00:50 stays 2", "10:01:00 key 1", "10:01:20 all 2", "10:01:20 key 2"},
		counts: "all cancelled 2, key cancelled 1, stays outranked 1",
	}.run(t)
}

// TestItemBounds: bytes of an item, forgetting, and expires as an expression.
func TestItemBounds(t *testing.T) {
	last := `{"name":"last","per":"product","on":["View"],"by":"event.user","agg":"last","of":"event.properties.t"}`
	c := offer("c", "web", "last", `"on":["View"],"if":["last.size() >= 0"]`)
	v := func(who, clock, text string) string {
		return by(who, at(clock, "View", fmt.Sprintf(`"product_id":"p","t":%q`, text)))
	}
	scene{
		engine: 5, also: `,"items":[{"kind":"product","key":"product_id","forget":3600000000000}],"bounds":{"entries":256,"keys":64,"user_entries":65536,"user_bytes":262144,"absences":64,"item_bytes":40}`,
		features: []string{last}, campaigns: []string{c},
		events: []string{v("u:a", "10:00:00", "x"), v("u:b", "10:00:01", "x"), v("u:c", "11:00:00", "x"), v("u:a", "12:00:00", "y")},
		want:   []string{`10:00:00 c {"u:a":"x"}`, `10:00:01 c {"u:a":"x","u:b":"x"}`, `11:00:00 c {"u:b":"x","u:c":"x"}`, `12:00:00 c {"u:a":"y"}`}, // 16 + 3 + 1 each
	}.run(t)
	r := scene{
		engine: 5, also: products, features: []string{last},
		campaigns: []string{`{"id":"c","on":["View"],"if":["last.size() > 0"],"offer":{"channel":"web","kind":"advertising","expires_is":"duration(last[\"u:a\"])","at_most":60000000000}}`},
		events:    []string{v("u:a", "10:00:00", "30s"), v("u:a", "10:01:00", "2m"), v("u:a", "10:02:00", "0s"), v("u:a", "10:03:00", "soon")},
		counts:    "c condition 2",
	}.run(t)
	if len(r.Offers) != 2 || r.Offers[0].Expires != "2026-01-01T10:00:30Z" || r.Offers[1].Expires != "2026-01-01T10:02:00Z" {
		t.Errorf("offers %+v", r.Offers)
	}
}

// TestSample: beyond 16,384 values only some are held, and each stands for several.
func TestSample(t *testing.T) {
	full := sampleOf
	sampleOf = 1000
	defer func() { sampleOf = full }()
	f := &feature{Name: "f", Per: "product", Agg: "distinct", Within: hour, bounds: bounds{Entries: 256}}
	s := &state{f: f, keys: map[string]*window{"": {within: hour}}}
	for i := range sampleOf + 1 {
		s.keys[""].sample(&entry{at: 1, pos: i, text: fmt.Sprint(i)})
	}
	w := s.keys[""]
	if held := len(w.exact); w.zeros != 1 || held < sampleOf*45/100 || held > sampleOf*55/100 {
		t.Errorf("%d values held, %d zeros", held, w.zeros)
	}
	s.keys[""].exact = nil
	s.add(2*hour, entry{at: 2 * hour, text: "a"})
	if w = s.keys[""]; w.zeros != 0 || len(w.exact) != 1 {
		t.Errorf("%d values held, %d zeros; want one value", len(w.exact), w.zeros)
	}
}

// TestRecipients: a recipient goes on with a step of their own: gates, waiting, and
// templates with their own state. One who is new to all else is a user too.
func TestRecipients(t *testing.T) {
	mine := `{"name":"mine","on":["Buy"],"agg":"count"}`
	to := func(id, channel, rest string) string {
		return fmt.Sprintf(`{"id":%q,"on":["Drop"],"users":"watchers","offer":{"channel":%q,"kind":"advertising","data":"{{ mine }} {{ item.product_id }}"},%s}`, id, channel, rest)
	}
	watch := func(who string) string { return by(who, at("10:00:00", "Watch", `"product_id":"p"`)) }
	r := scene{
		engine: 5, also: products + `,"consent":{"required":["sms"]}`, features: []string{mine, watchers},
		campaigns: []string{
			to("due", "email", `"unless":{"on":["Buy"],"match":"product_id","within":60000000000}`),
			to("score", "web", `"score":"1.0"`), to("second", "web", `"priority":0.5`), to("gate", "sms", `"if":["watchers.size() == 2"]`),
		},
		events: []string{
			watch("u:a"), watch("u:b"), by("u:b", at("10:00:01", "Buy", ``)),
			by("u:c", at("10:01:00", "Drop", `"products":[{"product_id":"p"},{"product_id":"q"},{"product_id":"p"}]`)),
			by("u:a", at("10:01:30", "Buy", `"product_id":"p"`)), by("u:b", at("10:01:31", "Buy", `"product_id":"q"`)), at("10:03:00", "x", ``),
		},
		want:   []string{`10:01:00 score "0 p"`, `10:01:00 score "1 p"`, `10:02:00 due "2 p"`},
		counts: "due cancelled 1, due fired 1, due condition 1, second outranked 2, gate consent 2, gate condition 1",
	}.run(t)
	if r.recipients() != "u:a u:b u:b" {
		t.Errorf("offers to %s", r.recipients())
	}
}

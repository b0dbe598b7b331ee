package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// withCoupons returns the case with events that redeem and void the coupons of its
// offers: right ones, and codes that are another user's, expired, used already, or
// nobody's. Which offers go out is known only when the case has run.
func (c Case) withCoupons(seed uint64) Case {
	set := c.definition()
	if set.Engine < 5 || !slices.ContainsFunc(set.Campaigns, func(c *campaign) bool { return c.Offer.Coupon != nil }) {
		return c
	}
	r, err := c.Run()
	if err != nil {
		panic("oracle: " + err.Error())
	}
	pooled := map[string]bool{}
	for _, c := range set.Campaigns {
		pooled[c.ID] = c.Offer.Coupon != nil && c.Offer.Coupon.Pool != ""
	}
	m := &redeeming{generator: &generator{Rand: rand.New(rand.NewPCG(seed, 6))}, times: c.logTimes()}
	for _, o := range r.Offers {
		m.users = append(m.users, map[bool]string{true: "a:", false: "u:"}[o.Anon]+o.User)
	}
	merged := map[string]string{}
	for _, p := range r.Pages {
		var t told
		if json.Unmarshal([]byte(p.JSON), &t) == nil && t.Type == "merged" {
			merged["a:"+t.Visitor] = "u:" + t.User
		}
	}
	var with []*Offer
	for i := range r.Offers {
		if r.Offers[i].Coupon != nil {
			with = append(with, &r.Offers[i])
		}
	}
	m.Shuffle(len(with), func(i, j int) { with[i], with[j] = with[j], with[i] })
	for _, o := range with[:min(len(with), 6)] {
		name, _, _ := strings.Cut(o.Campaign, "/")
		m.use(o, merged, pooled[name])
	}
	return c.with(set).inserted(m.lines)
}

// A redeeming makes events about coupons.
type redeeming struct {
	*generator
	times []int64  // log time after each line
	users []string // who got offers
	lines []insertion
	made  int
}

// An insertion is a line that comes before another one.
type insertion struct {
	before int
	line   []byte
}

// use makes events about the coupon of an offer.
func (m *redeeming) use(o *Offer, merged map[string]string, pooled bool) {
	owner := map[bool]string{true: "a:", false: "u:"}[o.Anon] + o.User
	at, _ := time.Parse(time.RFC3339Nano, o.Time)
	first := 0
	for first < len(m.times) && m.times[first] < at.UnixNano() {
		first++
	}
	expires := int64(0)
	if until, err := time.Parse(time.RFC3339Nano, o.Coupon.Expires); err == nil {
		expires = until.UnixNano()
	}
	code := codeFor(o.Campaign, o.ID, expires)
	if pooled || m.chance(3) {
		code = o.Coupon.Code
	}
	place := first + 1
	early := m.chance(20)
	if early {
		place = first // it has not gone out yet
	}
	orders := []string{fmt.Sprint("o", m.IntN(1000)), fmt.Sprint("o", m.IntN(1000)), fmt.Sprint("o", m.IntN(1000))}
	for i := range 1 + m.IntN(6) {
		place += pick(m.generator, 0, 0, 1, 3, m.IntN(len(m.times)))
		if i == 0 {
			place = min(place, first+3) // mostly before it expires
		}
		if place > len(m.times) {
			place = len(m.times)
		}
		user := owner
		if to := merged[owner]; to != "" && m.chance(60) {
			user = to
		}
		if m.chance(12) {
			user = pick(m.generator, m.users...)
		}
		name, order := "Coupon Redeemed", pick(m.generator, orders[0], orders[0], orders[1], orders[2])
		if i > 0 && m.chance(35) {
			name, order = "Coupon Voided", pick(m.generator, orders[0], orders[0], orders[0], orders[1])
		}
		m.event(place, user, name, m.typed(code), order)
		if again := m.lines[len(m.lines)-1]; i == 0 && early {
			place = min(first+1+m.IntN(3), len(m.times))
			m.lines = append(m.lines, insertion{place, again.line})
		}
	}
}

// typed is a code as somebody has typed it, now and then wrongly.
func (m *redeeming) typed(code string) string {
	switch m.IntN(9) {
	case 0:
		code = strings.ToLower(code)
	case 1:
		code = strings.ReplaceAll(code, "-", "")
	case 2:
		code = " " + strings.ReplaceAll(strings.ReplaceAll(code, "0", "o"), "1", pick(m.generator, "I", "l")) + " "
	case 3:
		if i := m.IntN(len(code)); m.chance(50) {
			code = code[:i] + pick(m.generator, "7", "X", "U", "") + code[i+1:]
		}
	}
	return code
}

// event makes a line. It has no time, and so that of the line before it.
func (m *redeeming) event(place int, user, name, code, order string) {
	id := fmt.Sprint("redeem-", m.made)
	if m.made++; m.chance(50) { // as a gateway names it
		id = strings.Join([]string{name, code, order}, " ")
	}
	ev := map[string]any{"type": pick(m.generator, "system", "track"), "event": name, "messageId": id, "properties": map[string]any{"code": code, "orderId": order}}
	if n, numbered := strings.CutPrefix(order, "o"); numbered && m.chance(20) {
		ev["properties"].(map[string]any)["orderId"] = json.Number(n)
	}
	ev[map[string]string{"u:": "userId", "a:": "anonymousId"}[user[:2]]] = user[2:]
	if m.chance(4) {
		ev["proof"] = "none"
	}
	m.lines = append(m.lines, insertion{place, encode(ev)})
}

// logTimes returns log time after each line.
func (c Case) logTimes() (times []int64) {
	now, any := int64(0), false
	for _, raw := range c.Events {
		if ev, err := admit(bytes.TrimSpace(raw)); err == nil && ev.hasOwn && (!any || ev.own > now) {
			now, any = ev.own, true
		}
		times = append(times, now)
	}
	return times
}

// inserted returns the case with further lines.
func (c Case) inserted(lines []insertion) Case {
	slices.SortStableFunc(lines, func(a, b insertion) int { return a.before - b.before })
	before := func(line int) (n int) {
		for _, in := range lines {
			if in.before < line {
				n++
			}
		}
		return n
	}
	var events [][]byte
	for i := range len(c.Events) + 1 {
		for _, in := range lines {
			if in.before == i {
				events = append(events, in.line)
			}
		}
		if i < len(c.Events) {
			events = append(events, c.Events[i])
		}
	}
	controls := slices.Clone(c.Controls)
	for i := range controls {
		controls[i].At += before(controls[i].At)
	}
	c.Events, c.Controls = events, controls
	return c
}

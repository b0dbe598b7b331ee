package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// stream makes the lines of an input: most in the order of time, some late, some
// repeated, and some that the gateway would refuse.
func (g *generator) stream(set *definition) [][]byte {
	now := g.start
	switch g.IntN(30) {
	case 0:
		if !set.looksAhead() {
			now = math.MaxInt64 - g.Int64N(6*hour) // the stream passes the last time there is
		}
	case 1:
		now = -g.Int64N(6 * hour)
	}
	var lines [][]byte
	if g.chance(3) {
		lines = append(lines, g.line(-1, -math.MaxInt64, 0))
	}
	calm := pick(g, 40*second, 2*minute, 10*minute)
	if g.delays() && g.chance(60) {
		calm = pick(g, hour, 3*hour) // so that the hours that a histogram counts differ
	}
	g.alone = g.chance(25)
	g.travels = set.Quiet != nil && g.chance(40)
	for i := range 80 + g.IntN(200) {
		switch {
		case g.chance(10): // the same moment
		case g.chance(5):
			now = plus(now, g.Int64N(3*hour))
		case g.chance(1):
			now = plus(now, g.Int64N(3*day))
		case g.chance(30):
			now = plus(now, (1+g.Int64N(30))*second)
		default:
			now = plus(now, g.Int64N(calm))
		}
		if g.whole > 0 {
			now -= now % g.whole
		}
		switch {
		case g.chance(3):
			lines = append(lines, g.refused(now))
			continue
		case g.alone && len(lines) > 90 && g.chance(15): // the ring has forgotten its id
			lines = append(lines, lines[g.IntN(len(lines)-90)])
			continue
		case g.chance(6) && len(lines) > 0:
			lines = append(lines, lines[max(0, len(lines)-1-g.IntN(pick(g, 3, 20, 250, 250)))])
			continue
		}
		lines = append(lines, g.line(i, now, set.Lateness))
	}
	return lines
}

// delays reports whether a campaign waits for the best hour.
func (g *generator) delays() bool {
	return slices.ContainsFunc(g.set.Campaigns, func(c *campaign) bool { return c.At != nil })
}

// looksAhead reports whether the set looks for moments in the future, which end with
// the last time there is.
func (set *definition) looksAhead() bool {
	return set.Engine >= 5 || set.Quiet != nil || slices.ContainsFunc(set.Campaigns, func(c *campaign) bool { return c.At != nil || c.atSessionEnd() })
}

// line makes an event at about now.
func (g *generator) line(i int, now, lateness int64) []byte {
	at := now
	switch {
	case g.chance(8):
		at = minus(at, g.Int64N(2*lateness+1))
	case g.chance(8):
		at = minus(at, g.Int64N(2*minute))
	}
	if g.whole > 0 {
		at -= at % g.whole
	}
	ev := map[string]any{"timestamp": g.stamp(at), "messageId": fmt.Sprintf("m%d", i)}
	switch {
	case g.chance(2):
		delete(ev, "timestamp")
	case g.chance(3):
		ev["originalTimestamp"] = ev["timestamp"]
		ev["timestamp"] = nil
	}
	if g.chance(1) && i > 0 {
		ev["timestamp"] = "0001-01-01T00:00:00Z"
	}
	switch {
	case g.chance(5):
		delete(ev, "messageId")
	case g.chance(4):
		ev["messageId"] = pick[any](g, i, json.Number(fmt.Sprintf("%d.5e1", i+1)), json.Number(fmt.Sprintf("9007199254740993%d", (i+1)%3)), json.Number("-0"), json.Number("1e999"), true, strings.Repeat("m", 512+i%2))
	}
	if g.chance(3) {
		ev["logTime"] = g.stamp(plus(now, g.Int64N(hour))) // as in an event from a log; it must have no effect
	}
	if g.set.Facts != nil && g.chance(7) {
		return encode(g.fact(ev))
	}
	if g.mix != nil {
		if g.mix.items && g.chance(14) {
			return g.itemLine(ev)
		}
		g.mixed(ev)
	} else {
		g.user(ev)
		g.kind(ev)
	}
	g.visit(ev)
	if g.chance(2) {
		ev[pick(g, "properties", "traits", "context")] = []any{}
	}
	return g.spell(encode(ev))
}

// spell rewrites an event as other programs might write it: with escapes in keys,
// with a key twice, with half a surrogate pair.
func (g *generator) spell(ev []byte) []byte {
	if g.chance(93) {
		return ev
	}
	change := pick(g,
		[2]string{`{`, `{"user\u0049d":"u2",`},
		[2]string{`{`, `{"message\u0049d":"m1","type":null,"type":"track",`},
		[2]string{`"userId":`, `"user\u0049d":"u1","userId":`},
		[2]string{`"userId":`, `"userId":"u2","user\u0049d":`},
		[2]string{`"u1"`, `"u\ud83d"`},
		[2]string{`"m`, `"\uDE00m`},
		[2]string{`"category":"bag"`, `"categor\u0079":"shoes","category":"bag"`},
		[2]string{`"category":"bag"`, `"category":"b\u0061g","category":"dress"`},
		[2]string{`"category":"bag"`, `"category":"\ud83d\u0062\ud83d\ude00"`},
		[2]string{`"properties":`, `"properti\u0065s":`},
		[2]string{`"products":`, `"product\u0073":[],"products":`},
	)
	return bytes.Replace(ev, []byte(change[0]), []byte(change[1]), 1)
}

// user chooses the user of an event.
func (g *generator) user(ev map[string]any) {
	user := g.IntN(12)
	if g.alone && g.chance(80) {
		user = 11
	}
	switch user {
	case 0:
		ev["userId"] = pick[any](g, 42, "42", json.Number("4.2e1"), json.Number("42.0"), 42, json.Number("-0"), json.Number("0.0"), json.Number("9007199254740993"), json.Number("1e21"))
	case 1:
		ev["userId"] = "a@b.c d*>"
	case 2, 3:
		ev["anonymousId"] = "u1" // not the user u1
	case 4:
		ev["userId"], ev["anonymousId"] = "", "anon"
	case 5, 6, 7:
		ev["userId"], ev["anonymousId"] = "u2", "anon"
	default:
		ev["userId"] = "u1"
	}
}

// kind chooses the type of an event, and its properties or traits.
func (g *generator) kind(ev map[string]any) {
	switch k := g.IntN(20); {
	case g.long && g.chance(15):
		ev["type"], ev["traits"] = "identify", g.traits()
	case g.travels && g.chance(15):
		ev["type"], ev["traits"] = "identify", map[string]any{"timezone": pick(g, zoneNames...)}
	case k < 8:
		g.track(ev, "Product Viewed")
	case k < 12:
		g.track(ev, "Product Added")
	case k < 15:
		g.track(ev, pick(g, eventNames...))
	case k < 17:
		switch g.IntN(4) {
		case 0:
			ev["type"], ev["properties"] = pick(g, "group", "alias"), g.item()
		case 1:
			ev["type"], ev["event"], ev["properties"] = "system", pick(g, "Offer Shown", "Offer Shown", pick(g, eventNames...)), g.item()
			if g.chance(3) {
				ev["event"] = pick[any](g, "", nil, 5)
			}
		default:
			ev["type"], ev["event"] = pick(g, "track", "track", "system"), pick(g, "Consent Granted", "Consent Granted", "Consent Revoked")
			ev["properties"] = map[string]any{"channel": pick[any](g, "push", "sms", "email", "web", "night", "night", "sms", "No Channel", 5, nil)}
		}
	case k < 18:
		ev["type"], ev["traits"] = "identify", g.traits()
		if g.chance(30) {
			ev["properties"] = g.item()
		}
	default:
		ev["type"], ev["name"] = pick(g, "page", "screen"), pick(g, "home", "", "Product Viewed")
		ev["properties"] = g.item()
	}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// stamp writes a time in a random zone, sometimes to the nanosecond, and sometimes
// in a form that only some SDKs write.
func (g *generator) stamp(ns int64) string {
	if g.whole == 0 && g.chance(20) {
		ns = plus(ns, g.Int64N(second))
	}
	at := time.Unix(0, ns).UTC()
	if g.chance(90) {
		return at.In(time.FixedZone("", pick(g, 0, 0, 9*3600, -4*3600-1800))).Format(time.RFC3339Nano)
	}
	switch g.IntN(6) {
	case 0:
		return strings.ToLower(at.Format(time.RFC3339Nano))
	case 1:
		return at.In(time.FixedZone("", -4*3600-1800)).Format("2006-01-02T15:04:05.999999999-0700")
	case 2:
		return at.In(time.FixedZone("", 9*3600)).Format("2006-01-02T15:04:05.999999999-07")
	case 3:
		return at.Format("2006-01-02T15:04:05.000:Z")
	case 4:
		return at.Format("2006-01-02T15:04:05.000000000") + "999Z"
	}
	if at.Second() == 0 {
		return at.Add(-time.Second).Format("2006-01-02T15:04:") + "60" + at.Format(".000000000Z")
	}
	return at.Format(time.RFC3339Nano)
}

func (g *generator) track(ev map[string]any, name string) {
	props := g.item()
	ev["type"], ev["event"], ev["properties"] = "track", name, props
	share := 10
	if name == "Order Completed" || name == "Product Added" {
		share = 40
	}
	switch {
	case g.chance(share):
		var products []any
		for range 1 + g.IntN(3) {
			products = append(products, g.item())
		}
		if g.chance(5) {
			products = append(products, "no item")
		}
		props["products"] = products
	case g.chance(5):
		props["products"] = pick[any](g, map[string]any{"10": g.item(), "9": g.item(), "-1": g.item(), "a": g.item(), "": g.item()},
			map[string]any{"01": g.item(), "1": g.item(), "98765432109876543210": g.item(), "-98765432109876543210": g.item()},
			map[string]any{"0": g.item(), "1": "no item"}, g.item(), []any{"no item", nil})
	case g.chance(3):
		props["products"] = pick[any](g, []any{}, "none", nil, map[string]any{})
	case g.chance(3):
		delete(ev, "properties")
	}
	if g.chance(10) {
		props["dwell_ms"] = pick[any](g, 5000, 45000, 400000, -3, "long")
	}
}

// refused makes a line that the gateway would refuse. Its times must have no
// effect.
func (g *generator) refused(now int64) []byte {
	ev := map[string]any{"type": "track", "event": "Product Viewed", "userId": "u1", "messageId": fmt.Sprintf("r%d", g.IntN(1000)),
		"timestamp": g.stamp(now + 10*hour), "properties": g.item()}
	switch g.IntN(12) {
	case 0:
		ev["type"] = pick[any](g, "trak", nil, 3)
	case 1:
		ev["event"] = pick[any](g, "", nil, 5)
	case 2:
		ev["userId"] = pick[any](g, "", nil, true, "a\nb", string(make([]byte, 513)), json.Number("1e999"))
	case 3:
		ev["originalTimestamp"] = ev["timestamp"] // which does not mend it
		ev["timestamp"] = pick[any](g, "yesterday", "2026-03-01T11:00:00", 1772362800, "2026-03-01", "2026-03-01T11:00:00,5Z", "2026-03-01T11:00:00+24:00", "2026-03-01T11:00:00:Z", "2026-03-01T11:00:61Z", "")
	case 4:
		ev["properties"] = pick[any](g, []any{1}, []any{map[string]any{}}, "none", 1)
	case 5:
		ev["traits"] = "x"
	case 6:
		ev["messageId"] = string(make([]byte, 20_000)) // too long in JSON
	case 7:
		return []byte(pick(g, "", "null", "[]", `"track"`, "12", "{", "{}"))
	case 8:
		b := encode(ev)
		return b[:len(b)-1]
	case 9:
		return append(encode(ev), " x"...)
	case 10:
		return append([]byte("\xff"), encode(ev)...)
	default:
		ev["logTime"] = "now"
	}
	return encode(ev)
}

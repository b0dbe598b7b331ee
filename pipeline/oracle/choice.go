package oracle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"github.com/cespare/xxhash/v2"
)

// choose passes the candidates of one step through the gates and sends at most
// one offer per channel. What needs a grant asks for it, and keeps its channel. A grant
// that is not used goes back.
func (u *user) choose(now int64, candidates []*evaluation) {
	ranks := map[*evaluation]float64{}
	candidates = slices.DeleteFunc(candidates, func(e *evaluation) bool {
		rank, ok := u.rank(e, now)
		if ranks[e] = rank; !ok {
			u.out.count(e.campaign, "error")
			u.giveBack(e)
		}
		return !ok
	})
	slices.SortStableFunc(candidates, func(a, b *evaluation) int {
		switch {
		case ranks[a] != ranks[b]:
			return sign(ranks[a] > ranks[b])
		case a.campaign != b.campaign:
			return strings.Compare(a.campaign.ID, b.campaign.ID)
		}
		return strings.Compare(a.key, b.key)
	})
	taken := map[string]bool{}
	for _, e := range candidates {
		c := e.campaign
		o, sc, outcome := u.offer(e, now)
		if outcome == "" && taken[c.Offer.Channel] {
			outcome = "outranked"
		}
		o.Withheld = u.withheld(c)
		if outcome == "" && !o.Withheld {
			entity, micro, ok := e.asksFor(sc)
			switch {
			case !ok:
				outcome = "error"
			case entity != "":
				taken[c.Offer.Channel] = true
				u.askFor(e, entity, micro)
				continue
			}
		}
		if outcome != "" {
			u.giveBack(e)
		}
		if outcome != "" && outcome != "held" {
			u.out.count(c, outcome)
		}
		if outcome != "" {
			continue
		}
		taken[c.Offer.Channel] = true
		u.sent = append(u.sent, sent{c.ID, c.Offer.Channel, c.Offer.Kind, o.ID, o.Withheld, now})
		u.gets(&o, c, now)
		u.meetOut(e, o)
		if o.Withheld {
			u.out.count(c, "withheld")
		} else {
			u.out.count(c, "fired")
		}
		u.out.offers = append(u.out.offers, placed{Offer: o, now: now, pos: u.w.pos, step: u.w.steps})
	}
}

// meetOut counts the constructs of an offer that went out.
func (u *user) meetOut(e *evaluation, o Offer) {
	c := e.campaign
	for what, is := range map[string]bool{
		"rows": c.row != nil, "sequence": c.Sequence != nil, "session_end": c.atSessionEnd(), "let": len(c.Let) > 0, "at": c.At != nil, "when_due after a wait": c.whenDue != nil && e.waited,
		"choose": c.choose != nil, "score": c.score != nil, "coupon": o.Coupon != nil, "held": e.isHeld, "any the first": len(c.Any) > 0 && e.entry == c.Any[0], "any a later one": len(c.Any) > 1 && e.entry != c.Any[0],
		"sequence with unless": c.Sequence != nil && c.Unless != nil, "session_end with unless": c.atSessionEnd() && c.Unless != nil, "an event of type system": e.event != nil && e.event.typ == "system",
		"withheld by the set": o.Withheld && u.set.Holdout > 0 && c.Holdout == 0, "withheld by the campaign": o.Withheld && u.set.Holdout == 0, "after a grant": len(e.grants) > 0, "item": c.asks(), "to": c.Users != "", "item after a wait": c.asks() && e.waited, "to after a wait": c.Users != "" && e.waited, "in a zone of its own": u.zone().String() != u.set.Zone && u.zone().String() != "UTC",
	} {
		if is {
			u.out.meet("out: " + what)
		}
	}
}

// rank returns what candidates are sorted by. It returns false if the score fails
// or is no number.
func (u *user) rank(e *evaluation, now int64) (float64, bool) {
	if e.campaign.score == nil {
		return e.campaign.Priority, true
	}
	v, err := e.campaign.score.eval(u.scope(e, now))
	if err != nil {
		return 0, false
	}
	n, ok := double(v)
	return n, ok && !math.IsNaN(n)
}

// offer returns the offer of a candidate, or why there is none.
func (u *user) offer(e *evaluation, now int64) (Offer, *scope, string) {
	c := e.campaign
	if reason := u.gate(e, now); reason != "" {
		return Offer{}, nil, reason
	}
	id := offerID(c.ID, u.key, e.key, e.id, e.timed, e.first)
	if slices.ContainsFunc(u.sent[max(0, len(u.sent)-64):], func(s sent) bool { return s.id == id }) {
		return Offer{}, nil, "duplicate"
	}
	sc := u.scope(e, now)
	if c.choose != nil {
		v, err := c.choose.eval(sc)
		if err != nil {
			return Offer{}, nil, "error"
		}
		if o, ok := v.(*types.Optional); ok {
			if v = types.NullValue; o.HasValue() {
				v = o.GetValue()
			}
		}
		if v == types.NullValue {
			return Offer{}, nil, "no choice"
		}
		sc.item = v
	}
	expires, ok := c.expiry(sc)
	if !ok {
		return Offer{}, nil, "condition"
	}
	sc.coupon = c.coupon(u.set, now, expires)
	data, err := c.render(sc)
	if err != nil {
		return Offer{}, nil, "error"
	}
	o := Offer{
		ID: id, Campaign: c.ID, Channel: c.Offer.Channel, Kind: c.Offer.Kind, User: u.key[2:], Anon: u.key[:2] == "a:",
		Event: e.id, Key: e.key, Time: clock(now), Coupon: sc.coupon, Data: data,
	}
	if expires != 0 {
		o.Expires = clock(expires)
	}
	return o, sc, ""
}

// gate returns the reason why a candidate may not go out, or "" if it may. One that
// only the quiet hours stop begins to wait, which is "held".
func (u *user) gate(e *evaluation, now int64) string {
	c, q := e.campaign, u.set.Quiet
	advertising := c.Offer.Kind != "service"
	switch {
	case u.w.isPaused(c):
		return "paused"
	case !c.runs(now):
		return "period"
	case e.isHeld && q.AtMost > 0 && minus(now, e.held) > q.AtMost:
		return "age"
	case e.waited && !c.whenDue.holds(u.scope(e, now)):
		return "when_due"
	case advertising && u.set.Consent != nil && slices.Contains(u.set.Consent.Required, c.Offer.Channel) && !u.consents(c.Offer.Channel, now):
		return "consent"
	case u.limited(c, now):
		return "limit"
	case advertising && u.capped(c, now):
		return "cap"
	case advertising && u.pauses(c, now):
		return "pause"
	case !u.quiet(c, now):
		return ""
	case q.Drop:
		return "quiet hours"
	}
	if !e.isHeld {
		e.isHeld, e.held = true, now
	} else {
		u.out.meet("held again")
	}
	u.wait(e, hold, q.over(now, u.zone()))
	return "held"
}

// withheld reports whether the user is in a control group that does not get the
// campaign's offers.
func (u *user) withheld(c *campaign) bool {
	in := func(id string, share int) bool { return int(xxhash.Sum64String(id+"\x00"+u.key[2:])%10_000) < share }
	return c.Offer.Kind != "service" && (in("", u.set.Holdout) || in(c.ID, c.Holdout))
}

// limited reports whether the campaign has reached one of its limits.
func (u *user) limited(c *campaign, now int64) bool {
	for _, limit := range c.Limits {
		n := u.count(func(s sent) bool {
			if s.campaign != c.ID {
				return false
			}
			if limit.PerSession {
				// The latest session counts until the next one starts, also
				// when it is over.
				return s.at >= u.latest().started
			}
			return limit.Within == 0 || s.at > minus(now, limit.Within)
		})
		if n >= limit.Max {
			return true
		}
	}
	return false
}

// capped reports whether a cap on the campaign's channel is reached.
func (u *user) capped(c *campaign, now int64) bool {
	for _, limit := range u.set.Caps {
		n := u.count(func(s sent) bool {
			return s.counts() && slices.Contains(limit.Channels, s.channel) && (limit.Within == 0 || s.at > minus(now, limit.Within))
		})
		if slices.Contains(limit.Channels, c.Offer.Channel) && n >= limit.Max {
			return true
		}
	}
	return false
}

// pauses reports whether an advertising offer on one of the pause's channels
// is so recent that none may follow yet on the campaign's channel.
func (u *user) pauses(c *campaign, now int64) bool {
	p := u.set.Pause
	if p == nil || !slices.Contains(p.Channels, c.Offer.Channel) {
		return false
	}
	return u.count(func(s sent) bool {
		return s.counts() && slices.Contains(p.Channels, s.channel) && s.at > minus(now, p.AfterAny)
	}) > 0
}

// runs reports whether now lies in the campaign's period.
func (c *campaign) runs(now int64) bool {
	return (c.From == 0 || now >= c.From) && (c.To == 0 || now < c.To)
}

func (u *user) count(counts func(sent) bool) int {
	n := 0
	for _, s := range u.sent {
		if counts(s) {
			n++
		}
	}
	return n
}

// offerID returns, in hex, the first half of the SHA-256 of campaign, entity,
// match key and messageId, each preceded by its length, and for a timer of its
// due time.
func offerID(campaign, entity, key, messageID string, timer bool, due int64) string {
	var b bytes.Buffer
	for _, s := range []string{campaign, entity, key, messageID} {
		binary.Write(&b, binary.BigEndian, uint32(len(s)))
		b.WriteString(s)
	}
	if timer {
		binary.Write(&b, binary.BigEndian, due)
	}
	sum := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(sum[:16])
}

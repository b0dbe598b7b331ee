package oracle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// A candidate is an offer that would go out now.
type candidate struct {
	campaign *campaign
	event    *event
	key      string
	timer    bool
	due      int64
}

// choose passes the candidates of one step through the gates and sends at most
// one offer per channel. timer tells whether the step is that of a due time.
func (u *user) choose(now int64, candidates []candidate, timer bool) {
	slices.SortStableFunc(candidates, candidate.order)
	taken := map[string]bool{}
	for _, cand := range candidates {
		c := cand.campaign
		id := offerID(c.ID, cand.event.key, cand.key, cand.event.id, cand.timer, cand.due)
		reason := u.gate(cand, id, now)
		var data json.RawMessage
		if reason == "" {
			var err error
			if data, err = c.render(&scope{user: u, event: cand.event, now: now}); err != nil {
				reason = "error"
			}
		}
		if reason == "" && taken[c.Offer.Channel] {
			reason = "outranked"
		}
		if reason != "" {
			u.out.count(c, reason)
			continue
		}
		taken[c.Offer.Channel] = true
		u.out.count(c, "fired")
		u.sent = append(u.sent, sent{c.ID, c.Offer.Channel, c.Offer.Kind, id, now})
		o := Offer{
			ID: id, Campaign: c.ID, Channel: c.Offer.Channel, Kind: c.Offer.Kind, User: cand.event.bare(), Anon: cand.event.key[:2] == "a:",
			Event: cand.event.id, Key: cand.key, Time: clock(now), Data: data,
		}
		if c.Offer.Expires > 0 {
			o.Expires = clock(plus(now, c.Offer.Expires))
		}
		u.out.offers = append(u.out.offers, placed{o, now, timer, cand.event.key, cand.event.pos})
	}
}

// gate returns the reason why an offer may not go out, or "" if it may.
func (u *user) gate(cand candidate, id string, now int64) string {
	c := cand.campaign
	for i, s := range u.sent {
		if s.id == id && i >= len(u.sent)-64 {
			return "duplicate"
		}
	}
	if !c.runs(now) {
		return "period"
	}
	if cand.timer && !c.whenDue.holds(&scope{user: u, event: cand.event, now: now}) {
		return "when_due"
	}
	if u.limited(c, now) {
		return "limit"
	}
	if c.Offer.Kind == "service" {
		return ""
	}
	if u.capped(c, now) {
		return "cap"
	}
	if u.paused(c, now) {
		return "pause"
	}
	return ""
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
			return s.kind != "service" && slices.Contains(limit.Channels, s.channel) && (limit.Within == 0 || s.at > minus(now, limit.Within))
		})
		if slices.Contains(limit.Channels, c.Offer.Channel) && n >= limit.Max {
			return true
		}
	}
	return false
}

// paused reports whether an advertising offer on one of the pause's channels
// is so recent that none may follow yet on the campaign's channel.
func (u *user) paused(c *campaign, now int64) bool {
	p := u.set.Pause
	if p == nil || !slices.Contains(p.Channels, c.Offer.Channel) {
		return false
	}
	return u.count(func(s sent) bool {
		return s.kind != "service" && slices.Contains(p.Channels, s.channel) && s.at > minus(now, p.AfterAny)
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

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

// choose sends what may go out of one step's candidates: one per channel.
func (u *user) choose(now int64, candidates []candidate) {
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
			o.Expires = clock(now + c.Offer.Expires)
		}
		u.out.offers = append(u.out.offers, placed{o, now, cand.timer, cand.event.key, cand.event.pos})
	}
}

// gate is the reason why an offer may not go out; empty if it may.
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
	for _, limit := range c.Limits {
		n := u.count(func(s sent) bool {
			if s.campaign != c.ID {
				return false
			}
			if limit.PerSession {
				// Also when it is over, until the next starts.
				return s.at >= u.latest().started
			}
			return limit.Within == 0 || s.at > now-limit.Within
		})
		if n >= limit.Max {
			return "limit"
		}
	}
	if c.Offer.Kind == "service" {
		return ""
	}
	for _, limit := range u.set.Caps {
		n := u.count(func(s sent) bool {
			return s.kind != "service" && slices.Contains(limit.Channels, s.channel) && (limit.Within == 0 || s.at > now-limit.Within)
		})
		if slices.Contains(limit.Channels, c.Offer.Channel) && n >= limit.Max {
			return "cap"
		}
	}
	if p := u.set.Pause; p != nil && slices.Contains(p.Channels, c.Offer.Channel) {
		n := u.count(func(s sent) bool {
			return s.kind != "service" && slices.Contains(p.Channels, s.channel) && s.at > now-p.AfterAny
		})
		if n > 0 {
			return "pause"
		}
	}
	return ""
}

// runs says whether now lies in the campaign's period.
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

// offerID is the first half of the SHA-256 of campaign, entity, match key and
// messageId, each after its length, and of a timer's due time; in hex.
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

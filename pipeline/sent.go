package pipeline

import (
	"slices"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// A sent holds what went out of one campaign: the number of offers ever, and
// the newest times.
type sent struct {
	campaign string
	ever     uint64
	times    []int64
}

// A channelSent holds the newest times at which advertising went out on a
// channel.
type channelSent struct {
	channel string
	times   []int64
}

// countAfter is the number of times, which are sorted, that are later than
// cutoff.
func countAfter(times []int64, cutoff int64) int {
	n := 0
	for n < len(times) && times[len(times)-1-n] > cutoff {
		n++
	}
	return n
}

func (e *Entity) sentOf(campaign string) *sent {
	for i := range e.sent {
		if e.sent[i].campaign == campaign {
			return &e.sent[i]
		}
	}
	return nil
}

func (e *Entity) timesOf(channel string) []int64 {
	for i := range e.channels {
		if e.channels[i].channel == channel {
			return e.channels[i].times
		}
	}
	return nil
}

// limited reports whether the campaign has sent as many offers as a limit
// allows.
func (e *Entity) limited(c *liveCampaign, now int64) bool {
	s := e.sentOf(c.id)
	if s == nil {
		return false
	}
	for _, l := range c.def.Limits {
		switch {
		case l.PerSession:
			if countAfter(s.times, value.Minus(e.session.started, 1)) >= l.Max {
				return true
			}
		case l.Within == 0:
			if s.ever >= uint64(l.Max) {
				return true
			}
		default:
			if countAfter(s.times, value.Minus(now, int64(l.Within))) >= l.Max {
				return true
			}
		}
	}
	return false
}

// sentAfter is the number of advertising offers that went out on the channels
// after cutoff.
func (e *Entity) sentAfter(channels []string, cutoff int64) int {
	n := 0
	for _, ch := range channels {
		n += countAfter(e.timesOf(ch), cutoff)
	}
	return n
}

// wentOut remembers an offer for limits, caps, the pause, duplicates and its coupon; a
// withheld one for limits and duplicates alone.
func (e *Entity) wentOut(c *liveCampaign, o *Offer, now int64) {
	s := e.sentOf(c.id)
	if s == nil {
		e.sent = append(e.sent, sent{campaign: c.id})
		s = &e.sent[len(e.sent)-1]
	}
	s.ever++
	s.times = keepNewest(append(s.times, now), c.keepSent)
	if o.Kind == campaign.Advertising && !o.Withheld {
		i := slices.IndexFunc(e.channels, func(cs channelSent) bool { return cs.channel == o.Channel })
		if i < 0 {
			i = len(e.channels)
			e.channels = append(e.channels, channelSent{channel: o.Channel})
		}
		e.channels[i].times = keepNewest(append(e.channels[i].times, now), e.live.keepSent)
	}
	if o.Coupon != nil && !o.Withheld && e.live.def.Engine >= redeemEngine {
		e.holdCoupon(o, now)
	}
	e.offers = keepNewest(append(e.offers, remembered{o.ID, c.id, o.Key, now}), rememberedOffers)
}

// A remembered is an offer, or a withheld record, that went out.
type remembered struct {
	id       string
	campaign string // the id of its unit; "" if an engine before 4 sent it
	key      string // its match key
	at       int64  // log time
}

// remembers reports whether an offer with that id went out.
func (e *Entity) remembers(id string) bool {
	return slices.ContainsFunc(e.offers, func(o remembered) bool { return o.id == id })
}

// sentSince reports whether a campaign has sent an offer for a match key at a log
// time or later. One of which the key is not remembered may have been for that key.
func (e *Entity) sentSince(campaign, key string, at int64) bool {
	known, old := 0, false
	for _, o := range e.offers {
		switch {
		case o.campaign == "":
			old = true
		case o.campaign == campaign && o.at >= at:
			if known++; o.key == key {
				return true
			}
		}
	}
	s := e.sentOf(campaign)
	return old && s != nil && countAfter(s.times, value.Minus(at, 1)) > known
}

func keepNewest[T any](s []T, n int) []T {
	if len(s) > n {
		s = slices.Delete(s, 0, len(s)-n)
	}
	return s
}

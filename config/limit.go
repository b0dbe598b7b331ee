package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"offerstream/pipeline/campaign"
)

// limits reports campaigns that send without any limit, and limits that have no
// effect.
func (n *linter) limits() {
	for i := range n.def.Campaigns {
		c := &n.def.Campaigns[i]
		ch := c.Offer.Channel
		if c.Offer.Kind == campaign.Advertising && ch != "web" && len(c.Limits) == 0 && !n.capped(ch) {
			n.at("no-limit", ofCampaign(c, "offer", "channel"), fmt.Sprintf("this advertises by %s each time that its trigger comes: it has no `limits`, and no cap or pause is for %s", ch, ch),
				"limits: [{max: 1, within: 24h}]")
		}
		if c.Holdout > 0 && len(c.Limits) == 0 {
			n.at("holdout-no-limit", ofCampaign(c, "holdout"), "without `limits` a user of the control group counts as withheld each time that the trigger comes, so the figures compare triggers, not users",
				"limits: [{max: 1, within: 7d}]")
		}
		for j, l := range c.Limits {
			for k, other := range c.Limits {
				if j == k || !stricter(other, l) || other == l && k > j {
					continue
				}
				n.at("limit-no-effect", ofCampaign(c, "limits", strconv.Itoa(j)), fmt.Sprintf("the limit of %s is stricter, so this one is never reached", limitInWords(other)), "remove it")
				break
			}
		}
		if c.Fresh > 0 && c.Fresh >= n.def.Lateness {
			n.at("fresh-no-effect", ofCampaign(c, "fresh"), fmt.Sprintf("no event counts as older than `lateness`, %s, so `fresh` stops none", campaign.FormatDuration(n.def.Lateness)),
				"a shorter one, such as fresh: 2m, or a longer lateness")
		}
	}
}

// capped reports whether a policy limits advertising on a channel.
func (n *linter) capped(channel string) bool {
	return n.def.Pause != nil && slices.Contains(n.def.Pause.Channels, channel) ||
		slices.ContainsFunc(n.def.Caps, func(c campaign.Cap) bool { return slices.Contains(c.Channels, channel) })
}

// stricter reports whether what limit a lets through, b does too.
func stricter(a, b campaign.Limit) bool {
	ever := func(l campaign.Limit) bool { return l.Within == 0 && !l.PerSession }
	switch {
	case a.Max > b.Max:
		return false
	case ever(a):
		return true
	case ever(b) || a.PerSession != b.PerSession:
		return false
	}
	return a.Within >= b.Within
}

func limitInWords(l campaign.Limit) string {
	switch {
	case l.PerSession:
		return fmt.Sprintf("%d per session", l.Max)
	case l.Within == 0:
		return fmt.Sprintf("%d for ever", l.Max)
	}
	return fmt.Sprintf("%d within %s", l.Max, campaign.FormatDuration(l.Within))
}

// remembered reports times that are longer than the set remembers a user who does
// not come.
func (n *linter) remembered() {
	most, which := n.def.Forget.Known, "known"
	if n.def.Forget.Anonymous > most {
		most, which = n.def.Forget.Anonymous, "anonymous"
	}
	forgets := map[string]time.Duration{} // by kind of items
	for _, it := range n.def.Items {
		forgets[it.Kind] = cmp.Or(it.Forget, campaign.DefaultForgetItem)
	}
	longer := func(of string, d time.Duration, path ...string) {
		if d > most {
			n.at("longer-than-forget", path, fmt.Sprintf("%s is %s, and a user who does not come for %s is forgotten", of, campaign.FormatDuration(d), campaign.FormatDuration(most)),
				fmt.Sprintf("forget: {%s: %s}, or a shorter one", which, campaign.FormatDuration(d)))
		}
	}
	for _, f := range n.def.Features {
		switch most := forgets[f.Per]; {
		case f.Per == "":
			longer("the window", f.Within, "features", f.Name, "within")
		case f.Within > most:
			n.at("longer-than-forget", []string{"features", f.Name, "within"}, fmt.Sprintf("the window is %s, and a %s without an update for %s is forgotten", campaign.FormatDuration(f.Within), f.Per, campaign.FormatDuration(most)),
				fmt.Sprintf("items: {%s: {forget: %s}}, or a shorter one", f.Per, campaign.FormatDuration(f.Within)))
		}
	}
	for i := range n.def.Campaigns {
		c := &n.def.Campaigns[i]
		for j, l := range c.Limits {
			longer("the limit's time", l.Within, ofCampaign(c, "limits", strconv.Itoa(j), "within")...)
		}
	}
	if n.def.Consent != nil {
		longer("valid_for", n.def.Consent.ValidFor, "policies", "consent", "valid_for")
	}
	for i := 0; ; i++ {
		v, ok := n.places[key([]string{"policies", "caps", strconv.Itoa(i), "within"})]
		if !ok {
			return
		}
		if d, err := campaign.ParseDuration(v.n.Value); err == nil {
			longer("the cap's time", d, v.path...)
		}
	}
}

// retention notes the windows that the log does not reach back for. State outlives
// the log, so nothing is lost in a running deployment.
func (n *linter) retention(keeps time.Duration) {
	for _, f := range n.def.Features {
		reaches := "the window of " + f.Name + " is " + campaign.FormatDuration(f.Within)
		switch {
		case f.HalfLife > 0 || f.Within > 0 && f.Within <= keeps:
			continue
		case f.Within == 0:
			reaches = f.Name + " counts for ever"
		}
		n.atKey("longer-than-log", []string{"features", f.Name}, fmt.Sprintf("%s, and the log keeps %s: a running deployment has all of it, because features are state; explain and a backtest of another set over the live log see the last %s", reaches, campaign.FormatDuration(keeps), campaign.FormatDuration(keeps)),
			"for older events: offerctl backtest --events FILE")
	}
}

package config

import (
	"fmt"
	"slices"

	"offerstream/pipeline/campaign"
)

// kind is the kind of items whose features a campaign reads, so that it asks an item
// before it is evaluated; "" if it asks none. A campaign with `to` is evaluated at
// the item itself.
func (n *linter) kind(c *campaign.Campaign) string {
	if c.Users != "" || len(n.def.Items) == 0 {
		return ""
	}
	names := n.namesOf(c)
	for _, l := range slices.Backward(c.Let) {
		if names[l.Name] {
			for _, name := range n.namesIn(l.Is) {
				names[name] = true
			}
		}
	}
	for _, f := range n.def.Features {
		if f.Per != "" && (names[f.Name] || names["before."+f.Name]) {
			return f.Per
		}
	}
	return ""
}

// beside reports campaigns that ask an item and advertise on the same channel as one
// that asks none, where nothing keeps both from going out after one event: answers
// come in a step with a choice of its own (LANGUAGE.md, rule 23).
func (n *linter) beside() {
	other := map[string]string{} // by channel, a campaign that asks none
	var asking []*campaign.Campaign
	for i := range n.def.Campaigns {
		c := &n.def.Campaigns[i]
		switch ch := c.Offer.Channel; {
		case c.Offer.Kind != campaign.Advertising || c.Users != "" || n.capped(ch):
		case n.kind(c) != "":
			asking = append(asking, c)
		case other[ch] == "":
			other[ch] = c.ID
		}
	}
	for _, c := range asking {
		ch := c.Offer.Channel
		if other[ch] == "" {
			continue
		}
		n.at("not-compared", ofCampaign(c, "offer", "channel"), fmt.Sprintf("this campaign asks a %s and %s asks no item, so they are never compared: after one event both may go out on channel %s, whatever their priorities", n.kind(c), other[ch], ch),
			fmt.Sprintf("pause: {channels: [%s], after_any: 1h}, or a cap, in policies", ch))
	}
}

// forgetUnderLog reports what is forgotten earlier than the log may forget events.
func (n *linter) forgetUnderLog() {
	for _, path := range n.forgets() {
		v := n.places[key(path)]
		d, err := campaign.ParseDuration(v.n.Value)
		if err != nil || d >= longestLog {
			continue
		}
		n.at("forget-under-log", path, fmt.Sprintf("the log keeps events for up to %s, and this forgets after %s: apply and workers refuse a `%s` that is shorter than the log's retention", campaign.FormatDuration(longestLog), campaign.FormatDuration(d), forget),
			fmt.Sprintf("%s: %s, or more", path[len(path)-1], campaign.FormatDuration(longestLog)))
	}
}

// forgets are the paths of the set's times after which something is forgotten.
func (n *linter) forgets() (paths [][]string) {
	all := [][]string{{forget, "anonymous"}, {forget, "known"}}
	for _, it := range n.def.Items {
		all = append(all, []string{"items", it.Kind, forget})
	}
	for _, path := range all {
		if _, ok := n.places[key(path)]; ok {
			paths = append(paths, path)
		}
	}
	return paths
}

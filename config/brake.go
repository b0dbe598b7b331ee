package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
)

// Limits of brakes. The engine remembers when each offer within the window went out.
const (
	mostBrakes      = 16
	mostBraked      = 1_000_000 // the highest `max`
	mostBrakeWithin = 24 * time.Hour
)

// brakes reads the list `brake`.
func (v value) brakes() {
	var brakes []campaign.Brake
	v.elements("brake: [{channel: sms, max: 5000, within: 10m}]", func(v value) {
		var b campaign.Brake
		v.fields(aBrake, fields{
			"channel": func(v value) { b.Channel = v.channel() },
			"max":     func(v value) { b.Max = v.whole() },
			"within":  func(v value) { b.Within = v.span() },
			"per":     func(v value) { b.PerCampaign = v.word("campaign") != "" },
		})
		i := slices.IndexFunc(brakes, func(o campaign.Brake) bool {
			return b.Channel != "" && o.Channel == b.Channel && o.PerCampaign == b.PerCampaign
		})
		if i >= 0 {
			of := "a brake on " + b.Channel
			if b.PerCampaign {
				of += " per campaign"
			}
			v.problem(of+" appears twice", "keep one: the stricter one is the one that counts")
		}
		brakes = append(brakes, b)
	})
	v.atMost(len(brakes), mostBrakes)
	slices.SortFunc(brakes, func(a, b campaign.Brake) int {
		return cmp.Or(strings.Compare(a.Channel, b.Channel), boolCompare(a.PerCampaign, b.PerCampaign))
	})
	v.l.once("brake", v, brakes, func() { v.l.def.Brakes = brakes })
}

// boolCompare orders false before true.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// brakes reports brakes on channels on which no campaign advertises.
func (n *linter) brakes() {
	var used []string
	for _, c := range n.def.Campaigns {
		if c.Offer.Kind == campaign.Advertising && !slices.Contains(used, c.Offer.Channel) {
			used = append(used, c.Offer.Channel)
		}
	}
	for i := 0; ; i++ {
		v, ok := n.places[key([]string{"policies", "brake", strconv.Itoa(i), "channel"})]
		if !ok {
			return
		}
		if ch := v.n.Value; !slices.Contains(used, ch) {
			hint := "remove it, or name one of " + strings.Join(used, ", ")
			if meant := campaign.Nearest(ch, used); meant != "" {
				hint = fmt.Sprintf("did you mean %q?", meant)
			} else if len(used) == 0 {
				hint = "remove it: it is for offers of kind advertising"
			}
			n.spot("brake-unused", v, v.spot(), fmt.Sprintf("no campaign advertises on channel %q, so this brake stops nothing", ch), hint)
		}
	}
}

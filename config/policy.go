package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
)

const channelHint = "1 to 32 of a-z, 0-9, _ and -"

// policies reads the map of that name: what applies to all campaigns.
func (v value) policies() {
	v.fields(policies, fields{
		"caps":        func(v value) { v.caps() },
		"pause":       func(v value) { v.pause() },
		"consent":     func(v value) { v.consent() },
		"quiet_hours": func(v value) { v.quietHours() },
	})
}

func (v value) channels() []string {
	if !v.bad() && v.is() != "a list" {
		v.wrong("a list", "channels: [push, email]")
		return nil
	}
	v.elements("channels: [push, email]", func(c value) {
		if t := c.text(channelHint); t != "" && !campaign.Channel(t) {
			c.problem(fmt.Sprintf("%q is not a channel's name", t), channelHint)
		}
	})
	if v.l.isSilent(v.path) {
		return nil
	}
	return v.texts(channelHint)
}

func (v value) caps() {
	var caps []campaign.Cap
	v.elements("caps: [{channels: [push], max: 1, within: 24h}]", func(v value) {
		var c campaign.Cap
		has := v.fields(aCap, fields{
			"channels": func(v value) { c.Channels = v.channels() },
			"max":      func(v value) { c.Max = v.integer(1, mostOffers) },
			"within":   func(v value) { c.Within = v.duration(time.Second, "within: 24h") },
		})
		v.needs(has, aCap, "channels", "channels: [push]", "max", "max: 1", "within", "within: 24h")
		caps = append(caps, c)
	})
	slices.SortFunc(caps, func(a, b campaign.Cap) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	caps = slices.CompactFunc(caps, func(a, b campaign.Cap) bool { return reflect.DeepEqual(a, b) })
	v.l.once("caps", v, caps, func() { v.l.def.Caps = caps })
}

func (v value) pause() {
	var p campaign.Pause
	has := v.fields(aPause, fields{
		"channels":  func(v value) { p.Channels = v.channels() },
		"after_any": func(v value) { p.AfterAny = v.duration(time.Second, "after_any: 2h") },
	})
	v.needs(has, aPause, "channels", "channels: [push]", "after_any", "after_any: 2h")
	v.l.once("pause", v, p, func() { v.l.def.Pause = &p })
}

// consent reads for which channels the engine need not check consent. So far
// `none` is the only value that it supports.
func (v value) consent() {
	said := map[string]bool{}
	if !v.bad() && v.is() == "text" {
		v.none("consent")
		said[""] = true
	} else {
		v.named("channels", func(name string, c value) {
			switch {
			case name == "valid_for":
				c.unsupported(name)
			case !campaign.Channel(name):
				c.problem(fmt.Sprintf("%q is not a channel's name", name), channelHint)
			default:
				c.none("consent")
				said[name] = true
			}
		})
	}
	v.l.once("consent", v, said, func() { v.l.consent = said })
}

func (v value) quietHours() {
	v.none("quiet_hours")
	v.l.once("quiet_hours", v, "none", func() {})
}

// none refuses every value other than the word none, as not supported yet.
func (v value) none(name string) {
	switch {
	case v.bad():
	case v.is() == "nothing":
		v.wrong("none", name+": none")
	case v.is() != "text" || v.n.Value != "none":
		v.problem(fmt.Sprintf("%q other than none is not supported yet", name),
			fmt.Sprintf("write none if whoever delivers the offers takes care of it; this version %s", later[name]))
	}
}

// refuseSilence reports a set that advertises by sms, push or email, where the
// law demands consent and quiet hours, but does not name both policies. The
// value none is enough.
func (l *load) refuseSilence() {
	_, quiet := l.set["quiet_hours"]
	for _, c := range l.def.Campaigns {
		ch := c.Offer.Channel
		if c.Offer.Kind != campaign.Advertising || ch != "sms" && ch != "push" && ch != "email" {
			continue
		}
		var missing, write []string
		if !l.consent[""] && !l.consent[ch] {
			missing, write = append(missing, "consent for "+ch), append(write, "consent: {"+ch+": none}")
		}
		if !quiet {
			missing, write = append(missing, "quiet hours"), append(write, "quiet_hours: none")
		}
		if len(missing) == 0 {
			continue
		}
		v := l.places[key([]string{"campaigns", c.ID, "offer", "channel"})]
		v.problem(fmt.Sprintf("this advertises by %s, and the set does not name a policy for %s", ch, strings.Join(missing, " and ")),
			fmt.Sprintf("if whoever delivers the offers takes care of it, write policies: {%s}", strings.Join(write, ", ")))
	}
}

package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
)

const channelHint = "1 to 32 of a-z, 0-9, _ and -"

// policies reads the map of that name: what applies to all campaigns.
func (v value) policies() {
	v.fields(policies, fields{
		"caps":        func(v value) { v.caps() },
		"brake":       func(v value) { v.brakes() },
		"pause":       func(v value) { v.pause() },
		"consent":     func(v value) { v.consent() },
		"quiet_hours": func(v value) { v.quietHours() },
		"holdout":     func(v value) { n := v.share(); v.l.once("holdout", v, n, func() { v.l.def.Holdout = n }) },
	})
}

func (v value) channels() []string {
	if !v.bad() && v.is() != "a list" {
		v.wrong("a list", "channels: [push, email]")
		return nil
	}
	v.elements("channels: [push, email]", func(c value) { c.channel() })
	if v.l.isSilent(v.path) {
		return nil
	}
	return v.texts(channelHint)
}

// channel reads the name of a channel, or of a consent.
func (v value) channel() string {
	t := v.text(channelHint)
	if t != "" && !campaign.Channel(t) {
		hint := channelHint
		if small := strings.ToLower(t); campaign.Channel(small) {
			hint = "write " + small
		}
		v.problem(fmt.Sprintf("%q is not a channel's name", t), hint)
		return ""
	}
	return t
}

func (v value) caps() {
	var caps []campaign.Cap
	v.elements("caps: [{channels: [push], max: 1, within: 24h}]", func(v value) {
		var c campaign.Cap
		v.fields(aCap, fields{
			"channels": func(v value) { c.Channels = v.channels() },
			"max":      func(v value) { c.Max = v.whole() },
			"within":   func(v value) { c.Within = v.span() },
		})
		caps = append(caps, c)
	})
	slices.SortFunc(caps, func(a, b campaign.Cap) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	caps = slices.CompactFunc(caps, func(a, b campaign.Cap) bool { return reflect.DeepEqual(a, b) })
	v.l.once("caps", v, caps, func() { v.l.def.Caps = caps })
}

func (v value) pause() {
	var p campaign.Pause
	v.fields(aPause, fields{
		"channels":  func(v value) { p.Channels = v.channels() },
		"after_any": func(v value) { p.AfterAny = v.span() },
	})
	v.l.once("pause", v, p, func() { v.l.def.Pause = &p })
}

// A consent is what a set says about consent.
type consent struct {
	none     bool             // about all channels
	channels map[string]bool  // whether consent is required there
	policy   campaign.Consent // as the core reads it
}

func (v value) consent() {
	const hint = "consent: {push: required, web: none}; or none, if whoever delivers the offers asks for consent"
	said := consent{channels: map[string]bool{}}
	switch {
	case v.bad():
	case v.is() == "text" && v.n.Value == "none":
		said.none = true
	case v.is() == "text":
		v.problem(fmt.Sprintf("%q is not a possible value", v.n.Value), hint)
	case v.is() != "a map":
		v.wrong("a map", hint)
	}
	if v.is() == "a map" && !v.bad() {
		for name, c := range v.pairs {
			switch {
			case name == "valid_for":
				said.policy.ValidFor = c.duration(time.Second, "valid_for: 730d")
			case !campaign.Channel(name):
				c.problemAt(start(c.key), fmt.Sprintf("%q is not a channel's name", name), channelHint)
			default:
				said.channels[name] = c.word("required", "none") == "required"
				if said.channels[name] {
					said.policy.Required = append(said.policy.Required, name)
				}
			}
		}
	}
	slices.Sort(said.policy.Required)
	v.l.once("consent", v, said, func() {
		v.l.consent = said
		if len(said.policy.Required) > 0 || said.policy.ValidFor > 0 {
			v.l.def.Consent = &said.policy
		}
	})
}

// quietHours reads none, or when advertising must not arrive.
func (v value) quietHours() {
	if !v.bad() && v.is() == "text" && v.n.Value == "none" {
		v.l.once("quiet_hours", v, "none", func() {})
		return
	}
	if !v.bad() && v.is() != "a map" {
		v.wrong("a map or none", v.row.hint()+"; or none, if whoever delivers the offers takes care of it")
		return
	}
	q := campaign.QuietHours{From: -1, To: -1}
	has := v.fields(quiet, fields{
		"channels":       func(v value) { q.Channels = v.channels() },
		"from":           func(v value) { q.From = v.clockTime() },
		"to":             func(v value) { q.To = v.clockTime() },
		"except_consent": func(v value) { q.ExceptConsent = v.channel() },
		"then":           func(v value) { q.Drop = v.word("hold", "drop") == "drop" },
		"at_most":        func(v value) { q.AtMost = v.span() },
	})
	if q.From >= 0 && q.From == q.To {
		has["to"].problem("the quiet hours end when they begin", "for a whole day remove the channel from the campaigns")
	}
	if c, ok := has["at_most"]; ok && q.Drop {
		c.problemAt(start(c.key), "`at_most` has no meaning with `then: drop`", "remove it: nothing is held")
	}
	v.l.once("quiet_hours", v, q, func() { v.l.def.Quiet = &q })
	v.shortHold(q, has)
}

// shortHold warns of a hold that is given up before the quiet hours end. In the
// night in which clocks go back they last an hour longer.
func (v value) shortHold(q campaign.QuietHours, has present) {
	night := (q.To - q.From + 24*60) % (24 * 60)
	if q.From < 0 || q.To < 0 || q.AtMost == 0 || q.AtMost >= minutes(night+60) {
		return
	}
	has["at_most"].warn(fmt.Sprintf("the quiet hours last %s, and an hour more in the night in which clocks go back: what is held from their beginning is not sent then", campaign.FormatDuration(minutes(night))),
		"at_most: "+campaign.FormatDuration(minutes(night+60)))
}

var clockForm = lazyregexp.New(`^([01]?[0-9]|2[0-3]):([0-5][0-9])$`)

// clockTime reads a time of day, in minutes after midnight; -1 if it is wrong.
func (v value) clockTime() int {
	hint := v.row.example + ", from 00:00 to 23:59"
	t := v.text(hint)
	if t == "" {
		return -1
	}
	if !clockForm.MatchString(t) {
		v.problem(fmt.Sprintf("%q is not a time of day", t), hint)
		return -1
	}
	if len(t) == len("8:00") {
		t = "0" + t
	}
	d := func(i int) int { return int(t[i] - '0') }
	return (10*d(0)+d(1))*60 + 10*d(3) + d(4)
}

// refuseSilence reports a set that advertises on a channel that reaches people
// outside of the shop's own pages, where the law demands consent and quiet
// hours, but does not name both policies. The value none is enough.
func (l *load) refuseSilence() {
	_, quiet := l.set["quiet_hours"]
	for _, c := range l.def.Campaigns {
		ch := c.Offer.Channel
		if c.Offer.Kind != campaign.Advertising || ch == "web" || !campaign.Channel(ch) {
			continue
		}
		v, ok := l.places[key([]string{"campaigns", c.ID, "offer", "channel"})]
		if !ok || l.isSilent(v.path) {
			continue
		}
		var missing, write []string
		_, named := l.consent.channels[ch]
		if named = named || l.consent.none; !named {
			missing, write = append(missing, "consent to "+ch), append(write, "consent: {"+ch+": required}")
		}
		if !quiet {
			missing, write = append(missing, "quiet hours"), append(write, fmt.Sprintf(`quiet_hours: {channels: [%s], from: "21:00", to: "08:00"}`, ch))
		}
		if len(missing) == 0 {
			continue
		}
		hint := fmt.Sprintf("write policies: {%s}; or none, if whoever delivers the offers takes care of it", strings.Join(write, ", "))
		if !named {
			hint = l.meantChannel(ch) + hint
		}
		v.problem(fmt.Sprintf("this advertises by %s, and the set has no policy for %s", ch, strings.Join(missing, " and ")), hint)
	}
}

// wellKnown are the channels that most shops have.
var wellKnown = []string{"web", "push", "sms", "email"}

// meantChannel begins a hint with the channel that is probably meant by one that no
// consent names: one that consent names and no campaign uses, any other that it
// names, or a common one.
func (l *load) meantChannel(ch string) string {
	used := map[string]bool{}
	for _, c := range l.def.Campaigns {
		used[c.Offer.Channel] = true
	}
	var unused []string
	names := slices.Sorted(maps.Keys(l.consent.channels))
	for _, name := range names {
		if !used[name] {
			unused = append(unused, name)
		}
	}
	if meant := campaign.Nearest(ch, unused); meant != "" {
		return fmt.Sprintf("did you mean %q, for which the set names consent, and which no campaign uses? Else ", meant)
	}
	if meant := campaign.Nearest(ch, names); meant != "" {
		return fmt.Sprintf("did you mean %q, for which the set names consent? Else ", meant)
	}
	if meant := campaign.Nearest(ch, wellKnown); meant != "" && meant != ch {
		return fmt.Sprintf("did you mean %q? Else ", meant)
	}
	if len(names) > 0 {
		return fmt.Sprintf("the set names consent for %s; ", strings.Join(names, ", "))
	}
	return ""
}

func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }

package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/campaign"
)

// A named is a name of an event in a set, with where it is written.
type named struct {
	name string
	path []string
}

// eventNames reports a name of an event that is written once and is another one, of
// the set or of the language, but for case, spaces or a single letter.
func (n *linter) eventNames() {
	var all []named
	add := func(names []string, path []string) {
		for _, name := range names {
			all = append(all, named{name, path})
		}
	}
	for _, f := range n.def.Features {
		add(f.On, []string{"features", f.Name, "on"})
		add(f.RemoveOn, []string{"features", f.Name, "remove_on"})
	}
	for i := range n.def.Campaigns {
		c := &n.def.Campaigns[i]
		for _, e := range entries(c) {
			add(e.on, below(e.path, "on"))
			if e.unless != nil {
				at := e.path
				if c.Sequence != nil {
					at = ofCampaign(c)
				}
				add(e.unless.On, below(at, "unless", "on"))
			}
		}
	}
	times, bare := map[string]int{}, map[string][]string{}
	for _, e := range all {
		times[e.name]++
	}
	known := slices.Clone(selectors[1:]) // "*" is similar to nothing
	for name := range times {
		known = append(known, name)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	for _, name := range known {
		bare[bared(name)] = append(bare[bared(name)], name)
	}
	for _, e := range all {
		if times[e.name] > 1 || slices.Contains(selectors, e.name) || typeNames[strings.ToLower(e.name)] != "" { // whoever reads the file warns of the last
			continue
		}
		meant := ""
		for _, other := range bare[bared(e.name)] {
			if other != e.name && (times[other] > 1 || slices.Contains(selectors, other) || other < e.name) {
				meant = other
			}
		}
		if meant == "" {
			meant = oneLetter(e.name, known, times)
		}
		if v, ok := n.places[key(e.path)]; ok && meant != "" {
			at := v.spot()
			for _, c := range v.n.Content { // of a list, if it is one
				if c.Value == e.name {
					at = start(c)
				}
			}
			n.spot("event-name", v, at, fmt.Sprintf("%q is written only here, and is almost %q", e.name, meant), fmt.Sprintf("did you mean %q? Names of events are compared letter by letter", meant))
		}
	}
}

// bared is a name without what is often written in several ways.
func bared(name string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '_' || r == '-' {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// oneLetter finds a name that is used more than once and differs from a long one by
// a single letter.
func oneLetter(name string, known []string, times map[string]int) string {
	const long = 8
	if len(name) < long {
		return ""
	}
	for _, other := range known {
		if times[other] > 1 && other != name && oneEdit(name, other) {
			return other
		}
	}
	return ""
}

// oneEdit reports whether one text becomes the other if one letter, no digit, is
// changed, added, removed, or changes places with the next.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	digit := func(s string) bool { return i < len(s) && s[i] >= '0' && s[i] <= '9' }
	if digit(a) || digit(b) || len(b)-len(a) > 1 {
		return false
	}
	if len(a) < len(b) {
		return a[i:] == b[i+1:]
	}
	return a[i+1:] == b[i+1:] || i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}

// channelNames reports a channel in a policy that no campaign uses and that is
// similar to one that is used, and that the policy does not name.
func (n *linter) channelNames() {
	var used []string
	for _, c := range n.def.Campaigns {
		if !slices.Contains(used, c.Offer.Channel) {
			used = append(used, c.Offer.Channel)
		}
	}
	in := func(path ...string) bool {
		v, ok := n.places[key(path)]
		if !ok || v.n.Kind != yaml.SequenceNode {
			return ok
		}
		var names []string
		for _, c := range v.n.Content {
			names = append(names, c.Value)
		}
		others := slices.DeleteFunc(slices.Clone(used), func(ch string) bool { return slices.Contains(names, ch) })
		for _, c := range v.n.Content {
			if meant := campaign.Nearest(c.Value, others); meant != "" && !slices.Contains(used, c.Value) {
				n.spot("channel-name", v, start(c), fmt.Sprintf("no campaign sends on channel %q, and this policy does not name %q", c.Value, meant), fmt.Sprintf("did you mean %q?", meant))
			}
		}
		return true
	}
	in("policies", "quiet_hours", "channels")
	in("policies", "pause", "channels")
	for i := 0; in("policies", "caps", strconv.Itoa(i), "channels"); i++ {
	}
}

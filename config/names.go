package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/campaign"
)

// What `on` does not know is the name of a track event, so every mistake in it is the
// name of an event that never comes.

// typeNames are the words of Segment's API that are no events here, or are written in
// another way.
var typeNames = map[string]string{
	"group": "group calls trigger nothing", "alias": "alias calls trigger nothing", "track": `any event is "*"`, "any": `any event is "*"`, "all": `any event is "*"`, "event": `any event is "*"`,
	"pageview": "a page call is page", "page_view": "a page call is page", "page view": "a page call is page", "pages": "a page call is page", "screenview": "a screen call is screen", "screen_view": "a screen call is screen",
	"session_started": "a session's first event has session.count == 1, in `if`", "session_start": "a session's first event has session.count == 1, in `if`", "sessionend": "a session's end is session_end", "session end": "a session's end is session_end", "session_ended": "a session's end is session_end", "end_session": "a session's end is session_end",
	"page": "a page call is page, in small letters", "screen": "a screen call is screen, in small letters", "identify": "an identify call is identify, in small letters",
}

// eventNames reads the names of events: a text, or a list.
func (v value) eventNames() []string {
	names := v.texts(eventHint)
	if v.n.Kind == yaml.SequenceNode {
		for i, n := range v.n.Content {
			if c := v.child(nil, n, fmt.Sprint(i)); n.Kind == yaml.ScalarNode && !c.bad() {
				c.eventName()
			}
		}
	} else if v.n.Kind == yaml.ScalarNode && !v.bad() {
		v.eventName()
	}
	return names
}

// eventName warns of a name that is probably not that of an event. One that is a list
// without brackets is a mistake, unless quotes say that it is one name.
func (v value) eventName() {
	name := v.n.Value
	if slices.Contains(selectors, name) {
		return
	}
	if hint := typeNames[strings.ToLower(name)]; hint != "" {
		v.warn(fmt.Sprintf("%s is taken for the name of a track event here", name), hint)
		return
	}
	if at, c, ok := v.lookalike(); ok && (c.Blank() || c.Write == `"` && strings.HasPrefix(name, string(c.Rune))) {
		what, _ := c.Says()
		if !c.Blank() {
			what = fmt.Sprintf("%c (U+%04X, %s) is a part of the event's name here", c.Rune, c.Rune, c.Name)
		}
		v.warnAt(at, what, "events with an ordinary one in their name do not match")
		return
	}
	for _, sep := range []string{", ", ",", " || ", " | ", " && ", "; "} {
		parts := strings.Split(name, sep)
		if len(parts) < 2 || !plain(v.n) || slices.Contains(parts, "") {
			continue
		}
		for i, p := range parts {
			parts[i] = strings.TrimSpace(p)
		}
		v.problem("this is one event's name, not a list", fmt.Sprintf("write [%s]; if there is such an event, put its name in quotes", strings.Join(parts, ", ")))
		return
	}
}

// severalNames warns of names that are two of the set's events, joined by a word.
func (l *load) severalNames() {
	names := map[string]bool{}
	each := func(on []string) {
		for _, n := range on {
			names[n] = true
		}
	}
	for _, f := range l.def.Features {
		each(f.On)
		each(f.RemoveOn)
	}
	for i := range l.def.Campaigns {
		c := &l.def.Campaigns[i]
		each(c.On)
		triggers := append([]campaign.Trigger{{Unless: c.Unless}}, c.Any...)
		for _, t := range triggers {
			each(t.On)
			if t.Unless != nil {
				each(t.Unless.On)
			}
		}
		if c.Sequence != nil {
			for _, s := range c.Sequence.Steps {
				each(s.On)
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(l.places)) {
		v := l.places[path]
		if v.key == nil || v.key.Value != "on" || v.n.Kind != yaml.ScalarNode {
			continue
		}
		for _, sep := range []string{" or ", " OR ", " and ", " AND ", " / ", "/", " + "} {
			parts := strings.Split(v.n.Value, sep)
			if len(parts) > 1 && slices.ContainsFunc(parts, func(p string) bool { return names[p] }) {
				v.warn("this is one event's name, not a list", fmt.Sprintf("on: [%s]", strings.Join(parts, ", ")))
				break
			}
		}
		for _, first := range slices.Sorted(maps.Keys(names)) {
			if rest, ok := strings.CutPrefix(v.n.Value, first+" "); ok && names[rest] {
				v.warn("this is one event's name, not a list", fmt.Sprintf("on: [%s, %s]", first, rest))
			}
		}
	}
}

// fieldNames reads names of properties: a text, or a list.
func (v value) fieldNames() []string {
	names := v.texts("fields: [product_id, name]")
	for _, name := range names {
		if parts := strings.Split(name, ","); len(parts) > 1 && v.n.Kind == yaml.ScalarNode {
			for i := range parts {
				parts[i] = strings.TrimSpace(parts[i])
			}
			v.problem("this is one name, not a list", fmt.Sprintf("write [%s]", strings.Join(parts, ", ")))
		}
	}
	return names
}

// blanksInName warns of the name of a property with a character that cannot be seen,
// or looks like a space.
func (v value) blanksInName() {
	if at, c, ok := v.lookalike(); ok && c.Blank() && campaign.PropertyName(v.n.Value) {
		what, _ := c.Says()
		v.warnAt(at, what, "a property with an ordinary one in its name is another one")
	}
}

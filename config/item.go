package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
)

// mostKinds bounds the kinds of items of a set: each event is looked at once for
// each of them.
const mostKinds = 64

// longestLog is the longest time for which a log keeps events. Whatever has state is
// remembered for at least as long, so that nothing that is still under way finds a
// new one in its place (LANGUAGE.md, rule 17).
const longestLog = 30 * 24 * time.Hour

// item reads one kind of items and adds it to the set. A second file may have the
// same kind only with the same value, as it may have the same policies.
func (v value) item(kind string) {
	if !v.variable("kind", kind, nil) {
		return
	}
	it := campaign.Item{Kind: kind}
	v.fields(anItem, fields{
		"key":    func(v value) { it.Key = v.itemKey() },
		"forget": func(v value) { it.Forget = v.span() },
	})
	if it.Key == "" { // reported
		v.l.silence(v.path)
	}
	if it.Forget == campaign.DefaultForgetItem { // as if it were not written, so that the set is the same
		it.Forget = 0
	}
	if first := v.l.places[key(v.path)]; first.n != v.n {
		if !slices.Contains(v.l.def.Items, it) {
			v.problemAt(start(v.key), fmt.Sprintf("kind %q has another value at %s", kind, first.keyPlace()), "write the same in both, or rename one")
		}
		return
	}
	if v.l.def.Items = append(v.l.def.Items, it); len(v.l.def.Items) == mostKinds+1 {
		v.problemAt(start(v.key), fmt.Sprintf("there are more than %d kinds of items", mostKinds), "one kind may hold what has the same key")
	}
}

// itemKey reads the name of the property that names the items of a kind. The key is
// no expression, though it looks like one in other places.
func (v value) itemKey() string {
	for _, prefix := range []string{"event.properties.", "event.items.", "properties.", "item."} {
		if name, ok := strings.CutPrefix(v.n.Value, prefix); ok && campaign.PropertyName(name) && !v.bad() {
			v.problem(fmt.Sprintf("%q is not the name of a property", v.n.Value), "write "+name+": that property of each of event.items is the key")
			return ""
		}
	}
	return v.property()
}

// unknownKinds reports features of kinds of items that the set does not have.
func (l *load) unknownKinds() {
	var kinds []string
	for _, it := range l.def.Items {
		kinds = append(kinds, it.Kind)
	}
	for _, f := range l.def.Features {
		v, ok := l.places[key([]string{"features", f.Name, "per"})]
		if !ok || f.Per == "" || slices.Contains(kinds, f.Per) || l.isSilent(v.path) {
			continue
		}
		hint := fmt.Sprintf("items: {%s: {key: %s_id}}", f.Per, f.Per)
		if len(kinds) > 0 {
			hint = didYouMean(f.Per, kinds)
		}
		v.problem(fmt.Sprintf("there is no kind of items %q", f.Per), hint)
		l.silence([]string{"features", f.Name})
	}
}

// unknownUsers reports campaigns whose `to` is no feature that lists users.
func (l *load) unknownUsers() {
	var lists []string
	for _, f := range l.def.Features {
		if f.Agg == aggUsers {
			lists = append(lists, f.Name)
		}
	}
	for i := range l.def.Campaigns {
		c := &l.def.Campaigns[i]
		v, ok := l.places[key(ofCampaign(c, "to"))]
		_, written := l.places[key([]string{"features", c.Users})]
		unread := written && l.isSilent([]string{"features", c.Users}) // it has a mistake, which is reported
		if !ok || c.Users == "" || slices.Contains(lists, c.Users) || unread {
			continue
		}
		hint := "watchers: {per: product, on: Price Watch Started, agg: users}"
		if len(lists) > 0 {
			hint = didYouMean(c.Users, lists)
		}
		if written {
			v.problem(fmt.Sprintf("the feature %q lists no users, and `to` wants a feature with agg: users", c.Users), hint)
			continue
		}
		v.problem(fmt.Sprintf("there is no feature %q", c.Users), hint)
	}
}

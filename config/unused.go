package config

import (
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
)

// unused reports features, facts and names of `let` that nothing reads, and a time
// zone.
func (n *linter) unused() {
	read := map[string]bool{}
	unreadLets := map[string][]string{} // by the names that only they read
	best := false                       // something but an expression reads the zone
	for i := range n.def.Campaigns {
		c := &n.def.Campaigns[i]
		best = best || c.At != nil || c.Budget != nil && c.Budget.PerDay
		own := n.namesOf(c)
		for _, l := range slices.Backward(c.Let) {
			names := n.namesIn(l.Is)
			if own[l.Name] {
				for _, name := range names {
					own[name] = true
				}
				continue
			}
			n.atKey("unused-let", ofCampaign(c, "let", l.Name), fmt.Sprintf("nothing in this campaign reads %s", l.Name), "remove it, or read it in `if` or in the offer")
			for _, name := range names {
				unreadLets[name] = append(unreadLets[name], c.ID+".let."+l.Name)
			}
		}
		for name := range own {
			read[name] = true
		}
	}
	only := func(names ...string) string {
		for _, name := range names {
			if by := unreadLets[name]; len(by) > 0 {
				return " but " + by[0] + ", which nothing reads either"
			}
		}
		return ""
	}
	n.readByItems(read, unreadLets)
	for _, f := range n.def.Features {
		if before := "before." + f.Name; !read[f.Name] && !read[before] {
			whose := "user"
			if f.Per != "" {
				whose = f.Per
			}
			n.atKey("unused-feature", []string{"features", f.Name}, fmt.Sprintf("no campaign reads %s%s", f.Name, only(f.Name, before)),
				"remove it, because each "+whose+"'s state holds it; keep it if a campaign to come is to find it filled")
		}
	}
	for _, f := range n.def.Facts {
		if name := "facts." + f.Name; !read[name] {
			n.atKey("unused-fact", []string{"facts", f.Name}, fmt.Sprintf("no campaign reads facts.%s%s", f.Name, only(name)), "remove it, or read it as facts."+f.Name+"[key]."+aField(f))
		}
	}
	if zone := n.set["zone"]; zone.at.n != nil && n.def.Zone != "" && n.def.Zone != "UTC" && !best && n.def.Quiet == nil && !read["local"] && !n.readsUTC {
		n.spot("zone-unused", zone.at, zone.at.spot(), "nothing in the set reads the time of day, so the zone has no effect",
			"remove it; it is for `local`, `at` and quiet_hours: local.hour >= 21, for example")
	}
}

// readByItems adds the names that features of items read, which are features of the
// user whose event feeds them.
func (n *linter) readByItems(read map[string]bool, unread map[string][]string) {
	for _, f := range n.def.Features {
		if f.Per == "" {
			continue
		}
		for _, src := range []string{f.Where, f.By, f.Of} {
			for _, name := range n.namesIn(src) {
				if read[f.Name] || read["before."+f.Name] {
					read[name] = true
				} else {
					unread[name] = append(unread[name], f.Name)
				}
			}
		}
	}
}

// aField is a field of a fact.
func aField(f campaign.Fact) string {
	if len(f.Fields) == 0 {
		return "x"
	}
	return f.Fields[0].Name
}

// namesOf are the names that a campaign reads outside of `let`.
func (n *linter) namesOf(c *campaign.Campaign) map[string]bool {
	all := map[string]bool{}
	expressions(c, func(src string) {
		for _, name := range n.namesIn(src) {
			all[name] = true
		}
	})
	shownNames(c, func(name string) { all[name] = true })
	if c.Users != "" {
		all[c.Users] = true
	}
	return all
}

// namesIn are the names in an expression. If it cannot be read by itself, all words
// in it count as names.
func (n *linter) namesIn(src string) []string {
	if c := n.clause(src); c != nil {
		return c.Names()
	}
	var all []string
	for _, name := range someName.FindAllString(src, -1) {
		whole, _, _ := strings.Cut(name, ".")
		all = append(all, whole, name)
	}
	return all
}

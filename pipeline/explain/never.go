package explain

import (
	"fmt"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
)

// never tells why no evaluation of a campaign began. tried: its triggers were traced.
func never(def *campaign.Definition, id, row string, h *history, zone *time.Location, tried bool) string {
	c := campaignOf(def, id)
	if c == nil {
		return fmt.Sprintf("No %s offer: the campaign is not in the set.", id)
	}
	why, n := "", h.nearest(id, row, 0)
	switch {
	case !tried:
		return fmt.Sprintf("No %s offer: nothing has triggered it.", id)
	case c.Users != "":
		return fmt.Sprintf("No %s offer: it goes to those in %s of an item at its %s, and has never reached the user.", id, c.Users, orList(triggersOf(c)))
	case c.Sequence != nil:
		why = neverCompleted(c, def, row, h, zone)
	case atSessionEnd(c):
		why = "no session of the user has ended"
	case n == nil && h.named > 0: // of a table only the first rows are traced
		why = fmt.Sprintf("no event met its trigger, of %s that `on` names", quantity(int64(h.named), "event"))
	case n == nil:
		why = fmt.Sprintf("the user has no event %s", orList(triggersOf(c)))
	default:
		why = "the only event for it did not meet `where`: "
		if h.named > 1 {
			why = fmt.Sprintf("none of %d events met `where`; the nearest, ", h.named)
		}
		why += nearestWords(n, def, zone)
	}
	if row != "" {
		id += "/" + row
	}
	return fmt.Sprintf("No %s offer: never triggered, as %s.", id, why)
}

// triggersOf are the events that the campaign's triggers name.
func triggersOf(c *campaign.Campaign) []string {
	on := c.On
	for _, t := range c.Any {
		on = append(on, t.On...)
	}
	for i, name := range on {
		if name == "*" {
			on = append([]string{}, on...)
			on[i] = "of any name"
		}
	}
	return on
}

// nearestWords tells why an event did not meet a trigger.
func nearestWords(n *near, def *campaign.Definition, zone *time.Location) string {
	var why []string
	for _, p := range n.trace.Parts {
		if !p.OK {
			why = append(why, partWords(p, def, n.trace.Now, zone))
		}
	}
	row := ""
	if _, id, ok := strings.Cut(n.trace.Campaign, "/"); ok {
		row = ", with row " + id
	}
	return fmt.Sprintf("%s at %s%s: %s", named(n.trace.Event), momentWithDate(n.trace.Now, zone), row, strings.Join(why, "; "))
}

// neverCompleted tells which step of a sequence is missing.
func neverCompleted(c *campaign.Campaign, def *campaign.Definition, row string, h *history, zone *time.Location) string {
	for i, st := range c.Sequence.Steps {
		n := h.nearest(c.ID, row, i)
		switch {
		case n == nil:
			return fmt.Sprintf("step %d of %d is missing: the user has no event %s", i+1, len(c.Sequence.Steps), orList(st.On))
		case !n.trace.Holds:
			return fmt.Sprintf("step %d of %d is missing; the nearest to it, %s", i+1, len(c.Sequence.Steps), nearestWords(n, def, zone))
		}
	}
	return fmt.Sprintf("each of its %d steps came, but not in this order within %s", len(c.Sequence.Steps), exactly(c.Sequence.Within))
}

func momentWithDate(at int64, zone *time.Location) string {
	return time.Unix(0, at).In(zone).Format("2006-01-02 15:04:05")
}

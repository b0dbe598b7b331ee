package oracle

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// A removal takes a construct out of a set: it clears keys, or it removes a
// campaign that cannot do without (and returns true).
type removal func(*campaign) bool

// mentions removes campaigns in whose JSON a text occurs.
func mentions(text string) removal {
	return func(c *campaign) bool { return bytes.Contains(encode(c), []byte(text)) }
}

// itemName is in what reads features of items.
var itemName = regexp.MustCompile(`\bi\d+_[a-z]+`)

var removals = map[string]removal{
	"any":         func(c *campaign) bool { return len(c.Any) > 0 },
	"rows":        func(c *campaign) bool { return len(c.Rows) > 0 },
	"sequence":    func(c *campaign) bool { return c.Sequence != nil },
	"session_end": (*campaign).atSessionEnd,
	"let":         func(c *campaign) bool { return len(c.Let) > 0 },
	"dwell":       mentions("_dwell"),
	"before":      mentions("before."),
	"local":       mentions("local."),
	"facts":       mentions("facts."),
	"top":         mentions("_top"),
	"histogram":   mentions("_histogram"),
	"choose":      func(c *campaign) bool { return c.Choose != "" },
	"to":          func(c *campaign) bool { return c.Users != "" },
	"within_is":   mentions(`"within_is"`),
	"expires_is":  mentions(`"expires_is"`),
	"budget":      func(c *campaign) bool { c.Budget = nil; return false },
	"pool":        mentions(`"pool"`),
	"asks":        func(c *campaign) bool { return c.Users == "" && itemName.Match(encode(c)) },
	"coupon":      func(c *campaign) bool { return c.Offer.Coupon != nil },
	"unless": func(c *campaign) bool {
		c.Unless = nil
		for _, entry := range c.Any {
			entry.Unless = nil
		}
		return false
	},
	"if":       func(c *campaign) bool { c.If = nil; return false },
	"fresh":    func(c *campaign) bool { c.Fresh = 0; return false },
	"period":   func(c *campaign) bool { c.From, c.To = 0, 0; return false },
	"at":       func(c *campaign) bool { c.At = nil; return false },
	"when_due": func(c *campaign) bool { c.WhenDue = ""; return false },
	"score":    func(c *campaign) bool { c.Score = ""; return false },
	"limits":   func(c *campaign) bool { c.Limits = nil; return false },
	"holdout":  func(c *campaign) bool { c.Holdout = 0; return false },
	"data":     func(c *campaign) bool { c.Offer.Data = nil; return false },
}

// Without returns the case without a construct of the campaign language, a policy,
// or events of a type, as far as they can be left out. It serves to find out what a
// difference between two implementations depends on.
func (c Case) Without(construct string) Case {
	set := c.definition()
	if remove := removals[construct]; remove != nil {
		set.Campaigns = slices.DeleteFunc(set.Campaigns, remove)
	}
	switch construct {
	case "caps":
		set.Caps = nil
	case "pause":
		set.Pause = nil
	case "quiet":
		set.Quiet = nil
	case "consent":
		set.Consent = nil
	case "holdout":
		set.Holdout = 0
	case "zone":
		set.Zone = ""
	case "bounds":
		set.Bounds = bounds{Entries: 256, Keys: 64, UserEntries: 65536, UserBytes: 256 << 10, Absences: 64}
	case "forget":
		set.Forget = forget{90 * day, 1095 * day}
	case "brakes":
		set.Brakes = nil
	case "merges":
		c = c.withoutLines(func(line []byte) bool { return becoming.Match(line) })
	case "paused":
		c.Controls = nil
	}
	return c.with(set).withoutLines(func(line []byte) bool { return bytes.Contains(line, []byte(`"type":"`+construct+`"`)) })
}

// Only returns the case with only one of its campaigns.
func (c Case) Only(campaignID string) Case {
	set := c.definition()
	set.Campaigns = slices.DeleteFunc(set.Campaigns, func(c *campaign) bool { return c.ID != campaignID })
	return c.with(set)
}

// becoming is in events by which a visitor may become a user.
var becoming = regexp.MustCompile(`"type":"alias"|"anonymousId":.*"type":"identify"`)

// OnlyUser returns the case with only the events in which a text occurs, facts, and
// events about items.
func (c Case) OnlyUser(text string) Case {
	return c.withoutLines(func(line []byte) bool {
		return !strings.Contains(string(line), text) && !strings.Contains(string(line), `"type":"fact"`) && !strings.Contains(string(line), `"type":"item"`)
	})
}

// withoutLines empties lines, so that the others keep their places.
func (c Case) withoutLines(remove func([]byte) bool) Case {
	c.Events = slices.Clone(c.Events)
	for i, line := range c.Events {
		if remove(line) {
			c.Events[i] = nil
		}
	}
	return c
}

func (c Case) definition() *definition {
	set := new(definition)
	if err := json.Unmarshal(c.Set, set); err != nil {
		panic("oracle: " + err.Error())
	}
	return set
}

func (c Case) with(set *definition) Case {
	c.Set = encode(set)
	return c
}

package pipeline

import (
	"fmt"
	"strings"

	"offerstream/pipeline/campaign"
)

// A scene is a small set for tests of the core's internals, with features and
// campaigns in JSON. Tests of what campaigns send are scenarios, in
// testdata/scenarios.
type scene struct{ features, campaigns []string }

const (
	countViews = `{"name":"n","on":["View"],"agg":"count"}`
	looking    = `{"name":"looking","on":["View"],"agg":"dwell"}`
	looked     = `"on":["View"],"if":["looking >= duration(\"60s\")"]`
)

// sends is a campaign that sends the expression x on a channel of its own; rest
// is the remaining JSON of the campaign.
func sends(id, x, rest string) string {
	data := ""
	if x != "" {
		data = fmt.Sprintf(`,"data":%q`, "{{ "+x+" }}")
	}
	return fmt.Sprintf(`{"id":%q,"offer":{"channel":%q,"kind":"advertising"%s},%s}`, id, strings.ToLower(id), data, rest)
}

// at is a track event of user u: at("10:00:05", "View", `"category":"bag"`).
func at(clock, name, props string) string {
	return fmt.Sprintf(`{"type":"track","userId":"u","event":%q,"timestamp":"2026-01-01T%sZ","properties":{%s}}`, name, clock, props)
}

func identify(clock, traits string) string {
	return fmt.Sprintf(`{"type":"identify","userId":"u","timestamp":"2026-01-01T%sZ","traits":{%s}}`, clock, traits)
}

func (s *scene) set() []byte {
	return fmt.Appendf(nil, `{"engine":%d,"clock":"event","lateness":%d,"forget":{"anonymous":%d,"known":%d},"bounds":%s,"features":[%s],"campaigns":[%s]}`,
		Engine, campaign.DefaultLateness, campaign.DefaultForgetAnonymous, campaign.DefaultForgetKnown, asJSON(campaign.DefaultBounds), strings.Join(s.features, ","), strings.Join(s.campaigns, ","))
}

func outcomesOf(c Counts) map[string]uint64 {
	m := map[string]uint64{"evaluated": c.Evaluated, "pending": c.Pending(), "missing": c.Missing, "errors": c.Errors, "bounds": c.Bounds}
	for o, n := range c.Ended {
		m[Outcome(o).String()] = n
	}
	return m
}

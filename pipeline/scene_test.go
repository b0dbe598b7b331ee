package pipeline

import (
	"fmt"
	"strings"
	"testing"
)

// A scene is a small set and its input, which the core and the oracle must
// both read as its want says. Features and campaigns are JSON.
type scene struct {
	name      string
	features  []string
	campaigns []string
	also      string // more keys of the set
	bounds    string // where not the defaults
	events    []string
	want      []string // offers: "time campaign data", data only where there is any
	counts    string   // "campaign outcome n, ..." that must hold
}

// sends is a campaign that shows x on a channel of its own.
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

func (s *scene) set() []byte {
	bounds := s.bounds
	if bounds == "" {
		bounds = asJSON(DefaultBounds)
	}
	return fmt.Appendf(nil, `{"engine":%d,"clock":"event","lateness":%d,"forget":{"anonymous":%d,"known":%d},"bounds":%s%s,"features":[%s],"campaigns":[%s]}`,
		Engine, DefaultLateness, DefaultForgetAnonymous, DefaultForgetKnown, bounds, s.also, strings.Join(s.features, ","), strings.Join(s.campaigns, ","))
}

func TestScenes(t *testing.T) {
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			var lines [][]byte
			for _, e := range s.events {
				lines = append(lines, []byte(e))
			}
			b, offers := compareWithOracle(t, s.set(), lines)
			if b == nil {
				return
			}
			var got []string
			for _, o := range offers {
				line := strings.TrimSuffix(strings.TrimPrefix(o.Time, "2026-01-01T"), "Z") + " " + o.Campaign
				if o.Data != nil {
					line += " " + string(o.Data)
				}
				got = append(got, line)
			}
			if g, w := strings.Join(got, "\n"), strings.Join(s.want, "\n"); g != w {
				t.Errorf("offers\n%s\nwant\n%s", g, w)
			}
			if s.counts == "" {
				return
			}
			counts, _ := b.Counts()
			for _, c := range strings.Split(s.counts, ", ") {
				var id, what string
				var n uint64
				if _, err := fmt.Sscan(c, &id, &what, &n); err != nil {
					t.Fatal(err)
				}
				if got := outcomes(counts[id])[what]; got != n {
					t.Errorf("%s %s is %d, want %d; all: %v", id, what, got, n, outcomes(counts[id]))
				}
			}
		})
	}
}

func outcomes(c Counts) map[string]uint64 {
	m := map[string]uint64{"evaluated": c.Evaluated, "pending": c.Pending(), "missing": c.Missing, "errors": c.Errors, "bounds": c.Bounds}
	for _, o := range c.Outcomes() {
		m[o.Name] = o.N
	}
	return m
}

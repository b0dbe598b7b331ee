package change

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
)

// TestAges: which features are young and until when, what a backfill takes, and which
// conditions are refused, by what live has fed and how far the log reaches.
func TestAges(t *testing.T) {
	const hour = int64(time.Hour)
	set := func(within, condition string) *pipeline.Set {
		return load(t, fmt.Sprintf(`
features: {f: {on: X, agg: count%s}}
campaigns: {c: {on: X, if: "%s", offer: {channel: web}}}`, within, condition))
	}
	hours2, ever := ", within: 2h", ""
	const less, more = "f < 3", "f > 3"
	for _, c := range []struct {
		what       string
		old        *pipeline.Set // nil: none
		new        *pipeline.Set
		fed        map[string]int64
		now, reach int64
		retired    *pipeline.Set
		feature    string // JSON without name and values
		backfill   string
		refuses    string // without and with a backfill
	}{
		{"the first set, before any event", nil, set(hours2, less), nil, 0, 0, nil,
			`{"what":"new","empty":true}`, "[f] [c]", "false false"},
		{"the first set, of a shop with events", nil, set(hours2, less), nil, day, 0, nil,
			`{"what":"new","empty":true,"young":true,"until":"2026-04-01T14:00:00Z"}`, "[f] [c]", "true false"},
		{"a condition that a young feature does not mislead", nil, set(hours2, more), nil, day, 0, nil,
			`{"what":"new","empty":true,"young":true,"until":"2026-04-01T14:00:00Z"}`, "[f] [c]", "false false"},
		{"the log is shorter than the window", nil, set(hours2, less), nil, day, day - hour, nil,
			`{"what":"new","empty":true,"young":true,"until":"2026-04-01T14:00:00Z"}`, "[f] [c]", "true true"},
		{"the log has just the window", nil, set(hours2, less), nil, day, day - 2*hour, nil,
			`{"what":"new","empty":true,"young":true,"until":"2026-04-01T14:00:00Z"}`, "[f] [c]", "true false"},
		{"no window, the whole log", nil, set(ever, less), nil, day, 0, nil,
			`{"what":"new","empty":true,"young":true}`, "[f] [c]", "true false"},
		{"no window, a part of the log", nil, set(ever, less), nil, day, 1, nil,
			`{"what":"new","empty":true,"young":true}`, "[f] [c]", "true true"},
		{"a changed window", set(ever, more), set(hours2, more), nil, day, 0, nil,
			`{"what":"changed","empty":true,"young":true,"until":"2026-04-01T14:00:00Z"}`, "[f] []", "false false"},
		{"a changed window under the same condition", set(ever, less), set(hours2, less), nil, day, 0, nil,
			`{"what":"changed","empty":true,"young":true,"until":"2026-04-01T14:00:00Z"}`, "[f] []", "true false"},
		{"fed from the log's beginning", set(hours2, more), set(hours2, less), nil, day, 0, nil,
			`{"what":"same"}`, "[] []", "false false"},
		{"fed for less than the window", set(hours2, more), set(hours2, less), map[string]int64{"f": day - hour}, day, 0, nil,
			`{"what":"same","young":true,"until":"2026-04-01T13:00:00Z","since":"2026-04-01T11:00:00Z"}`, "[f] []", "true false"},
		{"fed for longer than the log reaches", set(hours2, more), set(hours2, less), map[string]int64{"f": day - hour}, day, day - hour/2, nil,
			`{"what":"same","young":true,"until":"2026-04-01T13:00:00Z","since":"2026-04-01T11:00:00Z"}`, "[] []", "true true"},
		{"fed for the window", set(hours2, more), set(hours2, less), map[string]int64{"f": day - 2*hour}, day, day - 3*hour, nil,
			`{"what":"same","since":"2026-04-01T10:00:00Z"}`, "[f] []", "false false"},
		{"the condition is live already", set(ever, less), set(ever, less+" && true"), map[string]int64{"f": day - hour}, day, day - hour, nil,
			`{"what":"same","young":true,"since":"2026-04-01T11:00:00Z"}`, "[] []", "false false"},
		{"a campaign that live has fed for less than the log reaches", set(ever, more), set(ever, more), map[string]int64{"campaign c": day - hour}, day, 0, nil,
			`{"what":"same"}`, "[] [c]", "false false"},
		{"back within a day", load(t, ""), set(hours2, less), nil, day, 0, set(hours2, less),
			`{"what":"back"}`, "[] [c]", "false false"},
		{"back within a day, and young when it went", load(t, ""), set(hours2, less), map[string]int64{"f": day - hour}, day, 0, set(hours2, less),
			`{"what":"back","young":true,"until":"2026-04-01T13:00:00Z","since":"2026-04-01T11:00:00Z"}`, "[f] [c]", "true false"},
		{"back from another definition", set(ever, less), set(hours2, less), map[string]int64{"f": day}, day, 0, set(hours2, less),
			`{"what":"back"}`, "[] []", "false false"},
		{"gone", set(ever, less), load(t, ""), nil, day, 0, nil,
			`{"what":"gone"}`, "[] []", "false false"},
	} {
		var retired []*pipeline.Set
		if c.retired != nil {
			retired = append(retired, c.retired)
		}
		got := Between(c.old, c.new, c.fed, c.now, c.reach, retired...)
		f := got.Features[0]
		f.Name, f.Values = "", nil
		b, _ := json.Marshal(f)
		if s := strings.Replace(string(b), `"name":"",`, "", 1); s != c.feature {
			t.Errorf("%s: %s, want %s", c.what, s, c.feature)
		}
		if s := fmt.Sprint(got.Backfill.Features, got.Backfill.Campaigns); s != c.backfill {
			t.Errorf("%s: backfill %s, want %s", c.what, s, c.backfill)
		}
		plain := got.Refuses()
		got.Filled = true
		if s := fmt.Sprint(plain, got.Refuses()); s != c.refuses {
			t.Errorf("%s: refuses %s, want %s", c.what, s, c.refuses)
		}
		marked := slices.ContainsFunc(got.Lines(), func(l string) bool { return strings.HasPrefix(l, "! ") })
		if marked != got.Refuses() {
			t.Errorf("%s: refuses %v, and says\n%s", c.what, got.Refuses(), strings.Join(got.Lines(), "\n"))
		}
	}
}

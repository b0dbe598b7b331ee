package oracle

import (
	"strings"
	"testing"
)

func TestTop(t *testing.T) {
	v := func(clock, props string) string { return at(clock, "View", props) }
	top := `{"name":"f","on":["View"],"by":"c","agg":"top","half_life":28800000000000}` // a step an hour
	small := `,"bounds":{"entries":2,"keys":2,"user_entries":65536,"user_bytes":262144,"absences":64}`
	for _, tt := range []struct {
		name, also, expr string
		events           []string
		want             string
	}{
		{"touches decay by steps of the epoch", "", "f", []string{v("10:59:59", `"c":"a"`), v("10:59:59", `"c":"a","n":2`), at("12:00:00", "x", ``), at("12:59:59", "x", ``)},
			`[{"key":"a","score":1}] [{"key":"a","score":2}] [{"key":"a","score":1.6817922592163086}] [{"key":"a","score":1.6817922592163086}]`},
		{"after a half-life half is left", "", "f", []string{v("10:00:00", `"c":1`), v("18:00:00", `"c":"b"`)}, `[{"key":"1","score":1}] [{"key":"b","score":1},{"key":"1","score":0.5}]`},
		{"of equals the later touch", "", "f.map(t, t.key)", []string{v("10:00:00", `"products":[{"c":"a"},{"c":"b"},{"c":"a"},{"c":"b"},{"d":1}]`), v("10:00:00", `"products":[{"c":"c"},{"c":"c"},{"c":"d"}]`)}, `["b","a"] ["c","b","a","d"]`},
		{"of the others the lowest goes", small, "f.map(t, t.key)", []string{v("10:00:00", `"products":[{"c":"a"},{"c":"b"},{"c":"a"},{"c":"c"},{"c":"d"}]`)}, `["a","d"]`},
		{"of equals the older touch goes", small, "f.map(t, t.key)", []string{v("10:00:00", `"products":[{"c":"a"},{"c":"b"},{"c":"c"}]`)}, `["c","b"]`},
		{"by log time, whatever the event time", "", "[f[0].score]", []string{at("18:00:00", "x", `"c":"b"`), v("10:00:00", `"c":"a"`)}, "[1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := show(t, top, tt.expr, tt.also, tt.events...)
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestTopBytes: a key of a top has 16 + key + 8 bytes; the one touched longest ago
// goes.
func TestTopBytes(t *testing.T) {
	top := `{"name":"f","on":["View"],"by":"c","agg":"top","half_life":28800000000000}`
	also := `,"bounds":{"entries":2,"keys":64,"user_entries":65536,"user_bytes":50,"absences":64}`
	got := show(t, top, "f.map(t, t.key)", also, at("10:00:00", "View", `"products":[{"c":"a"},{"c":"a"},{"c":"b"}]`), at("10:00:01", "View", `"c":"c"`))
	if want := `["a","b"] ["c","b"]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestHistogram(t *testing.T) {
	small := `,"bounds":{"entries":2,"keys":2,"user_entries":65536,"user_bytes":262144,"absences":64}`
	f := `{"name":"f","on":["View"],"by":"c","agg":"histogram","within":60000000000}`
	got := show(t, f, `[f["a"].size, f.size()]`, small, at("10:00:00", "View", `"c":"a"`), at("10:00:01", "View", `"c":"a"`), at("10:00:02", "View", `"c":"a"`), at("10:01:01", "View", `"c":"b"`), at("10:01:02", "x", ``))
	if want := "[1,1] [2,1] [2,1] [1,2] [0,1]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestBefore(t *testing.T) {
	features := []string{
		`{"name":"n","on":["A"],"agg":"count","within":60000000000}`, `{"name":"stay","on":["A"],"agg":"dwell"}`,
		`{"name":"top","on":["A"],"by":"event.name","agg":"top","half_life":28800000000000}`,
	}
	who := func(clock, segment string) string {
		return `{"type":"identify","userId":"u","timestamp":"2026-01-01T` + clock + `Z","traits":{"segment":"` + segment + `"}}`
	}
	scene{
		features: features,
		campaigns: []string{
			offer("c", "web", "[before.n, n, before.session.count, session.count]", `"on":["A"]`),
			offer("d", "sms", `[before.profile.?segment.orValue("none"), profile.segment]`, `"on":["identify"]`),
			offer("e", "push", "n", `"on":["A"],"if":["before.n == 1","stay >= duration(\"30s\")"]`), // stays as it was
			offer("f", "email", "before.top.size()", `"on":["A"]`),
		},
		events: []string{who("09:00:00", "a"), who("09:00:01", "b"), at("10:00:00", "A", ``), at("10:00:20", "A", ``), at("10:30:30", "A", ``), at("10:31:00", "A", ``), at("10:32:00", "x", ``)},
		want: []string{
			`09:00:00 d ["none","a"]`, `09:00:01 d ["a","b"]`,
			`10:00:00 c [0,1,0,1]`, `10:00:00 f 0`, `10:00:20 c [1,2,1,2]`, `10:00:20 f 1`, `10:00:30 e 2`,
			`10:30:30 c [0,1,0,1]`, `10:30:30 f 1`, `10:31:00 c [1,2,1,2]`, `10:31:00 e 2`, `10:31:00 f 1`,
		},
	}.run(t)
}

func TestFacts(t *testing.T) {
	give := func(clock, own, key, dust string) string {
		return `{"type":"fact","fact":"air","key":` + key + `,"values":{"dust":` + dust + `,"other":1},"timestamp":"2026-01-01T` + own + `Z"}`
	}
	declared := `,"facts":[{"name":"air","fields":[{"name":"dust","type":"number"},{"name":"sky","type":"string"}],"max_age":3600000000000}]`
	scene{
		also: declared,
		campaigns: []string{
			offer("c", "web", "facts.air[event.properties.k].dust", `"on":["A"]`),
			offer("d", "sms", `[facts.air[?"17"].?dust.orValue(0.0)]`, `"on":["A"]`),
			offer("e", "push", "facts.air[event.properties.k].dust", `"on":["A"],"unless":{"on":["B"],"within":600000000000}`),
		},
		events: []string{
			give("", "10:00:00", `"s"`, "5"), at("10:01:00", "A", `"k":"s"`),
			give("", "09:59:59", `"s"`, "6"), at("10:02:00", "A", `"k":"s"`), // older
			give("", "10:00:00", `"s"`, "7"), at("10:03:00", "A", `"k":"s"`), // as old, and later
			give("", "10:10:00", `17`, "2.5"), give("", "10:13:00", `"s"`, "8"), // the absence at 10:13 comes before it
			at("11:09:59", "A", `"k":"17"`), at("11:10:00", "A", `"k":"17"`), at("11:12:59", "A", `"k":"s"`), at("11:13:00", "A", `"k":"s"`),
			`{"type":"fact","fact":"other","key":"s","values":{}}`, `{"type":"fact","fact":"","key":"s","values":{}}`, `{"type":"fact","fact":"air","values":{}}`,
		},
		want: []string{
			"10:01:00 c 5", "10:01:00 d [0]", "10:02:00 c 5", "10:02:00 d [0]", "10:03:00 c 7", "10:03:00 d [0]", "10:13:00 e 7",
			"11:09:59 c 2.5", "11:09:59 d [2.5]", "11:10:00 d [0]", "11:12:59 c 8", "11:12:59 d [0]", "11:13:00 d [0]",
		},
		counts: "c error 2, e superseded 5, e fired 1, e pending 1",
	}.run(t)
}

func TestLocal(t *testing.T) {
	x := `[string(local.hour), string(local.minute), local.weekday, local.date]`
	scene{
		also:      `,"zone":"America/New_York"`,
		campaigns: []string{offer("c", "web", x, `"on":["A"]`)},
		events:    []string{at("02:05:00", "A", ``), identify("02:06:00", "Asia/Kathmandu"), at("18:20:00", "A", ``), identify("18:30:00", "Local"), at("18:31:00", "A", ``)},
		want:      []string{`02:05:00 c ["21","5","wed","2025-12-31"]`, `18:20:00 c ["0","5","fri","2026-01-02"]`, `18:31:00 c ["13","31","thu","2026-01-01"]`},
	}.run(t)
}

func TestAdditions(t *testing.T) {
	for expr, want := range map[string]string{
		"[3, 1.5, 3].max()":                                   "3",
		`["b", "a"].min()`:                                    `"a"`,
		"[event.items.filter(i, false).max()]":                "[null]",
		"[[].max_by(i, i)]":                                   "[null]",
		`[{"a": 1, "b": 2}, {"a": 1, "b": 3}].max_by(i, i.a)`: `{"a":1,"b":2}`,
		`[{"a": 2, "b": 2}, {"a": 1, "b": 3}].min_by(i, i.a)`: `{"a":1,"b":3}`,
		`[[dyn(1), "a"].max_by(i, i)]`:                        "",
		`[[null].max()]`:                                      "",
		"event.properties.values()":                           `["x",20.5]`,
		`clock(duration("59s"))`:                              `"0:59"`,
		`clock(duration("61.9s"))`:                            `"1:01"`,
		`clock(duration("1d1h2m3s"))`:                         `"25:02:03"`,
		"[3, 1].first().value()":                              "3",
		"[[3, 1].last().orValue(0)]":                          "[1]",
	} {
		got := show(t, `{"name":"f","on":["x"],"agg":"count"}`, expr, "", at("10:00:00", "x", `"p":20.5,"a":"x"`))
		if got != want {
			t.Errorf("%s is %s, want %s", expr, got, want)
		}
	}
}

// TestKeptByLets: what waits keeps what its lets read, and the oldest gives way.
func TestKeptByLets(t *testing.T) {
	long := strings.Repeat("x", 30_000)
	scene{
		campaigns: []string{offer("c", "web", "short", `"on":["A"],"let":[{"name":"all","is":"event.properties.text"},{"name":"short","is":"all.substring(0, 1)"}],"unless":{"on":["B"],"match":"event.properties.n","within":60000000000}`)},
		events:    []string{at("10:00:00", "A", `"n":1,"text":"`+long+`"`), at("10:00:01", "A", `"n":2,"text":"`+long+`"`), at("10:00:02", "A", `"n":3,"text":"`+long+`"`), at("10:02:00", "x", ``)},
		want:      []string{`10:01:01 c "x"`, `10:01:02 c "x"`},
		counts:    "c superseded 1",
	}.run(t)
}

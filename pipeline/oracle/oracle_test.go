package oracle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A scene is a small set and its input. Features and campaigns are JSON; the
// rest of the set has its defaults.
type scene struct {
	features  []string
	campaigns []string
	also      string // more keys of the set
	engine    int    // 0: the oldest
	events    []string
	controls  []Control
	want      []string // offers: "time campaign data", the data if there is any; * after the campaign where it is withheld
	counts    string   // expected counts: "campaign outcome n, ..."
}

// offer returns a campaign whose offer shows the value of x.
func offer(id, channel, x, rest string) string {
	data := ""
	if x != "" {
		data = fmt.Sprintf(`,"data":%q`, "{{ "+x+" }}")
	}
	return fmt.Sprintf(`{"id":%q,"offer":{"channel":%q,"kind":"advertising"%s},%s}`, id, channel, data, rest)
}

// at returns a track event of user u: at("10:00:05", "View", `"category":"bag"`).
func at(clock, name, props string) string {
	return fmt.Sprintf(`{"type":"track","userId":"u","event":%q,"timestamp":"2026-01-01T%sZ","properties":{%s}}`, name, clock, props)
}

func (s scene) run(t *testing.T) Result {
	t.Helper()
	set := fmt.Sprintf(`{"engine":%d,"clock":"event","lateness":%d,"forget":{"anonymous":%d,"known":%d},
		"bounds":{"entries":256,"keys":64,"user_entries":65536,"user_bytes":262144,"absences":64}%s,"features":[%s],"campaigns":[%s]}`,
		max(s.engine, 1), hour, 90*day, 1095*day, s.also, strings.Join(s.features, ","), strings.Join(s.campaigns, ","))
	var lines [][]byte
	for _, e := range s.events {
		lines = append(lines, []byte(e))
	}
	r, err := Run([]byte(set), lines, s.controls...)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range r.Offers {
		line := strings.TrimSuffix(strings.TrimPrefix(o.Time, "2026-01-01T"), "Z") + " " + o.Campaign
		if o.Withheld {
			line += "*"
		}
		if o.Data != nil {
			line += " " + string(o.Data)
		}
		got = append(got, line)
	}
	if s.want != nil && !slices.Equal(got, s.want) {
		t.Errorf("offers\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(s.want, "\n"))
	}
	if s.counts != "" {
		for _, c := range strings.Split(s.counts, ", ") {
			var id, what string
			var n int
			if _, err := fmt.Sscan(c, &id, &what, &n); err != nil {
				t.Fatalf("%s: %v", c, err)
			}
			what = strings.NewReplacer("quiet_", "quiet ", "no_", "no ").Replace(what)
			if r.Counts[id][what] != n {
				t.Errorf("%s %s is %d, want %d; all: %v", id, what, r.Counts[id][what], n, r.Counts)
			}
		}
	}
	for id, n := range r.Evaluations {
		for _, ended := range r.Counts[id] {
			n -= ended
		}
		if n != 0 {
			t.Errorf("%s: %d evaluations more than outcomes", id, n)
		}
	}
	return r
}

// show runs a feature over events and returns its value at each event.
func show(t *testing.T, feature, expr, also string, events ...string) string {
	t.Helper()
	r := scene{
		features: []string{feature}, also: also, events: events,
		campaigns: []string{offer("c", "web", "["+expr+"]", `"on":["*"]`)},
	}.run(t)
	var out []string
	for _, o := range r.Offers {
		out = append(out, string(o.Data[1:len(o.Data)-1]))
	}
	return strings.Join(out, " ")
}

func TestFeatures(t *testing.T) {
	v := func(clock, props string) string { return at(clock, "View", props) }
	small := `,"bounds":{"entries":2,"keys":2,"user_entries":65536,"user_bytes":262144,"absences":64}`
	tests := []struct {
		name, feature, expr, also string
		events                    []string
		want                      string
	}{
		{"an entry leaves the window at its time plus within", `{"name":"f","on":["View"],"agg":"count","within":60000000000}`, "f", "",
			[]string{v("10:00:00", ``), v("10:00:59", ``), v("10:01:00", ``)}, "1 2 2"},
		{"an entry that folds leaves at the end of its step", `{"name":"f","on":["View"],"agg":"count","within":3840000000000}`, "f", small,
			[]string{v("10:00:30", ``), v("10:10:00", ``), v("10:20:00", ``), at("11:04:59", "x", ``), at("11:05:00", "x", ``)}, "1 2 3 3 2"},
		{"a sum is exact to a millionth", `{"name":"f","on":["View"],"agg":"sum","of":"event.properties.p"}`, "f", "",
			[]string{v("10:00:00", `"p":0.1`), v("10:00:01", `"p":0.2`), v("10:00:02", `"p":"text"`), v("10:00:03", `"p":9.2e12`)}, "0.1 0.3 0.3 0.3"},
		{"empty values", `{"name":"f","on":["View"],"agg":"avg","of":"event.properties.p","within":60000000000}`, "f", "",
			[]string{at("10:00:00", "x", ``), v("10:00:01", `"p":1`), v("10:00:02", `"p":2`), at("10:01:01", "x", ``), at("10:02:00", "x", ``)}, "null 1 1.5 2 null"},
		{"first is the earliest by event time", `{"name":"f","on":["View"],"agg":"first","of":"event.properties.p"}`, "f", "",
			[]string{v("10:00:00", `"p":"a"`), v("09:59:00", `"p":null`), v("10:00:00", `"p":"b"`)}, `"a" null null`},
		{"first over folded entries", `{"name":"f","on":["View"],"agg":"first","of":"event.properties.p"}`, "f", small,
			[]string{v("10:00:00", `"p":1`), v("10:00:01", `"p":2`), v("10:00:02", `"p":3`), v("09:59:00", `"p":4`)}, `1 1 1 4`},
		{"last is the latest", `{"name":"f","on":["View"],"agg":"last","of":"event.properties.p"}`, "f", small,
			[]string{v("10:00:00", `"p":1`), v("09:59:00", `"p":2`), v("10:00:00", `"p":3`), v("10:00:00", `"p":[]`)}, `1 1 3 3`},
		{"distinct: values with one text are one, null is none", `{"name":"f","on":["View"],"agg":"distinct","of":"event.properties.p == 1 ? 1 : event.properties.p"}`, "f", "",
			[]string{v("10:00:00", `"p":1`), v("10:00:01", `"p":1.0`), v("10:00:02", `"p":"1"`), v("10:00:03", `"p":null`), v("10:00:04", `"p":2`)}, "1 1 1 1 2"},
		{"distinct keeps a value's newest time", `{"name":"f","on":["View"],"agg":"distinct","of":"event.properties.p","within":60000000000}`, "f", "",
			[]string{v("10:00:00", `"p":1`), v("10:00:30", `"p":1`), v("10:00:10", `"p":1`), at("10:01:29", "x", ``), at("10:01:30", "x", ``)}, "1 1 1 1 0"},
		{"max over folded entries", `{"name":"f","on":["View"],"agg":"max","of":"event.properties.p"}`, "f", small,
			[]string{v("10:00:00", `"p":9`), v("10:00:01", `"p":2`), v("10:00:02", `"p":3`)}, "9 9 9"},
		{"by an item's property", `{"name":"f","on":["View"],"by":"c","agg":"count"}`, "f", "",
			[]string{v("10:00:00", `"products":[{"c":"a"},{"c":"a"},{"d":1},{"c":7.0},{"c":null},{"c":true},5]`)}, `{"7":1,"a":2,"true":1}`},
		{"the keys most recently touched stay", `{"name":"f","on":["View"],"by":"c","agg":"count"}`, "f", small,
			[]string{v("10:00:00", `"products":[{"c":"a"},{"c":"b"},{"c":"a"},{"c":"c"}]`)}, `{"a":2,"c":1}`},
		{"an empty key gives way first", `{"name":"f","on":["View"],"by":"c","agg":"count","within":60000000000}`, "f", small,
			[]string{v("10:00:00", `"c":"b"`), v("10:00:50", `"c":"a"`), v("10:00:05", `"c":"b"`), v("10:01:10", `"c":"c"`)}, `{"b":1} {"a":1,"b":1} {"a":1,"b":2} {"a":1,"c":1}`},
		{"a key without entries reads as empty", `{"name":"f","on":["View"],"by":"event.properties.c","agg":"count"}`, `[f["b"], f.size(), "b" in f ? 1 : 0, f[event.properties.c]]`, "",
			[]string{v("10:00:00", `"c":20.0`)}, `[0,1,0,1]`},
		{"an item's value", `{"name":"f","on":["View"],"by":"c","agg":"sum","of":"item.p * event.properties.n"}`, "f", "",
			[]string{v("10:00:00", `"n":2,"products":[{"c":"a","p":1},{"c":"a","p":1.5},{"c":"b"}]`)}, `{"a":5}`},
		{"a list replaces by key and forgets what is removed", `{"name":"f","on":["Add"],"agg":"list","key":"id","fields":["id","p"],"keep":2,"remove_on":["Order"]}`, "f", "",
			[]string{at("10:00:00", "Add", `"id":1,"p":1,"x":1`), at("10:00:01", "Add", `"id":2`), at("10:00:02", "Add", `"id":1,"p":3`), at("10:00:03", "Add", `"id":3`), at("10:00:04", "Order", `"products":[{"id":1}]`)},
			`[{"id":1,"p":1}] [{"id":1,"p":1},{"id":2}] [{"id":2},{"id":1,"p":3}] [{"id":1,"p":3},{"id":3}] [{"id":3}]`},
		{"a late event counts at the earliest allowed time", `{"name":"f","on":["View"],"agg":"last","of":"event.time"}`, "f", "",
			[]string{v("10:00:00", ``), at("12:00:00", "x", ``), v("10:30:00", ``)}, `"2026-01-01T10:00:00Z" "2026-01-01T10:00:00Z" "2026-01-01T11:00:00Z"`},
		{"dwell goes to the next event, at most five minutes", `{"name":"f","on":["View"],"agg":"dwell"}`, "f", "",
			[]string{v("10:00:00", ``), at("10:00:30", "x", ``), v("10:01:00", ``), at("10:09:00", "x", ``), v("10:10:00", `"dwell_ms":5000`), at("10:11:00", "x", ``)}, `"0s" "30s" "30s" "330s" "335s" "335s"`},
		{"identify does not close an interval", `{"name":"f","on":["View"],"agg":"dwell"}`, "f", "",
			[]string{v("10:00:00", ``), `{"type":"identify","userId":"u","timestamp":"2026-01-01T10:00:10Z"}`, at("10:00:20", "x", ``)}, `"0s" "10s" "20s"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := show(t, tt.feature, tt.expr, tt.also, tt.events...); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestArithmetic(t *testing.T) {
	for expr, want := range map[string]string{
		"event.properties.p * 2":                       "41",
		"3 / 2":                                        "1",
		"3 / 2.0 + 1":                                  "2.5",
		"1 - 0.5":                                      "0.5",
		`duration("1d12h")`:                            `"129600s"`,
		`duration("-1d12h")`:                           `"-129600s"`,
		`duration("1h30m")`:                            `"5400s"`,
		"12900000.0":                                   "12900000",
		`event.time - duration("1d")`:                  `"2025-12-31T10:00:00Z"`,
		"event.items":                                  `[{"p":20.5}]`,
		`event.properties.?q.orValue("none")`:          `"none"`,
		"event.properties.p == 20.5 && 1 == 1.0":       "true",
		"[1, 2].map(x, x * 1.5)":                       "[1.5,3]",
		`"a" + "b"`:                                    `"ab"`,
		`{"b": 1, "a": {"c": null}}`:                   `{"a":{"c":null},"b":1}`,
		"event.user + event.type + event.name":         `"utrackx"`,
		"math.greatest(1, 2.5)":                        "2.5",
		"cel.bind(a, event.properties.p, a + a)":       "41",
		"event.properties.map(k, k)":                   `["p"]`,
		"event.properties.transformMap(k, v, v + 1.0)": `{"p":21.5}`,
	} {
		if got := show(t, `{"name":"f","on":["x"],"agg":"count"}`, expr, "", at("10:00:00", "x", `"p":20.5`)); got != want {
			t.Errorf("%s is %s, want %s", expr, got, want)
		}
	}
}

func TestAdmission(t *testing.T) {
	for line, key := range map[string]string{
		`{"type":"track","event":"e","userId":"u"}`:                               "u:u",
		`{"type":"track","event":"e","userId":42.0}`:                              "u:42",
		`{"type":"track","event":"e","userId":"","anonymousId":"u"}`:              "a:u",
		`{"type":"page","userId":"a.b*>@ c","properties":null}`:                   "u:a.b*>@ c",
		`{"type":"group","userId":"u","timestamp":"2026-01-01T00:00:00.5+09:00"}`: "u:u",
		`{"type":"track","event":"","userId":"u"}`:                                "",
		`{"type":"order","userId":"u"}`:                                           "",
		`{"userId":"u"}`:                                                          "",
		`{"type":"page"}`:                                                         "",
		`{"type":"page","userId":"a\u0007"}`:                                      "",
		`{"type":"page","userId":"` + strings.Repeat("x", 513) + `"}`:             "",
		`{"type":"page","userId":"u","timestamp":"2026-01-01T00:00:00"}`:          "",
		`{"type":"page","userId":"u","timestamp":1}`:                              "",
		`{"type":"page","userId":"u","properties":[1]}`:                           "",
		`{"type":"page","userId":"u","properties":[],"traits":[],"context":[ ]}`:  "u:u",
		`{"type":"page","userId":-0}`:                                             "u:0",
		`{"type":"page","userId":9007199254740993}`:                               "u:9007199254740993",
		`{"type":"page","userId":1e999,"anonymousId":"a"}`:                        "",
		`{"type":"page","user\u0049d":"u","userId":"v"}`:                          "u:u",
		`{"type":"page","userId":"\ud83d"}`:                                       "u:\uFFFD",
		`{"type":"page","userId":"u"} x`:                                          "",
		`[]`:                                                                      "",
		`{"type":"page","userId":"` + strings.Repeat("x", 33000) + `"}`:           "",
	} {
		ev, err := admit([]byte(line))
		switch {
		case err != nil && key != "":
			t.Errorf("%s: %v", line, err)
		case err == nil && ev.key != key:
			t.Errorf("%s: entity %q, want %q", line, ev.key, key)
		}
	}
}

const (
	wantID      = "f0ae9b2e7f4d2480d786c4886ed0ce3e"
	wantTimerID = "a668fb9808b3764820f4cc0093fa88d8"
)

// TestOfferID compares ids with those that another program computed, written
// only from their description.
func TestOfferID(t *testing.T) {
	if got := offerID("cart", "u:42", "bag", "m1", false, 0); got != wantID {
		t.Errorf("offer id %s, want %s", got, wantID)
	}
	if got := offerID("cart", "u:42", "bag", "m1", true, time.Unix(1, 0).UnixNano()); got != wantTimerID {
		t.Errorf("timer's offer id %s, want %s", got, wantTimerID)
	}
}

func TestLogTime(t *testing.T) {
	s := scene{
		campaigns: []string{offer("c", "web", "now", `"on":["x"]`), offer("late", "sms", "event.time", `"on":["x"],"fresh":60000000000`)},
		events: []string{
			`{"type":"track","event":"x","userId":"first has no time"}`, // rejected: there is no log time yet
			at("10:00:00", "x", ``),
			`{"type":"track","event":"x","userId":"u","timestamp":"2026-01-01T20:00:00"}`, // no zone: moves nothing
			`{"type":"track","event":"x","userId":"other"}`,
			at("10:05:00", "y", ``),
			at("10:00:00", "x", ``), // a duplicate by its bytes
			at("10:04:30", "x", `"late":1`),
			at("10:03:00", "x", `"late":2`),
		},
		want: []string{
			`10:00:00 c "2026-01-01T10:00:00Z"`, `10:00:00 late "2026-01-01T10:00:00Z"`,
			`10:00:00 c "2026-01-01T10:00:00Z"`, `10:00:00 late "2026-01-01T10:00:00Z"`,
			`10:05:00 c "2026-01-01T10:05:00Z"`, `10:05:00 late "2026-01-01T10:04:30Z"`,
			`10:05:00 c "2026-01-01T10:05:00Z"`,
		},
		counts: "late age 1, late fired 3",
	}
	if r := s.run(t); r.Rejected != 2 || r.Duplicates != 1 {
		t.Errorf("rejected %d, duplicates %d; want 2 and 1", r.Rejected, r.Duplicates)
	}
	if _, err := Run([]byte(`{"campaigns":[{"id":"c","on":["x"],"if":["nobody >= 1"],"offer":{}}]}`), nil); err == nil {
		t.Error("an unknown name is not an error")
	}
	var o Offer
	if err := json.Unmarshal([]byte(`{"id":"i","anonymous":true}`), &o); err != nil || !o.Anon {
		t.Error("an offer's JSON has other keys")
	}
}

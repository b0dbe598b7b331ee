package oracle

import (
	"fmt"
	"strings"
	"testing"
)

// login returns the identify with which a visitor becomes the user u.
func login(clock, visitor, more string) string {
	return fmt.Sprintf(`{"type":"identify","userId":"u","anonymousId":%q,"timestamp":"2026-01-01T%sZ"%s}`, visitor, clock, more)
}

const end = `{"type":"clock","timestamp":"2026-01-01T23:00:00Z"}`

// tell returns the value of an expression at the event Show of u, after events.
func tell(t *testing.T, features []string, expr, also string, events ...string) string {
	t.Helper()
	r := scene{engine: 5, also: also, features: features, events: events, campaigns: []string{offer("c", "web", "["+expr+"]", `"on":["Show"]`)}}.run(t)
	var out []string
	for _, o := range r.Offers {
		out = append(out, string(o.Data[1:len(o.Data)-1]))
	}
	return strings.Join(out, " ")
}

// TestMergeState: what a visitor had counts after it for the user.
func TestMergeState(t *testing.T) {
	a := func(clock, name, props string) string { return by("a:x", at(clock, name, props)) }
	small := `,"bounds":{"entries":2,"keys":2,"user_entries":65536,"user_bytes":262144,"absences":64}`
	show := at("12:00:00", "Show", ``)
	f := func(agg string) []string {
		return []string{fmt.Sprintf(`{"name":"f","on":["View"],%s}`, agg)}
	}
	for _, tt := range []struct {
		name, agg, expr, also string
		events                []string
		want                  string
	}{
		{"counts add", `"agg":"count"`, "f", "", []string{a("10:00:00", "View", ``), at("10:00:00", "View", ``), login("10:01:00", "x", ``), show}, "2"},
		{"an alias does it too", `"agg":"count"`, "f", "", []string{a("10:00:00", "View", ``), `{"type":"alias","userId":"u","previousId":"x","timestamp":"2026-01-01T10:01:00Z"}`, show}, "1"},
		{"once", `"agg":"count"`, "f", "", []string{a("10:00:00", "View", ``), login("10:01:00", "x", ``), login("10:02:00", "x", ``), show}, "1"},
		{"what comes for the visitor goes on to the user", `"agg":"count"`, "f", "", []string{login("10:01:00", "x", ``), a("10:02:00", "View", ``), a("10:02:00", "View", ``), at("10:02:00", "View", `"n":1`), show}, "2"},
		{"junk is nobody", `"agg":"count"`, "f", "", []string{by("a:null", at("10:00:00", "View", ``)), login("10:01:00", "null", ``), show}, "0"},
		{"no claim without proof", `"agg":"count"`, "f", "", []string{a("10:00:00", "View", ``), login("10:01:00", "x", `,"proof":"none"`), show}, "0"},
		{"a claim with another stamp", `"agg":"count"`, "f", "", []string{a("10:00:00", "View", ``), login("10:01:00", "x", `,"proof":"token"`), show}, "1"},
		{"a track merges nothing", `"agg":"count"`, "f", "", []string{a("10:00:00", "View", ``), strings.Replace(at("10:01:00", "x", ``), `{`, `{"anonymousId":"x",`, 1), show}, "0"},
		{"somebody else's", `"agg":"count"`, "f", "", []string{a("10:00:00", "View", ``), strings.Replace(login("10:01:00", "x", ``), `"u"`, `"v"`, 1), login("10:02:00", "x", ``), show}, "0"},
		{"ties go to the visitor", `"agg":"last","of":"event.properties.p"`, "f", "", []string{a("10:00:00", "View", `"p":1`), at("10:00:00", "View", `"p":2`), login("10:01:00", "x", ``), show}, "1"},
		{"the visitor's keys are the latest touched", `"by":"c","agg":"count"`, "f", small, []string{a("10:00:00", "View", `"c":1`), a("10:00:00", "View", `"c":2`), at("10:00:01", "View", `"c":3`), login("10:01:00", "x", ``), at("10:02:00", "View", `"c":4`), show}, `{"2":1,"4":1}`},
		{"bounds apply", `"agg":"list","key":"k","fields":["k","p"],"keep":2`, "f", "", []string{a("10:00:00", "View", `"k":1,"p":1`), at("10:00:00", "View", `"k":1,"p":2`), at("09:59:00", "View", `"k":2`), a("10:00:01", "View", `"k":3`), login("10:01:00", "x", ``), show}, `[{"k":1,"p":1},{"k":3}]`},
		{"folded entries stay folded", `"agg":"count","within":3840000000000`, "f", small, []string{a("10:00:30", "View", ``), a("10:10:00", "View", ``), a("10:20:00", "View", ``), at("10:00:31", "View", ``), login("10:21:00", "x", ``), at("11:04:59", "Show", ``), at("11:05:00", "Show", ``)}, "4 2"},
		{"weights add", `"by":"c","agg":"top","half_life":28800000000000`, "f", "", []string{a("10:00:00", "View", `"c":1`), at("10:00:00", "View", `"c":1`), at("10:00:00", "View", `"c":2`), login("10:00:30", "x", ``), at("18:00:00", "Show", ``)}, `[{"key":"1","score":1},{"key":"2","score":0.5}]`},
		{"the later interval stays open", `"agg":"dwell"`, "f", "", []string{at("10:00:00", "View", ``), a("10:00:10", "View", ``), login("10:00:30", "x", ``), at("10:01:00", "Show", ``)}, `"60s"`},
		{"of equals the visitor's", `"agg":"dwell"`, "f", "", []string{a("10:00:10", "View", ``), at("10:00:00", "View", ``), at("10:00:10", "x", ``), login("10:00:30", "x", ``), at("10:01:00", "Show", ``)}, `"60s"`},
		{"else the user's", `"agg":"dwell"`, "f", "", []string{a("10:00:00", "View", ``), at("10:00:10", "View", ``), login("10:00:30", "x", ``), at("10:01:00", "Show", ``)}, `"60s"`},
		{"the user's traits win", `"agg":"count"`, "profile", "", []string{strings.Replace(login("09:00:00", "x", `,"traits":{"a":1,"b":1}`), `"userId":"u",`, ``, 1), login("10:00:00", "x", `,"traits":{"b":2}`), show}, `{"a":1,"b":2}`},
		{"sessions join", `"agg":"count"`, "[session.started, session.count, session.events, session.source]", "", []string{
			a("11:40:00", "A1", ``), at("11:41:00", "U1", ``), strings.Replace(a("11:42:00", "A2", ``), `{`, `{"context":{"campaign":{"source":"mail"}},`, 1), at("11:42:00", "U2", ``), login("11:43:00", "x", ``), show},
			`["2026-01-01T11:40:00Z",5,["A1","U1","U2","A2","Show"],"mail"]`},
		{"the session that is alive", `"agg":"count"`, "session.events", "", []string{a("11:00:00", "A1", ``), at("11:40:00", "U1", ``), login("11:50:00", "x", ``), show}, `["U1","Show"]`},
		{"the visitor's ids are known", `"agg":"count"`, "f", "", []string{a("10:00:00", "View", `"n":1,"products":[]`), login("10:01:00", "x", ``), a("10:00:00", "View", `"n":1,"products":[]`), show}, "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tell(t, f(tt.agg), tt.expr, tt.also, tt.events...); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	if _, err := admit([]byte(`{"type":"alias","userId":7,"previousId":"7"}`)); err == nil {
		t.Error("an alias of oneself is no error")
	}
}

// TestMergePending: of two that wait under one key the later trigger stays, with its due
// time; the dwell of the one who moved on is cancelled.
func TestMergePending(t *testing.T) {
	absent := offer("c", "web", "event.properties.n", `"on":["A"],"unless":{"on":["B"],"match":"k","within":3600000000000}`)
	a := func(clock, name, props string) string { return by("a:x", at(clock, name, props)) }
	r := scene{
		engine: 5, campaigns: []string{absent},
		events: []string{
			at("10:00:00", "A", `"k":1,"n":1`), a("10:01:00", "A", `"k":1,"n":2`), // the visitor's is later
			a("10:02:00", "A", `"k":2,"n":3`), at("10:02:00", "A", `"k":2,"n":4`), // a tie: the user's
			a("10:03:00", "A", `"k":3,"n":5`), a("10:04:00", "A", `"k":4,"n":6`), // only the visitor's
			login("10:30:00", "x", ``), at("10:31:00", "B", `"k":4`), end,
		},
		want:   []string{"11:01:00 c 2", "11:02:00 c 4", "11:03:00 c 5"},
		counts: "c superseded 2, c cancelled 1, c fired 3",
	}.run(t)
	if r.recipients() != "u:u u:u u:u" || r.Offers[2].ID != offerID("c", "u:u", "3", r.Offers[2].Event, true, mustTime("11:03:00")) {
		t.Errorf("offers %+v", r.Offers)
	}
	stays := `{"name":"stay","on":["View"],"agg":"dwell"}`
	dwells := offer("c", "web", "event.properties.n", `"on":["View"],"if":["stay >= duration(\"1m\")"]`)
	scene{
		engine: 5, features: []string{stays}, campaigns: []string{dwells},
		events: []string{at("10:00:00", "View", `"n":1`), a("10:00:20", "View", `"n":2`), login("10:00:30", "x", ``), at("10:05:00", "x", ``)},
		want:   []string{"10:01:20 c 2"}, counts: "c cancelled 1", // no second judgement: the sum of both would hold at 10:01:00
	}.run(t)
	// Sequences, consent, what went out, the end of a session.
	scene{
		engine: 5, also: `,"consent":{"required":["sms"]}`,
		campaigns: []string{
			offer("seq", "web", "event.properties.n", `"sequence":{"steps":[{"on":["A"]},{"on":["B"]}],"within":600000000000}`),
			offer("lim", "push", "", `"on":["A"],"limits":[{"max":1}]`),
			offer("con", "sms", "", `"on":["Z"]`),
			offer("end", "email", "session.count", `"on":["session_end"]`),
		},
		events: []string{
			a("10:00:00", "A", ``), a("10:00:01", "Consent Granted", `"channel":"sms"`), login("10:01:00", "x", ``), at("10:02:00", "B", `"n":1`), at("10:03:00", "A", `"n":2`), at("10:04:00", "Z", ``), end,
		},
		want:   []string{"10:00:00 lim", "10:02:00 seq 1", "10:04:00 con", "10:34:00 end 5"},
		counts: "lim limit 1, lim fired 1",
	}.run(t)
}

func mustTime(clock string) int64 {
	ns, _, err := readTime("2026-01-01T" + clock + "Z")
	if err != nil {
		panic(err)
	}
	return ns
}

// TestMergeConsent: a revocation wins a tie, and what a browser said is not taken over.
func TestMergeConsent(t *testing.T) {
	says := func(who, clock, word, more string) string {
		return strings.Replace(by(who, at(clock, "Consent "+word, `"channel":"sms"`)), `{`, `{`+more, 1)
	}
	for _, tt := range []struct {
		events []string
		want   string
	}{
		{[]string{says("a:x", "10:00:00", "Granted", ""), says("u:u", "10:00:00", "Revoked", "")}, "consent"},
		{[]string{says("a:x", "10:00:00", "Revoked", ""), says("u:u", "10:00:00", "Granted", "")}, "consent"},
		{[]string{says("u:u", "10:00:00", "Revoked", ""), says("a:x", "10:00:01", "Granted", "")}, "fired"},
		{[]string{says("u:u", "10:00:00", "Revoked", ""), says("a:x", "10:00:01", "Granted", `"proof":"none",`)}, "consent"},
	} {
		events := append(tt.events, login("10:01:00", "x", ``), at("10:02:00", "A", ``))
		scene{engine: 5, also: `,"consent":{"required":["sms"]}`, campaigns: []string{offer("c", "sms", "", `"on":["A"]`)}, events: events, counts: "c " + tt.want + " 1"}.run(t)
	}
}

// TestMergeForget: a visitor for whom nothing came for so long is new.
func TestMergeForget(t *testing.T) {
	f := []string{`{"name":"f","on":["View"],"agg":"count"}`}
	forget := `,"forget":{"anonymous":3600000000000,"known":360000000000000}`
	a := func(clock string) string { return by("a:x", at(clock, "View", ``)) }
	events := []string{login("10:00:00", "x", ``), a("10:30:00"), a("11:29:59"), a("12:29:59"), at("13:00:00", "Show", ``)}
	if got := tell(t, f, "f", forget, events...); got != "2" { // the last one is of a new visitor
		t.Errorf("%s, want 2", got)
	}
}

// TestMergeWatch: what watched as a visitor watches as the user, in the same place.
func TestMergeWatch(t *testing.T) {
	watch := func(who, clock, name string) string { return by(who, at(clock, name, `"product_id":"p"`)) }
	price := func(clock string, n int) string {
		return about(clock, "p", "Price Changed", fmt.Sprintf(`"mall":"m","price":%d`, n))
	}
	r := scene{
		engine: 5, also: products, features: []string{prices, watchers}, campaigns: []string{enuri},
		events: []string{
			price("10:00:00", 100), watch("a:x", "10:00:01", "Watch"), watch("u:v", "10:00:02", "Watch"), login("10:00:03", "x", ``), price("10:01:00", 90),
			watch("u:u", "10:02:00", "Unwatch"), price("10:03:00", 80), watch("a:x", "10:04:00", "Watch"), price("10:05:00", 70),
		},
		want: nil,
	}.run(t)
	if got := r.recipients(); got != "u:u u:v u:v u:u" {
		t.Errorf("offers to %s", got)
	}
}

// TestMergeNoProof: what is forwarded claims nobody else.
func TestMergeNoProof(t *testing.T) {
	f := []string{`{"name":"f","on":["View"],"agg":"count"}`}
	events := []string{
		by("a:x", at("10:00:00", "View", ``)), by("a:y", at("10:00:01", "View", ``)), login("10:01:00", "x", ``),
		`{"type":"alias","anonymousId":"x","previousId":"y","timestamp":"2026-01-01T10:02:00Z"}`, at("10:03:00", "Show", ``),
	}
	if got := tell(t, f, "f", "", events...); got != "1" {
		t.Errorf("%s, want 1", got)
	}
}

// TestMergeLimits: what went out to the visitor counts for the user, caps and sessions
// too; `to` finds the user under the visitor's name.
func TestMergeLimits(t *testing.T) {
	a := func(clock, name, props string) string { return by("a:x", at(clock, name, props)) }
	scene{
		engine: 5, also: `,"caps":[{"channels":["sms"],"max":1,"within":3600000000000}]`,
		campaigns: []string{offer("cap", "sms", "", `"on":["A"]`), offer("ses", "web", "", `"on":["A"],"limits":[{"max":1,"per_session":true}]`)},
		events:    []string{a("10:00:00", "A", ``), at("10:10:00", "x", ``), login("10:11:00", "x", ``), at("10:12:00", "A", ``), at("11:00:00", "A", `"n":1`)},
		want:      []string{"10:00:00 cap", "10:00:00 ses", "11:00:00 cap", "11:00:00 ses"},
		counts:    "cap cap 1, ses limit 1",
	}.run(t)
}

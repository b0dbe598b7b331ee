package oracle

import (
	"strings"
	"testing"
	"time"
)

func TestTypes(t *testing.T) {
	system := strings.Replace(at("10:00:10", "View", ``), "track", "system", 1)
	show := func(typ, rest string) string {
		return `{"type":"` + typ + `","userId":"u","timestamp":"2026-01-01T10:00:20Z"` + rest + `}`
	}
	scene{
		features: []string{`{"name":"all","on":["*"],"agg":"count"}`, `{"name":"views","on":["View"],"agg":"count"}`, `{"name":"stay","on":["View"],"agg":"dwell"}`},
		campaigns: []string{
			offer("star", "web", `[all, views, stay, session.count]`, `"on":["*"]`),
			offer("name", "sms", `[event.type, event.name, string(all), string(views), string(stay), string(session.count)]`, `"on":["View"]`),
		},
		events: []string{at("10:00:00", "View", ``), system, show("group", ``), show("alias", `,"previousId":"a"`), show("identify", ``), show("page", ``), show("screen", ``)},
		want: []string{
			`10:00:00 name ["track","View","1","1","0s","1"]`, `10:00:00 star [1,1,"0s",1]`,
			`10:00:10 name ["system","View","1","2","10s","1"]`,
			`10:00:20 star [2,2,"30s",1]`, `10:00:20 star [3,2,"30s",2]`, `10:00:20 star [4,2,"30s",3]`,
		},
	}.run(t)
}

// TestSystemForget: events of type system do not renew a user.
func TestSystemForget(t *testing.T) {
	s := func(clock string) string { return strings.Replace(at(clock, "x", ``), "track", "system", 1) }
	scene{
		features:  []string{`{"name":"n","on":["x"],"agg":"count"}`},
		also:      `,"forget":{"anonymous":3600000000000,"known":3600000000000}`,
		campaigns: []string{offer("c", "web", "n", `"on":["x"]`)},
		events:    []string{at("10:00:00", "x", ``), s("10:59:00"), s("11:00:00"), s("11:30:00"), s("12:00:00")},
		want:      []string{"10:00:00 c 1", "10:59:00 c 2", "11:00:00 c 1", "11:30:00 c 2", "12:00:00 c 1"},
	}.run(t)
}

func TestAny(t *testing.T) {
	any := `"any":[{"on":["Order"],"where":"event.properties.n > 1"},{"on":["Add","Order"],"unless":{"on":["Order"],"within":60000000000}}],"limits":[{"max":2}]`
	scene{
		campaigns: []string{offer("c", "web", "event.name", any)},
		events: []string{
			at("10:00:00", "Add", ``), at("10:00:30", "Order", `"n":1`), // cancels, and starts by the second entry
			at("10:01:00", "Order", `"n":2`), // cancels that one; the first entry fires at once
			at("10:02:00", "Add", ``), at("10:04:00", "x", ``), at("10:05:00", "Order", `"n":2`),
		},
		want:   []string{`10:01:00 c "Order"`, `10:03:00 c "Add"`},
		counts: "c cancelled 2, c fired 2, c limit 1",
	}.run(t)
}

func TestRows(t *testing.T) {
	rows := `"rows":[{"id":"1","values":{"id":"1","min":2,"kind":"bag"}},{"id":"b","values":{"id":"b","kind":"hat"}}],"on":["View"],"where":"event.properties.kind == row.kind"`
	scene{
		features:  []string{`{"name":"n","on":["View"],"by":"event.properties.kind","agg":"count"}`},
		campaigns: []string{offer("c", "web", "row", rows+`,"let":[{"name":"least","is":"row.min"}],"if":["n[row.kind] >= least"],"limits":[{"max":1}]`)},
		events:    []string{at("10:00:00", "View", `"kind":"bag"`), at("10:00:01", "View", `"kind":"bag"`), at("10:00:02", "View", `"kind":"hat"`), at("10:00:03", "View", `"kind":"bag"`)},
		want:      []string{`10:00:01 c/1 {"id":"1","kind":"bag","min":2}`},
		counts:    "c/1 condition 1, c/1 fired 1, c/1 limit 1, c/b condition 1",
	}.run(t)
}

func TestLet(t *testing.T) {
	lets := `"let":[{"name":"p","is":"event.properties.p"},{"name":"double","is":"p * 2"}]`
	scene{
		campaigns: []string{
			offer("c", "web", "double", lets+`,"on":["x"],"where":"p > 1","if":["double < 10"]`),
			offer("else", "sms", "", lets+`,"on":["x"],"if":["double < 10 || true", "!(p == 7)"]`),
		},
		events: []string{at("10:00:00", "x", `"p":1`), at("10:00:01", "x", `"p":2`), at("10:00:02", "x", `"p":5`), at("10:00:03", "x", ``)},
		want:   []string{"10:00:00 else", "10:00:01 c 4", "10:00:01 else", "10:00:02 else"},
		counts: "c condition 1, else condition 1",
	}.run(t)
}

func TestSequence(t *testing.T) {
	seq := func(steps, rest string) string {
		return offer("c", "web", "event.name", `"sequence":{"steps":[`+steps+`],"within":60000000000}`+rest)
	}
	abc := `{"on":["A"]},{"on":["B"]},{"on":["C"]}`
	for _, tt := range []struct {
		name, campaign string
		events         []string
		want           []string
	}{
		{"others may come between", seq(abc, ""), []string{at("10:00:00", "A", ``), at("10:00:01", "x", ``), at("10:00:02", "B", ``), at("10:00:03", "A", ``), at("10:00:04", "C", ``)}, []string{`10:00:04 c "C"`}},
		{"in this order", seq(abc, ""), []string{at("10:00:00", "B", ``), at("10:00:01", "A", ``), at("10:00:02", "C", ``)}, []string{}},
		{"within the time", seq(abc, ""), []string{at("10:00:00", "A", ``), at("10:00:30", "B", ``), at("10:01:00", "C", ``)}, []string{}},
		{"the newer start counts", seq(abc, ""), []string{at("10:00:00", "A", ``), at("10:00:30", "A", `"n":2`), at("10:00:40", "B", ``), at("10:01:29", "C", ``)}, []string{`10:01:29 c "C"`}},
		{"a prefix moves on", seq(abc, ""), []string{at("10:00:00", "A", ``), at("10:00:01", "B", ``), at("10:00:02", "C", ``), at("10:00:03", "B", ``), at("10:00:04", "C", ``)}, []string{`10:00:02 c "C"`}},
		{"a match clears all", seq(abc, ""), []string{at("10:00:00", "A", ``), at("10:00:01", "B", ``), at("10:00:02", "A", ``), at("10:00:03", "C", ``), at("10:00:04", "B", ``), at("10:00:05", "C", ``)}, []string{`10:00:03 c "C"`}},
		{"the last step first", seq(`{"on":["A"]},{"on":["A"]}`, ""), []string{at("10:00:00", "A", ``), at("10:00:01", "A", ``), at("10:00:02", "A", ``), at("10:00:03", "A", ``)}, []string{`10:00:01 c "A"`, `10:00:03 c "A"`}},
		{"if is judged at the last event", seq(abc, `,"if":["event.properties.n == 1"]`), []string{at("10:00:00", "A", ``), at("10:00:01", "B", ``), at("10:00:02", "C", `"n":2`), at("10:00:03", "C", `"n":1`)}, []string{}},
		{"where", seq(`{"on":["A"],"where":"event.properties.n == 1"},{"on":["*"],"where":"event.name != \"B\""}`, ""), []string{at("10:00:00", "A", ``), at("10:00:01", "x", ``), at("10:00:02", "A", `"n":1`), at("10:00:03", "B", ``), at("10:00:04", "x", ``)}, []string{`10:00:04 c "x"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			scene{campaigns: []string{tt.campaign}, events: tt.events, want: tt.want}.run(t)
		})
	}
}

func TestSessionEnd(t *testing.T) {
	page := func(clock, url, rest string) string {
		return `{"type":"page","userId":"u","messageId":"` + clock + `","timestamp":"2026-01-01T` + clock + `Z","context":{"page":{"url":"` + url + `"` + rest + `}}}`
	}
	r := scene{
		features: []string{`{"name":"n","on":["*"],"agg":"count"}`},
		campaigns: []string{
			offer("end", "web", "[session.count, n]", `"on":["session_end"],"if":["session.events.size() < 3"]`),
			offer("later", "sms", "session.count", `"on":["session_end"],"unless":{"on":["Order"],"within":3600000000000,"no_restart":true}`),
			offer("other", "push", "session.count", `"on":["*"],"unless":{"on":["Order"],"within":1800000000000},"limits":[{"max":1,"per_session":true}]`),
		},
		events: []string{page("10:00:00", "", ``), page("10:10:00", "", ``), page("11:00:00", "", ``), page("11:01:00", "", ``), page("11:02:00", "", ``), page("12:00:00", "", ``), page("13:00:00", "", ``)},
		want: []string{
			"10:40:00 end [2,2]", "10:40:00 other 0", // another campaign reads the session as over
			"11:32:00 other 0", "11:40:00 later 0", // counted from the session's end
			"12:30:00 end [1,6]", "12:30:00 other 0",
		},
		counts: "end fired 2, end condition 1, later condition 1, later fired 1, later pending 1",
	}.run(t)
	if o := r.Offers[0]; o.Event != "10:10:00" || o.ID != offerID("end", "u:u", "", "10:10:00", true, time.Date(2026, 1, 1, 10, 40, 0, 0, time.UTC).UnixNano()) {
		t.Errorf("the offer is not identified by the session's last event and its end: %+v", o)
	}
}

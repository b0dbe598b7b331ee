package oracle

import (
	"strings"
	"testing"
)

// identify sets the user's zone.
func identify(clock, zone string) string {
	return `{"type":"identify","userId":"u","timestamp":"2026-01-01T` + clock + `Z","traits":{"timezone":"` + zone + `"}}`
}

const (
	nights = `,"quiet_hours":{"channels":["sms"],"from":1320,"to":480,"except_consent":"night","at_most":39600000000000}` // 22:00 to 08:00, at most 11h
	dropIt = `,"quiet_hours":{"channels":["sms"],"from":1320,"to":480,"drop":true}`
)

func TestQuietHours(t *testing.T) {
	tests := []struct {
		name, also, campaign string
		events               []string
		want                 []string
		counts               string
	}{
		{"held until they end", nights, offer("c", "sms", "event.name", `"on":["A"],"when_due":"event.name == \"A\""`), []string{at("06:59:59.5", "A", ``), at("09:00:00", "x", ``)}, []string{`08:00:00 c "A"`}, ""},
		{"they end at their end", nights, offer("c", "sms", "", `"on":["A"]`), []string{at("08:00:00", "A", ``), at("21:59:59", "A", ``), at("22:00:00", "A", ``)}, []string{"08:00:00 c", "21:59:59 c"}, "c pending 1"},
		{"by the user's clock", nights, offer("c", "sms", "", `"on":["A"]`), []string{identify("11:00:00", "Asia/Kathmandu"), at("16:14:59", "A", ``), at("16:15:00", "A", ``), `{"type":"clock","timestamp":"2026-01-02T05:00:00Z"}`}, []string{"16:14:59 c", "2026-01-02T02:15:00 c"}, ""},
		{"by the set's clock", `,"zone":"Asia/Seoul"` + nights, offer("c", "sms", "", `"on":["A"]`), []string{identify("11:00:00", "nowhere"), at("17:00:00", "A", ``), at("23:00:00", "x", ``)}, []string{"23:00:00 c"}, ""},
		{"when_due is judged again, limits too", nights, offer("c", "sms", "", `"on":["A"],"when_due":"!event.properties.?no.orValue(false)","limits":[{"max":1}]`), []string{at("06:00:00", "A", `"no":true`), at("08:00:00", "A", `"no":true`), at("08:00:01", "A", ``)}, []string{"08:00:00 c"}, "c when_due 1, c limit 1"},
		{"a later one takes its place", nights, offer("c", "sms", "event.properties.n", `"on":["A"]`), []string{at("06:00:00", "A", `"n":1`), at("07:00:00", "A", `"n":2`), at("08:00:01", "x", ``)}, []string{"08:00:00 c 2"}, "c superseded 1, c fired 1"},
		{"a held offer takes no channel", nights, offer("c", "sms", "", `"on":["A"],"priority":1`) + "," + strings.Replace(offer("s", "sms", "", `"on":["A"]`), "advertising", "service", 1), []string{at("06:00:00", "A", ``), at("08:00:01", "x", ``)}, []string{"06:00:00 s", "08:00:00 c"}, ""},
		{"unless cancels a hold", nights, offer("c", "sms", "", `"on":["A"],"unless":{"on":["B"],"match":"k","within":60000000000}`), []string{at("06:00:00", "A", `"products":[{"k":1},{"k":2},{"k":1}]`), at("07:00:00", "B", `"k":1`), at("09:00:00", "B", `"k":2`)}, []string{"08:00:00 c"}, "c cancelled 1, c fired 1"},
		{"restart: false looks at holds too", nights, offer("c", "sms", "", `"on":["A"],"unless":{"on":["B"],"within":60000000000,"no_restart":true}`), []string{at("06:00:00", "A", ``), at("07:00:00", "A", `"n":1`), at("09:00:00", "x", ``)}, []string{"08:00:00 c"}, "c condition 1"},
		{"a consent for the night lifts them", `,"consent":{"valid_for":3600000000000}` + nights, offer("c", "sms", "", `"on":["A"]`), []string{at("05:00:00", "Consent Granted", `"channel":"night"`), at("05:59:59", "A", ``), at("06:00:00", "A", ``), at("07:00:00", "x", ``)}, []string{"05:59:59 c"}, "c pending 1"},
		{"dropped", dropIt, offer("c", "sms", "", `"on":["A"]`), []string{at("06:00:00", "A", ``), at("08:00:00", "x", ``)}, []string{}, "c quiet_hours 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			scene{also: tt.also, campaigns: []string{tt.campaign}, events: tt.events, want: tt.want, counts: tt.counts}.run(t)
		})
	}
}

// TestHeldTooLong: in the night in which clocks go back, quiet hours take an hour
// more, and are over at 08:00 all the same.
func TestHeldTooLong(t *testing.T) {
	back := func(clock, name string) string {
		return strings.Replace(at(clock, name, ``), "2026-01-01", "2026-10-24", 1)
	}
	zone := strings.Replace(identify("10:00:00", "Europe/Vienna"), "2026-01-01", "2026-10-24", 1)
	end := `{"type":"clock","timestamp":"2026-10-25T12:00:00Z"}`
	for start, want := range map[string][]string{ // 22:00 in Vienna is 20:00 in UTC, 08:00 of the next day is 07:00
		"20:00:00": {"2026-10-25T07:00:00 c"}, // exactly eleven hours
		"19:59:59": {"2026-10-24T19:59:59 c"},
	} {
		scene{also: nights, campaigns: []string{offer("c", "sms", "", `"on":["A"]`)}, events: []string{zone, back(start, "A"), end}, want: want}.run(t)
	}
	short := strings.Replace(nights, "39600000000000", "39599999999999", 1)
	scene{also: short, campaigns: []string{offer("c", "sms", "", `"on":["A"]`)}, events: []string{zone, back("20:00:00", "A"), end}, want: []string{}, counts: "c age 1"}.run(t)
}

func TestBestHour(t *testing.T) {
	hours := `{"name":"h","on":["Buy"],"agg":"histogram"}`
	day := func(day, clock, name string) string {
		return strings.Replace(at(clock, name, ``), "2026-01-01", day, 1)
	}
	end := `{"type":"clock","timestamp":"2026-01-12T00:00:00Z"}`
	campaign := offer("c", "sms", "h.size", `"on":["A"],"at":{"best_hour":"h","ahead":86400000000000}`)
	tests := []struct {
		name, also string
		events     []string
		want       []string
	}{
		{"nothing counted: at once", "", []string{day("2026-01-08", "10:30:00", "A"), end}, []string{"2026-01-08T10:30:00 c 0"}},
		{"the hour of the week", "", []string{day("2026-01-01", "15:10:00", "Buy"), day("2026-01-04", "09:10:00", "Buy"), day("2026-01-03", "09:20:00", "Buy"), day("2026-01-08", "10:30:00", "A"), end}, []string{"2026-01-08T15:00:00 c 3"}}, // Thursday
		{"the hour of the day", "", []string{day("2026-01-05", "15:10:00", "Buy"), day("2026-01-06", "09:10:00", "Buy"), day("2026-01-06", "09:20:00", "Buy"), day("2026-01-08", "10:30:00", "A"), end}, []string{"2026-01-09T09:00:00 c 3"}},
		{"the earliest", "", []string{day("2026-01-05", "15:10:00", "Buy"), day("2026-01-06", "09:10:00", "Buy"), day("2026-01-08", "10:30:00", "A"), end}, []string{"2026-01-08T15:00:00 c 2"}},
		{"the hour that has begun", "", []string{day("2026-01-06", "10:10:00", "Buy"), day("2026-01-08", "10:30:00", "A"), end}, []string{"2026-01-08T10:30:00 c 1"}},
		{"strictly ahead", `,"quiet_hours":{"channels":["sms"],"from":600,"to":660}`, []string{day("2026-01-06", "10:10:00", "Buy"), day("2026-01-06", "12:10:00", "Buy"), day("2026-01-08", "10:00:00", "A"), end}, []string{"2026-01-08T12:00:00 c 2"}},
		{"none outside of the quiet hours: at once, that is, held", `,"quiet_hours":{"channels":["sms"],"from":600,"to":660}`, []string{day("2026-01-06", "10:10:00", "Buy"), day("2026-01-08", "10:20:00", "A"), end}, []string{"2026-01-08T11:00:00 c 1"}},
		{"in the zone of reading", "", []string{day("2026-01-06", "10:10:00", "Buy"), strings.Replace(identify("10:00:00", "Asia/Kathmandu"), "2026-01-01", "2026-01-07", 1), day("2026-01-08", "11:00:00", "A"), end}, []string{"2026-01-09T09:15:00 c 1"}}, // 10:10 UTC is 15:55 there, and 15:00 is 09:15 UTC
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			scene{features: []string{hours}, also: tt.also, campaigns: []string{campaign}, events: tt.events, want: tt.want}.run(t)
		})
	}
}

// TestHourStarts: an hour that the clock skips is none; of one that comes twice the
// first counts.
func TestHourStarts(t *testing.T) {
	for _, tt := range []struct{ zone, now, end, want string }{
		{"Europe/Vienna", "2026-03-29T00:00:00Z", "2026-03-29T02:00:01Z", "2026-03-29T01:00:00Z 2026-03-29T02:00:00Z"},                            // 03:00, 04:00
		{"Europe/Vienna", "2026-10-24T23:30:00Z", "2026-10-25T02:00:01Z", "2026-10-25T00:00:00Z 2026-10-25T02:00:00Z"},                            // 02:00, 03:00
		{"Europe/Vienna", "2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z", "2026-10-25T02:00:00Z"},                                                 // strictly between
		{"Australia/Lord_Howe", "2026-04-04T13:30:00Z", "2026-04-04T17:00:00Z", "2026-04-04T14:00:00Z 2026-04-04T15:30:00Z 2026-04-04T16:30:00Z"}, // 01:00, then 02:00 only after the half hour that comes twice
		{"Asia/Kathmandu", "2026-01-01T00:00:00Z", "2026-01-01T01:15:01Z", "2026-01-01T00:15:00Z 2026-01-01T01:15:00Z"},
	} {
		var got []string
		now, _, _ := readTime(tt.now)
		end, _, _ := readTime(tt.end)
		for _, at := range hourStarts(now, end, loadZone(tt.zone)) {
			got = append(got, clock(at))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s from %s: %s, want %s", tt.zone, tt.now, s, tt.want)
		}
	}
}

// TestDelay: what waits for the best hour is cancelled and superseded as an absence
// is, and passes the gates only then.
func TestDelay(t *testing.T) {
	hours := `{"name":"h","on":["Buy"],"agg":"histogram"}`
	buy := at("08:10:00", "Buy", ``)
	end := `{"type":"clock","timestamp":"2026-01-02T20:00:00Z"}`
	delayed := `"on":["A"],"at":{"best_hour":"h","ahead":86400000000000}`
	scene{
		features: []string{hours},
		campaigns: []string{
			offer("a", "sms", "event.properties.n", delayed+`,"when_due":"event.properties.n != 3"`),
			offer("b", "web", "event.properties.n", delayed+`,"unless":{"on":["B"],"within":600000000000}`),
			offer("d", "push", "event.properties.n", delayed+`,"limits":[{"max":1,"within":60000000000}]`),
		},
		events: []string{buy, at("10:00:00", "A", `"n":1`), at("11:00:00", "A", `"n":2`), at("12:00:00", "B", ``), at("13:00:00", "A", `"n":3`), end},
		want:   []string{"2026-01-02T08:00:00 b 3", "2026-01-02T08:00:00 d 3"},
		counts: "a superseded 2, a when_due 1, b superseded 1, b cancelled 1, b fired 1, d superseded 2, d fired 1",
	}.run(t)
	r := scene{
		features:  []string{hours},
		campaigns: []string{offer("a", "sms", "", delayed)},
		events:    []string{buy, strings.Replace(at("10:00:00", "A", ``), `{`, `{"messageId":"m",`, 1), end},
	}.run(t)
	if len(r.Offers) != 1 || r.Offers[0].ID != offerID("a", "u:u", "", "m", false, 0) {
		t.Errorf("the delay changes the offer's identity: %+v", r.Offers)
	}
}

// TestHeldAgain: whoever travels into the night while an offer is held waits on, and
// the time since the offer was held first counts.
func TestHeldAgain(t *testing.T) {
	events := []string{at("07:30:00", "A", ``), identify("07:45:00", "America/New_York"), `{"type":"clock","timestamp":"2026-01-02T05:00:00Z"}`}
	again := strings.Replace(nights, "39600000000000", "19800000000000", 1) // 5.5h: 13:00 in UTC, which is 08:00 in New York
	scene{also: again, campaigns: []string{offer("c", "sms", "", `"on":["A"]`)}, events: events, want: []string{"13:00:00 c"}}.run(t)
	short := strings.Replace(nights, "39600000000000", "19799999999999", 1)
	r := scene{also: short, campaigns: []string{offer("c", "sms", "", `"on":["A"]`)}, events: events, want: []string{}, counts: "c age 1"}.run(t)
	if r.Met["held again"] != 1 {
		t.Errorf("held again %d times, want 1", r.Met["held again"])
	}
}

// TestSameKeyTwice: a key that comes twice in one event is judged once, also where the
// bound on absences has ended what was pending under it in between.
func TestSameKeyTwice(t *testing.T) {
	scene{
		also:      `,"bounds":{"entries":256,"keys":64,"user_entries":65536,"user_bytes":262144,"absences":1}`,
		campaigns: []string{offer("c", "web", "event.properties.n", `"on":["A"],"unless":{"on":["B"],"match":"k","within":60000000000,"no_restart":true}`)},
		events:    []string{at("10:00:00", "A", `"n":1,"k":"x"`), at("10:00:01", "A", `"n":2,"products":[{"k":"x"},{"k":"y"},{"k":"x"}]`), at("10:02:00", "x", ``)},
		want:      []string{"10:01:01 c 2"},
		counts:    "c superseded 1, c fired 1",
	}.run(t)
}

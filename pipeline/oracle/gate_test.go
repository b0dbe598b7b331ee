package oracle

import (
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
)

func TestConsent(t *testing.T) {
	said := func(clock, what, channel string) string {
		return at(clock, "Consent "+what, `"channel":"`+channel+`"`)
	}
	policy := `,"consent":{"required":["sms"],"valid_for":3600000000000}`
	scene{
		also:      policy,
		campaigns: []string{offer("c", "sms", "", `"on":["A"]`), offer("w", "web", "", `"on":["A"]`), strings.Replace(offer("s", "sms", "", `"on":["A"],"limits":[{"max":1}]`), "advertising", "service", 1)},
		events: []string{
			at("10:00:00", "A", ``), said("10:00:01", "Granted", "push"), at("10:00:02", "A", ``),
			strings.Replace(said("10:10:00", "Granted", "sms"), "track", "system", 1), at("10:11:00", "A", ``),
			said("10:05:00", "Revoked", "sms"), at("10:12:00", "A", ``), // older by event time
			said("10:10:00", "Revoked", "sms"), at("10:13:00", "A", ``), // as old, and later in the log
			said("10:20:00", "Granted", "sms"), at("11:19:59", "A", ``), at("11:20:00", "A", ``), // no longer valid
		},
		want:   []string{"10:00:00 s", "10:00:00 w", "10:00:02 w", "10:11:00 c", "10:11:00 w", "10:12:00 c", "10:12:00 w", "10:13:00 w", "11:19:59 c", "11:19:59 w", "11:20:00 w"},
		counts: "c consent 4, c fired 3",
	}.run(t)
}

func TestHoldout(t *testing.T) {
	share := int(xxhash.Sum64String("c\x00u") % 10_000)
	with := func(holdout string) string {
		return offer("c", "sms", "event.properties.n", `"on":["A"],"priority":2,"limits":[{"max":2}]`+holdout)
	}
	other := offer("d", "sms", "", `"on":["A"]`)
	service := strings.Replace(offer("s", "web", "", `"on":["A"],"holdout":10000`), "advertising", "service", 1)
	events := []string{at("10:00:00", "A", `"n":1`), at("10:00:01", "A", `"n":2`), at("10:00:02", "A", `"n":3`)}
	for _, tt := range []struct {
		name, also, campaign string
		want                 []string
		counts               string
	}{
		{"its own", `,"caps":[{"channels":["sms"],"max":1,"within":60000000000}]`, with(`,"holdout":` + strings.TrimSpace(jsonOf(share+1))), []string{"10:00:00 c* 1", "10:00:00 s", "10:00:01 c* 2", "10:00:01 s", "10:00:02 d", "10:00:02 s"}, "c withheld 2, c limit 1, d outranked 2, d fired 1"},
		{"one below", "", with(`,"holdout":` + jsonOf(share)), []string{"10:00:00 c 1", "10:00:00 s", "10:00:01 c 2", "10:00:01 s", "10:00:02 d", "10:00:02 s"}, "c fired 2"},
		{"the set's", `,"holdout":10000`, with(""), []string{"10:00:00 c* 1", "10:00:00 s", "10:00:01 c* 2", "10:00:01 s", "10:00:02 d*", "10:00:02 s"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			scene{also: tt.also, campaigns: []string{tt.campaign, other, service}, events: events, want: tt.want, counts: tt.counts}.run(t)
		})
	}
}

func jsonOf(v any) string { return string(encode(v)) }

// TestOrderOfGates: the first gate that stops gives the outcome; a duplicate is
// found after them.
func TestOrderOfGates(t *testing.T) {
	is := func(want, also, rest string) {
		t.Helper()
		events := []string{at("10:00:00", "A", ``), at("10:00:01", "A", `"n":2`)}
		r := scene{also: also, campaigns: []string{offer("c", "sms", "", `"on":["A"]`+rest)}, events: events, controls: []Control{{At: 1}}}.run(t)
		if r.Counts["c"][want] == 0 {
			t.Errorf("no %s: %v", want, r.Counts)
		}
	}
	limits, quiet := `,"limits":[{"max":1}]`, strings.Replace(dropIt, "1320", "540", 1)
	caps := `,"caps":[{"channels":["sms"],"max":1,"within":60000000000}],"pause":{"channels":["sms"],"after_any":60000000000}`
	is("period", `,"consent":{"required":["sms"]}`+quiet, `,"to":1`+limits)
	is("consent", `,"consent":{"required":["sms"]}`+caps, limits)
	is("limit", caps, limits)
	is("cap", caps, "")
	is("pause", `,"pause":{"channels":["sms"],"after_any":60000000000}`, "")
}

func TestPaused(t *testing.T) {
	rows := `"rows":[{"id":"1","values":{"id":"1"}},{"id":"2","values":{"id":"2"}}],`
	scene{
		campaigns: []string{
			offer("a", "web", "event.properties.n", rows+`"on":["A"],"unless":{"on":["B"],"within":60000000000}`),
			offer("b", "sms", "event.properties.n", `"on":["A"]`),
		},
		events: []string{at("10:00:00", "A", `"n":1`), at("10:00:10", "A", `"n":2`), at("10:01:05", "x", ``), at("10:02:00", "x", ``), at("10:03:00", "A", `"n":3`), at("10:05:00", "x", ``)},
		controls: []Control{
			{At: 1, Paused: []string{"a", "b"}}, // what is pending stays, and nothing restarts it
			{At: 2, Paused: []string{"a/2"}},    // when it is due, one row is paused
			{At: 4},
		},
		want:   []string{`10:00:00 b 1`, `10:01:00 a/1 1`, `10:03:00 b 3`, `10:04:00 a/1 3`},
		counts: "a/1 paused 1, a/1 fired 2, a/2 paused 2, a/2 outranked 1, b paused 1, b fired 2",
	}.run(t)
}

// TestDuplicateOffer: the limit stops an offer before it is found to be a duplicate.
func TestDuplicateOffer(t *testing.T) {
	repeated := `{"messageId":"m",` + at("12:00:00", "A", ``)[1:]
	first := `{"messageId":"m",` + at("10:00:00", "A", ``)[1:]
	events := []string{first}
	for i := range 64 {
		events = append(events, strings.Replace(at("11:00:00", "x", ``), `{`, `{"messageId":"`+jsonOf(i)+`",`, 1))
	}
	events = append(events, repeated)
	scene{campaigns: []string{offer("c", "web", "", `"on":["A"],"choose":"null"`)}, events: events, want: []string{}, counts: "c no_choice 2"}.run(t)
	scene{campaigns: []string{offer("c", "web", "", `"on":["A"],"choose":"event.time < timestamp(\"2026-01-01T11:00:00Z\") ? dyn(1) : null"`)}, events: events, want: []string{"10:00:00 c"}, counts: "c duplicate 1"}.run(t)
	scene{campaigns: []string{offer("c", "web", "", `"on":["A"],"limits":[{"max":1}]`)}, events: events, want: []string{"10:00:00 c"}, counts: "c limit 1"}.run(t)
}

// TestFreshBeforeIf: an old event ends as age before `if` is judged; the features
// have it, and it cancels.
func TestFreshBeforeIf(t *testing.T) {
	scene{
		features: []string{`{"name":"n","on":["*"],"agg":"count"}`},
		campaigns: []string{
			offer("c", "web", "n", `"on":["A"],"fresh":60000000000,"if":["n > 100"]`),
			offer("d", "sms", "n", `"on":["A"],"fresh":60000000000,"to":1`),
			offer("e", "push", "n", `"on":["A"],"fresh":60000000000,"unless":{"on":["A"],"within":60000000000}`),
		},
		events: []string{at("10:00:00", "A", ``), at("10:00:30", "x", ``), at("09:59:29", "A", ``), at("10:02:00", "x", ``)},
		want:   []string{},
		counts: "c condition 1, c age 1, d period 1, d age 1, e cancelled 1, e age 1",
	}.run(t)
}

func TestScoreAndChoose(t *testing.T) {
	scene{
		features: []string{`{"name":"cart","on":["Add"],"agg":"list","key":"id","fields":["id","p"]}`},
		campaigns: []string{
			offer("a", "web", "item.id", `"on":["A"],"score":"event.properties.a","choose":"cart.max_by(i, i.p)"`),
			offer("b", "web", "item", `"on":["A"],"priority":5,"choose":"cart.map(i, i.p).min()"`),
			offer("e", "web", "", `"on":["A"],"priority":9,"choose":"cart.last()"`) + "," + offer("f", "web", "item", `"on":["A"],"priority":10,"choose":"cart.max_by(i, i.q)"`),
		},
		events: []string{
			at("10:00:00", "A", `"a":7`),
			at("10:00:01", "Add", `"products":[{"id":"x","p":2},{"id":"y","p":3},{"id":"z","p":3}]`),
			at("10:00:02", "A", `"a":9.5`), at("10:00:03", "A", `"a":7`), at("10:00:04", "A", `"a":"text"`),
		},
		want:   []string{`10:00:02 a "y"`, `10:00:03 e`, `10:00:04 e`},
		counts: "a no_choice 1, a fired 1, a outranked 1, a error 1, b no_choice 1, b outranked 3, e no_choice 1, e outranked 1, f error 3, f no_choice 1",
	}.run(t)
}

func TestCoupon(t *testing.T) {
	c := strings.Replace(offer("c", "web", "coupon.url + coupon.code + string(coupon.expires)", `"on":["A"]`), `"kind":"advertising"`,
		`"kind":"advertising","expires":60000000000,"coupon":{"discount":"5%","single_use":true,"claim":"login"}`, 1)
	r := scene{also: `,"coupons":{"url":"https://x/"}`, campaigns: []string{c}, events: []string{at("10:00:00", "A", ``)}}.run(t)
	want := `"expires":"2026-01-01T10:01:00Z","coupon":{"discount":"5%","single_use":true,"claim":"login","code":"COUPON","url":"https://x/COUPON","expires":"2026-01-01T10:01:00Z"},"data":"https://x/COUPONCOUPON2026-01-01T10:01:00Z"}`
	if len(r.Offers) != 1 || !strings.HasSuffix(jsonOf(r.Offers[0]), want) {
		t.Errorf("%s does not end with %s", jsonOf(r.Offers), want)
	}
}

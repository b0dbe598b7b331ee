package survey_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/survey"
)

// TestTraceSome: after so many evaluations those of some users are judged, each of
// them to its end.
func TestTraceSome(t *testing.T) {
	def, err := campaign.ParseDefinition([]byte(`{"engine":5,"clock":"broker","lateness":3600000000000,"forget":{"anonymous":7776000000000000,"known":94608000000000000},
		"bounds":{"entries":256,"keys":64,"user_entries":65536,"user_bytes":262144,"absences":64},
		"features":[{"name":"stay","on":["View"],"agg":"dwell"}],
		"campaigns":[{"id":"c","on":["View"],"if":["stay >= duration(\"60s\")","event.properties.n > 2"],"offer":{"channel":"web","kind":"service"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	const users, most = 2000, 100
	for _, sampled := range []bool{false, true} {
		s, err := survey.New(def)
		if err != nil {
			t.Fatal(err)
		}
		if sampled {
			s.TraceAtMost(most)
		}
		for i := range users + 1 {
			at := fmt.Sprintf("%02d:%02d", i/60, i%60)
			e := fmt.Sprintf(`{"type":"track","event":"View","userId":"u%d","messageId":"%d","timestamp":"2026-04-01T00:%sZ","properties":{"n":%d}}`, i, i, at, i)
			if i == users { // later, so that all have stayed long enough
				e = `{"type":"track","event":"End","userId":"end","messageId":"end","timestamp":"2026-04-01T02:00:00Z"}`
			}
			if err := s.Event([]byte(e)); err != nil {
				t.Fatal(err)
			}
		}
		r := s.Result()
		stay, n := r.Campaigns[0].If[0], r.Campaigns[0].If[1]
		var out bytes.Buffer
		r.Text(&out)
		note := strings.Contains(out.String(), "\nif is judged for the first 82 events, then for one user in 32\n")
		switch {
		case !sampled && (stay.Of != users || stay.Held != users-3 || n.Held != users-3 || note || r.JudgedAll != users+1):
			t.Errorf("all: %+v, %+v, %s", stay, n, out.String())
		case sampled && (stay.Of < 82 || stay.Of > most+users/16 || stay.Held != stay.Of-3 || !note):
			t.Errorf("some: %+v, %+v, %s", stay, n, out.String())
		case sampled && stay.Of-82 < users/64:
			t.Errorf("only %d of the later users are judged", stay.Of-82)
		}
	}
}

// TestSampleBounds: what is beyond the bounds is not told apart, and what is compared
// is counted all the same.
func TestSampleBounds(t *testing.T) {
	set := "campaigns:\n  c:\n    on: [View, E1200]\n    where: event.properties.id == \"x1999\" || event.properties.id == \"X1\"\n    offer: {channel: web}\n"
	var events []string
	for i := range 2000 {
		events = append(events, track(i, "View", fmt.Sprintf(`"id":"x%d","p%d":1`, i, i)), track(i, fmt.Sprintf("E%d", i), ""))
	}
	got, r := surveyed(t, set, events...)
	if len(r.Names) != 1000 || r.Campaigns[0].Triggers[0].Where[0].Held != 1 {
		t.Errorf("%d names, %+v", len(r.Names), r.Campaigns[0].Triggers)
	}
	want := []string{
		`3:16 event-never-occurs: no event of the sample is named "E1200": it has View, E0, E1, E10, E100, and 995 more`,
		`4:46 value-never-matches: event.properties.id is never "X1" in 2,000 events E1200, View: did you mean "x1" (once)?`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestLookedBounds: of many values that never occur each is found, and for the first
// ones a similar value.
func TestLookedBounds(t *testing.T) {
	const campaigns, looked = 1100, 1000
	var set strings.Builder
	set.WriteString("campaigns:\n")
	for i := range campaigns {
		fmt.Fprintf(&set, "  c%04d: {on: View, where: 'event.properties.id == \"shoe%s\"', offer: {channel: web}}\n", i, strings.Repeat("-", i+1))
	}
	got, _ := surveyed(t, set.String(), track(1, "View", `"id":"shoe"`))
	similar, plain := 0, 0
	for _, line := range got {
		switch {
		case strings.HasSuffix(line, `did you mean "shoe" (once)?`):
			similar++
		case strings.HasSuffix(line, `it is "shoe"`):
			plain++
		}
	}
	if similar != looked || plain != campaigns-looked {
		t.Errorf("for %d values a similar one is told, for %d none; want %d and %d", similar, plain, looked, campaigns-looked)
	}
}

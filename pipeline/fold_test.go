package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

func mustCompile(t testing.TB, def *campaign.Definition) *Set {
	t.Helper()
	if def.Bounds == (campaign.Bounds{}) {
		def.Bounds = campaign.DefaultBounds
	}
	def.Engine = Engine
	if def.Lateness == 0 {
		def.Lateness = campaign.DefaultLateness
	}
	set, problems := Compile(def)
	for _, p := range problems {
		t.Error(p)
	}
	if set == nil {
		t.FailNow()
	}
	return set
}

// run folds lines of JSON under a set and returns the offers.
func run(t testing.TB, set *Set, lines ...string) []*Offer {
	t.Helper()
	f, err := NewFold(Cursor{Set: set.Hash()}, func(string) (*Set, error) { return set, nil }, Memory{})
	if err != nil {
		t.Fatal(err)
	}
	var offers []*Offer
	var dec event.Decoder
	for i, l := range lines {
		ev, err := dec.Admit([]byte(l), 0)
		if err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if err := f.BeginEvent(uint64(i+1), ev); err != nil {
			t.Fatal(err)
		}
		for {
			more, err := f.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			for _, e := range f.Effects() {
				offers = append(offers, e.Offer)
			}
		}
	}
	return offers
}

func TestBagScenario(t *testing.T) {
	set := mustCompile(t, &campaign.Definition{Clock: campaign.ClockEvent,
		Features: []campaign.Feature{
			{Name: "bag_dwell", On: []string{"Product Viewed"}, Where: `event.properties.category == "bag"`, Agg: "dwell", Within: 30 * 60e9},
			{Name: "bag_views", On: []string{"Product Viewed"}, Where: `event.properties.category == "bag"`, Agg: "count", Within: 30 * 60e9},
		},
		Campaigns: []campaign.Campaign{{ID: "bag", On: []string{"Product Viewed"}, Where: `event.properties.category == "bag"`,
			If: []string{"bag_views >= 4", `bag_dwell >= duration("60s")`}, Fresh: 120e9,
			Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Advertising, Expires: 900e9, Data: []byte(`{"n":"{{ bag_views }}","t":"at {{ event.properties.price }} {{ bag_dwell }}"}`)}}},
	})
	view := func(at string) string {
		return `{"type":"track","event":"Product Viewed","userId":"u1","timestamp":"2026-01-01T00:` + at + `Z","properties":{"category":"bag","price":12.50}}`
	}
	offers := run(t, set, view("00:00"), view("00:10"), view("00:20"), view("00:30"),
		`{"type":"clock","timestamp":"2026-01-01T01:00:00Z"}`)
	if len(offers) != 1 || offers[0].Time != "2026-01-01T00:01:00Z" || string(offers[0].Data) != `{"n":4,"t":"at 12.5 60s"}` {
		for _, o := range offers {
			t.Logf("%+v %s", o, o.Data)
		}
		t.Fatal("want one offer, after a dwell of 60 s")
	}
	if !strings.HasPrefix(offers[0].Expires, "2026-01-01T00:16:00") {
		t.Fatal(offers[0].Expires)
	}
}

// TestOwnTime checks event times under clock: broker, where an event is received at
// 12:00 and the lateness is an hour. One whose timestamp cannot be read is one of
// when it was received, and is counted; it is no dead letter.
func TestOwnTime(t *testing.T) {
	const noon = "2026-03-01T12:00:00Z"
	set := mustCompile(t, &campaign.Definition{Clock: campaign.ClockBroker, Lateness: 3600e9,
		Campaigns: []campaign.Campaign{{ID: "c", On: []string{"View"}, Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Service, Data: []byte(`"{{ event.time }}"`)}}}})
	stored, err := value.ParseTime("2026-03-01T12:00:10Z")
	if err != nil {
		t.Fatal(err)
	}
	for fields, want := range map[string]string{
		`"timestamp":"2026-03-01T11:50:00Z"`:                                                                                "11:50:00",
		`"originalTimestamp":"2026-03-01T11:50:00Z"`:                                                                        "11:50:00",
		`"timestamp":"2026-03-01T11:50:00Z","sentAt":"2026-03-01T12:05:00Z"`:                                                "11:45:00", // the client's clock is ahead
		`"originalTimestamp":"2026-03-01T11:50:00Z","sentAt":"2026-03-01T11:50:30Z"`:                                        "11:59:30",
		`"originalTimestamp":"2026-03-01T11:50:00Z","sentAt":"2026-03-01T20:50:00+0900"`:                                    "11:50:00", // it says nothing
		`"timestamp":"2026-03-01T11:40:00Z","originalTimestamp":"2026-03-01T11:50:00Z","sentAt":"2026-03-01T11:50:00.000Z"`: "11:40:00",
		`"x":1`:                             "12:00:00",
		`"timestamp":"2026-03-01T11:50:00"`: "12:00:00 untimed",
		`"timestamp":"","sentAt":"2026-03-01T11:50:00Z"`:                     "12:00:00 untimed",
		`"timestamp":"soon","originalTimestamp":"2026-03-01T11:50:00Z"`:      "12:00:00 untimed",
		`"timestamp":1772366400000`:                                          "12:00:00 untimed",
		`"timestamp":"0001-01-01T00:00:00Z"`:                                 "11:00:10",
		`"timestamp":"9999-12-31T23:59:59Z"`:                                 "12:00:10",
		`"timestamp":"2026-03-01T11:50:00Z","sentAt":"9999-12-31T23:59:59Z"`: "11:00:10",
		`"timestamp":"2026-03-01T11:50:00Z","sentAt":"0001-01-01T00:00:00Z"`: "12:00:10",
		`"timestamp":"0001-01-01T00:00:00Z","sentAt":"9999-12-31T23:59:59Z"`: "11:00:10",
		`"timestamp":"9999-12-31T23:59:59Z","sentAt":"0001-01-01T00:00:00Z"`: "12:00:10",
	} {
		f, err := NewFold(Cursor{Set: set.Hash()}, func(string) (*Set, error) { return set, nil }, Memory{})
		if err != nil {
			t.Fatal(err)
		}
		line := `{"type":"track","event":"View","userId":"u","messageId":"m","receivedAt":"` + noon + `",` + fields + `}`
		if err := f.Begin(Message{Seq: 1, Stored: stored, Kind: In, Data: []byte(line)}); err != nil {
			t.Fatal(err)
		}
		got := ""
		for more := true; more; {
			if more, err = f.Next(); err != nil {
				t.Fatal(err)
			}
			for _, e := range f.Effects() {
				if e.Offer == nil {
					t.Fatalf("%s: %+v", fields, e.Dead)
				}
				got += string(e.Offer.Data)[12:20]
			}
		}
		if f.Untimed() == 1 {
			got += " untimed"
		}
		if got != want {
			t.Errorf("%s: event time %s, want %s", fields, got, want)
		}
	}
}

// TestFirstLogTime: the first own time of a file is its log time, also one before
// 1970, and 1970 itself.
func TestFirstLogTime(t *testing.T) {
	set := mustCompile(t, &campaign.Definition{Clock: campaign.ClockEvent, Lateness: 3600e9, Bounds: campaign.DefaultBounds,
		Features:  []campaign.Feature{{Name: "n", On: []string{"View"}, Agg: "count"}},
		Campaigns: []campaign.Campaign{{ID: "c", On: []string{"View"}, Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Service, Data: []byte(`"{{ now }} {{ n }}"`)}}}})
	for first, want := range map[string]string{
		`"timestamp":"1970-01-01T00:00:00Z"`: `"1970-01-01T00:00:00Z 1" "1970-01-01T00:00:00Z 2"`,
		`"timestamp":"1969-07-20T20:17:40Z"`: `"1969-07-20T20:17:40Z 1" "1969-07-20T20:17:40Z 2"`,
		`"timestamp":"0001-01-01T00:00:00Z"`: `"1677-09-21T00:12:43.145224193Z 1" "1677-09-21T00:12:43.145224193Z 2"`,
		`"timestamp":"9999-01-01T00:00:00Z"`: `"2262-04-11T23:47:16.854775807Z 1" "2262-04-11T23:47:16.854775807Z 2"`,
		`"timestamp":null`:                   ``,
	} {
		b, err := set.Backtest()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, line := range []string{first, `"again":true`} { // the second has no time of its own
			if err := b.Line([]byte(`{"type":"track","event":"View","userId":"u",`+line+`}`), func(o *Offer) { got = append(got, string(o.Data)) }); err != nil {
				t.Fatal(err)
			}
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s: offers %s, want %s", first, g, want)
		}
		if err := b.Line([]byte(`{"type":"page","userId":"u","timestamp":"2026-01-01T00:00:00Z"}`), func(*Offer) {}); err != nil {
			t.Fatal(err)
		}
		if jumps := strings.Contains(want, "19") || strings.Contains(want, "1677"); jumps != (len(b.Jumps) == 1) {
			t.Errorf("%s: jumps %v", first, b.Jumps)
		}
	}
}

// TestLastTimes: at the end of the times that there are, every sum of a time and a
// duration is the last of them.
func TestLastTimes(t *testing.T) {
	const century = 36525 * 24 * 3600e9
	set := mustCompile(t, &campaign.Definition{Clock: campaign.ClockEvent, Bounds: campaign.Bounds{Entries: 1, Keys: 9, UserEntries: 99, UserBytes: 9999, Absences: 9},
		Features: []campaign.Feature{
			{Name: "n", On: []string{"View"}, Agg: "count", Within: century}, // folds: each but the last is in a step, whose time is rounded up
			{Name: "looked", On: []string{"View"}, Agg: "dwell", Within: century},
		},
		Campaigns: []campaign.Campaign{
			{ID: "now", On: []string{"View"}, Fresh: century, Limits: []campaign.Limit{{Max: 9, Within: century}},
				Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Service, Expires: century, Data: []byte(`"{{ n }}"`)}},
			{ID: "wait", On: []string{"Add"}, Unless: &campaign.Unless{On: []string{"Order"}, Within: century}, Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Service}},
			{ID: "look", On: []string{"View"}, If: []string{`looked >= duration("290s")`}, Offer: campaign.OfferSpec{Channel: "push", Kind: campaign.Service}},
		}})
	b, err := set.Backtest()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	line := func(name, at string) {
		t.Helper()
		err := b.Line(fmt.Appendf(nil, `{"type":"track","event":%q,"userId":"u","timestamp":%q}`, name, at), func(o *Offer) {
			got = append(got, fmt.Sprintln(o.Campaign, o.Time, o.Expires, string(o.Data)))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		line("View", fmt.Sprintf("2262-04-11T23:4%d:00Z", 1+i))
	}
	line("Add", "2262-04-11T23:44:30Z")
	line("View", "2262-04-11T23:46:00Z") // 290 s later there is no time any more
	line("Other", "2262-04-11T23:47:16.854775806Z")
	want := "now 2262-04-11T23:41:00Z 2262-04-11T23:47:16.854775807Z 1\n" +
		"now 2262-04-11T23:42:00Z 2262-04-11T23:47:16.854775807Z 2\n" +
		"now 2262-04-11T23:43:00Z 2262-04-11T23:47:16.854775807Z 3\n" +
		"now 2262-04-11T23:44:00Z 2262-04-11T23:47:16.854775807Z 4\n" +
		"now 2262-04-11T23:46:00Z 2262-04-11T23:47:16.854775807Z 5\n"
	if g := strings.Join(got, ""); g != want {
		t.Errorf("offers\n%swant\n%s", g, want)
	}
	counts, _ := b.Counts()
	wait, look := counts["wait"], counts["look"]
	if wait.Pending() != 1 || look.Ended[Cancelled] == 0 || look.Pending() != 0 {
		t.Errorf("the absence is %+v, the dwells are %+v", wait, look)
	}
}

// TestFirstTimes: at the beginning of the times that there are, what lies a century
// back is not in the future.
func TestFirstTimes(t *testing.T) {
	const century = 36525 * 24 * 3600e9
	one := func(id, channel, kind string, limits ...campaign.Limit) campaign.Campaign {
		return campaign.Campaign{ID: id, On: []string{"View"}, Fresh: century, Limits: limits, Offer: campaign.OfferSpec{Channel: channel, Kind: kind}}
	}
	set := mustCompile(t, &campaign.Definition{Clock: campaign.ClockEvent, Lateness: century,
		Caps:  []campaign.Cap{{Channels: []string{"capped"}, Max: 1, Within: century}},
		Pause: &campaign.Pause{Channels: []string{"paused"}, AfterAny: century},
		Campaigns: []campaign.Campaign{
			one("any", "any", campaign.Advertising), one("capped", "capped", campaign.Advertising), one("paused", "paused", campaign.Advertising),
			one("limited", "limited", campaign.Service, campaign.Limit{Max: 1, Within: century}),
			one("session", "session", campaign.Service, campaign.Limit{Max: 1, PerSession: true}),
		}})
	b, err := set.Backtest()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for i := range 2 {
		line := fmt.Appendf(nil, `{"type":"track","event":"View","userId":"u","messageId":"m%d","timestamp":"0001-01-01T00:00:00Z"}`, i)
		if err := b.Line(line, func(o *Offer) { got[o.Campaign]++ }); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]int{"any": 2, "capped": 1, "paused": 1, "limited": 1, "session": 1} {
		if got[id] != want {
			t.Errorf("%s: %d offers, want %d", id, got[id], want)
		}
	}
}

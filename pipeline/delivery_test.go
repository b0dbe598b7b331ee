package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// TestDelivery checks what is said of offers that are to go out, and that saying it
// changes nothing.
func TestDelivery(t *testing.T) {
	const row = `"rows":[{"id":"a","values":{"id":"a"}}]`
	def, err := campaign.ParseDefinition((&scene{campaigns: []string{
		`{"id":"ad","on":["View"],"offer":{"channel":"push","kind":"advertising"}}`,
		`{"id":"mail","on":["View"],"offer":{"channel":"email","kind":"advertising"}}`,
		`{"id":"order","on":["Order"],"offer":{"channel":"push","kind":"service"}}`,
		`{"id":"rows",` + row + `,"on":["View"],"offer":{"channel":"push","kind":"advertising"}}`,
	}}).set())
	if err != nil {
		t.Fatal(err)
	}
	def.Consent = &campaign.Consent{Required: []string{"push"}}
	def.Quiet = &campaign.QuietHours{Channels: []string{"push"}, From: 21 * 60, To: 8 * 60, ExceptConsent: "night"}
	consents := func(user, clock, event, channel string) string {
		return fmt.Sprintf(`{"type":"track","userId":%q,"event":%q,"timestamp":"2026-01-01T%sZ","properties":{"channel":%q}}`, user, event, clock, channel)
	}
	moment := func(text string) int64 {
		ns, err := value.ParseTime("2026-01-" + text + "Z")
		if err != nil {
			t.Fatal(err)
		}
		return ns
	}
	with := func(change func(*campaign.QuietHours)) *Fold {
		set, quiet := *def, *def.Quiet
		set.Quiet = &quiet
		change(set.Quiet)
		b, problems := NewBacktest(&set)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, l := range []string{
			consents("yes", "10:00:00", "Consent Granted", "push"), consents("no", "10:00:00", "Consent Granted", "push"), consents("no", "10:00:01", "Consent Revoked", "push"),
			consents("night", "10:00:00", "Consent Granted", "push"), consents("night", "10:00:00", "Consent Granted", "night"), consents("seoul", "10:00:00", "Consent Granted", "push"),
			`{"type":"identify","userId":"seoul","timestamp":"2026-01-01T10:00:00Z","traits":{"timezone":"Asia/Seoul","phone":"+82 10","age":30}}`,
			`{"type":"identify","userId":"yes","anonymousId":"visitor","timestamp":"2026-01-01T10:00:02Z"}`,
		} {
			if err := b.Line([]byte(l), func(*Offer) {}); err != nil {
				t.Fatal(err)
			}
		}
		return b.fold
	}
	f := with(func(*campaign.QuietHours) {})
	if msg := f.step.live.pauseForTest("mail"); msg != "" {
		t.Fatal(msg)
	}
	state := func() (text string) {
		users := f.ents.(Memory)
		for _, key := range slices.Sorted(maps.Keys(users)) {
			text += key + string(users[key].AppendBinary(nil))
		}
		return text + asJSON(f.Cursor())
	}
	before := state()
	for _, c := range []struct {
		name, user, campaign, kind, now string
		expires                         string
		stops, until                    string
	}{
		{"consent", "u:yes", "ad", "advertising", "01T12:00:00", "", "", ""},
		{"revoked", "u:no", "ad", "advertising", "01T12:00:00", "", "consent", ""},
		{"of somebody unknown", "u:nobody", "ad", "advertising", "01T12:00:00", "", "consent", ""},
		{"service needs none", "u:no", "order", "service", "01T23:00:00", "", "", ""},
		{"expired", "u:yes", "ad", "advertising", "01T12:00:00", "01T12:00:00", "expired", ""},
		{"not yet expired", "u:yes", "ad", "advertising", "01T12:00:00", "01T12:00:01", "", ""},
		{"a service offer expires too", "u:yes", "order", "service", "01T12:00:00", "01T11:00:00", "expired", ""},
		{"paused", "u:yes", "mail", "advertising", "01T12:00:00", "", "paused", ""},
		{"removed", "u:yes", "gone", "advertising", "01T12:00:00", "", "removed", ""},
		{"a row", "u:yes", "rows/a", "advertising", "01T12:00:00", "", "", ""},
		{"a row that is removed", "u:yes", "rows/b", "advertising", "01T12:00:00", "", "removed", ""},
		{"quiet", "u:yes", "ad", "advertising", "01T22:00:00", "", "quiet hours", "02T08:00:00"},
		{"quiet, after midnight", "u:yes", "ad", "advertising", "02T07:59:59", "", "quiet hours", "02T08:00:00"},
		{"quiet until it has expired", "u:yes", "ad", "advertising", "01T22:00:00", "02T08:00:00", "quiet hours", ""},
		{"quiet in the user's zone", "u:seoul", "ad", "advertising", "01T12:30:00", "", "quiet hours", "01T23:00:00"},
		{"not quiet in the user's zone", "u:seoul", "ad", "advertising", "01T23:30:00", "", "", ""},
		{"consent for the night", "u:night", "ad", "advertising", "01T22:00:00", "", "", ""},
	} {
		q := DeliveryQuery{Campaign: c.campaign, Channel: "push", Kind: c.kind, Time: moment("01T10:00:00"), Now: moment(c.now), Traits: []string{"phone", "age", "none"}}
		if c.campaign == "mail" {
			q.Channel = "email"
		}
		if c.expires != "" {
			q.Expires = moment(c.expires)
		}
		want := Delivery{Stops: c.stops}
		if c.until != "" {
			want.Until = moment(c.until)
		}
		if c.user == "u:seoul" && c.stops == "" {
			want.Traits = map[string]json.RawMessage{"phone": []byte(`"+82 10"`), "age": []byte("30")}
		}
		if got, err := f.Delivery(c.user, q); err != nil || asJSON(got) != asJSON(want) {
			t.Errorf("%s: %s, want %s (%v)", c.name, asJSON(got), asJSON(want), err)
		}
	}
	q := DeliveryQuery{Campaign: "ad", Channel: "push", Kind: "advertising", Time: moment("01T10:00:00"), Now: moment("01T22:00:00")}
	if got, _ := with(func(h *campaign.QuietHours) { h.Drop = true }).Delivery("u:yes", q); got.Stops != "quiet hours" || got.Until != 0 {
		t.Errorf("quiet hours that drop: %s", asJSON(got))
	}
	if got, _ := with(func(h *campaign.QuietHours) { h.AtMost = 21 * 3600e9 }).Delivery("u:yes", q); got.Stops != "age" || got.Until != 0 {
		t.Errorf("quiet hours that hold for at most 21 hours: %s", asJSON(got))
	}
	if got, _ := f.Delivery("a:visitor", q); asJSON(got) != `{"owner":"u:yes"}` {
		t.Errorf("of a visitor who is known: %s", asJSON(got))
	}
	q.S, q.T = f.cur.Seq+1, 1
	if got, _ := f.Delivery("u:yes", q); asJSON(got) != `{"behind":true}` {
		t.Errorf("of an offer from behind the state: %s", asJSON(got))
	}
	q.S, q.T, q.Now = 0, 0, moment("01T12:00:00")+int64(def.Forget.Known)
	if got, _ := f.Delivery("u:yes", q); got.Stops != "consent" {
		t.Errorf("of a user who is forgotten: %s", asJSON(got))
	}
	if state() != before {
		t.Error("it has changed the state")
	}
	q.Now = moment("01T12:00:00")
	f.ents.(Memory)["u:no"].claims = []claim{{visitor: "a:other"}}
	if got, _ := f.Delivery("u:no", q); !got.Behind {
		t.Errorf("of a user who waits for what a visitor has consented to: %s", asJSON(got))
	}
}

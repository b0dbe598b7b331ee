package ingest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"offerstream/config"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// FuzzJudgedBatch is FuzzJudged with all that surrounds an event: members of the
// batch before and after it, another event, who has sent it before, its compression
// and the clock.
func FuzzJudgedBatch(f *testing.F) {
	for i, s := range [][2]string{
		{`"context":{"page":{"url":"x"}},"userToken":"` + token() + `"`, `{"type":"track","event":"Consent Granted","userId":"ann","anonymousId":"x"}`},
		{`"context":{"type":"system"},"type":"system","event":"Coupon Redeemed","userId":"bob"`, `{"type":"page","userId":"bob","anonymousId":"x","context":null,"cont\u0065xt":{"a":1}}`},
		{`"sentAt":"2026-01-02T15:04:05Z","proof":"x","userToken":7,"user\u0054oken":"` + token() + `"`, `{"type":null,"ty\u0070e":"fact","userId":"ann","proof":"all","sentAt":"x"}`},
		{`"x":"\ud800","context":{"a":"` + "\xff" + `"}`, `{"type":"identify","userId":"\ud83d","properties":{"claimed_user_id":"ann"},"userToken":"` + token() + `"}`},
		{`"logTime":"2030-01-01T00:00:00Z"`, `{"type":"system","event":"Offer Shown","userId":"ann","logTime":"2030-01-01T00:00:00Z","timestamp":"2026-01-01T00:00:00Z"}`},
		{`"batch":[]`, `{"type":"clock","timestamp":"2026-01-01T00:00:00Z"},{"type":"page","userId":"ann","anonymousId":"a"}`},
		{`"context":{"a":1},"userToken":"` + token() + `"`, `{"type":"item","kind":"product","id":7,"event":"Price Changed","userId":"ann","proof":"none"},{"type":"alias","userId":"ann","previousId":"a","anonymousId":"a"}`},
		{`"a":1}`, "{\"type\":\"track\",\"event\":\"Consent Granted\\u0000\",\r\n\"userId\":\"ann\",\"anonymousId\":[]}"},
	} {
		for how := range uint16(64) {
			f.Add([]byte(s[0]), []byte(s[1]), how*7+uint16(i))
		}
	}
	keys := roleKeys()
	f.Fuzz(func(t *testing.T, around, raw []byte, how uint16) {
		log := newFakeLog(2)
		if how&1 != 0 {
			log.clock = campaign.ClockEvent
		}
		g := newRoleGateway(t, log)
		key := keys[slices.IndexFunc(keys, func(k config.Key) bool { return k.Name == keys[int(how>>5)%len(keys)].Name })]
		body := `{"batch":[` + string(raw) + `,{"type":"page","anonymousId":"last"}],` + string(around) + `}`
		if how&2 != 0 {
			body = `{` + string(around) + `,"batch":[` + string(raw) + `]}`
		}
		if how&4 != 0 {
			body = mark + body
		}
		change := []func(*http.Request){as(key.Name)}
		verified, trusted := key.Verified, key.Roles.Has(event.Server) || !key.Roles.Has(event.Browser)
		roles, secret := key.Roles, key.Secret != nil
		if how&8 != 0 {
			v := fromBrowser
			if how&16 != 0 {
				v, verified = fromVerified, true
			}
			change = append(change, with(headerSender, v))
			trusted, roles, secret = false, event.Browser, false
		} else if how&16 != 0 {
			change = append(change, with(headerToken, token()))
		}
		if w := post(g, "/v1/batch", body, change...); w.Code >= 500 || w.Code == 404 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		for p := range 2 {
			for _, text := range log.events(p) {
				ev := storedEvent(t, text)
				proved := !ev.NoProof && ev.Key == "u:ann" && secret
				if no := event.Judge(ev, roles, proved); no != nil {
					t.Errorf("stored %q of %s: %v", text, key.Name, no)
				}
				if ev.HasLogTime != (how&1 != 0) || !ev.HasReceived && ev.Type != event.Clock || ev.HasReceived && ev.ReceivedAt != testNow {
					t.Errorf("stored %q", text)
				}
				if ev.Type == event.Item && p != event.Partition(ev.Key, 2) {
					t.Errorf("stored %q in partition %d", text, p)
				}
				if !ev.OfUser() {
					continue
				}
				if !trusted && !ev.NoProof && !proved || trusted && ev.NoProof {
					t.Errorf("stored %q of %s, sent as %d", text, key.Name, how)
				}
				if proved && !trusted && how&16 == 0 && !strings.Contains(body, "oken") {
					t.Errorf("stored %q as proved", text)
				}
				if !trusted && verified && ev.NoProof && ev.Key[0] != 'a' {
					t.Errorf("stored %q, which names a user without proof", text)
				}
				if p != event.Partition(ev.Key, 2) {
					t.Errorf("stored %q in partition %d", text, p)
				}
				id, user, called := ev.ID, ev.Key, ev.Name
				again, err := new(event.Decoder).DecodeAs([]byte(text), 0)
				if err != nil || again.ID != id || again.Key != user || again.Name != called || again.NoProof != ev.NoProof || again.Root.Exists("userToken") || again.Root.Exists("writeKey") {
					t.Errorf("stored %q, which reads as %+v and %+v, %v", text, ev, again, err)
				}
				stamps, want := 0, 1 // receivedAt, and proof if there is none
				for m := (members{b: []byte(text)}); ; {
					k, _, ok := m.next()
					if !ok {
						break
					}
					switch name(k.of([]byte(text))) {
					case "proof", "receivedAt":
						stamps++
					}
				}
				if again.NoProof {
					want = 2
				}
				if stamps != want {
					t.Errorf("stored %q with %d members of the gateway, want %d", text, stamps, want)
				}
			}
		}
		for _, l := range log.letters {
			var o map[string]json.RawMessage
			if json.Unmarshal(l.Raw, &o) == nil && strings.Contains(string(o["userToken"]), token()) {
				t.Errorf("a letter has the token: %q", l.Raw)
			}
		}
	})
}

// storedEvent reads an event as the log's reader does.
func storedEvent(t *testing.T, text string) *event.Event {
	t.Helper()
	if !json.Valid([]byte(text)) || !utf8.ValidString(text) {
		t.Fatalf("stored %q", text)
	}
	ev, err := new(event.Decoder).Decode([]byte(text))
	if err != nil {
		t.Fatalf("stored %q: %v", text, err)
	}
	return ev
}

package ingest

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"offerstream/pipeline/event"
)

// FuzzDialects sends any body to any path as a browser: whatever its dialect makes of it,
// what is stored is an event that a browser may send, and nothing fails.
func FuzzDialects(f *testing.F) {
	paths := slices.Sorted(maps.Keys(routes))
	for i, body := range []string{
		`{"api_key":"browser","sent_at":"x","batch":[{"event":"$identify","distinct_id":"ann","uuid":"m","properties":{"$anon_distinct_id":"v","$set":{"a":1},"$set_once":{"b":NaN}},"offset":12},7]}`,
		`[{"event":"$create_alias","properties":{"distinct_id":"v","$device_id":"v","alias":"ann","token":"browser"}}]`,
		`{"token":"browser","event":"Consent Granted","distinct_id":"ann","properties":{"channel":"sms"}}`,
		"data=eyJhcGlfa2V5IjoiYnJvd3NlciIsImV2ZW50IjoiQSIsImRpc3RpbmN0X2lkIjoiYW5uIn0%3D&compression=base64",
		`{"id":"1","source":"s","type":"Coupon Redeemed","subject":"ann","data":[1]}`,
		`[{"id":"1","source":"s","type":"A","anonymousid":"v","data":{"a":"\ud800"}},{"id":""}]`,
		`{"writeKey":"browser","type":"system","event":"Offer Failed","userId":"ann","context":{"traits":{"a":Infinity}}}`,
		`{"writeKey":"browser","batch":[{"type":"identify","userId":"ann","context":{"traits":{"type":"system"}}}]}`,
	} {
		for k := range paths {
			f.Add(uint8(k), uint8(i), []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, path, how uint8, body []byte) {
		log := newFakeLog(2)
		g := newRoleGateway(t, log)
		w := post(g, paths[int(path)%len(paths)], string(body), noAuth, func(r *http.Request) {
			switch how % 4 {
			case 0:
				r.SetBasicAuth("browser", "")
			case 1:
				r.Header.Set("X-Write-Key", "browser:x")
			case 2:
				r.SetBasicAuth("browser", "")
				for _, a := range cloudAttributes {
					r.Header.Set("ce-"+a, string(rune('a'+how%20))+"%22")
				}
			}
		})
		if w.Code >= 500 || w.Code == 404 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		for _, text := range log.all() {
			ev := storedEvent(t, text)
			if no := event.Judge(ev, event.Browser, false); no != nil || !ev.NoProof || len(text) > 2*event.MaxEventBytes {
				t.Errorf("stored %q: %v", text, no)
			}
		}
	})
}

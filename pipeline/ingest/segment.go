package ingest

import (
	"encoding/json"
	"net/http"

	"offerstream/pipeline/event"
)

// Segment's SDKs send events in the form of this gateway. The browser's has short paths,
// and fetches settings first: without Segment.io in them its events would go to
// api.segment.io, and without apiKey they would have no key. apiHost sends them here also
// where the page sets only cdnURL.
var _ = add(&dialect{
	routes: map[string]route{
		"/v1/t": {def: event.Track}, "/v1/p": {def: event.Page}, "/v1/s": {def: event.Screen},
		"/v1/i": {def: event.Identify}, "/v1/g": {def: event.Group}, "/v1/a": {def: event.Alias},
		"/v1/b": {batch: true}, "/v1/import": {batch: true},
	},
	stubs: []stub{{"/v1/projects/*/settings", segmentSettings}},
})

func segmentSettings(r *http.Request, key string) []byte {
	type integration struct {
		APIKey   string `json:"apiKey"`
		APIHost  string `json:"apiHost"`
		Protocol string `json:"protocol"`
	}
	to := integration{key, r.Host + "/v1", "http"}
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		to.Protocol = "https"
	}
	body, _ := json.Marshal(map[string]map[string]integration{"integrations": {"Segment.io": to}})
	return body
}

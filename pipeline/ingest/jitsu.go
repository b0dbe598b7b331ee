package ingest

import (
	"net/http"
	"strings"

	"offerstream/pipeline/event"
)

// Jitsu's SDK sends events in the form of this gateway, one at a time. Its key is in a
// header, as KEY or KEY:SECRET, and the writeKey of the body is a row of stars.
var _ = add(&dialect{
	routes: func() map[string]route {
		all := map[string]route{}
		for _, t := range []event.Type{event.Track, event.Page, event.Screen, event.Identify, event.Group, event.Alias} {
			all["/api/s/"+t.String()] = route{def: t}
			all["/api/s/s2s/"+t.String()] = route{def: t}
		}
		return all
	}(),
	key: func(r *http.Request) string {
		key, _, _ := strings.Cut(r.Header.Get("X-Write-Key"), ":")
		return key
	},
})

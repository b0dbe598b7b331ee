package ingest

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkDialects takes batches of 15 events in each form that is translated, and in the
// gateway's own: the adapters' aim is at least .7 of its rate.
//
//	go test ./pipeline/ingest -run '^$' -bench Dialects
func BenchmarkDialects(b *testing.B) {
	native, posthog, cloud := make([]string, 15), make([]string, 15), make([]string, 15)
	const props = `{"product_id":"p%d","category":"bag","brand":"acme","price":120,"currency":"KRW","position":%d}`
	for i := range native {
		p := fmt.Sprintf(props, i, i)
		native[i] = fmt.Sprintf(`{"type":"track","event":"Product Viewed","userId":"user-%d","messageId":"m%d","timestamp":"2026-01-02T15:04:05Z","properties":%s}`, i, i, p)
		posthog[i] = fmt.Sprintf(`{"event":"Product Viewed","distinct_id":"user-%d","uuid":"m%d","timestamp":"2026-01-02T15:04:05Z","properties":%s}`, i, i, p)
		cloud[i] = fmt.Sprintf(`{"specversion":"1.0","type":"Product Viewed","subject":"user-%d","source":"/shop","id":"m%d","time":"2026-01-02T15:04:05Z","data":%s}`, i, i, p)
	}
	for _, c := range []struct{ name, path, body string }{
		{"native", "/v1/batch", batch(native...)},
		{"posthog", "/batch", `{"api_key":"key-1","batch":[` + strings.Join(posthog, ",") + `]}`},
		{"cloudevents", "/v1/cloudevents", `[` + strings.Join(cloud, ",") + `]`},
	} {
		b.Run(c.name, func(b *testing.B) {
			log := newFakeLog(8)
			g := newGateway(b, log)
			for b.Loop() {
				if w := post(g, c.path, c.body); w.Code != 200 {
					b.Fatal(w.Code, w.Body)
				}
				log.set(func() { clear(log.packs); clear(log.ids) })
			}
		})
	}
}

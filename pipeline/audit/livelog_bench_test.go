package audit

import (
	"fmt"
	"log/slog"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
)

// BenchmarkReplay replays a log of a million events, of all users and of one alone;
// -benchtime=1x is enough.
func BenchmarkReplay(b *testing.B) {
	const events, users = 1_000_000, 100_000
	for _, pack := range []int{1, 15} {
		s, err := embedded.Start(embedded.Options{Dir: b.TempDir(), Port: -1, Log: quiet()})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Shutdown()
		c, err := broker.Connect(b.Context(), broker.Options{URL: s.ClientURL(), Client: "bench", Partitions: 1, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		def := &campaign.Definition{
			Engine: pipeline.Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
			Forget:   campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown},
			Features: []campaign.Feature{{Name: "seen", On: []string{"Product Viewed"}, Agg: "count", Within: 30 * 60 * 1e9}},
			Campaigns: []campaign.Campaign{{ID: "again", On: []string{"Product Viewed"}, If: []string{"seen >= 4"},
				Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Advertising}}},
		}
		hash, err := c.PutSet(b.Context(), def)
		if err == nil {
			err = c.Control(b.Context(), 0, 0, fmt.Appendf(nil, `{"set":%q,"engine":%d}`, hash, pipeline.Engine))
		}
		if err != nil {
			b.Fatal(err)
		}
		var data []byte
		for i := range events {
			data = fmt.Appendf(data, `{"receivedAt":"2026-03-01T10:00:00Z","type":"track","event":"Product Viewed","userId":"user-%d","messageId":"m%d","timestamp":"2026-03-01T10:00:00Z",`+
				`"context":{"page":{"url":"https://shop.example/products/a-rather-long-name","referrer":"https://search.example/"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64)"},`+
				`"properties":{"product_id":"p%d","category":"bag","brand":"acme","price":120,"name":"Weekend bag"}}`+"\n", i*7919%users, i, i%1000)
			if i%pack == pack-1 || i == events-1 {
				if _, err := c.JS.PublishAsync(c.Names.EventsSubject(0, "in"), data); err != nil {
					b.Fatal(err)
				}
				data = nil
			}
			if i%1000 == 0 {
				<-c.JS.PublishAsyncComplete()
			}
		}
		<-c.JS.PublishAsyncComplete()
		for _, who := range []struct {
			name  string
			users []string
		}{{"all", nil}, {"one", []string{"u:user-77"}}} {
			b.Run(fmt.Sprintf("%s/%d events a message", who.name, pack), func(b *testing.B) {
				for range b.N {
					if err := Replay(b.Context(), c, ReplayOptions{Users: who.users}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

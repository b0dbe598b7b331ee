package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// watchCampaigns send a product's new price to all who watch it.
const watchCampaigns = `
version: 1
items:
  product: {key: product_id}
features:
  watchers: {per: product, on: Price Watch Started, agg: users, keep: 100000}
campaigns:
  price-watch:
    on: Price Changed
    if: event.properties.price < 100.0
    to: watchers
    offer: {channel: push, kind: service, expires: 6h, data: {product: "{{ item.product_id }}", price: "{{ event.properties.price }}"}}
    limits: [{max: 3, within: 24h}]
`

// A fanReport says how long one event about a product takes to reach all who watch it.
type fanReport struct {
	Watchers int     `json:"watchers"`
	First    float64 `json:"first_offer_s"`  // from the HTTP request until the first offer was stored
	Last     float64 `json:"last_offer_s"`   // until the last one was
	PeakMB   float64 `json:"fan_peak_mb"`    // the most memory that the worker has used
	BeforeMB float64 `json:"before_peak_mb"` // the same before the event
}

// fanWithin is how long all offers may take.
const fanWithin = 2 * time.Minute

// fan lets all users watch one product, and then changes its price.
func (b *Run) fan(ctx context.Context) (*fanReport, error) {
	const prefix = "fan"
	def, err := b.shopWith(prefix, watchCampaigns)
	if err != nil {
		return nil, err
	}
	if err := b.prepare(ctx, prefix, def); err != nil {
		return nil, err
	}
	meter, stop, err := part{Role: "worker", URL: b.url, Prefix: prefix, Dir: filepath.Join(b.dir, "fan-worker"), Metered: true}.start(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	b.say("fan-out: %d users begin to watch a product", b.Watchers)
	user := 0
	watch := func(dst []byte) []byte {
		user++
		return fmt.Appendf(dst, `{"type":"track","event":"Price Watch Started","messageId":"watch-%d","userId":"user-%d","properties":{"product_id":"p1"}}`, user, user)
	}
	if _, err := b.sendAll(ctx, prefix, b.Watchers, watch); err != nil {
		return nil, err
	}
	before, err := usage(ctx, meter, "")
	if err != nil {
		return nil, err
	}
	b.say("fan-out: its price changes")
	r := &fanReport{Watchers: b.Watchers, BeforeMB: float64(before.Peak) / 1e6}
	if err := b.changePrice(ctx, prefix, r); err != nil {
		return nil, err
	}
	after, err := usage(ctx, meter, "")
	r.PeakMB = float64(after.Peak) / 1e6
	return r, err
}

// changePrice sends the product's event, and takes the times when the first and the
// last offer were stored.
func (b *Run) changePrice(ctx context.Context, prefix string, r *fanReport) error {
	conn, err := b.connect(ctx, prefix)
	if err != nil {
		return err
	}
	defer conn.Close()
	g, err := openGateway(ctx, conn, nil)
	if err != nil {
		return err
	}
	const price = `{"kind":"product","id":"p1","event":"Price Changed","messageId":"price-1","properties":{"price":50}}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bench/v1/item", strings.NewReader(price))
	if err != nil {
		return err
	}
	req.SetBasicAuth(writeKey, "")
	w := &answer{header: http.Header{}, code: http.StatusOK}
	start := time.Now()
	if g.ServeHTTP(w, req); w.code != http.StatusOK {
		return fmt.Errorf("bench: the gateway refuses: %s", w.body.String())
	}
	for {
		st, err := conn.JS.Stream(ctx, conn.Names.OffersStream())
		if err != nil {
			return err
		}
		if at := st.CachedInfo().State; at.Msgs >= uint64(b.Watchers) {
			if r.First, err = storedAfter(ctx, st, at.FirstSeq, start); err == nil {
				r.Last, err = storedAfter(ctx, st, at.LastSeq, start)
			}
			return err
		} else if time.Since(start) > fanWithin {
			return fmt.Errorf("bench: %d of %d offers are stored after %s", at.Msgs, b.Watchers, fanWithin)
		}
		if err := pauseFor(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// storedAfter returns how many seconds after a moment a message was stored.
func storedAfter(ctx context.Context, st jetstream.Stream, seq uint64, start time.Time) (float64, error) {
	m, err := st.GetMsg(ctx, seq)
	if err != nil {
		return 0, err
	}
	return m.Time.Sub(start).Seconds(), nil
}

// usage returns the resource usage of a metered part, a worker's once that has caught up;
// with appliedPath or morningPath, how many events it has applied now.
func usage(ctx context.Context, meter, path string) (r result, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+meter+path, nil)
	if err != nil {
		return r, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(resp.Body)
		return r, fmt.Errorf("bench: %s", why)
	}
	return r, json.NewDecoder(resp.Body).Decode(&r)
}

func (r *fanReport) Print(w io.Writer) {
	fmt.Fprintf(w, "\none price to %-9d     %9.2f s to the last offer stored, %.2f s to the first; the worker takes %.0f MB at most, %.0f before\n", r.Watchers, r.Last, r.First, r.PeakMB, r.BeforeMB)
}

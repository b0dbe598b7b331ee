package bench

import (
	"context"
	"fmt"
	"io"
)

// productAsked is an event that certainly causes an offer by way of an item, as
// orderCompleted does without one.
const productAsked = "Product Asked"

// askedCampaign is put behind itemCampaigns, which end with their campaigns.
const askedCampaign = `
  asked:
    on: Product Asked
    if: viewers >= 0
    fresh: 10m
    priority: 100
    offer: {channel: app, kind: service, expires: 1m, data: {product: "{{ item.product_id }}", viewers: "{{ viewers }}"}}
`

// An itemsLive has the times from an HTTP request to its offer, where an item is asked
// in between, and where none is, at the same load.
type itemsLive struct {
	Rate     float64 `json:"rate_per_s"` // the highest sustained rate, as in liveReport
	Half     float64 `json:"half_per_s"`
	P50      float64 `json:"p50_ms"` // from when the request was scheduled until a subscriber received the offer: of events whose campaign asks an item
	P99      float64 `json:"p99_ms"`
	PlainP50 float64 `json:"plain_p50_ms"` // of events whose campaign asks nothing
	PlainP99 float64 `json:"plain_p99_ms"`
	N        int     `json:"offers"`
}

// itemsLive measures the times of both kinds of offers at half of the highest rate that
// is sustained.
func (b *Run) itemsLive(ctx context.Context) (*itemsLive, error) {
	def, err := b.shopWith("asked", itemCampaigns+askedCampaign)
	if err != nil {
		return nil, err
	}
	held, half, offers, err := b.atHalf(ctx, "asked", def, orderCompleted, productAsked)
	if err != nil {
		return nil, err
	}
	r := &itemsLive{Rate: held, Half: half, N: len(offers)}
	var plain, asked []liveOffer
	for _, o := range offers {
		if o.kind == 0 {
			plain = append(plain, o)
		} else {
			asked = append(asked, o)
		}
	}
	if len(plain) == 0 || len(asked) == 0 {
		return nil, fmt.Errorf("bench: at %.0f requests per second no request was to cause an offer of each kind", half)
	}
	r.P50, r.P99, _ = byPeriod(asked, b.search.period)
	r.PlainP50, r.PlainP99, _ = byPeriod(plain, b.search.period)
	return r, nil
}

func (r *itemsLive) Print(w io.Writer) {
	fmt.Fprintf(w, "\nHTTP request to offer      %9.0f requests/s at most with a p99 under %s\n", r.Rate, liveLimit)
	fmt.Fprintf(w, "at half of it, %-10.0f  p50 %.2f ms, p99 %.2f ms where a product is asked; %d offers\n", r.Half, r.P50, r.P99, r.N)
	fmt.Fprintf(w, "                           p50 %.2f ms, p99 %.2f ms where none is\n", r.PlainP50, r.PlainP99)
}

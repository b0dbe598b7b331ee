package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// itemCampaigns are two campaigns that read what products know of other people, and
// one that learns from the orders of a product. Each view asks its product once for all
// three, and each view and each order tells it something.
const itemCampaigns = `
version: 1
items:
  product: {key: product_id}
features:
  last_bought:  {per: product, on: Order Completed, agg: last, of: event.time}
  viewers:      {per: product, on: Product Viewed, agg: distinct, of: event.user, within: 1h}
  first_view:   {on: Product Viewed, by: product_id, agg: first, of: event.time, within: 30d}
  bought_after: {on: Order Completed, by: product_id, agg: count, within: 30d}
  buy_after:    {per: product, on: Order Completed, agg: quantiles, of: "event.time - first_view[item.product_id]", within: 90d}
  buyers:       {per: product, on: Order Completed, agg: distinct, of: event.user, within: 90d}
campaigns:
  last-bought:
    on: Product Viewed
    if: last_bought != null && now - last_bought < duration("24h")
    fresh: 2m
    priority: 2
    offer: {channel: web, kind: service, expires: 1m, data: {product: "{{ item.product_id }}"}}
    limits: [{max: 1, per: session}]
  looked-at:
    on: Product Viewed
    if: viewers >= 10
    fresh: 2m
    priority: 1
    offer: {channel: web, kind: service, expires: 1m, data: {product: "{{ item.product_id }}", viewers: "{{ viewers }}"}}
    limits: [{max: 1, per: session}]
  soon-bought:
    on: Product Viewed
    if: ["!(item.product_id in bought_after)", buy_after.size >= 30, buyers >= 5]
    unless: {on: Order Completed, match: product_id, within: buy_after.p50 * 0.8, at_most: 30d, restart: false}
    offer: {channel: push, expires: 3d, data: {product: "{{ item.product_id }}"}}
    limits: [{max: 1, within: 7d}]
`

// An itemsRate is how fast a worker is with campaigns that read items, and without them.
type itemsRate struct {
	Ratio     float64 `json:"ratio"`            // with / without, median of the rounds
	Without   float64 `json:"without_per_s"`    // events per second with the shop's own campaigns
	With      float64 `json:"with_per_s"`       // and with those that read items too
	CPU       float64 `json:"cpu_us_per_event"` // of the worker's process
	CPUBefore float64 `json:"cpu_without_us_per_event"`
	Allocs    float64 `json:"allocs_per_event"`
	PeakMB    float64 `json:"peak_mb"`
	Mails     float64 `json:"mail_messages_per_event"` // messages of mails in the logs
	Offers    uint64  `json:"offers"`
	Hot       float64 `json:"hot_per_s"`      // With, while a tenth of all views are of one product
	HotCost   float64 `json:"hot_cost_ratio"` // time with the hot product / time without it, median of the rounds
}

// hotViews is the share of the views that are of the hot product.
const hotViews = .1

// itemsRate measures, in rounds: a worker with the shop's campaigns, one with those that
// read items too, and one with these while one product is hot. Each is fed as fast as it
// applies events: if all of them were in the log before, all answers would come behind
// all events. Each has logs of its own, since a worker leaves mails in them.
func (b *Run) itemsRate(ctx context.Context, r *itemsRate) error {
	plain, err := shipped()
	if err != nil {
		return err
	}
	with, err := b.shopWith("items", itemCampaigns)
	if err != nil {
		return err
	}
	for prefix, hot := range map[string]float64{"shop": 0, "hot": hotViews} {
		b.say("items: sending the events through the gateway")
		if err := b.prepare(ctx, prefix, plain); err != nil {
			return err
		}
		gen := newGenerator(1, b.Users)
		gen.hot = hot
		if _, err := b.send(ctx, prefix, gen, b.Events); err != nil {
			return err
		}
	}
	var withouts, withs, hots rounds
	var ratios, costs []float64
	for i := range b.Rounds {
		b.say("items: round %d of %d", i+1, b.Rounds)
		var took [3]result
		for k, one := range []struct {
			from string
			def  *campaign.Definition
		}{{"shop", plain}, {"shop", with}, {"hot", with}} {
			if took[k], err = b.fed(ctx, one.from, fmt.Sprintf("items-%d-%d", i, k), one.def); err != nil {
				return err
			}
		}
		withouts, withs, hots = append(withouts, took[0]), append(withs, took[1]), append(hots, took[2])
		ratios = append(ratios, took[0].Seconds/took[1].Seconds)
		costs = append(costs, took[2].Seconds/took[1].Seconds)
	}
	n := float64(b.Events)
	rate := func(v result) float64 { return n / v.Seconds }
	cpu := func(v result) float64 { return v.CPU * 1e6 / n }
	r.Ratio, r.HotCost = median(ratios), median(costs)
	r.Without, r.With, r.Hot = withouts.median(rate), withs.median(rate), hots.median(rate)
	r.CPUBefore, r.CPU = withouts.median(cpu), withs.median(cpu)
	r.Allocs = withs.median(func(v result) float64 { return float64(v.Allocs) / n })
	r.PeakMB = withs.median(func(v result) float64 { return float64(v.Peak) / 1e6 })
	r.Mails = withs.median(func(v result) float64 { return float64(v.Messages) / n })
	r.Mails -= withouts.median(func(v result) float64 { return float64(v.Messages) / n })
	r.Offers = withs[0].Offers
	return b.drop(ctx, "shop", "hot")
}

// fed lets a worker with a set apply the events of a deployment in one of its own.
func (b *Run) fed(ctx context.Context, from, prefix string, def *campaign.Definition) (r result, err error) {
	if err := b.prepare(ctx, prefix, def); err != nil {
		return r, err
	}
	meter, stop, err := part{Role: "worker", URL: b.url, Prefix: prefix, Dir: filepath.Join(b.dir, prefix), Metered: true}.start(ctx)
	if err != nil {
		return r, err
	}
	defer stop()
	start := time.Now()
	if err := b.feed(ctx, from, prefix, meter); err != nil {
		return r, err
	}
	if r, err = usage(ctx, meter, ""); err != nil {
		return r, err
	}
	if r.Seconds = time.Since(start).Seconds(); r.Events != uint64(b.Events) {
		return r, fmt.Errorf("bench: %d events applied of %d", r.Events, b.Events)
	}
	stop()
	if r.Offers, err = b.offers(ctx, prefix); err != nil {
		return r, err
	}
	return r, b.drop(ctx, prefix)
}

// feedAhead is how many events may wait for the worker.
const feedAhead = 20_000

// feed copies the messages with events from the logs of one deployment to those of
// another, as fast as its worker takes them.
func (b *Run) feed(ctx context.Context, from, to, meter string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	src, err := b.connect(ctx, from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := b.connect(ctx, to)
	if err != nil {
		return err
	}
	defer dst.Close()
	var sent, applied atomic.Int64
	var all sync.WaitGroup
	for p := range src.Partitions {
		all.Go(func() {
			err := src.ScanLog(ctx, p, 0, func(m pipeline.Message) error {
				if m.Kind != pipeline.In {
					return nil
				}
				for sent.Load()-applied.Load() > feedAhead {
					if err := pauseFor(ctx, time.Millisecond); err != nil {
						return err
					}
				}
				sent.Add(int64(bytes.Count(bytes.TrimSpace(m.Data), []byte{'\n'}) + 1))
				_, err := dst.JS.Publish(ctx, dst.Names.EventsSubject(p, "in"), m.Data)
				return err
			})
			if err != nil {
				cancel(fmt.Errorf("bench: copying the log of partition %d: %w", p, err))
			}
		})
	}
	copied := make(chan struct{})
	go func() { all.Wait(); close(copied) }()
	for {
		select {
		case <-copied:
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
		r, err := usage(ctx, meter, appliedPath)
		if err != nil {
			cancel(err)
		}
		applied.Store(int64(r.Events))
	}
}

func (r *itemsRate) Print(w io.Writer) {
	fmt.Fprintf(w, "the shop's campaigns       %9.0f events/s                    %.2f us of CPU per event\n", r.Without, r.CPUBefore)
	fmt.Fprintf(w, "three that read items too  %9.0f events/s   %.2f of these   %.2f us of CPU and %.1f allocations per event, %.0f MB, %d offers\n", r.With, r.Ratio, r.CPU, r.Allocs, r.PeakMB, r.Offers)
	fmt.Fprintf(w, "messages of mails          %9.3f per event\n", r.Mails)
	fmt.Fprintf(w, "a tenth of views of one    %9.0f events/s   %.2f times the cost\n", r.Hot, r.HotCost)
}

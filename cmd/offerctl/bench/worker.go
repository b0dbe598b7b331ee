package bench

import (
	"context"
	"fmt"

	"offerstream/pipeline/campaign"
)

// packSizes are the events per message that are measured in addition to the
// gateway's own packs, with fewer events.
var packSizes = []int{1, 4, 15, 60}

const packEvents = 25_000 // per partition

// all measures the worker. Unless only the worker's rate is asked for, it also
// measures pack sizes, the live path and lookups.
func (b *Run) all(ctx context.Context) (*workerReport, error) {
	def, err := b.definition()
	if err != nil {
		return nil, err
	}
	r := &workerReport{Events: b.Events, Users: b.Users, Campaigns: campaignsIn(def), Packs: map[string]float64{}}
	b.say("sending the events through the gateway")
	if err := b.prepare(ctx, "live", def); err != nil {
		return nil, err
	}
	if r.GatewayRate, err = b.send(ctx, "live", newGenerator(1, b.Users), b.Events); err != nil {
		return nil, err
	}
	if b.scaled() {
		if err := b.prepareFew(ctx); err != nil {
			return nil, err
		}
	}
	b.say("packing them one per message")
	if _, err := b.repack(ctx, "live", "raw", 1, b.Events); err != nil {
		return nil, err
	}
	prefix := "live"
	if b.Pack > 0 {
		if prefix, err = b.packed(ctx, def); err != nil {
			return nil, err
		}
		r.Pack = b.Pack
	}
	if err := b.catchUp(ctx, prefix, r); err != nil {
		return nil, err
	}
	if b.WorkerOnly || b.Campaigns > 0 || b.Pack > 0 {
		return r, nil
	}
	for _, n := range packSizes {
		b.say("packs of %d", n)
		if err := b.packs(ctx, def, n, r); err != nil {
			return nil, err
		}
	}
	if err := b.drop(ctx, "live", "raw"); err != nil {
		return nil, err
	}
	if r.Live, err = b.live(ctx, def); err != nil {
		return nil, err
	}
	return r, b.lookups(ctx, def, r)
}

// campaignsIn is the number of campaigns of a set, each row one.
func campaignsIn(def *campaign.Definition) (n int) {
	for i := range def.Campaigns {
		n += max(len(def.Campaigns[i].Rows), 1)
	}
	return n
}

// packed makes a deployment with the same events, in messages of Pack each.
func (b *Run) packed(ctx context.Context, def *campaign.Definition) (prefix string, err error) {
	prefix = fmt.Sprintf("pack%d", b.Pack)
	b.say("packing them %d per message", b.Pack)
	if err := b.prepare(ctx, prefix, def); err != nil {
		return "", err
	}
	if _, err := b.repack(ctx, "live", prefix, b.Pack, b.Events); err != nil {
		return "", err
	}
	return prefix, b.drop(ctx, "live")
}

// catchUp measures, in rounds: only reading one event per message, a worker that
// catches up with a deployment, the same with few campaigns if there are more of them, and only
// reading the packs.
func (b *Run) catchUp(ctx context.Context, prefix string, r *workerReport) error {
	var raws, works, fews, bares rounds
	for i := range b.Rounds {
		b.say("round %d of %d", i+1, b.Rounds)
		raw, err := b.part(ctx, "read", "raw", i, 0)
		if err != nil {
			return err
		}
		work, err := b.part(ctx, "work", prefix, i, b.Events)
		if err != nil {
			return err
		}
		if b.scaled() {
			w, err := b.part(ctx, "work", few, i, b.Events)
			if err != nil {
				return err
			}
			fews = append(fews, w)
		}
		bare, err := b.part(ctx, "read", prefix, i, 0)
		if err != nil {
			return err
		}
		raws, works, bares = append(raws, raw), append(works, work), append(bares, bare)
	}
	n := float64(b.Events)
	rate := func(v result) float64 { return n / v.Seconds }
	r.Raw, r.Worker, r.Bare = raws.median(rate), works.median(rate), bares.median(rate)
	r.MicrosEvent = works.median(func(v result) float64 { return v.CPU * 1e6 / n })
	r.AllocsEvent = works.median(func(v result) float64 { return float64(v.Allocs) / n })
	r.PeakMB = works.median(func(v result) float64 { return float64(v.Peak) / 1e6 })
	r.PackMean = n / float64(works[0].Messages)
	var ratios []float64
	for i := range raws {
		ratios = append(ratios, raws[i].Seconds/works[i].Seconds)
	}
	r.Ratio = median(ratios)
	var err error
	if r.Offers, err = b.offers(ctx, prefix); err == nil && b.scaled() {
		r.scaleReport, err = b.scale(ctx, works, fews)
	}
	return err
}

// rounds are the results of one part, round by round.
type rounds []result

func (rs rounds) median(of func(result) float64) float64 {
	return medianOf(rs, of)
}

// packs measures a worker on a part of the events, with n per message.
func (b *Run) packs(ctx context.Context, def *campaign.Definition, n int, r *workerReport) error {
	prefix := fmt.Sprintf("pack%d", n)
	if err := b.prepare(ctx, prefix, def); err != nil {
		return err
	}
	events, err := b.repack(ctx, "live", prefix, n, packEvents)
	if err != nil {
		return err
	}
	work, err := b.part(ctx, "work", prefix, 0, events)
	if err != nil {
		return err
	}
	if n == 1 {
		b.some = events // rawOfSome reads them
	}
	raw, err := b.rawOfSome(ctx)
	if err != nil {
		return err
	}
	r.Packs[fmt.Sprint(n)] = float64(events) / work.Seconds / raw
	if n == 1 {
		return nil
	}
	return b.drop(ctx, prefix)
}

// rawOfSome measures the raw rate at this moment, in events per second, by
// reading the packs of one.
func (b *Run) rawOfSome(ctx context.Context) (float64, error) {
	raw, err := b.part(ctx, "read", "pack1", 0, 0)
	return float64(b.some) / raw.Seconds, err
}

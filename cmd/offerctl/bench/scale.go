package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// fewCampaigns is the number of generated campaigns with which a larger set is
// compared.
const fewCampaigns = 10

// A scaleReport compares a large generated set with one of ten campaigns.
type scaleReport struct {
	RatioToFew float64 `json:"ratio_to_10"` // the worker's rate, divided by that with ten campaigns: median of the rounds
	Few        float64 `json:"worker_10_per_s"`
	MicrosFew  float64 `json:"cpu_us_per_event_10"`
	Load       float64 `json:"load_seconds"`       // to decode and compile the set and to put it in force
	Bytes      float64 `json:"bytes_per_campaign"` // of the heap, or per row; of one partition
}

// scaled reports whether the run compares a large generated set with a small one.
func (b *Run) scaled() bool { return b.Campaigns > fewCampaigns }

// few is the prefix of the deployment with few campaigns.
const few = "few"

// prepareFew makes a deployment with few campaigns and the same events.
func (b *Run) prepareFew(ctx context.Context) error {
	b.say("sending the events to %d campaigns, too", fewCampaigns)
	if err := b.prepare(ctx, few, generatedCampaigns(fewCampaigns)); err != nil {
		return err
	}
	_, err := b.send(ctx, few, newGenerator(1, b.Users), b.Events)
	return err
}

// scale compares the rounds of both sets, which were measured in turn, and measures
// how long the large set takes to load and how large it is then.
func (b *Run) scale(ctx context.Context, large, small rounds) (*scaleReport, error) {
	b.say("loading %d campaigns", b.Campaigns)
	load := func() (result, error) { return part{Role: "load", Campaigns: b.Campaigns, Rows: b.Rows}.result(ctx) }
	var loads rounds
	for range b.Rounds {
		l, err := load()
		if err != nil {
			return nil, err
		}
		loads = append(loads, l)
	}
	r := &scaleReport{Few: small.median(func(v result) float64 { return float64(b.Events) / v.Seconds }),
		MicrosFew: small.median(func(v result) float64 { return v.CPU * 1e6 / float64(b.Events) }),
		Load:      loads.median(func(v result) float64 { return v.Seconds }),
		Bytes:     loads.median(func(v result) float64 { return float64(v.Heap) / float64(b.Campaigns) })}
	var ratios []float64
	for i := range large {
		ratios = append(ratios, small[i].Seconds/large[i].Seconds)
	}
	r.RatioToFew = median(ratios)
	return r, nil
}

// load does what a worker does to put a generated set in force in one partition:
// it decodes the set, compiles it and makes a fold. The definition stays in memory,
// as it does in a worker.
func (p part) load(out io.Writer) error {
	text := generated(p.Campaigns, p.Rows).JSON()
	before := heap()
	m := measure()
	def, err := campaign.ParseDefinition(text)
	if err != nil {
		return err
	}
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		return fmt.Errorf("bench: the generated set: %w", problems[0])
	}
	fold, err := pipeline.NewFold(pipeline.Cursor{Set: set.Hash()}, func(string) (*pipeline.Set, error) { return set, nil }, pipeline.Memory{})
	if err != nil {
		return err
	}
	r := m.done()
	r.Heap = heap() - before
	runtime.KeepAlive(fold)
	runtime.KeepAlive(text)
	return json.NewEncoder(out).Encode(r)
}

// heap returns the bytes of the heap that are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // the second one frees what finalizers and pools have held
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return int64(ms.HeapAlloc)
}

func (r *scaleReport) Print(w io.Writer) {
	fmt.Fprintf(w, "worker, %d campaigns       %9.0f events/s   the rate with more campaigns is %.2f of that   %.2f us of CPU per event\n", fewCampaigns, r.Few, r.RatioToFew, r.MicrosFew)
	fmt.Fprintf(w, "the campaigns are loaded in %.1f s, and each takes %.0f bytes\n", r.Load, r.Bytes)
}

package bench

import (
	"fmt"
	"io"
)

// A workerReport is the result of a run that measures the worker.
type workerReport struct {
	Events       int                `json:"events"`
	Users        int                `json:"users"`
	Campaigns    int                `json:"campaigns"`
	Offers       uint64             `json:"offers"`
	Ratio        float64            `json:"ratio"`            // worker / raw, median of the rounds
	Pack         int                `json:"pack,omitempty"`   // with --pack: events per message
	Raw          float64            `json:"raw_per_s"`        // events per second when they are only read, one per message
	Worker       float64            `json:"worker_per_s"`     // events per second of a worker that catches up
	Bare         float64            `json:"bare_per_s"`       // events per second when the packed streams are only read
	PackMean     float64            `json:"pack_mean"`        // events per message as the gateway packed them
	MicrosEvent  float64            `json:"cpu_us_per_event"` // of the worker's process
	AllocsEvent  float64            `json:"allocs_per_event"`
	PeakMB       float64            `json:"peak_mb"`
	GatewayRate  float64            `json:"gateway_per_s"` // batches of 15 into the handler
	Packs        map[string]float64 `json:"packs"`         // worker / raw by pack size
	Live         *liveReport        `json:"live,omitempty"`
	Lookups      *lookupReport      `json:"lookups,omitempty"`
	RatioCold    float64            `json:"ratio_cold,omitempty"`   // cold / raw
	Cold         float64            `json:"cold_per_s,omitempty"`   // as worker, with a state far larger than its cache
	ColdPeakMB   float64            `json:"cold_peak_mb,omitempty"` // including the mapped pages of the tables
	*scaleReport                    // with more than ten generated campaigns
}

func (r *workerReport) Print(w io.Writer) {
	fmt.Fprintf(w, "%d events of %d users, %d campaigns, %d offers\n\n", r.Events, r.Users, r.Campaigns, r.Offers)
	fmt.Fprintf(w, "raw, one event per message %9.0f events/s\n", r.Raw)
	fmt.Fprintf(w, "worker, packs of %-8.1f  %9.0f events/s   %.2f of raw   %.2f us of CPU and %.1f allocations per event, %.0f MB\n", r.PackMean, r.Worker, r.Ratio, r.MicrosEvent, r.AllocsEvent, r.PeakMB)
	fmt.Fprintf(w, "the packs, only read       %9.0f events/s\n", r.Bare)
	for _, n := range packSizes {
		if v, ok := r.Packs[fmt.Sprint(n)]; ok {
			fmt.Fprintf(w, "worker, packs of %-29d   %.2f of raw\n", n, v)
		}
	}
	if r.scaleReport != nil {
		r.scaleReport.Print(w)
	}
	if r.Lookups != nil {
		fmt.Fprintf(w, "worker, %d users     %9.0f events/s   %.2f of raw   its cache holds a hundredth of them; %.0f MB including mapped tables\n", r.Lookups.Users, r.Cold, r.RatioCold, r.ColdPeakMB)
	}
	if r.Live != nil {
		r.Live.Print(w)
	}
	if r.Lookups != nil {
		r.Lookups.Print(w)
	}
	fmt.Fprintf(w, "\nraw is the rate of only reading the events, one per message. A ratio above 1 is possible, because a pack is read at the cost of one message.\n")
	if r.Live != nil {
		fmt.Fprintf(w, "HTTP request to offer is the time from when a request was scheduled until a subscriber received the offer.\n")
	}
}

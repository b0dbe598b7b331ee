package bench

import (
	"fmt"
	"io"
)

// A workerReport is what a run found.
type workerReport struct {
	Events      int                `json:"events"`
	Users       int                `json:"users"`
	Campaigns   int                `json:"campaigns"`
	Offers      uint64             `json:"offers"`
	Ratio       float64            `json:"ratio"`            // worker / raw, median of the rounds
	Raw         float64            `json:"raw_per_s"`        // events a second, one a message, read alone
	Worker      float64            `json:"worker_per_s"`     // events a second, catching up
	Bare        float64            `json:"bare_per_s"`       // the packed streams, read alone
	PackMean    float64            `json:"pack_mean"`        // events a message as the gateway packed them
	MicrosEvent float64            `json:"cpu_us_per_event"` // of the worker's process
	AllocsEvent float64            `json:"allocs_per_event"`
	PeakMB      float64            `json:"peak_mb"`
	GatewayRate float64            `json:"gateway_per_s"` // batches of 15 into the handler
	Packs       map[string]float64 `json:"packs"`         // worker / raw by pack size
	Live        *liveReport        `json:"live,omitempty"`
	Lookups     *lookupReport      `json:"lookups,omitempty"`
	RatioCold   float64            `json:"ratio_cold,omitempty"`   // cold / raw
	Cold        float64            `json:"cold_per_s,omitempty"`   // as worker, with state far beyond its cache
	ColdPeakMB  float64            `json:"cold_peak_mb,omitempty"` // with what is mapped of the tables
}

func (r *workerReport) Print(w io.Writer) {
	fmt.Fprintf(w, "%d events of %d users, %d campaigns, %d offers\n\n", r.Events, r.Users, r.Campaigns, r.Offers)
	fmt.Fprintf(w, "raw, one event a message   %9.0f events/s\n", r.Raw)
	fmt.Fprintf(w, "worker, packs of %-8.1f  %9.0f events/s   %.2f of raw   %.2f us of CPU, %.1f allocations an event, %.0f MB\n", r.PackMean, r.Worker, r.Ratio, r.MicrosEvent, r.AllocsEvent, r.PeakMB)
	fmt.Fprintf(w, "the packs, read alone      %9.0f events/s\n", r.Bare)
	for _, n := range packSizes {
		if v, ok := r.Packs[fmt.Sprint(n)]; ok {
			fmt.Fprintf(w, "worker, packs of %-29d   %.2f of raw\n", n, v)
		}
	}
	if r.Lookups != nil {
		fmt.Fprintf(w, "worker, %d users     %9.0f events/s   %.2f of raw   its cache holds a hundredth of them; %.0f MB with the tables that are mapped\n", r.Lookups.Users, r.Cold, r.RatioCold, r.ColdPeakMB)
	}
	if r.Live != nil {
		r.Live.Print(w)
	}
	if r.Lookups != nil {
		r.Lookups.Print(w)
	}
	fmt.Fprintf(w, "\nraw is what reading costs before anything is done; a ratio above 1 is faster than that, since a pack is read at the price of one message.\n")
	if r.Live != nil {
		fmt.Fprintf(w, "HTTP in, offer out counts from when a request was due to leave until a subscriber had the offer.\n")
	}
}

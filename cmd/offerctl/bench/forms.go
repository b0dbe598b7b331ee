package bench

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// A form is how requests carry events. The same events are sent in several forms.
type form struct {
	name    string
	singles [][]byte // requests of one event; nil: it is not measured with these
	batches [][]byte // requests of gatewayBatch events; the same
}

// A formReport compares events in one form with the same events in the form called base.
// Both are sent to the gateway, in turns.
type formReport struct {
	ToBase     float64 `json:"ratio_to_base"` // of the events per second, median of the turns
	Rate       float64 `json:"per_s"`         // events per second
	Base       float64 `json:"base_per_s"`
	Micros     float64 `json:"cpu_us_per_event"` // microseconds of CPU in the gateway's process
	BaseMicros float64 `json:"base_cpu_us_per_event"`
}

// compareForms compares all forms with the first one, the base.
func (b *Run) compareForms(ctx context.Context, gateway server, forms []form) (map[string]formReport, error) {
	reports := map[string]formReport{} // by the form's name and the shape's
	for _, shape := range []struct {
		name     string
		events   float64
		says     string
		requests func(form) [][]byte
	}{
		{"single", 1, "", func(f form) [][]byte { return f.singles }},
		{"batch", gatewayBatch, noneRefused, func(f form) [][]byte { return f.batches }},
	} {
		var ways []way
		for _, f := range forms {
			if requests := shape.requests(f); requests != nil {
				ways = append(ways, way{gateway, f.name + "_" + shape.name, requests, shape.events, shape.says})
			}
		}
		loads, err := b.alternate(ctx, ways, b.Rounds*b.turns.forms, b.turns.form)
		if err != nil {
			return nil, err
		}
		base := loads[0]
		for i, l := range loads[1:] {
			reports[ways[i+1].name] = formReport{l.rateTo(base), l.rate(), base.rate(), l.micros(), base.micros()}
		}
	}
	return reports, nil
}

// formOf returns events in the gateway's own form as its requests.
func formOf(name, key string, events []string) form {
	f := form{name: name, batches: batches("/v1/batch", basic(key), `{"batch":[`, events, "]}")}
	for _, e := range events {
		f.singles = append(f.singles, requestBy("/v1/track", basic(key), []byte(e)))
	}
	return f
}

// batches returns events as requests of gatewayBatch, with a text before and after the
// events of each.
func batches(path, header, before string, events []string, after string) (requests [][]byte) {
	for some := range slices.Chunk(events, gatewayBatch) {
		requests = append(requests, requestBy(path, header, []byte(before+strings.Join(some, ",")+after)))
	}
	return requests
}

func (r *gatewayReport) printForms(w io.Writer) {
	for _, table := range []struct {
		name, base string
		reports    map[string]formReport
	}{{"with user tokens", "without", r.Tokens}, {"as other SDKs send them", "in our form", r.Dialects}} {
		fmt.Fprintf(w, "\n%-24s  %12s  %12s  %8s  %s\n", "events/s", "so", table.base, "ratio", "us of CPU per event")
		fmt.Fprintf(w, "%s\n", table.name)
		for _, name := range slices.Sorted(maps.Keys(table.reports)) {
			f := table.reports[name]
			fmt.Fprintf(w, "%-24s  %12.0f  %12.0f  %8.2f  %7.1f %7.1f\n", strings.ReplaceAll(name, "_", ", "), f.Rate, f.Base, f.ToBase, f.Micros, f.BaseMicros)
		}
	}
}

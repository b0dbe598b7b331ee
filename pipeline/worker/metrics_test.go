package worker

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestGroupMetrics checks the metrics of the group, in one of two members.
func TestGroupMetrics(t *testing.T) {
	const partitions = 4
	ns := startNATS(t, t.TempDir(), -1)
	connect(t, ns.ClientURL(), partitions)
	reg := prometheus.NewRegistry()
	a := start(t, ns.ClientURL(), t.TempDir(), func(o *Options) { o.Standbys, o.Metrics = 1, reg })
	b := start(t, ns.ClientURL(), t.TempDir(), func(o *Options) { o.Standbys = 1 })
	owners := owned(t, []*running{a, b}, partitions, 1)
	own := 0
	for _, w := range owners {
		if w == a {
			own++
		}
	}
	want := fmt.Sprintf("members 2 own %d follow %d", own, partitions-own)
	await(t, want, func() bool { return groupMetrics(t, reg) == want })
	b.stop(t)
	owned(t, []*running{a}, partitions, 0)
	await(t, "alone", func() bool { return groupMetrics(t, reg) == "members 1 own 4 follow 0" })
}

func groupMetrics(t *testing.T, reg prometheus.Gatherer) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			values[name] = m.GetGauge().GetValue()
		}
	}
	return fmt.Sprintf("members %v own %v follow %v", values["offerstream_worker_members"], values["offerstream_worker_partitions own"], values["offerstream_worker_partitions follow"])
}

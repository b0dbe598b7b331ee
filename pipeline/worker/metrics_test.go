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

// TestUnreadableTimes: an event whose timestamp cannot be read is applied and
// counted; it is no dead letter.
func TestUnreadableTimes(t *testing.T) {
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, views(t, 1))
	reg := prometheus.NewRegistry()
	w := start(t, ns.ClientURL(), t.TempDir(), func(o *Options) { o.Metrics = reg })
	w.inForce(t, hash)
	line := `{"type":"track","event":"Product Viewed","userId":"u","messageId":%q,"timestamp":%s,"receivedAt":"2026-01-01T00:00:00Z"}`
	pack := fmt.Appendf(nil, line+"\n"+line+"\n"+line, "a", `"soon"`, "b", `"2025-12-31T23:59:00"`, "c", `"2025-12-31T23:59:00Z"`)
	publish(t, c, []scripted{{0, pack}})
	w.applied(t, c)
	w.stop(t)
	if n := counter(t, reg, "offerstream_worker_event_problems_total"); n != 2 {
		t.Errorf("%v unreadable timestamps are counted, want 2", n)
	}
	if n := counter(t, reg, "offerstream_worker_dead_letters_total"); n != 0 {
		t.Errorf("%v dead letters", n)
	}
	if n := len(stored(t, c)); n != 3 {
		t.Errorf("%d offers, want 3", n)
	}
}

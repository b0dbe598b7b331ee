package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline/broker"
)

// TestOverview joins what leases and answers say, also where they differ.
func TestOverview(t *testing.T) {
	at := time.Unix(100, 0)
	leases := map[string]broker.Lease{
		"a": {Value: []byte(`{"own":[0,1,99],"ready":[2]}`), Time: at},
		"b": {Value: []byte(`{"own":[1],"leaving":true}`), Time: at}, // 1 is being handed over
		"c": {Value: []byte(`{"own":"all"}`), Time: at},              // of some other version
		"d": {Value: []byte(`{"own":[3]}`), Time: at},                // does not answer
	}
	reports := map[string]Report{
		"a": {"a", []PartitionReport{{Partition: 0, Status: Status{Owned: true, Seq: 7, Lag: 3, Waiting: 2, LogTime: 5}, Bytes: 9}, {Partition: 1, Status: Status{Follows: true, Seq: 1}}, {Partition: 77}}, 0},
		"b": {"b", []PartitionReport{{Partition: 1, Status: Status{Owned: true, Seq: 2}}, {Partition: 4, Status: Status{Seq: 6, Stopped: "why"}}}, -90 * time.Second},
		"e": {"e", []PartitionReport{{Partition: 4, Status: Status{Owned: true, Seq: 8}}}, 0}, // its lease has expired
	}
	o := overview(6, leases, reports, map[int]broker.SnapshotMeta{5: {Seq: 4, Time: at, Bytes: 3}})
	var got strings.Builder
	for _, m := range o.Members {
		fmt.Fprintln(&got, m.ID, m.Owns, m.Ready, m.Follows, m.Answers, m.Leaving, m.Heard.Unix() == 100, m.Error != "", m.Ahead)
	}
	for _, p := range o.Partitions {
		fmt.Fprintln(&got, p.Partition, p.Owners, p.Answers, p.Seq, p.Lag, p.Waiting, p.Bytes, p.Stops, p.Snapshot != nil)
	}
	const want = `a [0 1] [2] [] true false true false 0
b [1] [] [] true true true false -90
c [] [] [] false false true true 0
d [3] [] [] false false true false 0
e [4] [] [] true false false false 0
0 [a] true 7 3 2 9 [] false
1 [a b] true 2 0 0 0 [] false
2 [] false 0 0 0 0 [] false
3 [d] false 0 0 0 0 [] false
4 [e] true 8 0 0 0 [{b why}] false
5 [] false 0 0 0 0 [] true
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	if o.OK() || !overview(4, leases, reports, nil).Partitions[3].LogTime.IsZero() {
		t.Error("it is OK, or knows what nobody has said")
	}
	if p := overview(1, leases, reports, nil); !p.OK() {
		t.Errorf("it is not OK: %+v", p)
	}
}

// TestGroupMetrics: the group as one of two sees it.
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

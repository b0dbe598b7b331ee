package audit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/broker"
)

// TestOverview joins leases and answers, also where they contradict each other.
func TestOverview(t *testing.T) {
	at := time.Unix(100, 0)
	leases := map[string]broker.Lease{
		"a": {Value: []byte(`{"own":[0,1,99],"ready":[2]}`), Time: at},
		"b": {Value: []byte(`{"own":[1],"leaving":true}`), Time: at}, // partition 1 is being handed over
		"c": {Value: []byte(`{"own":"all"}`), Time: at},              // a lease of another version
		"d": {Value: []byte(`{"own":[3]}`), Time: at},                // this member does not answer
	}
	reports := map[string]broker.Report{
		"a": {Member: "a", Partitions: []broker.PartitionReport{{Partition: 0, PartitionStatus: broker.PartitionStatus{Owned: true, Seq: 7, Lag: 3, Waiting: 2, LogTime: 5}, Bytes: 9}, {Partition: 1, PartitionStatus: broker.PartitionStatus{Follows: true, Seq: 1}}, {Partition: 77}}},
		"b": {Member: "b", Partitions: []broker.PartitionReport{{Partition: 1, PartitionStatus: broker.PartitionStatus{Owned: true, Seq: 2}}, {Partition: 4, PartitionStatus: broker.PartitionStatus{Seq: 6, Stopped: "why"}}}, Ahead: -90 * time.Second},
		"e": {Member: "e", Partitions: []broker.PartitionReport{{Partition: 4, PartitionStatus: broker.PartitionStatus{Owned: true, Seq: 8}}}}, // its lease has expired
	}
	o := overview(6, leases, reports, map[int]broker.NewestSnapshot{5: {SnapshotMeta: broker.SnapshotMeta{Seq: 4, Time: at, Bytes: 3}, Kept: 1, Oldest: at}})
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

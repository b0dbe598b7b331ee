package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/audit"
)

// TestStatusSnapshots: status shows how old the newest snapshot is, and if there are
// several, how many and how old the oldest is.
func TestStatusSnapshots(t *testing.T) {
	now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	of := func(kept int) *audit.SnapshotOverview {
		return &audit.SnapshotOverview{Seq: 5, Time: now.Add(-time.Minute), Kept: kept, Oldest: now.Add(-7 * 24 * time.Hour)}
	}
	var b bytes.Buffer
	showPartitions(&b, audit.Overview{Time: now, Partitions: []audit.PartitionOverview{{Snapshot: of(1)}, {Partition: 1, Snapshot: of(9)}, {Partition: 2}}})
	for i, want := range []string{"60 s ago", "60 s ago (9 from 7 d ago)", "-"} {
		if line := strings.TrimSpace(strings.Split(b.String(), "\n")[i+1]); !strings.HasSuffix(line, "  "+want) {
			t.Errorf("%q does not end with %q", line, want)
		}
	}
}

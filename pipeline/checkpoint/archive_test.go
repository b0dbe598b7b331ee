package checkpoint

import (
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// TestWhole: a snapshot's metadata says whether its state stands between two messages.
func TestWhole(t *testing.T) {
	for _, tc := range []struct {
		name   string
		cursor pipeline.Cursor
		want   bool
	}{
		{"the beginning", pipeline.Cursor{}, true},
		{"between two messages", pipeline.Cursor{Seq: 7, Stored: 1}, true},
		{"after an event of the next one", pipeline.Cursor{Seq: 7, Within: 1, Partly: 2}, false},
		{"after a timer of the next one", pipeline.Cursor{Seq: 7, Partly: 2}, false},
	} {
		if got := Whole(broker.SnapshotMeta{Metadata: Metadata(tc.cursor)}); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	if Whole(broker.SnapshotMeta{Metadata: map[string]string{recordsKey: "5"}}) {
		t.Error("a snapshot of a version that did not say")
	}
}

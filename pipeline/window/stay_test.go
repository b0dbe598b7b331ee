package window

import (
	"math"
	"testing"
	"time"

	"offerstream/pipeline/value"
)

// TestEarliestAtTheEnd: near the last time that there is, a dwell becomes long
// enough before it, or never.
func TestEarliestAtTheEnd(t *testing.T) {
	const now, sec, century = math.MaxInt64 - 100e9, 1e9, 36525 * 24 * 3600e9
	for name, tt := range map[string]struct {
		stay Stay
		want int64 // after now; 0: never
	}{
		"in time":                 {Stay{Need: 60 * sec, open: []int64{now}}, 60 * sec},
		"in time, with a window":  {Stay{Need: 60 * sec, within: century, closed: []stayEntry{{now - sec, 10 * sec}}, open: []int64{now}}, 50 * sec},
		"the last moment":         {Stay{Need: 100 * sec, open: []int64{now}}, 100 * sec},
		"too late":                {Stay{Need: 101 * sec, open: []int64{now}}, 0},
		"too late after a change": {Stay{Need: 150 * sec, within: century, closed: []stayEntry{{now + 50*sec - century, 10 * sec}}, open: []int64{now}}, 0},
	} {
		moment, ok := Earliest(now, []Stay{tt.stay}, nil)
		if ok != (tt.want > 0) || ok && moment != now+tt.want {
			t.Errorf("%s: %d s after now, %v; want %d s", name, (moment-now)/sec, ok, tt.want/sec)
		}
	}
}

// TestLongAgo: a stay since the first time that there is has the greatest length.
func TestLongAgo(t *testing.T) {
	f, st := Shape{Aggregate: Named("dwell"), Entries: 9, Keys: 9}, &State{}
	open, err := f.Take(value.Value{})
	if err != nil {
		t.Fatal(err)
	}
	var scratch []byte
	first, now := int64(-math.MaxInt64), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	f.Add(st, "", Entry{Time: first, Value: open}, first, &scratch)
	if got := f.Total(st, "", now); got != value.OfDuration(int64(maxDwell)) {
		t.Errorf("open, it lasts %v", got.CEL())
	}
	f.Close(st, now)
	if got := f.Total(st, "", now); got != value.OfDuration(int64(maxDwell)) {
		t.Errorf("closed, it lasted %v", got.CEL())
	}
}

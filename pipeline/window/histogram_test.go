package window

import (
	"slices"
	"testing"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"offerstream/pipeline/value"
)

// TestHistogram: a histogram keeps the newest event times in the window, gives
// them to whoever ranks hours, and shows its size.
func TestHistogram(t *testing.T) {
	f, st := Shape{Aggregate: histogram, Within: 100, Entries: 3, Keys: 2, Grouped: true}, &State{}
	var scratch []byte
	add := func(key string, times ...int64) (reached uint64) {
		for _, at := range times {
			reached += f.Add(st, key, Entry{Time: at}, 1000, &scratch)
		}
		return reached
	}
	check := func(v ref.Val, want ...int64) {
		t.Helper()
		if got, ok := HistogramTimes(v); !ok || !slices.Equal(got, want) {
			t.Errorf("%v, %v; want %v", got, ok, want)
		}
	}
	if n := add("k", 950, 990, 940, 960, 930); n != 2 {
		t.Errorf("the bound was reached %d times, want twice: an older time than all is not kept", n)
	}
	check(f.Read(st, "k", 1000), 950, 960, 990)
	check(f.Read(st, "k", 1050), 960, 990)
	check(f.Read(st, "other", 1000))
	check(f.Read(nil, "", 1000))
	if want := (Size{3, 3 * (16 + 1)}); st.Size() != want {
		t.Errorf("the size is %v, want %v", st.Size(), want)
	}
	check(f.By(st, 1000).(traits.Mapper).Get(types.String("k")), 950, 960, 990)
	if _, ok := HistogramTimes(anyQuantiles.Of([]value.Value{})); ok {
		t.Error("quantiles were taken for a histogram")
	}
	if _, ok := HistogramTimes(types.NullValue); ok {
		t.Error("null was taken for a histogram")
	}
	if got, err := value.AppendJSON(nil, f.Read(st, "k", 1050)); err != nil || string(got) != `{"size":2}` {
		t.Errorf("as JSON: %s, %v", got, err)
	}
	for _, s := range []*value.Struct{Histogram, ranked} {
		if !slices.Contains(Structs(), s) {
			t.Errorf("expressions do not know %s", s.Name)
		}
	}
}

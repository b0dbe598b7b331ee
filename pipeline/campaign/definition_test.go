package campaign

import (
	"testing"
	"time"
)

// TestIdentities checks that hashes of definitions stay the same, so that later
// binaries find what is stored under them. If it fails, either a new key is
// written although it is not set (make it omitempty), or a key was renamed or
// moved.
func TestIdentities(t *testing.T) {
	d := &Definition{
		Engine: 2, Zone: "Asia/Seoul", Clock: ClockBroker, Lateness: DefaultLateness, Forget: Forget{DefaultForgetAnonymous, DefaultForgetKnown}, Bounds: DefaultBounds,
		Features: []Feature{
			{Name: "views", On: []string{"View"}, Agg: "count"},
			{Name: "cart", On: []string{"Add"}, Where: "event.properties.price > 1", By: "category", Agg: "list", Within: time.Hour, Key: "id", Fields: []string{"id", "price"}, Keep: 20, RemoveOn: []string{"Order"}},
			{Name: "spent", On: []string{"Order"}, Agg: "sum", Of: "event.properties.total"},
		},
		Caps:  []Cap{{[]string{"push"}, 1, time.Hour}},
		Pause: &Pause{[]string{"push"}, time.Hour},
		Campaigns: []Campaign{
			{ID: "hello", On: []string{"View"}, Offer: OfferSpec{Channel: "web", Kind: Advertising}},
			{ID: "left", From: 1, To: 2, On: []string{"Add", "View"}, Where: "event.properties.price > 1", Fresh: time.Minute, If: []string{"views >= 4"},
				Unless: &Unless{On: []string{"Order"}, Where: "true", Match: "id", Within: time.Hour, NoRestart: true}, Priority: 5,
				Offer:  OfferSpec{Channel: "push", Kind: Service, Expires: time.Hour, Data: []byte(`{"a":"{{ views }}"}`)},
				Limits: []Limit{{Max: 1, Within: time.Hour}, {Max: 2, PerSession: true}}},
		},
	}
	for i, want := range []uint64{0x81ecb3cfabf1d52f, 0x3fd2a6c328c227da, 0x6019e560ba8cf8e9} {
		if got := d.Features[i].FeatureID(); got != want {
			t.Errorf("feature %s has the identity %#x, want %#x", d.Features[i].Name, got, want)
		}
	}
	for i, want := range []uint64{0x459a94613e96452b, 0xa5de89e799a6f870} {
		if got := d.Campaigns[i].TriggerID(); got != want {
			t.Errorf("the trigger of %s has the identity %#x, want %#x", d.Campaigns[i].ID, got, want)
		}
	}
	if got, want := d.Hash(), "7b397ec5219c1d7d597226623d8ead0e"; got != want {
		t.Errorf("the set's hash is %s, want %s", got, want)
	}
}

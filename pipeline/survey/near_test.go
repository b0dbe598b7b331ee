package survey

import "testing"

func TestNearest(t *testing.T) {
	known := map[string]uint64{"Product List Item Viewed": 5, "product_id": 9, "productId": 2, "bag": 3, "electronics.smartphone": 4, "old.smartphone": 1, "색상": 1, "KRW": 2}
	for name, want := range map[string]string{
		"product_list_item_viewed": "Product List Item Viewed", // separators
		"ProductID":                "product_id",               // the more frequent one
		"bags":                     "bag",
		"Bag":                      "bag",
		"smartphone":               "", // a part is for values
		"USD":                      "", // another word
		"product_i7":               "", // another id
		"색상 ":                      "색상",
		"bag":                      "", // known itself
		"":                         "",
	} {
		if got := nearest(name, known); got != want {
			t.Errorf("nearest to %q: %q, want %q", name, got, want)
		}
	}
	if got := nearestValue("Smartphone", known); got != "electronics.smartphone" {
		t.Errorf("the nearest value: %q", got)
	}
}

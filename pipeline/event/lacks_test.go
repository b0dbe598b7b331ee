package event

import (
	"strings"
	"testing"
)

// TestLacks: what a copy lacks that was made for other fields, and that a copy which
// lacks nothing has the values of the event.
func TestLacks(t *testing.T) {
	fields := func(text string) *Fields {
		f := &Fields{}
		for _, p := range strings.Fields(text) {
			switch p {
			case "items":
				f.AddItems()
			case "name":
				f.Name = true
			default:
				f.Add(strings.Split(p, ".")...)
			}
		}
		return f
	}
	for _, c := range []struct{ kept, read, lacks string }{
		{"", "", ""},
		{"properties.price", "properties.price", ""},
		{"properties.price", "properties.price.amount", ""},
		{"properties.price.amount", "properties.price", "properties.price"},
		{"properties", "properties.price items", ""},
		{"properties.price", "properties", "properties"},
		{"traits.plan", "properties.plan", "properties.plan"},
		{"", "name", ""},
		{"items", "properties.products", ""},
		{"items", "properties.products.first", ""},
		{"items", "properties.price items", "properties.price"},
		{"properties.products", "items", "items"},
		{"properties.price", "properties.products", "properties.products"},
		{"context.page", "items context.page.url properties.a", "properties.a items"},
	} {
		var got []string
		for _, p := range fields(c.kept).Lacks(fields(c.read)) {
			got = append(got, strings.Join(p, "."))
		}
		if s := strings.Join(got, " "); s != c.lacks {
			t.Errorf("kept %q, read %q: lacks %q, want %q", c.kept, c.read, s, c.lacks)
		}
	}
}

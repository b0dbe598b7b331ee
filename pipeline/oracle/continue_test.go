package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
)

// loginHalfway returns the events of the user u1: as they are, and with the first half
// of them as a visitor's. In both the user's alias follows the first half.
func loginHalfway(events [][]byte) (known, visitor [][]byte) {
	own := slices.DeleteFunc(slices.Clone(events), func(line []byte) bool {
		return !bytes.Contains(line, []byte(`"userId":"u1"`)) || !bytes.Contains(line, []byte(`"messageId":"m`)) || bytes.Contains(line, []byte("Id\":\"v")) || bytes.Contains(line, []byte("anonymousId")) || bytes.Contains(line, []byte("previousId")) || bytes.Contains(line, []byte("\\u")) || bytes.Contains(line, []byte("null"))
	})
	alias := func(who string) []byte {
		return []byte(fmt.Sprintf(`{"type":"alias","userId":"u1","previousId":%q,"messageId":"login"}`, who))
	}
	seen := map[string]bool{} // the id of an offer is another one for the visitor, so that it is no duplicate
	own = slices.DeleteFunc(own, func(line []byte) bool {
		_, id, _ := bytes.Cut(line, []byte(`"messageId":`))
		id, _, _ = bytes.Cut(id, []byte(","))
		again := seen[string(id)]
		seen[string(id)] = true
		return again
	})
	for i, line := range own {
		if i == len(own)/2 {
			known, visitor = append(known, alias("nobody")), append(visitor, alias("v1"))
		}
		known = append(known, line)
		if i < len(own)/2 {
			line = bytes.Replace(line, []byte(`"userId":"u1"`), []byte(`"anonymousId":"v1"`), 1)
		}
		visitor = append(visitor, line)
	}
	return known, visitor
}

// TestMergeContinues: whoever logs in for the first time goes on as one who was known
// from the beginning. But weights of a top are rounded once more.
func TestMergeContinues(t *testing.T) {
	compared, merged := 0, 0
	for seed := range uint64(80) {
		c := RandomMixed(seed)
		for _, construct := range []string{"top", "holdout", "paused", "asks", "to", "item"} {
			c = c.Without(construct)
		}
		set := c.definition()
		set.Forget.Anonymous = set.Forget.Known
		set.Holdout = 0
		c = c.with(set)
		known, visitor := loginHalfway(c.Events)
		c.Events = known
		want, err := c.Run()
		if err != nil {
			t.Fatal(err)
		}
		c.Events = visitor
		got, err := c.Run()
		if err != nil {
			t.Fatal(err)
		}
		merged += got.Met["merge"]
		if len(got.Offers) != len(want.Offers) {
			t.Errorf("seed %d: %d offers, want %d", seed, len(got.Offers), len(want.Offers))
			continue
		}
		for i, o := range got.Offers {
			if o.Anon {
				continue
			}
			compared++
			if g, w := encode(o), encode(want.Offers[i]); !bytes.Equal(g, w) {
				t.Errorf("seed %d:\n got %s\nwant %s", seed, g, w)
				break
			}
		}
		if g, w := fmt.Sprint(got.Counts), fmt.Sprint(want.Counts); g != w {
			t.Errorf("seed %d:\n got %s\nwant %s", seed, g, w)
		}
	}
	if compared < 100 || merged < 10 {
		t.Errorf("only %d offers of %d merges compared", compared, merged)
	}
	t.Logf("%d offers of %d merges compared", compared, merged)
}

// TestItemsOfOne: where there is only one user, a feature of items is that of the user
// by item.
func TestItemsOfOne(t *testing.T) {
	compared := 0
	for seed := range uint64(12) {
		events, _ := loginHalfway(RandomMixed(seed).Events)
		for _, agg := range []string{"count", "sum", "min", "max", "avg", "first", "last", "quantiles", "distinct"} {
			of := `,"of":"item.price"`
			if agg == "count" {
				of = ""
			}
			feature := func(name, more string) string {
				return fmt.Sprintf(`{"name":%q,%s"agg":%q%s,"within":1800000000000}`, name, more, agg, of)
			}
			on := `"on":["Product Viewed","Product Added"],"where":"event.properties.price < 1000.0",`
			s := scene{
				engine: 5, also: products + `,"bounds":{"entries":4,"keys":64,"user_entries":65536,"user_bytes":262144,"absences":64}`,
				features:  []string{feature("i", `"per":"product",`+on), feature("u", on+`"by":"product_id",`)},
				campaigns: []string{offer("c", "web", "[[i], [u[item.product_id]], [before.i], [before.u[item.product_id]]]", `"on":["*"],"if":["[i] == [i]"]`)},
			}
			if agg == "distinct" {
				s.also = products // of an item all are held
			}
			for _, line := range events {
				s.events = append(s.events, string(line))
			}
			for _, o := range s.run(t).Offers {
				var got [][]any
				if err := json.Unmarshal(o.Data, &got); err != nil {
					t.Fatal(err)
				}
				if compared++; !reflect.DeepEqual(got[0], got[1]) || !reflect.DeepEqual(got[2], got[3]) {
					t.Errorf("seed %d, %s: %s", seed, agg, o.Data)
				}
			}
		}
	}
	if compared < 1000 {
		t.Errorf("only %d values compared", compared)
	}
}

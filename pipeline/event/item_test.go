package event

import (
	"fmt"
	"strings"
	"testing"
)

// TestItem: what makes an event about an item, and what it lacks otherwise.
func TestItem(t *testing.T) {
	for raw, want := range map[string]string{
		`{"type":"item","kind":"product","id":"p1","event":"Price Changed","messageId":"m"}`:                     "Price Changed|i:product:p1|product|p1|m",
		`{"type":"item","kind":"product","id":7,"event":"E","userId":9,"anonymousId":"a","messageId":5}`:         "E|i:product:7|product|7|5",
		`{"type":"item","kind":"_p1","id":1.50,"event":"E","properties":[],"messageId":"m"}`:                     "E|i:_p1:1.5|_p1|1.5|m",
		`{"type":"item","kind":"p","id":-0.0,"event":"E","userId":1e999,"messageId":"m"}`:                        "E|i:p:0|p|0|m",
		`{"type":"item","kind":"p","id":"a:b","event":"E","messageId":"m"}`:                                      "E|i:p:a:b|p|a:b|m",
		`{"type":"item","kind":"p","id":12345678901234567890,"event":"E","messageId":"m"}`:                       "E|i:p:12345678901234567890|p|12345678901234567890|m",
		`{"type":"item","k\u0069nd":"p","kind":"q","\u0069d":"x","id":"y","event":"\u0045","messageId":"m"}`:     "E|i:p:x|p|x|m",
		`{"type":"item","kind":"p","id":"` + strings.Repeat("x", MaxItemBytes) + `","event":"E"}`:                "",
		`{"type":"item","kind":"` + strings.Repeat("k", MaxKindBytes) + `","id":"x","event":"E","context":null}`: "",
	} {
		ev := read(t, raw)
		if got := strings.Join([]string{ev.Name, ev.Key, ev.Kind, ev.ItemID, ev.ID}, "|"); want != "" && got != want {
			t.Errorf("%s reads as %s, want %s", raw, got, want)
		}
		if kind, id, ok := ItemParts(ev.Key); !ok || kind != ev.Kind || id != ev.ItemID {
			t.Errorf("the key %.80s has the parts %.80q %.80q", ev.Key, kind, id)
		}
		if id, key := Whose([]byte(raw)); key != ev.Key || ev.HasID && id != ev.ID {
			t.Errorf("%.80s is of %.80s", raw, key)
		}
		if id, ok := ev.Claims(); ok {
			t.Errorf("%.80s claims %s", raw, id)
		}
	}
	for raw, reason := range map[string]string{
		`{"type":"item","id":"p","event":"E","userId":"u"}`:                                         "name",
		`{"type":"item","kind":"","id":"p","event":"E"}`:                                            "name",
		`{"type":"item","kind":7,"id":"p","event":"E"}`:                                             "name",
		`{"type":"item","kind":"a:b","id":"p","event":"E"}`:                                         "name",
		`{"type":"item","kind":"1a","id":"p","event":"E"}`:                                          "name",
		`{"type":"item","kind":"상품","id":"p","event":"E"}`:                                          "name",
		`{"type":"item","kind":"` + strings.Repeat("k", MaxKindBytes+1) + `","id":"x"}`:             "name",
		`{"type":"item","kind":"p","id":"p"}`:                                                       "name",
		`{"type":"item","kind":"p","id":"p","event":""}`:                                            "name",
		`{"type":"item","kind":"p","id":"p","event":7}`:                                             "name",
		`{"type":"item","kind":"p","event":"E","userId":"u"}`:                                       "identity",
		`{"type":"item","kind":"p","id":"","event":"E"}`:                                            "identity",
		`{"type":"item","kind":"p","id":null,"event":"E"}`:                                          "identity",
		`{"type":"item","kind":"p","id":true,"event":"E"}`:                                          "identity",
		`{"type":"item","kind":"p","id":1e999,"event":"E"}`:                                         "identity",
		`{"type":"item","kind":"p","id":"a\nb","event":"E"}`:                                        "identity",
		`{"type":"item","kind":"p","id":"` + strings.Repeat("x", MaxItemBytes+1) + `","event":1}`:   "name",
		`{"type":"item","kind":"p","event":"E","id":"` + strings.Repeat("x", MaxItemBytes+1) + `"}`: "identity",
		`{"type":"item","kind":"p","id":"p","event":"E","properties":7}`:                            "fields",
	} {
		_, err := new(Decoder).Decode([]byte(raw))
		if rej, ok := err.(*Reject); !ok || rej.Reason != reason || rej.Detail == "" || len(rej.Detail) > 400 {
			t.Errorf("%.80s: %v, want reason %s", raw, err, reason)
		}
	}
}

// TestItemParts: keys of other entities are no items.
func TestItemParts(t *testing.T) {
	for _, key := range []string{"u:product:p1", "a:x", "f:w:k", "i", "i:product", ""} {
		if kind, id, ok := ItemParts(key); ok {
			t.Errorf("%s is the item %s %s", key, kind, id)
		}
	}
}

// TestSetItem: the item of an item event is its properties with its id, and the
// properties stay as they are.
func TestSetItem(t *testing.T) {
	for properties, want := range map[string]string{
		`{"price":5}`:                                      `{"price":5,"product_id":"7"}`,
		`{"product_id":"other","price":5}`:                 `{"product_id":"7","price":5}`,
		`{"product_id":1,"a":2,"product\u005fid":3,"a":4}`: `{"product_id":"7","a":2}`,
		`{"products":[{"product_id":"x"}]}`:                `{"products":[{"product_id":"x"}],"product_id":"7"}`,
		`{}`:                                               `{"product_id":"7"}`,
		`[]`:                                               `{"product_id":"7"}`,
		`null`:                                             `{"product_id":"7"}`,
	} {
		ev := read(t, `{"type":"item","kind":"product","id":7,"event":"Price Changed","messageId":"m","properties":`+properties+`}`)
		before := plain(ev.Object("properties"))
		if items := ev.Items(); len(items) != 1 || plain(items[0]) != before {
			t.Errorf("%s has the items %v", properties, items)
		}
		for _, key := range []string{"other_key", "product_id"} { // the last counts
			ev.SetItem(key)
		}
		if items := ev.Items(); len(items) != 1 || string(items[0].MarshalTo(nil)) != want {
			t.Errorf("with its key, %s has the items %v, want %s", properties, items, want)
		}
		if after := plain(ev.Object("properties")); after != before {
			t.Errorf("the properties %s became %s", before, after)
		}
	}
	ev := read(t, `{"type":"track","event":"E","userId":"u","messageId":"m","properties":{"a":1}}`)
	ev.SetItem("product_id")
	if got := itemTexts(ev); got != `{"a":1,}` {
		t.Errorf("a track event has the item %s", got)
	}
}

// TestKeptItem: a copy of an item event is an event about the same item, also while
// it is applied for a user.
func TestKeptItem(t *testing.T) {
	const raw = `{"type":"item","kind":"product","id":"p\"1","event":"Price Changed","messageId":"m","userId":"x","properties":{"price":5,"name":"n","products":[{"a":1}]},"context":{"a":1}}`
	var price, items Fields
	price.Name = true
	price.Add("properties", "price")
	items.AddItems()
	for _, c := range []struct {
		fields Fields
		want   string
		size   int
	}{
		{Fields{}, `{"type":"item","event":"Price Changed","messageId":"m","kind":"product","id":"p\"1"}`, 0},
		{price, `{"type":"item","event":"Price Changed","messageId":"m","kind":"product","id":"p\"1","properties":{"price":5}}`, len("namePrice Changed") + len("price") + 8},
		{items, `{"type":"item","event":"Price Changed","messageId":"m","kind":"product","id":"p\"1","properties":{"price":5,"name":"n","products":[{"a":1}]}}`, -1},
	} {
		ev := read(t, raw)
		ev.SetItem("product_id")
		ev.As("u:ann")
		kept, size := ev.AppendKept(nil, &c.fields)
		if string(kept) != c.want || c.size >= 0 && size != c.size {
			t.Errorf("kept is %s, %d bytes\nwant    %s, %d", kept, size, c.want, c.size)
		}
		again := read(t, string(kept))
		if got := fmt.Sprint(again.Type, again.Kind, again.ItemID, again.Key, again.Name, again.ID); got != fmt.Sprint(Item, "product", `p"1`, `i:product:p"1`, "Price Changed", "m") {
			t.Errorf("%s reads as %s", kept, got)
		}
	}
}

// TestAppendItem: the text of an item event reads as the item that it was made of.
func TestAppendItem(t *testing.T) {
	raw := AppendItem([]byte("x"), "product", `p"1`, "Price \u2028Changed", []byte(`{"price":5}`), `"timestamp":"2026-01-01T00:00:00Z"`)[1:]
	ev := read(t, string(raw))
	if ev.Kind != "product" || ev.ItemID != `p"1` || ev.Name != "Price \u2028Changed" || !ev.HasTimestamp || itemTexts(ev) != `{"price":5,}` {
		t.Errorf("%s reads as %+v", raw, ev)
	}
	if raw := AppendItem(nil, "p", "1", "E", []byte("{}"), ""); string(raw) != `{"type":"item","kind":"p","id":"1","event":"E","properties":{}}` {
		t.Errorf("the text is %s", raw)
	}
}

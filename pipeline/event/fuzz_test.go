package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"

	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
)

// FuzzAdmit checks, on arbitrary bytes, that AdmitLive refuses with a Reject, that
// Decode reads an admitted event as AdmitLive does, and that both read ids as
// encoding/json does.
func FuzzAdmit(f *testing.F) {
	for s := range uint64(3) {
		_, events := oracle.Generate(s)
		for _, e := range events[:40] {
			f.Add(e)
		}
	}
	for _, e := range []string{
		`{"type":"page","user\u0049d":"a","userId":"b"}`, `{"type":"page","userId":"\ud83d","messageId":"\ud83d\u0041"}`,
		`{"type":"page","userId":1e999}`, `{"type":"page","userId":-0,"messageId":5001}`, `{"type":"page","userId":12345678901234567890,"properties":[]}`,
		`{"type":"page","userId":"u","timestamp":"2026-03-01T12:00:00.029:Z","sentAt":"2026-03-01t12:00:00z","originalTimestamp":"2026-03-01T12:00:60+0900"}`,
		`{"type":"fact","fact":"weather","key":7,"values":{"dust":90}}`, `{"type":"system","event":"Offer Shown","userId":"u","messageId":"m","proof":"none"}`, `{"pr\u006fof":"none","type":"page","userId":"u","messageId":"m","proof":"n\u006fne"}`,
		`{"type":"page","userId":"u","properties":{"products":{"1":{"a":1,"\u0061":2},"\u0031":{}}}}`, `{"t\u0079pe":"page","type":"track","userId":"u"}`,
		`{"type":"item","kind":"product","id":7.0,"event":"Price Changed","properties":{"product_id":"x","price":5},"messageId":"m"}`, `{"type":"item","k\u0069nd":"p","id":"a\u003ab","event":"E","userId":"u"}`,
		`{"type":"identify","userId":"u","anonymousId":"a","messageId":"m"}`, `{"type":"alias","userId":7,"previousId":"\u0037"}`, `{"type":"alias","userId":"u","previousId":8,"proof":"none"}`,
	} {
		f.Add([]byte(e))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		compareScan(t, raw)
		var strict, lenient Decoder
		ev, err := strict.AdmitLive(raw, 0)
		if err != nil {
			var r *Reject
			if !errors.As(err, &r) || r.Reason == "" || r.Detail == "" {
				t.Fatalf("refused by %T: %v", err, err)
			}
			return
		}
		again, err := lenient.Decode(raw)
		if err != nil {
			t.Fatalf("AdmitLive accepts the event, Decode refuses it: %v", err)
		}
		if first := firstMembers(raw); ev.Type != Clock && (ev.Type.String() != first["type"] || ev.HasID && ev.ID != idOf(first["messageId"]) || ev.NoProof != (first["proof"] == any("none")) || !keyIs(ev, first)) {
			t.Fatalf("%s reads as %+v", raw, ev)
		}
		checkClaim(t, ev, firstMembers(raw))
		if g, w := itemTexts(again), itemTexts(ev); g != w {
			t.Fatalf("AdmitLive reads the items %s\nDecode reads %s", w, g)
		}
		a, b := *ev, *again
		a.Root, b.Root, a.Raw, b.Raw, a.dec, b.dec = nil, nil, nil, nil, nil, nil
		if asJSON(a) != asJSON(b) {
			t.Fatalf("AdmitLive reads %+v\nDecode reads %+v", a, b)
		}
		if a.Type != Clock && (len(a.Key) < 3 || a.Type != Item && CheckUser(a.User()) != nil || a.ID == "") {
			t.Fatalf("admitted with key %q, id %q", a.Key, a.ID)
		}
		if ev.Type == Item {
			checkKeptItem(t, ev)
		}
	})
}

// keyIs reports whether the event's key is that of its members.
func keyIs(ev *Event, first map[string]any) bool {
	switch ev.Type {
	case Fact:
		return ev.Key == "f:"+idOf(first["fact"])+":"+idOf(first["key"])
	case Item:
		return ev.Key == "i:"+idOf(first["kind"])+":"+idOf(first["id"]) && ev.Kind == first["kind"] && ev.ItemID == idOf(first["id"])
	}
	if user := idOf(first["userId"]); user != "" {
		return ev.Key == "u:"+user
	}
	return ev.Key == "a:"+idOf(first["anonymousId"])
}

// checkClaim compares what the event claims with its members.
func checkClaim(t *testing.T, ev *Event, first map[string]any) {
	named := map[Type]string{Identify: "anonymousId", Alias: "previousId"}[ev.Type]
	id, ok := ev.Claims()
	if ok && (named == "" || id != idOf(first[named]) || idOf(first["userId"]) == "" || first["proof"] == any("none")) || !ok && id != "" {
		t.Fatalf("%s claims %q", ev.Raw, id)
	}
	if ev.Type == Alias && idOf(first["userId"]) != "" && idOf(first["userId"]) == idOf(first["previousId"]) {
		t.Fatalf("%s is an alias of itself", ev.Raw)
	}
}

// checkKeptItem checks that a copy of an item event is of the same item.
func checkKeptItem(t *testing.T, ev *Event) {
	fields := Fields{Name: true}
	fields.AddItems()
	fields.Add("context")
	kept, _ := ev.AppendKept(nil, &fields)
	again, err := new(Decoder).Decode(kept)
	if err != nil {
		t.Fatalf("%s is kept as %s: %v", ev.Raw, kept, err)
	}
	ev.SetItem("product_id")
	again.SetItem("product_id")
	if again.Key != ev.Key || again.Name != ev.Name || again.ID != ev.ID || len(ev.Items()) != 1 || itemTexts(again) != itemTexts(ev) || value.AliasText(ev.Items()[0].Get("product_id")) != ev.ItemID {
		t.Fatalf("%s is kept as %s", ev.Raw, kept)
	}
}

// firstMembers are the members of an object as encoding/json reads them: of equal
// keys the first.
func firstMembers(raw []byte) map[string]any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	first := map[string]any{}
	if _, err := dec.Token(); err != nil {
		return nil
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil
		}
		var v any
		if err := dec.Decode(&v); err != nil {
			return nil
		}
		if _, twice := first[key.(string)]; !twice {
			first[key.(string)] = v
		}
	}
	return first
}

// idOf is an id as text.
func idOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		if !strings.ContainsAny(v.String(), ".eE") && v != "-0" {
			return v.String()
		}
		if f, err := v.Float64(); err == nil {
			return strconv.FormatFloat(f+0, 'f', -1, 64)
		}
	}
	return ""
}

func itemTexts(ev *Event) (s string) {
	for _, it := range ev.Items() {
		s += plain(it)
	}
	return s
}

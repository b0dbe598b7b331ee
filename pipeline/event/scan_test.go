package event

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
)

// TestScan checks that a scanned event reads as a parsed one, on generated
// events and on the same events with a few bytes changed.
func TestScan(t *testing.T) {
	const seed = 4
	rng := rand.New(rand.NewPCG(seed, seed))
	scanned := 0
	for s := range uint64(40) {
		_, events := oracle.Generate(s)
		for _, raw := range events {
			if compareScan(t, raw) {
				scanned++
			}
			for range 20 {
				changed := append([]byte{}, raw...)
				for n := 1 + rng.IntN(3); n > 0 && len(changed) > 0; n-- {
					const bytes = "\"\"\\\\{}[]:,0-1.5eE+ \n\tntrufalse\x01\xffpoud8"
					at := rng.IntN(len(changed))
					switch b := bytes[rng.IntN(len(bytes))]; rng.IntN(3) {
					case 0:
						changed[at] = b
					case 1:
						changed = append(changed[:at], changed[at+1:]...)
					default:
						changed = append(changed[:at+1], changed[at:]...)
						changed[at] = b
					}
				}
				compareScan(t, changed)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d, oracle's %d", seed, s)
		}
	}
	if scanned < 1000 {
		t.Errorf("only %d events were scanned", scanned)
	}
}

// TestScanTokens is TestScan for members that the gateway looks for.
func TestScanTokens(t *testing.T) {
	const begin = `{"type":"page","userId":"u","messageId":"m"`
	for _, rest := range []string{
		`,"context":{"userToken":"t"}`, `,"context":{"userToken":""},"properties":{"userToken":"t"}`, `,"context":{"userToken":7},"properties":{"userToken":"t"}`,
		`,"properties":{"a":{"userToken":"x"},"userToken":"a\u0062c","userToken":"second"}`, `,"properties":{"user\u0054oken":"t","userToken":"second"}`,
		`,"properties":{"userToken":null},"context":[]`, `,"properties":null,"context":{"userToken" : "t" ,"locale":"de"}`,
		`,"userToken":"t","writeKey":null,"proof":"none","receivedAt":"2026-01-02T15:04:05Z"`, `,"userToken":"t","userToken":"second","context":{"userToken":"t"},"context":{"userToken":"second"}`,
		`,"logTime":"2026-01-02T15:04:05Z","sentAt":"2026-01-02T15:04:05Z"`,
	} {
		if !compareScan(t, []byte(begin+rest+"}")) {
			t.Errorf("%s is not scanned", rest)
		}
	}
}

// compareScan checks that raw, if it can be scanned, reads as when it is
// parsed. It reports whether raw can be scanned.
func compareScan(t *testing.T, raw []byte) bool {
	t.Helper()
	var scan, parse Decoder
	if !scan.scan(raw) {
		return false
	}
	if err := fastjson.ValidateBytes(raw); err != nil {
		t.Errorf("%s\nscan accepts it, but it is not JSON: %v", raw, err)
	}
	want, err := parse.decode(raw, 0)
	if err != nil {
		t.Errorf("%s\nscan accepts it, the parser refuses it: %v", raw, err)
		return true
	}
	a, b := scan.ev, *want
	for _, path := range [][]string{{"properties"}, {"traits"}, {"context"}, {"properties", "price"}, {"context", "page"}} {
		if g, w := plain(a.Get(path...)), plain(b.Get(path...)); g != w {
			t.Errorf("%s\nscanned, %v is %s; parsed, it is %s", raw, path, g, w)
		}
	}
	scan.scan(raw) // again, so that no section is parsed yet
	for _, where := range []struct {
		in  Member
		key string
	}{{InPage, "url"}, {InPage, "referrer"}, {InCampaign, "source"}, {InProperties, "referrer"}, {InProperties, "category"}} {
		if g, w := scan.ev.AliasText(where.in, where.key), b.AliasText(where.in, where.key); g != w {
			t.Errorf("%s\nscanned, the text at %v is %q; parsed, it is %q", raw, where, g, w)
		}
	}
	for _, in := range []Member{InProperties, InContext} {
		for _, key := range []string{"userToken", "category", "price", "locale"} {
			text, is, has := scan.ev.TextIn(in, key)
			if t2, is2, has2 := b.TextIn(in, key); text != t2 || is != is2 || has != has2 {
				t.Errorf("%s\nscanned, %q in %v is %q %v %v; parsed, it is %q %v %v", raw, key, in, text, is, has, t2, is2, has2)
			}
		}
	}
	for _, member := range []string{"proof", "userToken", "writeKey", "receivedAt", "logTime", "sentAt", "type", "messageId"} {
		if g, w := scan.ev.Has(member), b.Has(member); g != w {
			t.Errorf("%s\nscanned, it has %s: %v; parsed, %v", raw, member, g, w)
		}
	}
	var resumed Decoder
	if saved, ok := scan.Scanned(); !ok {
		t.Errorf("%s\nit was scanned, and cannot be resumed", raw)
	} else if g, w := everything(resumed.Resume(raw, &saved)), everything(&scan.ev); g != w {
		t.Errorf("%s\nresumed, it is %s\n scanned, it is %s", raw, g, w)
	}
	for i, e := range []*Event{&a, &scan.ev} {
		g, claims := e.Claims()
		if w, also := b.Claims(); g != w || claims != also {
			t.Errorf("%s\nscanned (%d), it claims %q %v; parsed, %q %v", raw, i, g, claims, w, also)
		}
	}
	a.Root, b.Root, a.Raw, b.Raw, a.dec, b.dec = nil, nil, nil, nil, nil, nil
	if g, w := asJSON(a), asJSON(b); g != w {
		t.Errorf("%s\nscanned, it is %s\n parsed, it is %s", raw, g, w)
	}
	return true
}

// everything is all of an event as text.
func everything(e *Event) string {
	text := plain(e.Get("properties")) + plain(e.Get("traits")) + plain(e.Get("context")) + e.AliasText(InCampaign, "source") + e.AliasText(InPage, "url")
	fields := *e
	fields.Root, fields.dec, fields.items = nil, nil, nil
	return text + asJSON(fields)
}

// plain is a value as JSON, with all texts escaped in the same way.
func plain(v *fastjson.Value) string {
	if value.Absent(v) {
		return "nothing"
	}
	switch v.Type() {
	case fastjson.TypeObject:
		s := "{"
		v.GetObject().Visit(func(key []byte, in *fastjson.Value) { s += fmt.Sprintf("%q:%s,", key, plain(in)) })
		return s + "}"
	case fastjson.TypeArray:
		s := "["
		for _, in := range v.GetArray() {
			s += plain(in) + ","
		}
		return s + "]"
	case fastjson.TypeString:
		return strconv.Quote(value.AliasText(v))
	}
	return string(v.MarshalTo(nil))
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

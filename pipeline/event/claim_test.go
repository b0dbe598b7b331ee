package event

import (
	"strings"
	"testing"
)

// TestClaims: whom an event claims for its user. Each is scanned where it can be, and
// parsed, which must agree.
func TestClaims(t *testing.T) {
	const uuid = "00000000-0000-0000-0000-000000000000"
	long := strings.Repeat("x", MaxUserBytes)
	for members, want := range map[string]string{
		`"type":"identify","userId":"u","anonymousId":"a"`:                           "a",
		`"type":"identify","userId":7,"anonymousId":8`:                               "8",
		`"type":"identify","userId":"u","anonymousId":"\u0061"`:                      "a",
		`"type":"identify","userId":"u","\u0061nonymousId":"a","anonymousId":"b"`:    "a",
		`"type":"identify","userId":"u","anonymousId":"u"`:                           "u",
		`"type":"identify","userId":"u","anonymousId":"` + long + `"`:                long,
		`"type":"identify","userId":"u","anonymousId":"` + long + `x"`:               "nobody",
		`"type":"identify","userId":"u","anonymousId":"a\u0000"`:                     "nobody",
		`"type":"identify","userId":"u","anonymousId":""`:                            "nobody",
		`"type":"identify","userId":"u","anonymousId":null`:                          "nobody",
		`"type":"identify","userId":"u","anonymousId":true`:                          "nobody",
		`"type":"identify","userId":"u","anonymousId":["a"]`:                         "nobody",
		`"type":"identify","userId":"u","anonymousId":1e999`:                         "nobody",
		`"type":"identify","userId":"u","previousId":"a"`:                            "nobody",
		`"type":"identify","anonymousId":"a"`:                                        "nobody",
		`"type":"identify","userId":"","anonymousId":"a"`:                            "nobody",
		`"type":"identify","userId":"u","anonymousId":"a","proof":"none"`:            "nobody",
		`"type":"identify","userId":"u","anonymousId":"a","proof":"x"`:               "a",
		`"type":"alias","userId":"u","previousId":"a"`:                               "a",
		`"type":"alias","userId":"u","previousId":8.50`:                              "8.5",
		`"type":"alias","userId":"u","previousId":"a","anonymousId":"b"`:             "a",
		`"type":"alias","userId":"u","anonymousId":"a"`:                              "nobody",
		`"type":"alias","anonymousId":"u","previousId":"u"`:                          "nobody",
		`"type":"alias","userId":"u","previousId":"a","proof":"none"`:                "nobody",
		`"type":"track","event":"E","userId":"u","anonymousId":"a","previousId":"a"`: "nobody",
		`"type":"group","userId":"u","anonymousId":"a"`:                              "nobody",
		`"type":"system","event":"E","userId":"u","anonymousId":"a"`:                 "nobody",
		`"type":"identify","userId":"u","anonymousId":"undefined "`:                  "undefined ",
		`"type":"identify","userId":"u","anonymousId":"Null"`:                        "Null",
		`"type":"identify","userId":"u","anonymousId":"11111111` + uuid[8:] + `"`:    "11111111" + uuid[8:],
		`"type":"identify","userId":"u","anonymousId":-0.0`:                          "nobody",
	} {
		ev := read(t, `{"messageId":"m",`+members+`}`)
		id, ok := ev.Claims()
		if !ok {
			id = "nobody" + id
		}
		if id != want {
			t.Errorf("%.100s claims %q, want %q", members, id, want)
		}
	}
	for _, id := range []string{`"undefined"`, `"null"`, `"NaN"`, `"None"`, `"0"`, `0`, `"[object Object]"`, `"` + uuid + `"`, `"anonymousId"`} {
		for _, members := range []string{`"type":"identify","userId":"u","anonymousId":` + id, `"type":"identify","anonymousId":"a","userId":` + id, `"type":"alias","userId":"u","previousId":` + id, `"type":"alias","previousId":"a","userId":` + id} {
			if id, ok := read(t, `{"messageId":"m",`+members+`}`).Claims(); ok {
				t.Errorf("%s claims %s", members, id)
			}
		}
	}
}

// TestAliasOfItself: an alias that names one id twice is no event.
func TestAliasOfItself(t *testing.T) {
	for _, ids := range []string{`"userId":"u","previousId":"u"`, `"userId":7,"previousId":"7"`, `"userId":"\u0075","previousId":"u","anonymousId":"a"`, `"userId":"0","previousId":0`} {
		for _, read := range []func([]byte) (*Event, error){new(Decoder).Decode, new(Decoder).AdmitLine} {
			_, err := read([]byte(`{"type":"alias","messageId":"m",` + ids + `}`))
			if rej, ok := err.(*Reject); !ok || rej.Reason != "identity" || !strings.Contains(rej.Detail, "previousId") {
				t.Errorf("%s: %v", ids, err)
			}
		}
	}
	read(t, `{"type":"alias","messageId":"m","anonymousId":"u","previousId":"u"}`)
	read(t, `{"type":"identify","messageId":"m","userId":"u","previousId":"u"}`)
}

// TestAs: a visitor's event that is applied for the user is the user's, and says no
// more than it did.
func TestAs(t *testing.T) {
	for _, raw := range []string{
		`{"type":"identify","anonymousId":"a","messageId":"m","traits":{"plan":"x"}}`,
		`{"type":"identify","anonymousId":"\u0061","messageId":"m","traits":{"plan":"x"}}`,
	} {
		ev := read(t, raw)
		key := []byte("u:ann")
		ev.As(string(key))
		if _, ok := ev.Claims(); ok || ev.Key != "u:ann" || ev.User() != "ann" || plain(ev.Get("traits")) != `{"plan":"x",}` {
			t.Errorf("%s as ann's is %+v", raw, ev)
		}
		var f Fields
		f.Add("traits")
		kept, _ := ev.AppendKept(nil, &f)
		if got, want := string(kept), `{"type":"identify","messageId":"m","userId":"ann","traits":{"plan":"x"}}`; got != want {
			t.Errorf("kept is %s\nwant %s", got, want)
		}
	}
}

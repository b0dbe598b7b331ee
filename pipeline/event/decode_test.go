package event

import (
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline/value"
)

// read decodes an event as the fold does and as the gateway does, which must agree.
func read(t *testing.T, raw string) *Event {
	t.Helper()
	compareScan(t, []byte(raw))
	ev, err := new(Decoder).Decode([]byte(raw))
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	live, err := new(Decoder).AdmitLive([]byte(raw), 0)
	if err != nil || live.ID != ev.ID || live.Key != ev.Key || live.HasID != ev.HasID {
		t.Errorf("%s: the gateway reads %+v (%v), the fold %+v", raw, live, err, ev)
	}
	return ev
}

func TestItems(t *testing.T) {
	for products, want := range map[string]string{
		`[{"id":1},{"id":2}]`:               `[{"id":1},{"id":2}]`,
		`[{"id":1},"x",null,[],7,{"id":2}]`: `[{"id":1},{"id":2}]`,
		`["x"]`:                             `[properties]`,
		`[]`:                                `[properties]`,
		`{}`:                                `[properties]`,
		`null`:                              `[properties]`,
		`"x"`:                               `[properties]`,
		`{"0":{"id":1},"2":{"id":2}}`:       `[{"id":1},{"id":2}]`,
		`{"10":{"id":3},"9":{"id":2},"-1":{"id":1}}`:                                      `[{"id":1},{"id":2},{"id":3}]`,
		`{"b":{"id":4},"":{"id":2},"7":{"id":1},"B":{"id":3}}`:                            `[{"id":1},{"id":2},{"id":3},{"id":4}]`,
		`{"1":{"id":2},"01":{"id":1},"+1":{"id":3},"1.0":{"id":4},"-":{"id":5}}`:          `[{"id":1},{"id":2},{"id":3},{"id":5},{"id":4}]`,
		`{"98765432109876543210":{"id":2},"-98765432109876543210":{"id":0},"5":{"id":1}}`: `[{"id":0},{"id":1},{"id":2}]`,
		`{"-10":{"id":1},"-9":{"id":2},"-0":{"id":3},"0":{"id":4}}`:                       `[{"id":1},{"id":2},{"id":3},{"id":4}]`,
		`{"0":{"id":1},"0":{"id":2},"\u0030":5}`:                                          `[{"id":1}]`,
		`{"\u0030":{"id":1},"0":{"id":2}}`:                                                `[{"id":1}]`,
		`{"id":1,"price":{"amount":2}}`:                                                   `[{"id":1,"price":{"amount":2}}]`,
		`{"0":{"id":1},"1":[]}`:                                                           `[{"0":{"id":1},"1":[]}]`,
	} {
		ev := read(t, `{"type":"track","event":"Order","userId":"u","messageId":"m","properties":{"a":1,"products":`+products+`}}`)
		for range 2 { // the second time they are remembered
			var got []string
			for _, it := range ev.Items() {
				text := string(it.MarshalTo(nil))
				if strings.HasPrefix(text, `{"a":1`) {
					text = "properties"
				}
				got = append(got, text)
			}
			if g := "[" + strings.Join(got, ",") + "]"; g != want {
				t.Errorf("items of %s are %s, want %s", products, g, want)
			}
		}
	}
}

// TestEmptyMaps: [] is an empty map, which is how PHP writes one.
func TestEmptyMaps(t *testing.T) {
	ev := read(t, `{"type":"identify","userId":"u","messageId":"m","properties":[],"traits":[ ],"context":[]}`)
	for _, name := range []string{"properties", "traits", "context"} {
		if v := ev.Get(name); v != nil {
			t.Errorf("%s is %s", name, v)
		}
		if o := ev.Object(name); o != NoObject {
			t.Errorf("the object %s is %s", name, o)
		}
	}
	if items := ev.Items(); len(items) != 1 || items[0] != NoObject {
		t.Errorf("items %v", items)
	}
	for _, no := range []string{`[1]`, `[[]]`, `[{}]`, `""`, `0`, `false`} {
		for _, name := range []string{"properties", "traits", "context"} {
			if ev, err := new(Decoder).Decode(fmt.Appendf(nil, `{"type":"page","userId":"u","messageId":"m",%q:%s}`, name, no)); err == nil {
				t.Errorf("%s may be %s: %+v", name, no, ev)
			}
		}
	}
}

// TestIDs: an id may be a number, and reads the same however its key is spelled.
func TestIDs(t *testing.T) {
	for fields, want := range map[string]string{
		`"userId":"u","messageId":"m"`:                                 "u:u m",
		`"userId":17,"messageId":5001`:                                 "u:17 5001",
		`"userId":17.0,"messageId":5.001e3`:                            "u:17 5001",
		`"userId":-0,"messageId":-0.0`:                                 "u:0 0",
		`"userId":0,"messageId":"m"`:                                   "u:0 m",
		`"userId":9007199254740993,"messageId":820982911946154508`:     "u:9007199254740993 820982911946154508",
		`"anonymousId":-5,"messageId":"m"`:                             "a:-5 m",
		`"userId":"","anonymousId":7,"messageId":"m"`:                  "a:7 m",
		`"userId":true,"anonymousId":"a","messageId":"m"`:              "a:a m",
		`"user\u0049d":"a","userId":"b","messageId":"m"`:               "u:a m",
		`"userId":"b","user\u0049d":"a","messageId":"m"`:               "u:b m",
		`"userId":"u","message\u0049d":"a","messageId":"b"`:            "u:u a",
		`"userId":null,"userId":"b","anonymousId":"a","messageId":"m"`: "a:a m",
		`"userId":"\ud83d","messageId":"\ud83d\ud83d\ude00"`:           "u:\uFFFD \uFFFD\U0001F600",
		`"userId":"\uDE00x","messageId":"\ud83d\u0041"`:                "u:\uFFFDx \uFFFDA",
	} {
		ev := read(t, `{"type":"page",`+fields+`}`)
		if got := ev.Key + " " + ev.ID; got != want || !ev.HasID {
			t.Errorf("%s reads as %q, want %q", fields, got, want)
		}
	}
	for _, id := range []string{`1e999`, `""`, `null`, `true`, `[]`, `{"a":1}`, `"` + strings.Repeat("m", MaxIDBytes+1) + `"`, strings.Repeat("1", MaxIDBytes+1)} { // an id of its bytes
		raw := `{"type":"page","userId":"u","messageId":` + id + `}`
		if ev := read(t, raw); ev.HasID || ev.ID != ContentID([]byte(raw)) {
			t.Errorf("%s has the id %q", raw, ev.ID)
		}
	}
	for _, no := range []string{`"userId":1e999`, `"userId":-1e999,"anonymousId":"a"`, `"anonymousId":1e999`} {
		if _, err := new(Decoder).AdmitLive([]byte(`{"type":"page",`+no+`}`), 0); err == nil || !strings.HasPrefix(err.Error(), "user: ") {
			t.Errorf("%s: %v", no, err)
		}
	}
	if id, key := Whose([]byte(`{"type":5,"message\u0049d":5001,"messageId":"x","userId":42.0}`)); id != "5001" || key != "u:42" {
		t.Errorf("of an event that is none: %q, %q", id, key)
	}
	if id, key := Whose([]byte(`tru`)); id != "" || key != "" {
		t.Errorf("of no JSON: %q, %q", id, key)
	}
}

// TestTimes: an unreadable own time is an error only in a file.
func TestTimes(t *testing.T) {
	const noon, later = `"2026-03-01T12:00:00Z"`, `"2026-03-01t13:00:00+00"`
	for fields, want := range map[string]string{
		`"x":1`:                       "none",
		`"timestamp":` + noon:         "12:00:00",
		`"timestamp":` + later:        "13:00:00",
		`"originalTimestamp":` + noon: "12:00:00",
		`"timestamp":null,"originalTimestamp":` + noon:                                                   "12:00:00",
		`"timestamp":"","originalTimestamp":` + noon:                                                     "unreadable",
		`"timestamp":"x","originalTimestamp":` + noon:                                                    "unreadable",
		`"timestamp":5,"originalTimestamp":` + noon:                                                      "unreadable",
		`"timestamp":"2026-03-01T12:00:00"`:                                                              "unreadable",
		`"timestamp":null,"originalTimestamp":"x"`:                                                       "unreadable",
		`"timestamp":` + noon + `,"originalTimestamp":"x"`:                                               "12:00:00",
		`"timestamp":null,"originalTimestamp":null`:                                                      "none",
		`"timestamp":` + noon + `,"sentAt":` + later:                                                     "12:00:00",
		`"timestamp":` + noon + `,"sentAt":` + later + `,"originalTimestamp":"2026-03-01T22:00:00+0900"`: "12:00:00 sent at original",
		`"originalTimestamp":` + noon + `,"sentAt":` + noon:                                              "12:00:00 sent at original",
		`"originalTimestamp":` + noon + `,"sentAt":"x"`:                                                  "12:00:00",
	} {
		raw := `{"type":"page","userId":"u","messageId":"m",` + fields + `}`
		ev, got := read(t, raw), "none"
		switch {
		case ev.TimestampErr != nil:
			got = "unreadable"
		case ev.HasTimestamp:
			got = value.FormatTime(ev.Timestamp)[11:19]
		}
		if ev.SentAtOriginal {
			got += " sent at original"
		}
		if got != want {
			t.Errorf("%s reads as %s, want %s", fields, got, want)
		}
		_, strict := new(Decoder).Admit([]byte(raw), 0)
		_, line := new(Decoder).AdmitLine([]byte(raw))
		for _, err := range []error{strict, line} {
			if (err != nil) != (want == "unreadable") || err != nil && !strings.HasPrefix(err.Error(), "timestamp: ") {
				t.Errorf("%s in a file: %v", fields, err)
			}
		}
	}
	for _, no := range []string{`"timestamp":"x","logTime":` + noon, `"logTime":"x","timestamp":` + noon} {
		if _, err := new(Decoder).Decode([]byte(`{"type":"clock",` + no + `}`)); err == nil {
			t.Errorf("a clock with %s", no)
		}
	}
}

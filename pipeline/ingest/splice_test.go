package ingest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// TestSplice: the text for the log of one event, under clock: broker.
func TestSplice(t *testing.T) {
	at := `"receivedAt":"2026-01-02T15:04:05Z"`
	id := func(raw string) string { return `"messageId":"` + event.ContentID([]byte(raw)) + `"` }
	bare := `{"type":"page","userId":"u"}`
	tests := []struct{ name, envelope, event, want string }{
		{"nothing missing", ``, `{"type":"page","userId":"u","messageId":"m"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `}`},
		{"no id", ``, bare, `{"type":"page","userId":"u",` + at + `,` + id(bare) + `}`},
		{"empty id", ``, `{"messageId":"","type":"page","userId":"u"}`, `{"type":"page","userId":"u",` + at + `,` + id(`{"messageId":"","type":"page","userId":"u"}`) + `}`},
		{"null id", ``, `{"type":"page","messageId":null,"userId":"u"}`, `{"type":"page","userId":"u",` + at + `,` + id(`{"type":"page","messageId":null,"userId":"u"}`) + `}`},
		{"number as id", ``, `{"type":"page","userId":"u","messageId":7}`, `{"type":"page","userId":"u","messageId":7,` + at + `}`},
		{"infinite number as id", ``, `{"type":"page","userId":"u","messageId":1e999}`, `{"type":"page","userId":"u",` + at + `,` + id(`{"type":"page","userId":"u","messageId":1e999}`) + `}`},
		{"id with an escape in its key", ``, `{"type":"page","userId":"u","message\u0049d":"a","messageId":""}`, `{"type":"page","userId":"u","message\u0049d":"a","messageId":"",` + at + `}`},
		{"empty id before another", ``, `{"type":"page","userId":"u","message\u0049d":"","messageId":"a"}`, `{"type":"page","userId":"u",` + at + `,` + id(`{"type":"page","userId":"u","message\u0049d":"","messageId":"a"}`) + `}`},
		{"receivedAt is the gateway's", ``, `{"receivedAt":"x","type":"page","userId":"u","receivedAt":2,"messageId":"m"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `}`},
		{"receivedAt with escapes", ``, `{"type":"page","userId":"u","messageId":"m","receive\u0064At":1}`, `{"type":"page","userId":"u","messageId":"m",` + at + `}`},
		{"logTime goes", ``, `{"type":"page","userId":"u","messageId":"m","logTime":"2020-01-01T00:00:00Z"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `}`},
		{"numbers and escapes stay", ``, `{"type":"page","userId":"u","messageId":"m","logTime":null,"x":[1.50,1e400,"\u00e9\/"]}`, `{"type":"page","userId":"u","messageId":"m","x":[1.50,1e400,"\u00e9\/"],` + at + `}`},
		{"batch's sentAt", `"sentAt":"2026-01-02T16:04:05+01:00",`, `{"type":"page","userId":"u","messageId":"m"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `,"sentAt":"2026-01-02T15:04:05Z"}`},
		{"own sentAt", `"sentAt":"2026-01-02T16:04:05+01:00",`, `{"type":"page","userId":"u","messageId":"m","sentAt":"2026-01-01T00:00:00Z"}`, `{"type":"page","userId":"u","messageId":"m","sentAt":"2026-01-01T00:00:00Z",` + at + `}`},
		{"own sentAt is unreadable", `"sentAt":"2026-01-02T16:04:05+01:00",`, `{"type":"page","sentAt":"x","userId":"u","messageId":"m"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `,"sentAt":"2026-01-02T15:04:05Z"}`},
		{"batch's sentAt is unreadable", `"sentAt":"x\"",`, `{"type":"page","userId":"u","messageId":"m"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `}`},
		{"batch's context", "\"context\":{\"a\":\n1},", `{"type":"page","userId":"u","messageId":"m"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `,"context":{"a": 1}}`},
		{"own context", `"context":{"a":1},`, `{"type":"page","context":{},"userId":"u","messageId":"m"}`, `{"type":"page","context":{},"userId":"u","messageId":"m",` + at + `}`},
		{"null context", `"context":{"a":1},`, `{"type":"page","context":null,"userId":"u","messageId":"m"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `,"context":{"a":1}}`},
		{"empty list as context", `"context":{"a":1},`, `{"type":"page","context":[],"userId":"u","messageId":"m"}`, `{"type":"page","context":[],"userId":"u","messageId":"m",` + at + `}`},
		{"of two the first", `"sent\u0041t":"2026-01-02T16:04:05+0100","sentAt":"x","context":{"a":1},"cont\u0065xt":{"b":2},`, `{"type":"page","userId":"u","messageId":"m"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `,"sentAt":"2026-01-02T15:04:05Z","context":{"a":1}}`},
		{"null before another", `"sentAt":null,"sentAt":"2026-01-02T16:04:05Z","context":[],"context":{"b":2},`, `{"type":"page","userId":"u","messageId":"m"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `}`},
		{"sentAt beyond all times", `"sentAt":"9999-12-31T23:59:59Z",`, `{"type":"page","userId":"u","messageId":"m"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `,"sentAt":"2262-04-11T23:47:16.854775807Z"}`},
		{"context is no object", `"context":[],`, `{"type":"page","userId":"u","messageId":"m"}`, `{"type":"page","userId":"u","messageId":"m",` + at + `}`},
		{"line breaks", ``, "{\n\"type\":\"page\",\r\n\"userId\":\"a\\nb c\",\"anonymousId\":\"u\"}", ``},
		{"line breaks", ``, "{\n\"type\":\"page\",\r\n\"userId\":\"u\",\"messageId\":\"m\"\n}", `{ "type":"page",  "userId":"u","messageId":"m" ,` + at + `}`},
	}
	for _, tt := range tests {
		log := newFakeLog(1)
		w := post(newGateway(t, log), "/v1/batch", `{`+tt.envelope+`"batch":[`+tt.event+`]}`)
		want := []string{tt.want}
		if tt.want == "" {
			want = nil
		}
		if got := log.all(); w.Code != 200 || !slices.Equal(got, want) {
			t.Errorf("%s: %d\n got %q\nwant %q", tt.name, w.Code, got, tt.want)
		}
	}
}

// TestSpliceClockEvent: under clock: event every stored event has a logTime.
func TestSpliceClockEvent(t *testing.T) {
	log := newFakeLog(3)
	log.clock = campaign.ClockEvent
	g := newGateway(t, log)
	if w := post(g, "/v1/page", `{"userId":"u"}`); w.Code != 400 || !strings.Contains(w.Body.String(), "timestamp") {
		t.Fatalf("an event before any time: %d %s", w.Code, w.Body)
	}
	w := post(g, "/v1/batch", batch(
		`{"type":"page","userId":"u"}`, // no log time yet: a dead letter
		`{"type":"page","userId":"u","timestamp":"2026-01-01T00:00:10Z"}`,
		`{"type":"page","userId":"u","originalTimestamp":"2026-01-01T00:00:05Z"}`,
		`{"type":"page","userId":"u"}`,
		`{"type":"page","timestamp":"2027-01-01T00:00:00Z"}`, // refused: it does not move log time
		`{"type":"page","userId":"u","logTime":"2026-01-01T00:00:30Z","timestamp":"2020-01-01T00:00:00Z"}`,
		`{"type":"page","userId":"u","timestamp":"2026-01-01T00:00:20Z"}`,
		`{"type":"clock","timestamp":"2026-01-01T00:01:00Z"}`,
	))
	if w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	var got []string
	for _, e := range log.events(event.Partition("u:u", 3)) {
		var ev struct{ Type, LogTime, MessageID string }
		if err := json.Unmarshal([]byte(e), &ev); err != nil {
			t.Fatal(err)
		}
		got = append(got, ev.Type+ev.LogTime[14:19])
	}
	want := []string{"page00:10", "page00:10", "page00:10", "page00:30", "page00:30", "clock01:00"}
	if !slices.Equal(got, want) {
		t.Errorf("log times %q, want %q", got, want)
	}
	if dead := log.dead(); len(dead) != 2 {
		t.Errorf("dead letters %q", dead)
	}
	for p := range 3 {
		if e := log.events(p); len(e) == 0 || !strings.Contains(e[len(e)-1], `"clock"`) {
			t.Errorf("partition %d does not end with the clock: %q", p, e)
		}
	}
}

// TestContextUTF8: the log has UTF-8 only, since files of its events must be readable
// too. So a batch's members must be UTF-8, as its events must.
func TestContextUTF8(t *testing.T) {
	for _, member := range []string{`"context":{"campaign":{"source":"` + "\xff" + `"}}`, `"x":"` + "\xed\xa0\x80" + `"`} {
		log := newFakeLog(1)
		w := post(newGateway(t, log), "/v1/batch", `{`+member+`,"batch":[{"type":"page","userId":"u"}]}`)
		if w.Code != 400 || !strings.Contains(w.Body.String(), "UTF-8") || len(log.all()) > 0 {
			t.Errorf("%q: %d %s, stored %q", member, w.Code, w.Body, log.all())
		}
	}
}

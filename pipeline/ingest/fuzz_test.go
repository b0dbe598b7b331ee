package ingest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// FuzzBody: whatever is sent, the answer is a documented one and never an internal
// error, and each stored line is a JSON object that the log's reader can read. It
// reads the ids that the gateway has read.
func FuzzBody(f *testing.F) {
	for _, s := range []string{
		batch(good), good, batch(good, `{}`, `tru`, `[[]]`), zipped(batch(good)), zipped(zipped("x")), "\x1f\x8b", mark + good, "x\x9c", "{\x00}\x00",
		`{"batch":[{"type":"clock","timestamp":"2026-01-01T00:00:00Z"}],"sentAt":"2026-01-01T00:00:00Z","context":{"a":1}}`,
		"{\"batch\":[\n{\"type\":\"page\",\r\n\"userId\":12e3,\"messageId\":null,\"logTime\":null,\"receivedAt\":\"\\n\"}]}",
		`{"userId":"a\u0000","event":"\ud800"}`, `{"user\u0049d":"\ud83d","userId":"b","event":"A","messageId":5001,"message\u0049d":"m","receive\u0064At":1}`,
		`{"batch":[{"type":"page","user\u0049d":1e999,"userId":-0},{"type":"page","userId":-0,"messageId":1e999,"timestamp":"x","sentAt":"2026-01-01T00:00:60:Z"}]}`, `{"a":"\`, `{"batch":[,]}`, `{"batch":[{"a":1]}]}`, strings.Repeat("[", 1000),
	} {
		f.Add([]byte(s), true, false)
		f.Add([]byte(s), false, true)
	}
	f.Fuzz(func(t *testing.T, body []byte, asBatch, eventClock bool) {
		log := newFakeLog(3)
		if eventClock {
			log.clock = campaign.ClockEvent
		}
		g := newGateway(t, log)
		path := "/v1/track"
		if asBatch {
			path = "/v1/batch"
		}
		w := post(g, path, string(body))
		switch w.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		default:
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("answered %q", w.Body)
		}
		if !asBatch && len(log.dead()) > 0 {
			t.Error("a single event became a dead letter")
		}
		var d, live event.Decoder
		var stored []string
		var partition []int
		for p := range log.Partitions() {
			for _, e := range log.events(p) {
				stored, partition = append(stored, e), append(partition, p)
			}
		}
		for i, e := range stored {
			p := partition[i]
			if !json.Valid([]byte(e)) {
				t.Errorf("stored %q", e)
			}
			ev, err := d.Decode([]byte(e))
			if err != nil {
				t.Fatalf("stored %q, which the log's reader refuses: %v", e, err)
			}
			if !ev.HasReceived || ev.ReceivedAt != testNow || ev.HasLogTime != eventClock {
				t.Errorf("stored %q", e)
			}
			if ev.Type == event.Clock {
				continue
			}
			if p != event.Partition(ev.Key, 3) {
				t.Errorf("stored %q in partition %d, the reader finds the user %q", e, p, ev.Key)
			}
			if asBatch {
				continue
			}
			sent, err := live.AdmitLive(bytes.TrimSpace(body), event.Track)
			if err == nil && (sent.ID != ev.ID || sent.Key != ev.Key || sent.Name != ev.Name || sent.Type != ev.Type) {
				t.Errorf("stored %q of %q, but the gateway reads %+v", e, body, sent)
			}
		}
	})
}

// FuzzScan: the scan accepts all valid JSON, and finds its end.
func FuzzScan(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"a":["\"\\",-1.5e3,true,null,{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		i := skipSpace(b, 0)
		v, err := scanValue(b, i)
		if !json.Valid(b) || !utf8.Valid(b) {
			return
		}
		if err != nil || skipSpace(b, v.to) != len(b) || v.control {
			t.Fatalf("%q: %+v, %v", b, v, err)
		}
		if b[i] != '{' {
			return
		}
		var want map[string]json.RawMessage
		if json.Unmarshal(b, &want) != nil {
			return
		}
		m := members{b: b}
		got := map[string]string{}
		for {
			key, val, ok := m.next()
			if !ok {
				break
			}
			got[name(key.of(b))] = string(val.of(b))
		}
		if m.err != nil || len(got) != len(want) {
			t.Fatalf("%q: members %q, %v", b, got, m.err)
		}
		for k, v := range want {
			if got[k] != string(v) {
				t.Errorf("%q: member %q is %q", b, k, got[k])
			}
		}
	})
}

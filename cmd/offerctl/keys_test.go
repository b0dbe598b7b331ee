package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

// TestReplayKeys: replay sends a clock event at its end, which a write key may not
// under clock: event: then it fails, and says which key it needs.
func TestReplayKeys(t *testing.T) {
	t.Parallel()
	def, err := loadOrShipped("event", "")
	if err != nil {
		t.Fatal(err)
	}
	keys := file(t, "keys.yaml", "- {name: all, key: ALL, roles: [server, feeder]}\n")
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", addr: "127.0.0.1:0", writeKey: "KEY", serverKey: "SERVER", keysFile: keys, set: def, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	events := file(t, "events.jsonl", view(1, ""))
	withFact := file(t, "facts.jsonl", view(2, "")+`{"type":"fact","fact":"weather","key":"seoul","values":{},"timestamp":"2026-01-01T00:00:09Z"}`+"\n")
	replay := func(args ...string) (string, int) {
		return ran(t, append([]string{"replay", "--to", "http://" + n.addr}, args...)...)
	}
	if text, code := replay("--events", events, "--write-key", "KEY"); code != 1 || !strings.Contains(text, "refused 1 events that this key may not send") || !strings.Contains(text, "--server-key") {
		t.Errorf("a write key: exit %d, %s", code, text)
	}
	if text, code := replay("--events", events, "--server-key", "SERVER"); code != 0 {
		t.Errorf("a server key: exit %d, %s", code, text)
	}
	if text, code := replay("--events", withFact, "--server-key", "SERVER"); code != 1 || !strings.Contains(text, "refused 1 events") {
		t.Errorf("a fact without the role: exit %d, %s", code, text)
	}
	if text, code := replay("--events", withFact, "--server-key", "ALL"); code != 0 {
		t.Errorf("a fact: exit %d, %s", code, text)
	}
	item := file(t, "items.jsonl", `{"type":"item","kind":"product","id":"p1","event":"Price Changed","properties":{"price":5},"timestamp":"2026-01-01T00:00:10Z"}`+"\n")
	if text, code := replay("--events", item, "--server-key", "SERVER"); code != 0 {
		t.Errorf("an event about an item: exit %d, %s", code, text)
	}
	if text, code := replay("--events", item, "--write-key", "KEY"); code != 1 || !strings.Contains(text, "refused 2 events") && !strings.Contains(text, "refused 1 events") {
		t.Errorf("an event about an item of a browser: exit %d, %s", code, text)
	}
	if text, code := replay("--events", events, "--server-key", "ALL", "--write-key", "KEY"); code != 2 || !strings.Contains(text, "exclude each other") {
		t.Errorf("both keys: exit %d, %s", code, text)
	}
}

// TestDeadLetterSender: a dead letter is sent again as who sent it, so that a key of
// role server does not vouch for what a browser said.
func TestDeadLetterSender(t *testing.T) {
	t.Parallel()
	n := startShop(t)
	log, err := n.conn.OpenGatewayLog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	letter := func(id, sender string) pipeline.Dead {
		return pipeline.Dead{Reason: "size", Sender: sender, Raw: fmt.Appendf(nil, `{"type":"page","userId":"u","messageId":%q}`, id)}
	}
	if err := log.DeadLetters(t.Context(), "x", []pipeline.Dead{letter("1", "browser"), letter("2", "verified"), letter("3", "trusted"), letter("4", ""), letter("5", "denied")}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []string
	to := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Header.Get("Offerstream-Sender"))
		if len(got) == 5 {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer to.Close()
	out, _ := fails(t, 1, "deadletters", "replay", "--all", "--nats", n.natsURL(), "--to", to.URL, "--server-key", "SERVER")
	if want := []string{"browser", "verified", "", "browser", "denied"}; !slices.Equal(got, want) || !strings.Contains(out, "4 sent, 1 not sent") {
		t.Errorf("sent as %q, want %q\n%s", got, want, out)
	}
	for raw, want := range map[string]string{
		`{"proof":"none","type":"page","userId":"u","receivedAt":"2026-01-01T00:00:00Z"}`: "browser", `{"type":"page","userId":"u","receivedAt":"2026-01-01T00:00:00Z"}`: "",
		`{"type":"page","userId":"u","pr\u006fof":"none","receivedAt":"2026-01-01T00:00:00Z"}`: "browser",
		`{"type":"identify","messageId":"m","userId":"u"}`:                                     "browser", // what is kept of an event for a timer
	} {
		ev, err := new(event.Decoder).AdmitLive([]byte(raw), 0)
		if err != nil {
			t.Fatal(err)
		}
		if as := sentBy(&broker.DeadLetter{Source: "3", Raw: []byte(raw)}, ev); as != want {
			t.Errorf("%s of the log is sent as %q", raw, as)
		}
	}
}

// TestServeKeys: serve makes a key of its own only if none is given in any way.
func TestServeKeys(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "keys.yaml")
	text, code := ran(t, "serve", "--dir", t.TempDir(), "--nats-addr", "127.0.0.1:0", "--addr", "127.0.0.1:0", "--metrics-addr", "", "--keys", missing)
	if code != 1 || !strings.Contains(text, missing) || strings.Contains(text, "write key of this run") {
		t.Errorf("a missing file: exit %d, %s", code, text)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("it was made")
	}
}

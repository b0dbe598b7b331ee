package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
)

// within is the longest that a test waits. It is so long that only something
// that hangs exceeds it, never something slow.
const within = 2 * time.Minute

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

// lines collects the log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func await(t *testing.T, log *lines, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ctx := limited(t); !ok(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("awaited in vain: %s\n%s", what, log)
		}
	}
}

func startNATS(t *testing.T, dir string, port int) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: dir, Port: port, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// freePort returns a port on which nothing listens now.
func freePort(t *testing.T) int {
	t.Helper()
	s := startNATS(t, t.TempDir(), -1)
	defer s.Shutdown()
	u, err := url.Parse(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// get and post return status and body, or status 0 if nothing answers.
func get(url string) (int, string) { return answer(http.Get(url)) }

func post(url, body string) (int, string) {
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.SetBasicAuth("k", "")
	return answer(http.DefaultClient.Do(req))
}

func answer(resp *http.Response, err error) (int, string) {
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// TestGateway: a gateway starts without NATS, reports that it is not ready, and
// becomes ready when NATS is available. While NATS is gone, events are refused
// with 503. When it is told to stop, it exits with status 0.
func TestGateway(t *testing.T) {
	port, dir := freePort(t), t.TempDir()
	ctx, end := context.WithCancel(limited(t))
	var log lines
	code := make(chan int, 1)
	go func() {
		args := []string{"--nats", "nats://127.0.0.1:" + strconv.Itoa(port), "--addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0", "--partitions", "2"}
		code <- run(ctx, args, []string{"OFFERSTREAM_WRITE_KEY=k"}, io.Discard, &log)
	}()
	addr := func(msg string) string {
		line := regexp.MustCompile(`msg="` + msg + `" addr=(\S+)`)
		await(t, &log, msg, func() bool { return line.MatchString(log.String()) })
		return "http://" + line.FindStringSubmatch(log.String())[1]
	}
	ops := addr("metrics served")
	await(t, &log, "word that NATS is not there", func() bool { return strings.Contains(log.String(), "NATS is not ready") })
	if status, body := get(ops + "/healthz"); status != 200 {
		t.Errorf("alive without NATS: %d %s", status, body)
	}
	if status, body := get(ops + "/readyz"); status != 503 {
		t.Errorf("ready without NATS: %d %s", status, body)
	}

	s := startNATS(t, dir, port)
	api := addr("gateway serving")
	event := `{"event":"Product Viewed","userId":"u","messageId":"m"}`
	if status, body := post(api+"/v1/track", event); status != 200 {
		t.Errorf("with NATS: %d %s", status, body)
	}
	if status, _ := get(ops + "/readyz"); status != 200 {
		t.Errorf("ready with NATS: %d", status)
	}

	s.Shutdown()
	await(t, &log, "503 without NATS", func() bool { status, _ := post(api+"/v1/track", event); return status == 503 })
	await(t, &log, "not ready without NATS", func() bool { status, _ := get(ops + "/readyz"); return status == 503 })
	startNATS(t, dir, port)
	await(t, &log, "200 with NATS again", func() bool { status, _ := post(api+"/v1/track", event); return status == 200 })
	if _, metrics := get(ops + "/metrics"); !strings.Contains(metrics, "offerstream_gateway_events_accepted_total") || !strings.Contains(metrics, "go_goroutines") {
		t.Errorf("the metrics lack something:\n%s", metrics)
	}

	end()
	if got := <-code; got != 0 || !strings.Contains(log.String(), "everything accepted is in the log") {
		t.Errorf("it ended with %d\n%s", got, log.String())
	}
	if strings.Contains(log.String(), "write_key=k ") {
		t.Error("the log shows the write key")
	}
}

func TestGatewayEndsWhileItWaits(t *testing.T) {
	ctx, end := context.WithCancel(limited(t))
	var log lines
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"--nats", "nats://127.0.0.1:" + strconv.Itoa(freePort(t)), "--write-key", "k"}, nil, io.Discard, &log)
	}()
	await(t, &log, "word that NATS is not there", func() bool { return strings.Contains(log.String(), "NATS is not ready") })
	end()
	if got := <-code; got != 0 {
		t.Errorf("it ended with %d\n%s", got, &log)
	}
}

func TestGatewayRefusals(t *testing.T) {
	s := startNATS(t, t.TempDir(), -1)
	c, err := broker.Connect(limited(t), broker.Options{InProcess: s, Partitions: 2, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, 0, ""},
		{[]string{"--nats", s.ClientURL()}, 2, "write-key"},
		{[]string{"--nts", "x"}, 2, "--nats"},
		{[]string{"--nats", s.ClientURL(), "--write-key", "k", "--partitions", "3"}, 1, "it has 2 partitions, not 3"},
		{[]string{"--nats", s.ClientURL(), "--write-key", "k", "--addr", strings.TrimPrefix(s.ClientURL(), "nats://")}, 1, "in use"},
		{[]string{"--nats", s.ClientURL(), "--write-key", "k", "--metrics-addr", strings.TrimPrefix(s.ClientURL(), "nats://")}, 1, "in use"},
	} {
		var stderr, stdout bytes.Buffer
		if got := run(limited(t), c.args, nil, &stdout, &stderr); got != c.code || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("gateway %q: %d, want %d and %q\n%s", c.args, got, c.code, c.want, &stderr)
		}
		if c.code == 0 && stdout.Len() == 0 {
			t.Error("--help prints nothing")
		}
	}
}

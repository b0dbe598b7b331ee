package broker

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"offerstream/pipeline/broker/embedded"
)

// within is how long a test waits for a condition. It is so long that only
// something that hangs exceeds it, not a slow machine.
const within = 2 * time.Minute

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

// await polls until ok returns true, for conditions that nothing signals.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	ctx := limited(t)
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("awaited in vain: %s", what)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func serve(t *testing.T, o embedded.Options) *embedded.Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Log = quiet()
	s, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// portOf returns the port of a server, so that it can be started there again.
func portOf(t *testing.T, s *embedded.Server) int {
	t.Helper()
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

func dial(t *testing.T, o Options) *Conn {
	t.Helper()
	c, err := open(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t *testing.T, o Options) (*Conn, error) {
	if o.Log == nil {
		o.Log = quiet()
	}
	c, err := Connect(limited(t), o)
	if err == nil {
		t.Cleanup(c.Close)
	}
	return c, err
}

// refusal connects, which must fail with a Refusal, and returns its text.
func refusal(t *testing.T, o Options) string {
	t.Helper()
	_, err := open(t, o)
	var no *Refusal
	if !errors.As(err, &no) {
		t.Fatalf("not refused: %v", err)
	}
	return err.Error()
}

// lines collects log lines.
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

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestConnectWaitsForNATS(t *testing.T) {
	s := serve(t, embedded.Options{Port: -1})
	port, url := portOf(t, s), s.ClientURL()
	s.Shutdown()

	var log lines
	got := make(chan error, 1)
	go func() {
		_, err := open(t, Options{URL: url, Log: log.logger()})
		got <- err
	}()
	await(t, "word that NATS is not there", func() bool { return strings.Contains(log.String(), "NATS is not ready") })
	serve(t, embedded.Options{Port: port})
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "NATS is not ready"); n > 1+int(within/sayEvery) {
		t.Errorf("said so %d times", n)
	}
}

// TestJoinWaitsForStreams: a tool that joins while the deployment is being made waits
// until it is complete.
func TestJoinWaitsForStreams(t *testing.T) {
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s, Partitions: 3})
	if err := c.JS.DeleteStream(limited(t), c.Names.EventsStream(2)); err != nil {
		t.Fatal(err)
	}
	var log lines
	got := make(chan error, 1)
	go func() {
		_, err := open(t, Options{InProcess: s, Join: true, Log: log.logger()})
		got <- err
	}()
	await(t, "word that a stream is not there", func() bool { return strings.Contains(log.String(), "EVENTS-2 does not exist yet") })
	dial(t, Options{InProcess: s, Partitions: 3})
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestConnectEndsWithItsContext(t *testing.T) {
	s := serve(t, embedded.Options{Port: -1})
	url := strings.Replace(s.ClientURL(), "//", "//me:secret@", 1)
	s.Shutdown()
	var log lines
	ctx, cancel := context.WithCancel(limited(t))
	got := make(chan error, 1)
	go func() {
		_, err := Connect(ctx, Options{URL: url, Log: log.logger()})
		got <- err
	}()
	await(t, "word that NATS is not there", func() bool { return log.String() != "" })
	cancel()
	err := <-got
	if err == nil || strings.Contains(err.Error()+log.String(), "secret") {
		t.Errorf("got %v and logged %s", err, log.String())
	}
}

func TestConnectRefusals(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{URL: "nats://127.0.0.1:x"}, "give a URL such as"},
		{Options{URL: "nats://127.0.0.1:1", Creds: t.TempDir() + "/none"}, "credentials file"},
		{Options{URL: "nats://127.0.0.1:1", Prefix: "a.b"}, "prefix"},
	} {
		if got := refusal(t, c.o); !strings.Contains(got, c.want) {
			t.Errorf("%+v: %s", c.o, got)
		}
	}
}

// TestReconnect: a worker's lost connection is closed; a gateway's reconnects.
func TestReconnect(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, embedded.Options{Dir: dir, Port: -1})
	port := portOf(t, s)
	worker := dial(t, Options{URL: s.ClientURL(), Partitions: 2})
	gateway := dial(t, Options{URL: s.ClientURL(), Reconnect: true})
	if gateway.Partitions != 2 {
		t.Errorf("the gateway sees %d partitions", gateway.Partitions)
	}
	s.Shutdown()
	<-worker.Closed()
	await(t, "the gateway's connection is lost", func() bool { return !gateway.NC.IsConnected() })
	if err := gateway.NC.Publish("x", nil); err == nil {
		t.Error("a publish without a connection is buffered")
	}
	serve(t, embedded.Options{Dir: dir, Port: port})
	await(t, "the gateway's connection is back", gateway.NC.IsConnected)
	select {
	case <-gateway.Closed():
		t.Error("the gateway's connection is closed")
	default:
	}
}

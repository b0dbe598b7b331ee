package embedded

import (
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

func begin(t *testing.T, o Options) *Server {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// TestRestart: after a restart on the same port, or without a socket, all stored
// messages are there.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s := begin(t, Options{Dir: dir, Port: -1, SyncAlways: true})
	u, err := url.Parse(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish("s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
	s.Shutdown() // the second call does nothing

	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	s = begin(t, Options{Dir: dir, Port: port})
	if s.ClientURL() != u.String() {
		t.Errorf("listens on %s, not again on %s", s.ClientURL(), u)
	}
	inside, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	if js, err = inside.JetStream(); err != nil {
		t.Fatal(err)
	}
	if m, err := js.GetLastMsg("S", "s"); err != nil || string(m.Data) != "kept" {
		t.Errorf("got %v, %v", m, err)
	}
}

func TestOneProcessADirectory(t *testing.T) {
	dir := t.TempDir()
	s := begin(t, Options{Dir: dir})
	if _, err := Start(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process uses this directory") {
		t.Errorf("a second server on the same directory: %v", err)
	}
	s.Shutdown()
	begin(t, Options{Dir: dir})
}

// TestNoJetStream: if JetStream cannot start, Start returns the reason, and not a
// server without JetStream.
func TestNoJetStream(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("a file where the streams' directory is to be: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	begin(t, Options{Dir: dir}) // the lock has been released
}

func TestPortInUse(t *testing.T) {
	s := begin(t, Options{Dir: t.TempDir(), Port: -1})
	u, err := url.Parse(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Options{Dir: t.TempDir(), Port: port, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a port that is taken: %v", err)
	}
}

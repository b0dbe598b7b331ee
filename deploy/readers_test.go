package deploy_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

// TestReaders: only the operator can read the log and the snapshots, as explain,
// backtest, check and test do. Gateways and the senders of offers never see an event.
func TestReaders(t *testing.T) {
	ns := startNATS(t)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var log lines
	connect := func(ctx context.Context, role, client string) (*broker.Conn, error) {
		return broker.Connect(ctx, broker.Options{URL: as(ns, role), Client: client, Join: role != "operator", Partitions: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	}
	operator, err := connect(ctx, "operator", "offerctl")
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close()
	const event = `{"type":"track","event":"View","userId":"ada","messageId":"m1","timestamp":"2026-01-01T10:00:00Z","receivedAt":"2026-01-01T10:00:00Z"}`
	if _, err := operator.JS.PublishMsg(ctx, &nats.Msg{Subject: operator.Names.EventsSubject(0, "in"), Data: []byte(event + "\n")}); err != nil {
		t.Fatal(err)
	}
	read := func(ctx context.Context, c *broker.Conn) (events int, err error) {
		err = audit.Sample(ctx, c, 10, func([]byte) error { events++; return nil })
		return events, err
	}
	if n, err := read(ctx, operator); n != 1 || err != nil {
		t.Errorf("the operator reads %d events: %v", n, err)
	}
	if err := audit.Replay(ctx, operator, audit.ReplayOptions{Log: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Errorf("the operator replays: %v", err)
	}
	for _, role := range []string{"gateway", "subscriber"} {
		some, cancel := context.WithTimeout(ctx, 3*time.Second)
		c, err := connect(some, role, map[string]string{"gateway": "offerstream-gateway"}[role])
		if err == nil {
			var n int
			if n, err = read(some, c); n > 0 {
				t.Errorf("the %s reads %d events", role, n)
			}
			c.Close()
		}
		if err == nil {
			t.Errorf("the %s may read the log", role)
		}
		cancel()
	}
}

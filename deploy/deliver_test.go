package deploy_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/deliver"
)

// deliverAsRole sends the offers of channel web as user deliver of nats.conf, and stores a dead
// letter, which it sends again in vain: it is too old.
func deliverAsRole(t *testing.T, ns *server.Server, logger *slog.Logger) (delivered func() int64) {
	t.Helper()
	var got atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
	t.Cleanup(receiver.Close)
	ctx, end := context.WithTimeout(t.Context(), within)
	conn, err := broker.Connect(ctx, broker.Options{URL: as(ns, "deliver"), Client: "offerstream-deliver", Join: true, Reconnect: true, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	opt := deliver.Options{Conn: conn, Channel: "web", Log: logger, Receiver: deliver.Receiver{
		Preset: "webhook", URL: receiver.URL, Secret: deliver.SecretText("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAA"), AllowPrivate: true}}
	d, err := deliver.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	old := pipeline.Dead{Reason: "test", Detail: "1 by deliver-web-webhook: ", Raw: []byte(`{"id":"1","channel":"web","user":"ada","time":"2026-01-01T10:00:00Z"}`)}
	if err := conn.Undelivered().Put(ctx, "1", old); err != nil {
		t.Error(err)
	}
	opt.Letters = true
	letters, err := deliver.New(opt)
	if err == nil {
		err = letters.Run(ctx)
	}
	if err != nil {
		t.Error(err)
	}
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		end()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(within):
			t.Error("the sender does not end")
		}
	})
	return got.Load
}

package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds of a connection. A client may take readTimeout for a request; the
// answer comes within the gateway's own timeout, which is added for writing.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10 // bytes
	drainTimeout  = 45 * time.Second
)

// Run serves events on api until ctx is done, then drains: the listener is
// closed, /readyz says no, what is in hand is answered. It returns nil when
// nothing was left, and early with the cause when the gateway has stopped.
func (g *Gateway) Run(ctx context.Context, api net.Listener) error {
	srv := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + g.opt.Timeout + 10*time.Second,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(g.opt.Logger.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(api) }()
	g.opt.Logger.Info("gateway serving", "addr", api.Addr().String(), "partitions", len(g.lanes))
	var cause error
	select {
	case <-ctx.Done():
	case <-g.stopped:
		cause = g.cause
	case err := <-served:
		cause = fmt.Errorf("gateway: serving on %s: %w", api.Addr(), err)
	}
	return errors.Join(cause, g.shutdown(srv))
}

// shutdown ends the server first and the lanes after it, so that a request
// that is being read as the signal comes is still taken.
func (g *Gateway) shutdown(srv *http.Server) error {
	g.opt.Logger.Info("gateway draining", "requests", len(g.slots))
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	g.leaving.Store(true)
	err := srv.Shutdown(ctx)
	if err != nil {
		srv.Close()
	}
	err = errors.Join(err, g.Drain(ctx))
	if err == nil {
		g.opt.Logger.Info("gateway drained: everything accepted is in the log")
	}
	return err
}

// Ops serves /metrics, /healthz and /readyz, for an address of its own.
func (g *Gateway) Ops(from prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(from, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", g.serveOther)
	mux.HandleFunc("/readyz", g.serveOther)
	return mux
}

// RunOps serves h until ctx is done. It is meant to outlive Run, so that a
// draining gateway can be watched.
func RunOps(ctx context.Context, ops net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ops); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("gateway: serving metrics on %s: %w", ops.Addr(), err)
	}
	return nil
}

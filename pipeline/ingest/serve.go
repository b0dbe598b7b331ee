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

// Limits of a connection.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second // for a whole body; the answer may take Options.Timeout more
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10 // bytes
	drainTimeout  = 45 * time.Second
	maxStreams    = 100 // requests at once on one connection of HTTP/2
)

// Run accepts events on api until ctx is done, and then drains: it closes the
// listener, /readyz fails, and the accepted requests are answered. It returns nil
// if all were answered. If the gateway stops, Run returns early with the cause.
func (g *Gateway) Run(ctx context.Context, api net.Listener) error {
	srv := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyGrace, // then pacedBody's
		WriteTimeout:      readTimeout + g.opt.Timeout + 10*time.Second,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ConnState:         g.connections.watch,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(g.opt.Logger.Handler(), slog.LevelDebug),
	}
	watch, unwatch := context.WithCancel(ctx)
	defer unwatch()
	go g.watchKeys(watch)
	served := make(chan error, 1)
	go func() {
		if g.certificate == nil {
			served <- srv.Serve(quietListener{api})
			return
		}
		srv.TLSConfig = g.certificate.config()
		served <- srv.ServeTLS(api, "", "")
	}()
	g.opt.Logger.Info("gateway serving", "addr", api.Addr().String(), "partitions", len(g.lanes), "https", g.certificate != nil)
	if len(g.opt.Origins) == 0 {
		g.opt.Logger.Info("scripts of pages of any origin may send events: --origins names those that may")
	}
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

// shutdown ends the server first and the lanes after it, so that a request that
// is being read when the signal comes is still accepted.
func (g *Gateway) shutdown(srv *http.Server) error {
	g.opt.Logger.Info("gateway draining", "requests", len(g.slots))
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	g.leaving.Store(true)
	if g.opt.Page != nil {
		g.opt.Page.Close() // or the server would wait for the streams
	}
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

// Ops serves /metrics, /healthz and /readyz, for a separate address.
func (g *Gateway) Ops(from prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(from, promhttp.HandlerOpts{}))
	for _, path := range []string{"/healthz", "/readyz"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { g.serveOther(w, r, path) })
	}
	return mux
}

// RunOps serves h until ctx is done. It should outlive Run, so that a draining
// gateway can be observed.
func RunOps(ctx context.Context, ops net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ops); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("gateway: serving metrics on %s: %w", ops.Addr(), err)
	}
	return nil
}

// Command gateway receives events over HTTP and writes them to the log.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"offerstream/config"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/ingest"
	"offerstream/pipeline/page"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	ingest.TuneHeap()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run returns the exit status: 0 if every accepted event is in the log, 2 if the
// settings are wrong, else 1.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	set, err := config.Gateway(args, environ, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "gateway: %v\n\nSee gateway --help\n", err)
		return 2
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: set.LogLevel}))
	log.LogAttrs(ctx, slog.LevelInfo, "gateway starts", set.Effective()...)
	if err := serve(ctx, set, log); err != nil {
		log.Error("gateway ends", "error", err)
		return 1
	}
	log.Info("gateway ends")
	return 0
}

// serve receives events from the time when NATS is available until ctx is done.
// Before and after that, the metrics address reports that the process is alive
// but not ready.
func serve(ctx context.Context, set *config.Settings, log *slog.Logger) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var ops atomic.Value // of http.HandlerFunc
	ops.Store(waiting(reg))
	if set.MetricsAddr != "" {
		stop, err := serveOps(set.MetricsAddr, &ops, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	conn, err := broker.Connect(ctx, broker.Options{
		URL: set.NATS, Creds: set.Creds, Client: "offerstream-gateway", Prefix: set.Prefix,
		Partitions: set.Partitions, Replicas: set.Replicas, Retention: set.Retention, Durability: set.Durability, Reconnect: true, Log: log,
	})
	if err != nil {
		return unlessDone(ctx, err)
	}
	defer conn.Close()
	go conn.WatchClock(ctx, func() int64 { return time.Now().UnixNano() }, nil) // until the connection is closed
	events, err := conn.OpenGatewayLog(ctx)
	if err != nil {
		return unlessDone(ctx, err)
	}
	l, err := net.Listen("tcp", set.Addr)
	if err != nil {
		return err
	}
	defer l.Close()
	var offers *page.Page
	if len(set.VisitorKeys) > 0 {
		offers = page.New(page.Options{Keys: page.NewKeys(set.VisitorKeys), Metrics: reg, Logger: log})
		go offers.Run(ctx, conn) // until the connection is closed
		log.Info("offers on pages", "script", page.Script.Path, "integrity", page.Script.Integrity)
	}
	g, err := ingest.New(ingest.Options{Log: events, Page: offers, WriteKeys: set.WriteKeys, ServerKeys: set.ServerKeys, KeysFile: set.KeysFile, Exposure: set.Exposure, Metrics: reg, Logger: log})
	if err != nil {
		return err
	}
	ops.Store(http.HandlerFunc(g.Ops(reg).ServeHTTP))
	unlisten, err := events.Report()
	if err != nil {
		log.Warn("cannot listen for requests for the status: offerctl status will not show what NATS refuses this gateway", "error", err)
	}
	defer unlisten()
	deafen, err := events.Listeners(g.Listen)
	if err != nil {
		log.Warn("cannot take wishes to listen: offerctl listen will not show what this gateway receives", "error", err)
	}
	defer deafen()
	return g.Run(ctx, l)
}

// serveOps serves the metrics and health of the current handler until stop is
// called.
func serveOps(addr string, handler *atomic.Value, log *slog.Logger) (stop context.CancelFunc, err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	log.Info("metrics served", "addr", l.Addr().String())
	end, stop := context.WithCancel(context.Background())
	go func() {
		err := ingest.RunOps(end, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().(http.HandlerFunc)(w, r) }))
		if err != nil {
			log.Error("metrics are no longer served", "error", err)
		}
	}()
	return stop, nil
}

// unlessDone returns err, or nil if ctx is done: a gateway that is stopped
// before it has accepted an event has not failed.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// waiting answers on the metrics address while NATS is not available.
func waiting(reg prometheus.Gatherer) http.HandlerFunc {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "NATS is not ready", http.StatusServiceUnavailable)
	})
	return mux.ServeHTTP
}

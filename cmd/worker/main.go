// Command worker folds the events of a deployment into each user's state and
// publishes offers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"offerstream/config"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/worker"
)

func main() {
	set, err := config.Worker(os.Args[1:], os.Environ(), os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintf(os.Stderr, "worker: %v\n\nSee worker --help\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: set.LogLevel}))
	log.LogAttrs(ctx, slog.LevelInfo, "worker starts", set.Effective()...)
	if err := run(ctx, set, log); err != nil {
		log.Error("worker ends", "error", err)
		os.Exit(1)
	}
	log.Info("worker ends: all it has folded is stored")
}

func run(ctx context.Context, set *config.Settings, log *slog.Logger) error {
	worker.LimitHeap(set.Cache)
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if set.CouponKeys == nil {
		set.CouponKeys = &coupon.Keys{} // a set that names a key needs it, or customers would get placeholders
	}
	w, err := worker.New(worker.Options{
		Dir: set.Dir, CacheBytes: set.Cache, Standbys: set.Standbys, Coupons: set.CouponKeys, Metrics: reg, Log: log,
		Connect: func(ctx context.Context) (*broker.Conn, error) {
			return broker.Connect(ctx, broker.Options{
				URL: set.NATS, Creds: set.Creds, Client: "offerstream-worker", Prefix: set.Prefix,
				Partitions: set.Partitions, Replicas: set.Replicas, Retention: set.Retention, Durability: set.Durability, Log: log,
			})
		},
	})
	if err != nil {
		return err
	}
	if set.MetricsAddr != "" {
		l, err := net.Listen("tcp", set.MetricsAddr)
		if err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		srv := &http.Server{Handler: w.Ops(reg), ReadHeaderTimeout: 10 * time.Second}
		defer srv.Close()
		go srv.Serve(l)
	}
	return w.Run(ctx)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/config"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/ingest"
	"offerstream/pipeline/page"
	"offerstream/pipeline/worker"
)

// A node is everything in one process: the gateway, the worker, and NATS unless
// an external server is used.
type node struct {
	opt     nodeOptions
	nats    *embedded.Server // nil if NATS is external
	conn    *broker.Conn     // for the gateway and the commands
	gateway *ingest.Gateway
	worker  *worker.Worker
	addr    string // the gateway's address
	reg     *prometheus.Registry

	stopGateway, stopWorker context.CancelFunc
	gatewayDone, workerDone chan error
	ops                     *http.Server
}

type nodeOptions struct {
	dir         string
	natsAddr    string         // the embedded server's HOST:PORT; port 0: any; empty: it does not listen
	sync        bool           // fsync before each acknowledgement
	remote      broker.Options // the external NATS; without a URL, NATS is embedded
	partitions  int
	addr        string
	metricsAddr string
	writeKey    string       // of role browser; empty: none
	serverKey   string       // of role server; empty: none
	keys        []config.Key // further keys
	keysFile    string       // a file of further keys; empty: none
	exposure    config.Exposure
	coupons     *coupon.Keys         // nil: codes are placeholders
	set         *campaign.Definition // made live at the start, and its tables loaded
	keep        bool                 // but where another set is live already, that stays
	log         *slog.Logger
}

// startNode starts everything, and returns when the set is in force.
func startNode(ctx context.Context, o nodeOptions) (n *node, err error) {
	n = &node{opt: o, reg: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			n.stop()
		}
	}()
	listen, err := net.Listen("tcp", o.addr)
	if err != nil {
		return n, fmt.Errorf("gateway: %w", err)
	}
	defer func() {
		if n.gateway == nil {
			listen.Close()
		}
	}()
	n.addr = listen.Addr().String()
	to := o.remote
	if to.URL == "" {
		if n.nats, err = startNATS(o); err != nil {
			return n, err
		}
		to.InProcess = n.nats
	}
	to.Partitions, to.Log = o.partitions, o.log
	if n.conn, err = connectAs(ctx, to, "offerstream-gateway", true); err != nil {
		return n, err
	}
	if n.opt.set, err = startSet(ctx, n.conn, o); err != nil {
		return n, err
	}
	if err := n.startWorker(to); err != nil {
		return n, err
	}
	if err := n.startGateway(ctx, listen); err != nil {
		return n, err
	}
	return n, n.serveOps()
}

func (n *node) startWorker(to broker.Options) (err error) {
	n.worker, err = worker.New(worker.Options{Dir: filepath.Join(n.opt.dir, "worker"), Coupons: n.opt.coupons, Metrics: n.reg, Log: n.opt.log,
		Connect: func(ctx context.Context) (*broker.Conn, error) {
			return connectAs(ctx, to, "offerstream-worker", false)
		}})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stopWorker, n.workerDone = stop, make(chan error, 1)
	go func() { n.workerDone <- n.worker.Run(ctx) }()
	return nil
}

// startGateway starts the gateway when the set is in force.
func (n *node) startGateway(ctx context.Context, listen net.Listener) error {
	log, err := n.conn.OpenGatewayLog(ctx)
	if err != nil {
		return err
	}
	if err := n.inForce(ctx, log); err != nil {
		return err
	}
	if n.opt.set != nil { // before the gateway takes events, which may read the facts
		if err := loadTables(ctx, log, n.opt.set, time.Now(), &progress{}); err != nil {
			return err
		}
	}
	visitors, err := n.visitorKeys()
	if err != nil {
		return err
	}
	offers := page.New(page.Options{Keys: page.NewKeys(visitors), Metrics: n.reg, Logger: n.opt.log})
	if n.gateway, err = ingest.New(ingest.Options{Log: log, Page: offers, WriteKeys: given(n.opt.writeKey), ServerKeys: given(n.opt.serverKey), Keys: n.opt.keys, KeysFile: n.opt.keysFile, Exposure: n.opt.exposure,
		Metrics: n.reg, Logger: n.opt.log}); err != nil {
		return err
	}
	if _, err := log.Report(); err != nil { // until the connection is closed
		return err
	}
	if _, err := log.Listeners(n.gateway.Listen); err != nil { // likewise
		return err
	}
	go offers.Run(context.Background(), n.conn) // likewise
	serveCtx, stop := context.WithCancel(context.Background())
	n.stopGateway, n.gatewayDone = stop, make(chan error, 1)
	go func() { n.gatewayDone <- n.gateway.Run(serveCtx, listen) }()
	return nil
}

// visitorKeys are those of the settings, else the one in the directory, which is made once.
func (n *node) visitorKeys() ([][]byte, error) {
	if keys := n.opt.exposure.VisitorKeys; len(keys) > 0 {
		return keys, nil
	}
	name := filepath.Join(n.opt.dir, "visitor.key")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.WriteString(page.NewKey() + "\n")
		err = errors.Join(err, f.Close())
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("key of visitors: %w", err)
	}
	return config.ReadVisitorKeys(name)
}

// given is a list of a key, if there is one.
func given(key string) []string {
	if key == "" {
		return nil
	}
	return []string{key}
}

func connectAs(ctx context.Context, o broker.Options, client string, reconnect bool) (*broker.Conn, error) {
	o.Client, o.Reconnect = client, reconnect
	return broker.Connect(ctx, o)
}

func startNATS(o nodeOptions) (*embedded.Server, error) {
	opt := embedded.Options{Dir: filepath.Join(o.dir, "nats"), SyncAlways: o.sync, Log: o.log}
	if o.natsAddr != "" {
		addr, err := net.ResolveTCPAddr("tcp", o.natsAddr)
		if err != nil {
			return nil, usagef("--nats-addr: %v", err)
		}
		opt.Host, opt.Port = addr.IP.String(), addr.Port
		if addr.Port == 0 {
			opt.Port = -1
		}
	}
	return embedded.Start(opt)
}

// inForce waits until every partition runs the set and the gateway knows its
// clock.
func (n *node) inForce(ctx context.Context, log *broker.GatewayLog) error {
	return n.await(ctx, func() (bool, error) {
		st := n.worker.Status()
		if len(st) == 0 {
			return false, nil
		}
		for p, s := range st {
			if s.Stopped != "" {
				return false, fmt.Errorf("partition %d: %s", p, s.Stopped)
			}
			if n.opt.set != nil && s.Set != n.opt.set.Hash() {
				return false, nil
			}
		}
		return n.opt.set == nil || log.Clock() == n.opt.set.Clock, nil
	})
}

// caughtUp waits until everything in the log is applied and every offer is
// stored.
func (n *node) caughtUp(ctx context.Context) error {
	return n.await(ctx, func() (bool, error) {
		for p, s := range n.worker.Status() {
			if s.Stopped != "" {
				return false, fmt.Errorf("partition %d: %s", p, s.Stopped)
			}
			_, last, err := n.conn.Extent(ctx, p)
			if err != nil {
				return false, err
			}
			if s.Seq < last || s.Waiting > 0 {
				return false, nil
			}
		}
		return true, nil
	})
}

// await waits until holds returns true or an error, or the worker ends.
func (n *node) await(ctx context.Context, holds func() (bool, error)) error {
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case err := <-n.workerDone:
			n.workerDone <- err
			return errors.Join(errors.New("the worker has ended"), err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serveOps serves the metrics of gateway and worker, and their readiness: both
// must be ready.
func (n *node) serveOps() error {
	if n.opt.metricsAddr == "" {
		return nil
	}
	l, err := net.Listen("tcp", n.opt.metricsAddr)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", n.worker.Ops(n.reg))
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := errors.Join(n.natsErr(), n.gateway.Ready(), n.worker.Ready()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	n.ops = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go n.ops.Serve(l)
	return nil
}

// natsErr returns why the embedded NATS stores nothing, nil if it does or is none.
func (n *node) natsErr() error {
	if n.nats == nil {
		return nil
	}
	if err := n.nats.Err(); err != nil {
		return fmt.Errorf("NATS stores nothing, and is restarted when its disk has room: %w", err)
	}
	return nil
}

// drain stops the gateway, after all events that it accepted are in the log.
func (n *node) drain() error {
	if n.gateway == nil || n.stopGateway == nil {
		return nil
	}
	n.stopGateway()
	n.stopGateway = nil
	return <-n.gatewayDone
}

// rest stops the worker, after all it has folded is stored.
func (n *node) rest() error {
	if n.stopWorker == nil {
		return nil
	}
	n.stopWorker()
	n.stopWorker = nil
	return <-n.workerDone
}

// stop stops everything, in the order in which events flow.
func (n *node) stop() error {
	err := errors.Join(n.drain(), n.rest())
	if n.ops != nil {
		n.ops.Close()
	}
	if n.conn != nil {
		n.conn.Close()
	}
	if n.nats != nil {
		n.nats.Shutdown()
	}
	return err
}

// counter returns the value of a counter in the node's metrics.
func (n *node) counter(name string) uint64 {
	families, err := n.reg.Gather()
	if err != nil {
		return 0
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return uint64(sum)
}

// nodeLog returns a logger for a person at a terminal.
func nodeLog(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"

	"offerstream/config"
	"offerstream/deploy"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// serve is `offerctl serve`.
func serve(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "serve --dir DIR [--campaigns PATH] [--write-key KEY]", `
Runs NATS, gateway and worker in one process, with everything under one
directory: what a small shop runs. NATS fsyncs before each acknowledgement.
With --nats it uses a server of your own instead. It runs until it is told to
stop, and then leaves nothing accepted behind.`,
		"offerctl serve --dir /var/lib/offerstream --campaigns campaigns --write-key KEY --addr 0.0.0.0:8080")
	dir := fs.String("dir", "", "the `DIR` for everything that is kept")
	campaigns := fs.String("campaigns", "", "a `PATH` with campaigns, made live at the start; without it what is live stays, the shipped ones where nothing is")
	clock := fs.String("clock", "", "overrides the set's clock: broker, or event for replaying history")
	url := fs.String("nats", "", "a NATS server of your own, by `URL`, instead of the embedded one")
	creds := fs.String("creds", "", "its credentials `FILE`")
	prefix := fs.String("prefix", "", "the deployment's `PREFIX` there")
	natsAddr := fs.String("nats-addr", "127.0.0.1:4222", "where the embedded NATS listens, `HOST:PORT`, for subscribers and offerctl; it asks nobody for a password")
	partitions := fs.Int("partitions", 0, "how many `N`, fixed at the first start (default 8)")
	addr := fs.String("addr", "127.0.0.1:8080", "where events are taken, `HOST:PORT`")
	metrics := fs.String("metrics-addr", "127.0.0.1:9090", "where /metrics, /healthz and /readyz are, `HOST:PORT`; empty: nowhere")
	key := fs.String("write-key", envOr("OFFERSTREAM_WRITE_KEY", ""), "the `KEY` that SDKs send; OFFERSTREAM_WRITE_KEY in the environment; without one it is made up and shown")
	if err := fs.none(args); err != nil {
		return err
	}
	if *dir == "" {
		return usagef("--dir is needed: the directory for everything that is kept")
	}
	log := nodeLog(std.err, slog.LevelInfo)
	o := nodeOptions{
		dir: *dir, natsAddr: *natsAddr, sync: true, remote: broker.Options{URL: *url, Creds: *creds, Prefix: *prefix},
		partitions: *partitions, addr: *addr, metricsAddr: *metrics, writeKey: *key, log: log,
	}
	var err error
	if *campaigns != "" || *clock != "" {
		if o.set, err = loadOrShipped(*clock, *campaigns); err != nil {
			return err
		}
	}
	if o.writeKey == "" {
		if o.writeKey, err = newKey(); err != nil {
			return err
		}
		fmt.Fprintf(std.out, "write key of this run: %s (give --write-key to keep one)\n", o.writeKey)
	}
	n, err := startNode(ctx, o)
	if err != nil {
		return ended(ctx, err)
	}
	if o.set == nil {
		if err := firstSet(ctx, n, log); err != nil {
			n.stop()
			return err
		}
	}
	fmt.Fprintf(std.out, "events: http://%s/v1/batch   offers: offers.> on %s\n", n.addr, n.natsURL())
	select {
	case <-ctx.Done():
	case err = <-n.workerDone:
		n.workerDone <- err
		err = fmt.Errorf("the worker has ended: %w", err)
	case err = <-n.gatewayDone:
		n.gatewayDone <- err
	}
	if stopErr := n.stop(); err == nil {
		err = stopErr
	}
	return err
}

// loadOrShipped loads a campaign set; the shipped one for an empty path.
func loadOrShipped(clock, path string) (*campaign.Definition, error) {
	if path != "" {
		return loadSet(clock, path)
	}
	def, err := config.LoadCampaignsFS(deploy.Campaigns())
	if err == nil && clock != "" {
		def.Clock = clock
	}
	return def, err
}

// firstSet makes the shipped set live where none ever was.
func firstSet(ctx context.Context, n *node, log *slog.Logger) error {
	live, _, err := n.conn.Live(ctx)
	if err != nil || live != "" {
		return err
	}
	def, err := loadOrShipped("", "")
	if err != nil {
		return err
	}
	log.Info("no campaign set is live: taking the shipped one", "set", def.Hash())
	return makeLive(ctx, n.conn, def)
}

func newKey() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("write key: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// ended takes an end that was asked for as no error.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// natsURL is where subscribers find NATS.
func (n *node) natsURL() string {
	if n.nats == nil {
		return n.opt.remote.URL
	}
	return n.nats.ClientURL()
}

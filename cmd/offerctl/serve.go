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
	"offerstream/pipeline/coupon"
)

// serve is `offerctl serve`.
func serve(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "serve --dir DIR [--campaigns PATH] [--write-key KEY] [--server-key KEY] [--keys FILE] [--coupon-keys FILE]", `
Runs NATS, gateway and worker in one process, with all data in one directory, for
a small shop. NATS calls fsync before each acknowledgement. With --nats, an
external server is used instead. When it is told to stop, it first finishes
storing all accepted events.`,
		"offerctl serve --dir /var/lib/offerstream --campaigns campaigns --write-key KEY --addr 0.0.0.0:8080")
	dir := fs.String("dir", "", "the `DIR` for all data")
	campaigns := fs.String("campaigns", "", "a `PATH` with campaigns, made live at the start; without it, the live set stays, or that of offerctl new demo becomes live if there is none")
	clock := fs.String("clock", "", "overrides the set's `CLOCK`: broker, or event for replaying history")
	url := fs.String("nats", "", "the `URL` of an external NATS server, instead of the embedded one")
	creds := fs.String("creds", "", "the credentials `FILE` for the external server")
	prefix := fs.String("prefix", "", "the deployment's `PREFIX` on the external server")
	natsAddr := fs.String("nats-addr", "127.0.0.1:4222", "the address of the embedded NATS, `HOST:PORT`, for subscribers and offerctl; it does not ask for a password")
	partitions := fs.Int("partitions", 0, "the number `N` of partitions, fixed at the first start (default 8)")
	addr := fs.String("addr", "127.0.0.1:8080", "the address that receives events, `HOST:PORT`")
	metrics := fs.String("metrics-addr", "127.0.0.1:9090", "the address that serves /metrics, /healthz and /readyz, `HOST:PORT`; empty: none")
	key := fs.String("write-key", envOr("OFFERSTREAM_WRITE_KEY", ""), "the `KEY` that SDKs send, of role browser; OFFERSTREAM_WRITE_KEY in the environment; without any key, a new one is generated and shown")
	serverKey := fs.String("server-key", envOr("OFFERSTREAM_SERVER_KEY", ""), "a secret `KEY` of role server, for the shop's own servers and for offerctl replay; OFFERSTREAM_SERVER_KEY in the environment")
	keysFile := fs.String("keys", envOr("OFFERSTREAM_KEYS", ""), "a `FILE` of more keys, in YAML: a list of {name, key or sha256, roles, identity, secret}; read again when it changes; OFFERSTREAM_KEYS in the environment")
	readCoupons := fs.couponKeys()
	if err := fs.none(args); err != nil {
		return err
	}
	if *dir == "" {
		return usagef("--dir is required: name the directory for all data")
	}
	log := nodeLog(std.err, slog.LevelInfo)
	o := nodeOptions{
		dir: *dir, natsAddr: *natsAddr, sync: true, remote: broker.Options{URL: *url, Creds: *creds, Prefix: *prefix},
		partitions: *partitions, addr: *addr, metricsAddr: *metrics, writeKey: *key, serverKey: *serverKey, keysFile: *keysFile, log: log,
	}
	var err error
	if *campaigns != "" || *clock != "" {
		if o.set, err = loadOrShipped(*clock, *campaigns); err != nil {
			return err
		}
	}
	if o.coupons, err = readCoupons(); err != nil {
		return err
	}
	if o.coupons == nil {
		o.coupons = &coupon.Keys{} // a set that names a key needs it, or customers would get placeholders
	}
	if o.writeKey == "" && o.serverKey == "" && o.keysFile == "" {
		if o.writeKey, err = newKey(); err != nil {
			return err
		}
		fmt.Fprintf(std.out, "write key of this run: %s (use --write-key for a permanent one)\n", o.writeKey)
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
	return n.untilDone(ctx)
}

// untilDone waits until ctx is done, or until the worker or the gateway ends,
// and stops everything.
func (n *node) untilDone(ctx context.Context) (err error) {
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

// loadOrShipped loads a campaign set; an empty path stands for the shipped one,
// which joins some systems of the gallery.
func loadOrShipped(clock, path string) (*campaign.Definition, error) {
	if path != "" {
		return loadSet(clock, path)
	}
	def, err := config.LoadCampaignsFS(deploy.Gallery(), deploy.First...)
	if err == nil && clock != "" {
		def.Clock = clock
	}
	return def, err
}

// firstSet makes the shipped set live if no set is. Its facts have no tables.
func firstSet(ctx context.Context, n *node, log *slog.Logger) error {
	live, _, err := n.conn.Live(ctx)
	if err != nil || live.Set != "" {
		return err
	}
	def, err := loadOrShipped("", "")
	if err != nil {
		return err
	}
	log.Info("no campaign set is live: making the shipped one live", "set", def.Hash())
	return makeLive(ctx, n.conn, def)
}

func newKey() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("write key: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// ended returns err, or nil if ctx is done: then the user ended the command.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// natsURL returns the address of NATS for subscribers.
func (n *node) natsURL() string {
	if n.nats == nil {
		return n.opt.remote.URL
	}
	return n.nats.ClientURL()
}

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"

	"offerstream/config"
	"offerstream/deploy"
	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/page"
)

// serve is `offerctl serve`.
func serve(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "serve --dir DIR [--campaigns PATH [--watch]] [--write-key KEY] [--server-key KEY] [--keys FILE] [--coupon-keys FILE]", `
Runs NATS, gateway and worker in one process, with all data in one directory, for
a small shop. NATS calls fsync before each acknowledgement. With --nats, an
external server is used instead. When it is told to stop, it first finishes
storing all accepted events.

The set of --campaigns becomes live at the first start. If another set is live at a
later start, because offerctl apply made it live or the files have changed, that one
stays: serve tells that, and with which command the files become live. With --watch the
files become live at each start and whenever they change, for development: nothing is
asked. Files with mistakes are not made live; the mistakes are shown.`,
		"offerctl serve --dir /var/lib/offerstream --campaigns campaigns --write-key KEY --addr 0.0.0.0:8080")
	dir := fs.String("dir", "", "the `DIR` for all data")
	campaigns := fs.String("campaigns", "", "a `PATH` with campaigns, made live if no set is; without it, that of offerctl new demo is")
	watch := fs.Bool("watch", false, "make the campaigns live at the start, whatever is live, and whenever their files change")
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
	readExposure := config.ExposureFlags(fs.String, envOr)
	readCoupons := fs.couponKeys()
	if err := fs.none(args); err != nil {
		return err
	}
	if *dir == "" {
		return usagef("--dir is required: name the directory for all data")
	}
	if *watch && *campaigns == "" {
		return usagef("--watch needs --campaigns: name the files to watch")
	}
	log := nodeLog(std.err, slog.LevelInfo)
	o := nodeOptions{
		dir: *dir, natsAddr: *natsAddr, sync: true, remote: broker.Options{URL: *url, Creds: *creds, Prefix: *prefix},
		partitions: *partitions, addr: *addr, metricsAddr: *metrics, writeKey: *key, serverKey: *serverKey, keysFile: *keysFile, log: log, keep: !*watch,
	}
	var err error
	if o.exposure, err = readExposure(); err != nil {
		return usagef("%v", err)
	}
	files := &setWatch{std: std, clock: *clock, path: *campaigns}
	switch {
	case *watch:
		o.set, err = files.load()
	case *campaigns != "" || *clock != "":
		o.set, err = loadOrShipped(*clock, *campaigns)
	}
	if err != nil {
		return err
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
	switch {
	case o.set == nil:
		err = firstSet(ctx, n, log)
	case n.opt.set == nil:
		err = n.sayKept(ctx, std, o, *campaigns, *clock)
	}
	if err != nil {
		n.stop()
		return ended(ctx, err)
	}
	scheme := "http"
	if o.exposure.TLSCert != "" {
		scheme = "https"
	}
	fmt.Fprintf(std.out, "events: %s://%s/v1/batch   offers: offers.> on %s\n", scheme, n.addr, n.natsURL())
	shown := o.writeKey
	if shown == "" {
		shown = "KEY"
	}
	fmt.Fprintf(std.out, "pages:  %s\n", page.Script.Tag(fmt.Sprintf("%s://%s", scheme, n.addr), shown))
	stopWatch := func() {}
	if *watch {
		stopWatch = files.start(ctx, n.conn)
	}
	return n.untilDone(ctx, stopWatch)
}

// untilDone waits until ctx is done, or until the worker or the gateway ends,
// and stops everything, what uses the node first.
func (n *node) untilDone(ctx context.Context, stopUser func()) (err error) {
	select {
	case <-ctx.Done():
	case err = <-n.workerDone:
		n.workerDone <- err
		err = fmt.Errorf("the worker has ended: %w", err)
	case err = <-n.gatewayDone:
		n.gatewayDone <- err
	}
	stopUser()
	if stopErr := n.stop(); err == nil {
		err = stopErr
	}
	return err
}

// liveSet returns the hash of the live set, "" if there is none, and what replaces
// that one and no other.
func liveSet(ctx context.Context, conn *broker.Conn) (hash string, replace func(*campaign.Definition) error, err error) {
	live, rev, err := conn.Live(ctx)
	return live.Set, func(def *campaign.Definition) error {
		put, err := conn.PutSet(ctx, def)
		if err != nil {
			return err
		}
		return conn.MakeLive(ctx, put, rev)
	}, err
}

// startSet makes the set of the options live, unless another one is and stays. It
// returns the set if it is live.
func startSet(ctx context.Context, conn *broker.Conn, o nodeOptions) (*campaign.Definition, error) {
	if o.set == nil {
		return nil, nil
	}
	live, replace, err := liveSet(ctx, conn)
	switch {
	case err != nil:
		return nil, err
	case live == o.set.Hash():
		return o.set, nil
	case live != "" && o.keep:
		return nil, nil
	}
	retention, err := conn.Retention(ctx)
	if err == nil {
		err = pipeline.CheckForget(o.set, retention)
	}
	if err != nil {
		return nil, err
	}
	return o.set, replace(o.set)
}

// sayKept says that the set that is live was kept, how the files differ from it, and
// how they become live.
func (n *node) sayKept(ctx context.Context, std stdio, o nodeOptions, path, clock string) error {
	live, _, err := liveSet(ctx, n.conn)
	if err != nil {
		return err
	}
	what, command := "the files of "+path+" are", "offerctl apply "+path
	if path == "" {
		what, command = "the shipped campaigns with --clock "+clock+" are", "offerctl new demo campaigns, and offerctl apply campaigns"
	}
	for _, f := range [][2]string{{"clock", clock}, {"nats", n.natsURL()}, {"creds", o.remote.Creds}, {"prefix", o.remote.Prefix}} {
		if f[1] != "" {
			command += " --" + f[0] + " " + f[1]
		}
	}
	out := onDisplay(std.out)
	fmt.Fprintf(out, "set %s is live and stays live; %s another set, %s, which is not live:\n", live, what, o.set.Hash())
	showDifferences(ctx, out, n.conn, live, o.set)
	fmt.Fprintf(out, "to make them live: %s\n", command)
	return nil
}

// mostDifferences bounds the lines that tell how two sets differ.
const mostDifferences = 20

// showDifferences tells how a set differs from the live one, if that can be read.
func showDifferences(ctx context.Context, out io.Writer, conn *broker.Conn, live string, def *campaign.Definition) {
	var old *campaign.Definition
	if live != "" {
		var err error
		if old, err = conn.Set(ctx, live); err != nil {
			fmt.Fprintf(out, "  how they differ is not known: %v\n", err)
			return
		}
	}
	lines := config.Describe(old, def)
	for _, line := range lines[:min(len(lines), mostDifferences)] {
		fmt.Fprintf(out, "  %s\n", line)
	}
	if more := len(lines) - mostDifferences; more > 0 {
		fmt.Fprintf(out, "  and %d more\n", more)
	}
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
	live, replace, err := liveSet(ctx, n.conn)
	if err != nil || live != "" {
		return err
	}
	def, err := loadOrShipped("", "")
	if err != nil {
		return err
	}
	log.Info("no campaign set is live: making the shipped one live", "set", def.Hash())
	return replace(def)
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

package config

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
)

// Settings are the settings of a gateway or a worker. They come from flags, the
// environment (OFFERSTREAM_ and the flag's name in capitals), a YAML file (the
// flag's name with _) or defaults, in this order of precedence. Fields that a
// program does not use are zero.
type Settings struct {
	NATS        string        // URLs, comma-separated
	Creds       string        // file; "": none
	Prefix      string        // of streams and subjects; "": none
	Partitions  int           // 0: as many as the deployment has, 8 for a new one
	Replicas    int           // of streams and buckets that are created
	Retention   time.Duration // of events
	Durability  string        // warn or strict
	MetricsAddr string        // "": no metrics
	LogLevel    slog.Level

	Addr       string   // gateway
	WriteKeys  []string // gateway; keys of role browser
	ServerKeys []string // gateway; keys of role server
	KeysFile   string   // gateway; more keys (ParseKeys); "": none
	Exposure            // gateway

	Dir      string // worker
	Cache    int64  // worker; bytes of decoded entities
	Standbys int    // worker

	CouponKeys *coupon.Keys // worker; nil: none are given

	program *program
}

// A setting is one row of a program's settings. To add one, add a row and a
// field.
type setting struct {
	name  string // as a flag
	arg   string // the name of its value in the help
	def   string // the default, as text
	about string
	need  bool                                 // an empty value is an error
	or    []string                             // unless one of these settings is given
	many  bool                                 // the flag may be repeated
	read  func(s *Settings, text string) error // errors do not quote secrets
	show  func(s *Settings) string             // with secrets masked
}

var bothBefore = []setting{
	{name: "nats", arg: "URL", def: "nats://127.0.0.1:4222", about: "NATS servers, comma-separated, with scheme nats, tls, ws or wss; a URL may contain user and password", need: true,
		read: func(s *Settings, t string) (err error) { s.NATS, err = readServers(t); return },
		show: func(s *Settings) string { return maskServers(s.NATS) }},
	{name: "creds", arg: "FILE", about: "NATS credentials, as nsc makes them",
		read: func(s *Settings, t string) (err error) { s.Creds, err = readFileName(t); return },
		show: func(s *Settings) string { return s.Creds }},
	{name: "prefix", arg: "P", about: "lets several deployments share one NATS: x makes stream X-EVENTS-3 and subject x.events.3.in",
		read: func(s *Settings, t string) (err error) { s.Prefix, err = readPrefix(t); return },
		show: func(s *Settings) string { return s.Prefix }},
	{name: "partitions", arg: "N", def: "0", about: "number of event streams; fixed when a deployment is created; 0: as many as the deployment has, 8 for a new one",
		read: func(s *Settings, t string) (err error) { s.Partitions, err = readInt(t, 0, 1024); return },
		show: func(s *Settings) string { return strconv.Itoa(s.Partitions) }},
	{name: "replicas", arg: "N", def: "1", about: "number of servers that store each stream, 1 to 5",
		read: func(s *Settings, t string) (err error) { s.Replicas, err = readInt(t, 1, 5); return },
		show: func(s *Settings) string { return strconv.Itoa(s.Replicas) }},
	{name: "retention", arg: "TIME", def: "7d", about: "how long events are kept, such as 36h or 7d, at least 1h",
		read: func(s *Settings, t string) (err error) { s.Retention, err = readSpan(t, time.Hour); return },
		show: func(s *Settings) string { return campaign.FormatDuration(s.Retention) }},
	{name: "durability", arg: "HOW", def: "warn", about: "warn or strict: if a NATS server may lose acknowledged messages (no sync_interval: always, fewer replicas, a version before 2.15.2, or its settings cannot be read), warn in the log, or refuse to start",
		read: func(s *Settings, t string) (err error) { s.Durability, err = readDurability(t); return },
		show: func(s *Settings) string { return s.Durability }},
}

var gatewayOnly = []setting{
	{name: "addr", arg: "HOST:PORT", def: "127.0.0.1:8080", about: "the address that receives events over HTTP", need: true,
		read: func(s *Settings, t string) (err error) { s.Addr, err = readAddr(t); return },
		show: func(s *Settings) string { return s.Addr }},
	{name: "write-key", arg: "KEY", about: "a key of role browser, which SDKs send as the user name of Basic auth; for several keys, separate them with commas or repeat the flag; better given in the environment or the file, because other users of the machine can see the command line", need: true, or: []string{"server-key", "keys"}, many: true,
		read: func(s *Settings, t string) (err error) { s.WriteKeys, err = readKeys(t); return },
		show: func(s *Settings) string { return maskKeys(s.WriteKeys) }},
	{name: "server-key", arg: "KEY", about: "a key of role server, for the shop's own servers: it may send what a browser may not, such as consent; keep it secret; several as with write-key", many: true,
		read: func(s *Settings, t string) (err error) { s.ServerKeys, err = readKeys(t); return },
		show: func(s *Settings) string { return maskKeys(s.ServerKeys) }},
	{name: "keys", arg: "FILE", about: "more keys, in YAML: a list of {name, key or sha256, roles, identity, secret}; read again when it changes",
		read: func(s *Settings, t string) (err error) { s.KeysFile, err = readKeysFile(t); return },
		show: func(s *Settings) string { return s.KeysFile }},
}

var workerOnly = []setting{
	{name: "dir", arg: "DIR", about: "the directory of the state; each worker needs its own", need: true,
		read: func(s *Settings, t string) error { s.Dir = t; return nil },
		show: func(s *Settings) string { return s.Dir }},
	{name: "cache", arg: "BYTES", def: "256MB", about: "memory for users' state: a number with B, KB, MB, GB (1000) or KiB, MiB, GiB (1024), at least 1MB",
		read: func(s *Settings, t string) (err error) { s.Cache, err = readBytes(t, 1e6); return },
		show: func(s *Settings) string { return printBytes(s.Cache) }},
	{name: "standbys", arg: "N", def: "0", about: "workers that follow each partition besides its owner, 0 to 3, so that a crash costs only the 3 seconds of the lease; the same for all workers",
		read: func(s *Settings, t string) (err error) { s.Standbys, err = readInt(t, 0, 3); return },
		show: func(s *Settings) string { return strconv.Itoa(s.Standbys) }},
	{name: "coupon-keys", arg: "FILE", about: "keys under which codes of coupons are made, as offerctl coupons new-key makes them, one a line; a campaign set names one of them, and a set that names another one stops the partition; keep a key in the file until the last code under it has expired. " + couponKeysInEnv,
		read: func(s *Settings, t string) (err error) { s.CouponKeys, err = ReadCouponKeys(t); return },
		show: func(s *Settings) string { return strings.Join(s.CouponKeys.IDs(), ",") }},
}

var bothAfter = []setting{
	{name: "metrics-addr", arg: "HOST:PORT", about: "the address that serves /metrics, /healthz and /readyz; empty: none",
		read: func(s *Settings, t string) (err error) {
			if s.MetricsAddr = t; t != "" {
				s.MetricsAddr, err = readAddr(t)
			}
			return err
		},
		show: func(s *Settings) string { return s.MetricsAddr }},
	{name: "log-level", arg: "LEVEL", def: "info", about: "debug, info, warn or error",
		read: func(s *Settings, t string) (err error) { s.LogLevel, err = readLevel(t); return },
		show: func(s *Settings) string { return strings.ToLower(s.LogLevel.String()) }},
}

// Gateway reads the settings of cmd/gateway. After --help, which prints to
// out, the error is flag.ErrHelp.
func Gateway(args []string, environ []string, out io.Writer) (*Settings, error) {
	return gateway.settings(args, environ, out)
}

// Worker is like Gateway, for the settings of cmd/worker.
func Worker(args []string, environ []string, out io.Writer) (*Settings, error) {
	return worker.settings(args, environ, out)
}

// Effective returns the settings for the log, with secrets masked.
func (s *Settings) Effective() []slog.Attr {
	var attrs []slog.Attr
	for _, row := range s.program.rows {
		attrs = append(attrs, slog.String(row.inFile(), row.show(s)))
	}
	return attrs
}

func (row *setting) inFile() string { return strings.ReplaceAll(row.name, "-", "_") }

func (row *setting) inEnv() string { return envPrefix + strings.ToUpper(row.inFile()) }

// everywhere names all the ways to give the setting.
func (row *setting) everywhere() string {
	return fmt.Sprintf("--%s %s, %s or %s in the file", row.name, row.arg, row.inEnv(), row.inFile())
}

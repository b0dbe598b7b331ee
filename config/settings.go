package config

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Settings are what a gateway or a worker is told when it starts: by flags,
// by the environment (OFFERSTREAM_ and the flag's name in capitals), by a YAML
// file (the flag's name with _) or by default, in this order of precedence.
// Fields that a program has no use for are zero.
type Settings struct {
	NATS        string        // URLs, comma-separated
	Creds       string        // file; "": none
	Prefix      string        // of streams and subjects; "": none
	Partitions  int           // 0: as the deployment has it, 8 when it is created
	Replicas    int           // of streams and buckets that are created
	Retention   time.Duration // of events
	Durability  string        // warn or strict
	MetricsAddr string        // "": no metrics
	LogLevel    slog.Level

	Addr      string   // gateway
	WriteKeys []string // gateway

	Dir      string // worker
	Cache    int64  // worker; bytes of decoded entities
	Standbys int    // worker

	program *program
}

// A setting is one row of a program's settings. To add one, add a row and a
// field.
type setting struct {
	name  string // as a flag
	arg   string // what its value is called in the help
	def   string // as it would be given
	about string
	need  bool                                 // an empty value is an error
	many  bool                                 // a flag of it may be repeated
	read  func(s *Settings, text string) error // an error does not repeat a text that is secret
	show  func(s *Settings) string             // with secrets masked
}

var bothBefore = []setting{
	{name: "nats", arg: "URL", def: "nats://127.0.0.1:4222", about: "NATS servers, comma-separated: nats, tls, ws or wss; user and password may stand in it", need: true,
		read: func(s *Settings, t string) (err error) { s.NATS, err = readServers(t); return },
		show: func(s *Settings) string { return maskServers(s.NATS) }},
	{name: "creds", arg: "FILE", about: "NATS credentials, as nsc makes them",
		read: func(s *Settings, t string) (err error) { s.Creds, err = readFileName(t); return },
		show: func(s *Settings) string { return s.Creds }},
	{name: "prefix", arg: "P", about: "lets several deployments share one NATS: x makes stream X-EVENTS-3 and subject x.events.3.in",
		read: func(s *Settings, t string) (err error) { s.Prefix, err = readPrefix(t); return },
		show: func(s *Settings) string { return s.Prefix }},
	{name: "partitions", arg: "N", def: "0", about: "event streams; fixed when a deployment is created; 0: as the deployment has it, 8 for a new one",
		read: func(s *Settings, t string) (err error) { s.Partitions, err = readInt(t, 0, 1024); return },
		show: func(s *Settings) string { return strconv.Itoa(s.Partitions) }},
	{name: "replicas", arg: "N", def: "1", about: "servers that keep each stream, 1 to 5",
		read: func(s *Settings, t string) (err error) { s.Replicas, err = readInt(t, 1, 5); return },
		show: func(s *Settings) string { return strconv.Itoa(s.Replicas) }},
	{name: "retention", arg: "TIME", def: "7d", about: "how long events are kept, such as 36h or 7d, at least 1h",
		read: func(s *Settings, t string) (err error) { s.Retention, err = readSpan(t, time.Hour); return },
		show: func(s *Settings) string { return printDuration(s.Retention) }},
	{name: "durability", arg: "HOW", def: "warn", about: "warn or strict: where a NATS server may lose what it acknowledged (no sync_interval: always, fewer replicas, a version before 2.15.2, or it cannot be seen), say so in the log, or do not start",
		read: func(s *Settings, t string) (err error) { s.Durability, err = readDurability(t); return },
		show: func(s *Settings) string { return s.Durability }},
}

var gatewayOnly = []setting{
	{name: "addr", arg: "HOST:PORT", def: "127.0.0.1:8080", about: "where events are taken, over HTTP", need: true,
		read: func(s *Settings, t string) (err error) { s.Addr, err = readAddr(t); return },
		show: func(s *Settings) string { return s.Addr }},
	{name: "write-key", arg: "KEY", about: "what SDKs send as the user of Basic auth; several: comma-separated or the flag repeated; better in the environment or the file, for others see a command line", need: true, many: true,
		read: func(s *Settings, t string) (err error) { s.WriteKeys, err = readKeys(t); return },
		show: func(s *Settings) string { return strings.TrimSuffix(strings.Repeat("***,", len(s.WriteKeys)), ",") }},
}

var workerOnly = []setting{
	{name: "dir", arg: "DIR", about: "the directory of the state, one worker's alone", need: true,
		read: func(s *Settings, t string) error { s.Dir = t; return nil },
		show: func(s *Settings) string { return s.Dir }},
	{name: "cache", arg: "BYTES", def: "256MB", about: "memory for users' state: a number with B, KB, MB, GB (1000) or KiB, MiB, GiB (1024), at least 1MB",
		read: func(s *Settings, t string) (err error) { s.Cache, err = readBytes(t, 1e6); return },
		show: func(s *Settings) string { return printBytes(s.Cache) }},
	{name: "standbys", arg: "N", def: "0", about: "members that keep each partition's state warm beside its owner, 0 to 3, so that a crash costs the lease's 3 seconds and no more; the same for all members",
		read: func(s *Settings, t string) (err error) { s.Standbys, err = readInt(t, 0, 3); return },
		show: func(s *Settings) string { return strconv.Itoa(s.Standbys) }},
}

var bothAfter = []setting{
	{name: "metrics-addr", arg: "HOST:PORT", about: "where /metrics, /healthz and /readyz are served; empty: nowhere",
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

// Worker reads the settings of cmd/worker, as Gateway does.
func Worker(args []string, environ []string, out io.Writer) (*Settings, error) {
	return worker.settings(args, environ, out)
}

// Effective are the settings for the log, with secrets masked.
func (s *Settings) Effective() []slog.Attr {
	var attrs []slog.Attr
	for _, row := range s.program.rows {
		attrs = append(attrs, slog.String(row.inFile(), row.show(s)))
	}
	return attrs
}

func (row *setting) inFile() string { return strings.ReplaceAll(row.name, "-", "_") }

func (row *setting) inEnv() string { return envPrefix + strings.ToUpper(row.inFile()) }

// everywhere names the ways to give the setting.
func (row *setting) everywhere() string {
	return fmt.Sprintf("--%s %s, %s or %s in the file", row.name, row.arg, row.inEnv(), row.inFile())
}

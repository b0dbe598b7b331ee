package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// plainly returns s without its unexported fields.
func plainly(s *Settings) Settings {
	c := *s
	c.program = nil
	return c
}

func TestSettingsDefaults(t *testing.T) {
	s, err := Worker([]string{"--dir", "d"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{NATS: "nats://127.0.0.1:4222", Replicas: 1, Retention: 7 * 24 * time.Hour, Durability: "warn", Dir: "d", Cache: 256e6}
	if got := plainly(s); !reflect.DeepEqual(got, want) {
		t.Errorf("worker: %+v, want %+v", got, want)
	}
	s, err = Gateway(nil, []string{"PATH=/bin", "OFFERSTREAM_WRITE_KEY=a, b"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want = Settings{NATS: "nats://127.0.0.1:4222", Replicas: 1, Retention: 7 * 24 * time.Hour, Durability: "warn", Addr: "127.0.0.1:8080", WriteKeys: []string{"a", "b"}, Exposure: Exposure{AddressRate: 1000, UserRate: 200}}
	if got := plainly(s); !reflect.DeepEqual(got, want) {
		t.Errorf("gateway: %+v, want %+v", got, want)
	}
}

func TestSettingsPrecedence(t *testing.T) {
	file := write(t, "gateway.yaml", `
nats: "tls://file:4222"
prefix: file
partitions: 16
replicas: 3
write_key: [one, two]
durability: strict
log_level: debug
`)
	env := []string{"OFFERSTREAM_CONFIG=" + file, "OFFERSTREAM_PREFIX=env", "OFFERSTREAM_REPLICAS=5"}
	s, err := Gateway([]string{"-replicas=2", "--write-key", "x", "--write-key", "y", "--retention", "36h", "--metrics-addr", ":0"}, env, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{NATS: "tls://file:4222", Prefix: "env", Partitions: 16, Replicas: 2, Retention: 36 * time.Hour, Durability: "strict", MetricsAddr: ":0", LogLevel: slog.LevelDebug,
		Addr: "127.0.0.1:8080", WriteKeys: []string{"x", "y"}, Exposure: Exposure{AddressRate: 1000, UserRate: 200}}
	if got := plainly(s); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestSettingsErrors(t *testing.T) {
	file := write(t, "worker.yaml", "dir: d\nreplica: 2\ncache: lots\naddr: :80\nnats: [a]\n")
	for _, c := range []struct {
		args, env string
		want      []string
	}{
		{"", "", []string{"dir is required: --dir DIR, OFFERSTREAM_DIR or dir in the file"}},
		{"--dir=", "", []string{"dir is required: --dir DIR, OFFERSTREAM_DIR or dir in the file"}},
		{"--dir d now", "", []string{`unexpected argument "now", worker takes only flags: see worker --help`}},
		{"--dir d --dir e", "", []string{"--dir: it is given twice"}},
		{"--dir", "", []string{"--dir needs a value: see worker --help"}},
		{"--dri d", "", []string{`worker has no flag --dri: did you mean "--dir"?`}},
		{"--dir d --addr :80", "", []string{"worker has no flag --addr: it belongs to the gateway: remove it here"}},
		{"--dir d", "OFFERSTREAM_CACHES=1MB OFFERSTREAM_WRITE_KEY=the-gateway's OFFERSTREAM_GATEWAY_SERVICE_HOST=10.0.0.1 OFFERSTREAM_PORT=tcp://10.0.0.1:80", []string{
			`worker has no setting OFFERSTREAM_CACHES: did you mean "OFFERSTREAM_CACHE"?`}},
		{"--dir d --replicas 6", "OFFERSTREAM_REPLICAS=x", []string{
			`OFFERSTREAM_REPLICAS: "x" is not a whole number from 1 to 5`, `--replicas: "6" is not a whole number from 1 to 5`}},
		{"--dir d --standbys 4", "", []string{`--standbys: "4" is not a whole number from 0 to 3`}},
		{"--dir d --cache 256", "", []string{`--cache: "256" is not a number of bytes such as 256MB or 1GiB`}},
		{"--dir d --cache 1KB", "", []string{"--cache: 1KB is too small, at least 1MB is required"}},
		{"--dir d --retention 1m", "", []string{"--retention: 1m is too short, at least 1h is required"}},
		{"--dir d --durability never", "", []string{`--durability: "never" is not warn or strict`}},
		{"--dir d --prefix Shop", "", []string{`--prefix: "Shop" is not a prefix: at most 32 of a-z, 0-9 and -`}},
		{"--dir d --metrics-addr 9090", "", []string{`--metrics-addr: "9090" is not an address such as 127.0.0.1:8080 or :8080`}},
		{"--dir d --log-level loud", "", []string{`--log-level: "loud" is not debug, info, warn or error`}},
		{"--dir d --creds no.creds", "", []string{"--creds: open no.creds: no such file or directory"}},
		{"--dir d --config no.yaml", "", []string{"reading settings: open no.yaml: no such file or directory"}},
		{"--dir d --nats http://u:secret@h", "", []string{`--nats: "http://u:***@h" is not the URL of a NATS server, such as nats://127.0.0.1:4222`}},
		{"--dir d --nats nats://token@%%", "", []string{`--nats: "nats://***@%%" is not the URL of a NATS server, such as nats://127.0.0.1:4222`}},
		{"--config " + file, "", []string{
			file + `:2:1: worker has no setting "replica": did you mean "replicas"?`,
			file + `:4:1: worker has no setting "addr": it belongs to the gateway: remove it here`,
			file + `:5:1: "nats" is not a single value: --nats URL, OFFERSTREAM_NATS or nats in the file`,
			file + `:3:8: cache: "lots" is not a number of bytes such as 256MB or 1GiB`}},
	} {
		_, err := Worker(strings.Fields(c.args), strings.Fields(c.env), nil)
		if got := fmt.Sprint(err); got != strings.Join(c.want, "\n") {
			t.Errorf("worker %s %s:\ngot  %s\nwant %s", c.env, c.args, got, strings.Join(c.want, "\n"))
		}
	}
	_, err := Gateway([]string{"--write-key", "s3:cret"}, nil, nil)
	if err == nil || strings.Contains(err.Error(), "s3") {
		t.Errorf("a malformed write key: %v", err)
	}
	_, err = Gateway([]string{"--write-key", "k", "--standbys", "1"}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "it belongs to the worker") {
		t.Errorf("a worker's setting for the gateway: %v", err)
	}
}

func TestSettingsEffective(t *testing.T) {
	s, err := Gateway([]string{"--write-key", "s3cret,more"}, []string{"OFFERSTREAM_NATS=nats://me:s3cret@a:4222, s3cret@b"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(s.Effective())
	want := "[nats=nats://me:***@a:4222,nats://***@b creds= prefix= partitions=0 replicas=1 retention=7d durability=warn addr=127.0.0.1:8080 write_key=***,*** server_key= keys= origins= tls_cert= tls_key= proxies= address_rate=1000 user_rate=200 bots=keep redact= addresses=keep visitor_key= unsubscribe_keys= metrics_addr= log_level=info]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s, err = Worker([]string{"--dir", "d", "--standbys", "2"}, []string{"OFFERSTREAM_STANDBYS=1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.Effective()); s.Standbys != 2 || !strings.Contains(got, " standbys=2 ") {
		t.Errorf("standbys %d: %s", s.Standbys, got)
	}
}

func TestSettingsHelp(t *testing.T) {
	for _, read := range []func([]string, []string, *bytes.Buffer) error{
		func(a, e []string, b *bytes.Buffer) error { _, err := Gateway(a, e, b); return err },
		func(a, e []string, b *bytes.Buffer) error { _, err := Worker(a, e, b); return err },
	} {
		var out bytes.Buffer
		if err := read([]string{"--help"}, []string{"OFFERSTREAM_NONE=1"}, &out); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("--help: %v", err)
		}
		for _, want := range []string{"Usage: ", "--nats URL, OFFERSTREAM_NATS", "(default 7d)", "(required", "Example:"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the help lacks %q:\n%s", want, &out)
			}
		}
	}
}

package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"offerstream/pipeline/broker"
)

// TestDurability: with the shipped configuration, gateway and worker see that
// NATS calls fsync before each acknowledgement, and start with --durability
// strict. If it does not, or they have no permission to check, they log a warning,
// and with strict refuse to start.
func TestDurability(t *testing.T) {
	for _, c := range []struct {
		name  string
		patch []string // replacements in nats.conf
		want  string   // the warning; "" for none
	}{
		{"as shipped", nil, ""},
		{"an fsync now and then", []string{"sync_interval: always", `sync_interval: "1m"`}, "it syncs its disk every 1m0s"},
		{"not said", []string{"sync_interval: always", ""}, "it syncs its disk every 2m0s"},
		{"not exported", []string{`exports: [ { service: "$SYS.REQ.SERVER.PING.JSZ", response_type: stream, accounts: [OFFERSTREAM] } ]`, "",
			`imports: [ { service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" } } ]`, ""}, "cannot be seen: nobody answers"},
		{"not permitted", []string{`"dead.gateway", "$SYS.REQ.SERVER.PING.JSZ",`, `"dead.gateway",`, "\n              \"$SYS.REQ.SERVER.PING.JSZ\",", ""}, "cannot be seen: it may not be asked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := startNATS(t, c.patch...)
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			wanted := 0
			if c.want != "" {
				wanted = 1
			}
			for _, role := range []string{"worker", "gateway"} {
				connect := func(how string) (*lines, error) {
					var log lines
					conn, err := broker.Connect(ctx, broker.Options{URL: as(ns, role), Client: "offerstream-" + role, Partitions: 1, Durability: how,
						Log: slog.New(slog.NewTextHandler(&log, nil))})
					if err == nil {
						conn.Close()
					}
					return &log, err
				}
				log, err := connect(broker.DurabilityWarn)
				if warned := strings.Count(log.String(), "NATS may lose what it acknowledged"); err != nil || warned != wanted || !strings.Contains(log.String(), c.want) {
					t.Errorf("%s, warn: %v\n%s", role, err, log)
				}
				_, err = connect(broker.DurabilityStrict)
				if c.want == "" && err != nil || c.want != "" && (!errors.As(err, new(*broker.Refusal)) || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%s, strict: %v, want %q", role, err, c.want)
				}
			}
		})
	}
}

// TestDurabilityOfThree: with three servers, each one is asked, also those to
// which this process is not connected. A server that is down does not prevent the
// start.
func TestDurabilityOfThree(t *testing.T) {
	var routes []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // closed late, so that each port is different
		routes = append(routes, l.Addr().String())
		l.Close()
	}
	var servers []*server.Server
	for i, route := range routes {
		patches := []string{
			"# cluster {", "cluster {", "#   name:", "name:", "#   listen: 0.0.0.0:6222", "listen: " + route,
			"#   routes: [nats://nats-0:6222, nats://nats-1:6222, nats://nats-2:6222]", "routes: [nats://" + strings.Join(routes, ", nats://") + "]",
			"# }", "}", "server_name: $SERVER_NAME", fmt.Sprint("server_name: nats-", i),
		}
		if i == 2 {
			patches = append(patches, "sync_interval: always", `sync_interval: "5s"`)
		}
		servers = append(servers, startNATS(t, patches...))
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	connect := func(how string) (*lines, error) {
		var log lines
		conn, err := broker.Connect(ctx, broker.Options{URL: as(servers[0], "worker"), Client: "offerstream-worker", Partitions: 1, Replicas: 3, Durability: how,
			Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err == nil {
			conn.Close()
		}
		return &log, err
	}
	const want = "server nats-2: it syncs its disk every 5s"
	if log, err := connect(broker.DurabilityStrict); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s\n%s", err, want, log)
	}
	servers[2].Shutdown()
	servers[2].WaitForShutdown()
	log, err := connect(broker.DurabilityStrict)
	if err != nil || !strings.Contains(log.String(), "servers=3 answers=2") {
		t.Errorf("one of three is down: %v\n%s", err, log)
	}
}

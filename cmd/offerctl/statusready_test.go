package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
)

// TestStatusNotReady: `offerctl status` exits with 1 and says why wherever something
// does not work although each partition has an owner by its lease.
func TestStatusNotReady(t *testing.T) {
	t.Parallel()
	const partitions = 3
	log := slog.New(slog.DiscardHandler)
	ns, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Port: -1, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	url := ns.ClientURL()
	conn, err := broker.Connect(t.Context(), broker.Options{URL: url, Client: "test", Partitions: partitions, Reconnect: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	shows := func(words ...string) {
		t.Helper()
		for start := time.Now(); ; {
			out, _ := fails(t, 1, "status", "--nats", url)
			missing := false
			for _, w := range words {
				missing = missing || !strings.Contains(out, w)
			}
			if !missing {
				return
			}
			if time.Since(start) > 2*time.Minute {
				t.Fatalf("it does not show %q:\n%s", words, out)
			}
		}
	}

	// An owner that does not answer.
	rev, err := conn.PutLease(t.Context(), "frozen", []byte(`{"own":[0,1,2]}`), time.Minute, 0)
	if err != nil {
		t.Fatal(err)
	}
	shows("NOT READY: partitions 0-2: no owner of it answers")

	// Another worker that answers for it; and the first one's lease, which NATS does
	// not let expire.
	var mu sync.Mutex
	report := broker.Report{Member: "w"}
	change := func(fn func()) {
		mu.Lock()
		defer mu.Unlock()
		fn()
	}
	for p := range partitions {
		report.Partitions = append(report.Partitions, broker.PartitionReport{Partition: p, PartitionStatus: broker.PartitionStatus{Owned: true}})
	}
	stop, err := conn.Wire.Listen(conn.Names.StatusSubject(), func(q broker.Question) {
		mu.Lock()
		defer mu.Unlock()
		if b, err := json.Marshal(report); err == nil {
			q.Answer(b)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := conn.DropLease(t.Context(), "frozen", rev); err != nil {
		t.Fatal(err)
	}
	if out := offerctl(t, "status", "--nats", url); strings.Contains(out, "NOT READY") {
		t.Errorf("%s", out)
	}
	silent := &nats.Msg{Subject: "$KV.GROUP.member.silent", Data: []byte("1ns\n{}")}
	if _, err := conn.JS.PublishMsg(t.Context(), silent); err != nil {
		t.Fatal(err)
	}
	shows("NOT READY: worker silent: its lease has not been renewed", "does not")
	group, err := conn.JS.Stream(t.Context(), "KV_GROUP")
	if err == nil {
		err = group.Purge(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if out := offerctl(t, "status", "--nats", url); strings.Contains(out, "NOT READY") {
		t.Errorf("%s", out)
	}

	// NATS refuses what workers and gateways publish.
	change(func() {
		report.Refused = "the lease has not been renewed for 9s"
		report.Partitions[1].Refused = "publishes to NATS have failed for 7s"
	})
	events, err := conn.OpenGatewayLog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlisten, err := events.Report()
	if err != nil {
		t.Fatal(err)
	}
	defer unlisten()
	takes := func(bytes int32) {
		t.Helper()
		st, err := conn.JS.Stream(t.Context(), "EVENTS-2")
		if err != nil {
			t.Fatal(err)
		}
		cfg := st.CachedInfo().Config
		cfg.MaxMsgSize = bytes
		if _, err := conn.JS.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	takes(1)
	if err := events.Publish(t.Context(), 2, "id", []byte("{}")); err == nil {
		t.Fatal("it is not refused")
	}
	await := func(what string, holds func(error) bool) {
		t.Helper()
		for start := time.Now(); !holds(events.Refused()); <-time.After(10 * time.Millisecond) {
			if time.Since(start) > 2*time.Minute {
				t.Fatalf("in vain awaited: %s: %v", what, events.Refused())
			}
		}
	}
	await("the gateway's log is refused", func(err error) bool { return err != nil })
	shows("NOT READY: worker w: the lease has not been renewed for 9s", "NOT READY: partitions 1: publishes to NATS have failed for 7s", "NOT READY: a gateway: publishes to NATS have failed", "events.2.in")
	takes(-1)
	await("it is stored again", func(err error) bool { return err == nil })
	change(func() { report.Refused, report.Partitions[1].Refused = "", "" })
	offerctl(t, "status", "--nats", url)

	// NATS has lost messages, and then whole streams.
	change(func() { report.Partitions[0].Seq = 5 })
	shows("NOT READY: partitions 0: its log ends before the last message that was applied")
	change(func() { report.Partitions[0].Seq = 0 })
	for _, stream := range []string{"EVENTS-1", "OFFERS"} {
		if err := conn.JS.DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	shows("NOT READY: partitions 1: its stream is gone", "NOT READY: stream OFFERS is gone")

	// NATS is there again, but empty.
	ns.Shutdown()
	var port int
	fmt.Sscan(url[strings.LastIndexByte(url, ':')+1:], &port)
	empty, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Port: port, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(empty.Shutdown)
	if _, errs := fails(t, 1, "status", "--nats", url); !strings.Contains(errs, "there is no deployment") {
		t.Errorf("%s", errs)
	}
	await("the gateway notices", func(err error) bool { return err != nil && strings.Contains(err.Error(), "is gone") })
}

package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/ingest"
	"offerstream/pipeline/page"
	"offerstream/pipeline/worker"
)

// within is the longest that a test waits. It is so long that only something that
// hangs exceeds it, never something slow.
const within = 2 * time.Minute

// startNATS runs nats-server with the shipped configuration, on a free port and
// in a temporary directory. patches are pairs: each first text is replaced
// everywhere by the second.
func startNATS(t testing.TB, patches ...string) *server.Server {
	t.Helper()
	conf, err := os.ReadFile("nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, patch := range [][2]string{
		{"listen: 0.0.0.0:4222", "listen: 127.0.0.1:-1"},
		{"http: 127.0.0.1:8222", "#"},
		{"store_dir: /data", fmt.Sprintf("store_dir: %q", t.TempDir())},
	} {
		if !bytes.Contains(conf, []byte(patch[0])) {
			t.Fatalf("nats.conf has no %q any more", patch[0])
		}
		conf = bytes.Replace(conf, []byte(patch[0]), []byte(patch[1]), 1)
	}
	conf = []byte(strings.NewReplacer(patches...).Replace(string(conf)))
	t.Setenv("SERVER_NAME", "nats-0")
	for _, role := range []string{"GATEWAY", "WORKER", "SUBSCRIBER", "DELIVER", "OPERATOR", "SYS"} {
		t.Setenv(role+"_PASSWORD", strings.ToLower(role))
	}
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	ns, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(within) || !ns.JetStreamEnabled() {
		t.Fatal("nats-server does not start with nats.conf")
	}
	return ns
}

func as(ns *server.Server, role string) string {
	return strings.Replace(ns.ClientURL(), "//", "//"+role+":"+role+"@", 1)
}

// lines collects the log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func await(t testing.TB, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("awaited in vain: %s", what)
		}
	}
}

// TestRoles runs the whole flow, each part as its own user of nats.conf: an event
// over HTTP becomes an offer that the subscriber reads, and the operator asks the
// two workers. No permission is refused on the way, except for a gateway that
// starts before the streams exist; it waits.
func TestRoles(t *testing.T) {
	ns := startNATS(t)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var early, log lines
	logger := slog.New(slog.NewTextHandler(&log, nil))

	gatewayConn := make(chan *broker.Conn, 1)
	go func() {
		c, err := broker.Connect(ctx, broker.Options{URL: as(ns, "gateway"), Client: "offerstream-gateway", Reconnect: true, Log: slog.New(slog.NewTextHandler(&early, nil))})
		if err != nil {
			t.Error(err)
		}
		gatewayConn <- c
	}()
	await(t, ctx, "the gateway waits for somebody to make the streams", func() bool { return strings.Contains(early.String(), "waiting for a worker or operator") })

	workCtx, stopWorkers := context.WithCancel(ctx)
	const workers = 2
	worked := make(chan error, workers)
	for range workers {
		w, err := worker.New(worker.Options{Dir: t.TempDir(), Standbys: 1, Log: logger, Connect: func(ctx context.Context) (*broker.Conn, error) {
			return broker.Connect(ctx, broker.Options{URL: as(ns, "worker"), Client: "offerstream-worker", Partitions: 2, Log: logger})
		}})
		if err != nil {
			t.Fatal(err)
		}
		go func() { worked <- w.Run(workCtx) }()
	}

	c := <-gatewayConn
	if c == nil {
		t.FailNow()
	}
	defer c.Close()
	events, err := c.OpenGatewayLog(ctx)
	if err != nil {
		t.Fatal(err)
	}
	operator, err := broker.Connect(ctx, broker.Options{URL: as(ns, "operator"), Client: "offerctl", Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close()
	hash, err := operator.PutSet(ctx, &campaign.Definition{Engine: pipeline.Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness,
		Bounds: campaign.DefaultBounds, Forget: campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown},
		Campaigns: []campaign.Campaign{{ID: "hello", On: []string{"page"}, Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Service}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := operator.MakeLive(ctx, hash, 0); err != nil {
		t.Fatal(err)
	}

	offers := page.New(page.Options{Keys: page.NewKeys([][]byte{[]byte("a key of visitors")}), Logger: logger})
	go offers.Run(ctx, c)
	g, err := ingest.New(ingest.Options{Log: events, Page: offers, WriteKeys: []string{"k"}, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	unlisten, err := events.Report()
	if err != nil {
		t.Fatal(err)
	}
	defer unlisten()
	deafen, err := events.Listeners(g.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer deafen()
	hearing, stopHearing := context.WithCancel(ctx)
	listens, told, heard := make(chan struct{}, 100), make(chan broker.Notice, 1000), make(chan error, 1)
	go func() {
		heard <- operator.Hear(hearing, broker.Wish{ID: "a1"}, func(n *broker.Notice) { told <- *n }, func(broker.Hearing) { listens <- struct{}{} }, func(bool) {})
	}()
	<-listens
	sub, err := nats.Connect(as(ns, "subscriber"))
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	js, err := jetstream.New(sub)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, "OFFERS", jetstream.ConsumerConfig{Durable: "sender", FilterSubject: "offers.web.>"})
	if err != nil {
		t.Fatal(err)
	}
	for _, filter := range []string{``, `,"filter_subject":"withheld.>"`, `,"filter_subjects":["offers.>","withheld.>"]`} { // the server holds a consumer to the filter in the subject
		m, err := sub.RequestWithContext(ctx, "$JS.API.CONSUMER.CREATE.OFFERS.all.offers.>", []byte(`{"stream_name":"OFFERS","config":{"name":"all","durable_name":"all","ack_policy":"explicit"`+filter+`}}`))
		if err != nil || !bytes.Contains(m.Data, []byte(`"error"`)) {
			t.Errorf("the subscriber could create a consumer of what is withheld (%s): %s, %v", filter, m.Data, err)
		}
	}
	sent := make(chan string, 100)
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		sent <- m.Headers().Get("ce-campaign")
		m.Ack()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer consuming.Stop()

	delivered := deliverAsRole(t, ns, logger)

	// Send events until the first offer: those before the set is in force cause none.
	for n, fired := 0, false; !fired; n++ {
		body := fmt.Sprintf(`{"writeKey":"k","batch":[{"type":"page","userId":"u","messageId":"%d"},{"type":"nonsense"}]}`, n)
		answer := httptest.NewRecorder()
		g.ServeHTTP(answer, httptest.NewRequest("POST", "/v1/batch", strings.NewReader(body)))
		if answer.Code != http.StatusOK {
			t.Fatalf("%d %s\n%s", answer.Code, answer.Body, log.String())
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no offer came\n%s", log.String())
		case campaign := <-sent:
			if campaign != "hello" {
				t.Errorf("an offer of campaign %q", campaign)
			}
			fired = true
		case <-time.After(20 * time.Millisecond): // the set may not be in force yet: send more
		}
	}
	await(t, ctx, "the gateway has the offer for the page", func() bool { all, err := offers.List("u:u"); return err == nil && len(all) == 1 })
	if one, two := <-told, <-told; one.Outcome != broker.Accepted || one.User != "u" || one.Key != "write key 1" || two.Outcome != broker.Refused || two.Reason != "type" {
		t.Errorf("told: %+v %+v", one, two)
	}
	stopHearing()
	if err := <-heard; err != nil {
		t.Error(err)
	}
	await(t, ctx, "a sender delivers it", func() bool { return delivered() > 0 })
	await(t, ctx, "each partition with its owner and its standby", func() bool {
		o, err := audit.Look(ctx, operator, within)
		if err != nil {
			t.Fatal(err)
		}
		ready := 0
		for _, m := range o.Members {
			if !m.Answers {
				t.Fatalf("member %s does not answer\n%s", m.ID, log.String())
			}
			ready += len(m.Ready)
		}
		return o.OK() && len(o.Members) == workers && ready == 2
	})

	answer, err := operator.NC.RequestWithContext(ctx, operator.Names.QuerySubject(event.Partition("u:u", 2)), []byte(`{"key":"u:u"}`))
	if err != nil || !bytes.Contains(answer.Data, []byte("hello")) {
		t.Errorf("the worker's word on the user: %s, %v", answer.Data, err)
	}

	var gateway broker.GatewayReport
	answer, err = operator.NC.RequestWithContext(ctx, operator.Names.GatewaysSubject(), nil)
	if err != nil || json.Unmarshal(answer.Data, &gateway) != nil || gateway.Refused != "" {
		t.Errorf("the gateway's report: %s, %v", answer.Data, err)
	}

	if err := g.Drain(ctx); err != nil {
		t.Error(err)
	}
	stopWorkers()
	for range workers {
		if err := <-worked; err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(strings.ToLower(log.String()), "permission") {
		t.Errorf("somebody met a refusal:\n%s", log.String())
	}
	refusals(t, ns)
}

// TestGroupRoles: the worker creates the buckets that a deployment of an older
// version lacks, and a gateway waits for them. The worker has all permissions on
// leases and snapshots that it needs.
func TestGroupRoles(t *testing.T) {
	ns := startNATS(t)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var early, log lines
	connect := func(role, client string, log *lines, o broker.Options) *broker.Conn {
		o.URL, o.Client, o.Log = as(ns, role), client, slog.New(slog.NewTextHandler(log, nil))
		c, err := broker.Connect(ctx, o)
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(c.Close)
		return c
	}
	operator := connect("operator", "offerctl", &log, broker.Options{Partitions: 2})
	if operator == nil {
		t.FailNow()
	}
	for _, stream := range []string{"KV_GROUP", "OBJ_SNAPSHOTS"} {
		if err := operator.JS.DeleteStream(ctx, stream); err != nil {
			t.Fatal(err)
		}
	}
	gateway := make(chan *broker.Conn, 1)
	go func() { gateway <- connect("gateway", "offerstream-gateway", &early, broker.Options{Reconnect: true}) }()
	await(t, ctx, "the gateway waits for somebody to make the buckets", func() bool { return strings.Contains(early.String(), "waiting for a worker or operator") })
	w := connect("worker", "offerstream-worker", &log, broker.Options{})
	if w == nil || <-gateway == nil {
		t.FailNow()
	}

	told, ended := make(chan map[string][]byte, 16), make(chan error, 1)
	go func() { ended <- w.WatchLeases(ctx, func(l map[string][]byte) { told <- l }) }()
	seen := func(want string) {
		t.Helper()
		for got := ""; got != want; {
			select {
			case l := <-told:
				got = fmt.Sprintf("%s", l)
			case err := <-ended:
				t.Fatalf("the watch has ended: %v", err)
			case <-ctx.Done():
				t.Fatalf("%s is never seen\n%s", want, log.String())
			}
		}
	}
	rev := uint64(0)
	for _, value := range []string{"new", "renewed"} {
		var err error
		if rev, err = w.PutLease(ctx, "a", []byte(value), time.Minute, rev); err != nil {
			t.Fatal(err)
		}
		seen("map[a:" + value + "]")
	}
	if err := w.DropLease(ctx, "a", rev); err != nil {
		t.Fatal(err)
	}
	seen("map[]")
	if err := operator.JS.DeleteStream(ctx, "KV_GROUP"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutLease(ctx, "a", []byte("again"), time.Minute, 0); err != nil {
		t.Fatal(err)
	}
	seen("map[a:again]")

	for seq := range uint64(4) { // the fourth removes the second: the first of the day stays
		if err := w.PutSnapshot(ctx, 1, seq, nil, strings.NewReader("the state")); err != nil {
			t.Fatal(err)
		}
	}
	all, err := w.Snapshots(ctx, 1)
	if err != nil || len(all) != 3 || all[0].Seq != 3 || all[2].Seq != 0 {
		t.Fatalf("snapshots: %+v, %v", all, err)
	}
	r, err := w.OpenSnapshot(ctx, all[0])
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "the state" || err != nil {
		t.Errorf("the snapshot: %q, %v", b, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if strings.Contains(strings.ToLower(log.String()), "permission") {
		t.Errorf("somebody met a refusal:\n%s", log.String())
	}
}

// TestLongAnswer: the worker may answer the operator with more than one message.
func TestLongAnswer(t *testing.T) {
	ns := startNATS(t)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var log lines
	connect := func(role, client string) *broker.Conn {
		c, err := broker.Connect(ctx, broker.Options{URL: as(ns, role), Client: client, Partitions: 2, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	operator, w := connect("operator", "offerctl"), connect("worker", "offerstream-worker")
	long := bytes.Repeat([]byte("long "), 1_000_000)
	if _, err := w.Wire.Listen(w.Names.QuerySubject(1), func(q broker.Question) {
		if err := q.Answer(long); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.NC.FlushWithContext(ctx); err != nil { // so that the server knows the subscription
		t.Fatal(err)
	}
	var got []byte
	if err := operator.Ask(ctx, operator.Names.QuerySubject(1), nil, func(b []byte) bool { got = b; return true }); err != nil || !bytes.Equal(got, long) {
		t.Errorf("%d bytes of %d: %v\n%s", len(got), len(long), err, log.String())
	}
}

// refusals checks who may publish what, and who may not.
func refusals(t *testing.T, ns *server.Server) {
	for role, subjects := range map[string]map[string]bool{
		"gateway": {
			"events.0.in": true, "dead.gateway": true, "query.listen.a": true, "query.listen": false, "query.coupons.0": true,
			"$JS.API.CONSUMER.CREATE.OFFERS.a.offers.web.*": true, "$JS.API.CONSUMER.CREATE.OFFERS.a.page.*": true, "$JS.FC.OFFERS.a": true,
			"$JS.API.CONSUMER.CREATE.OFFERS.a.offers.sms.*": false, "$JS.API.CONSUMER.CREATE.OFFERS.a.offers.>": false, "$JS.API.CONSUMER.CREATE.OFFERS.a.withheld.*": false, "$JS.API.CONSUMER.CREATE.OFFERS.a": false, "$JS.API.CONSUMER.CREATE.OFFERS": false,
			"$JS.API.CONSUMER.MSG.NEXT.OFFERS.sender": false, "$JS.API.CONSUMER.DELETE.OFFERS.sender": false,
			"events.0.tick": false, "events.0.control": false, "events.0.from.1": false, "offers.web.0": false, "offers-test.web": false, "withheld.0": false, "page.0": false, "dead.0": false,
			"query.0": false, "query.status": false, "$KV.CAMPAIGNS.live": false, "$JS.API.STREAM.CREATE.X": false, "$JS.API.STREAM.UPDATE.EVENTS-0": false,
			"$JS.API.STREAM.DELETE.X": false, "$JS.API.STREAM.PURGE.X": false, "$JS.API.STREAM.MSG.GET.OFFERS": false, "$JS.API.CONSUMER.CREATE.EVENTS-0": false,
			"$KV.GROUP.member.a": false, "$JS.API.STREAM.MSG.GET.KV_GROUP": false, "$JS.API.DIRECT.GET.KV_GROUP.$KV.GROUP.member.a": false, "$JS.API.CONSUMER.CREATE.KV_GROUP.a": false,
			"$O.SNAPSHOTS.M.a": false, "$O.SNAPSHOTS.C.0.1.a": false, "$JS.API.STREAM.PURGE.OBJ_SNAPSHOTS": false, "$JS.API.STREAM.MSG.GET.OBJ_SNAPSHOTS": false, "$JS.API.CONSUMER.CREATE.OBJ_SNAPSHOTS.a": false,
		},
		"worker": {
			"offers.web.0": true, "withheld.0": true, "page.0": true, "dead.0": true, "events.0.from.1": true, "events.0.from": false, "events.0.accept": false, "$JS.API.STREAM.INFO.X": true, "$JS.API.CONSUMER.CREATE.X": true,
			"events.0.in": false, "offers-test.web": false, "dead.gateway": false, "$KV.CAMPAIGNS.paused": true, "$KV.CAMPAIGNS.live": false, "$JS.API.STREAM.DELETE.X": false, "$JS.API.STREAM.PURGE.X": false,
			"$JS.API.STREAM.MSG.DELETE.X": false, "$JS.API.STREAM.UPDATE.X": false, "$JS.API.STREAM.RESTORE.X": false,
			"$KV.GROUP.member.a": true, "$KV.GROUP.a": false, "$JS.API.STREAM.PURGE.KV_GROUP": false, "$JS.API.STREAM.DELETE.KV_GROUP": false,
			"$O.SNAPSHOTS.M.a": true, "$O.SNAPSHOTS.C.0.1.a": true, "$JS.API.STREAM.PURGE.OBJ_SNAPSHOTS": true, "$JS.API.STREAM.DELETE.OBJ_SNAPSHOTS": false, "$JS.API.STREAM.MSG.DELETE.OBJ_SNAPSHOTS": false,
		},
		"subscriber": {
			"$JS.API.STREAM.INFO.OFFERS": true, "$JS.API.CONSUMER.INFO.OFFERS.sender": true, "$JS.API.CONSUMER.DELETE.OFFERS.sender": true,
			"$JS.API.CONSUMER.CREATE.OFFERS.sender.offers.web.>": true, "$JS.API.CONSUMER.CREATE.OFFERS.sender.withheld.>": false, "$JS.API.CONSUMER.CREATE.OFFERS.sender": false,
			"$JS.API.CONSUMER.CREATE.OFFERS": false, "$JS.API.CONSUMER.DURABLE.CREATE.OFFERS.sender": false,
			"events.0.in": false, "events.0.from.1": false, "offers.web.0": false, "offers-test.web": false, "dead.gateway": false, "$KV.CAMPAIGNS.live": false, "query.0": false, "query.status": false, "query.listen": false, "query.listen.a": false, "query.coupons.0": false,
			"$JS.API.STREAM.INFO.EVENTS-0": false, "$JS.API.CONSUMER.CREATE.EVENTS-0": false, "$JS.API.STREAM.MSG.GET.EVENTS-0": false,
			"$JS.API.STREAM.DELETE.OFFERS": false, "$JS.API.STREAM.PURGE.OFFERS": false, "$JS.API.STREAM.MSG.DELETE.OFFERS": false,
			"$KV.GROUP.member.a": false, "$JS.API.STREAM.INFO.KV_GROUP": false, "$JS.API.STREAM.MSG.GET.KV_GROUP": false, "$JS.API.CONSUMER.CREATE.KV_GROUP.a": false,
			"$O.SNAPSHOTS.M.a": false, "$O.SNAPSHOTS.C.0.1.a": false, "$JS.API.STREAM.PURGE.OBJ_SNAPSHOTS": false, "$JS.API.STREAM.MSG.GET.OBJ_SNAPSHOTS": false, "$JS.API.CONSUMER.CREATE.OBJ_SNAPSHOTS.a": false,
		},
		"deliver": {
			"dead.deliver": true, "query.0": true, "query.status": false, "query.gateways": false, "query.listen": false, "query.listen.a": false, "dead.0": false, "dead.gateway": false,
			"$JS.API.STREAM.INFO.OFFERS": true, "$JS.API.CONSUMER.CREATE.OFFERS.a.offers.web.*": true, "$JS.API.CONSUMER.CREATE.OFFERS.a.withheld.*": false, "$JS.API.CONSUMER.CREATE.OFFERS.a": false, "$JS.API.CONSUMER.CREATE.OFFERS": false,
			"$JS.API.CONSUMER.CREATE.DEADLETTERS.a.dead.deliver": true, "$JS.API.CONSUMER.CREATE.DEADLETTERS.a.dead.gateway": false, "$JS.API.CONSUMER.CREATE.DEADLETTERS.a.dead.*": false, "$JS.API.CONSUMER.CREATE.DEADLETTERS.a": false, "$JS.API.CONSUMER.DELETE.DEADLETTERS.a": false,
			"$JS.API.CONSUMER.DURABLE.CREATE.OFFERS.a": false, "$JS.API.CONSUMER.DELETE.OFFERS.a": false, "$JS.API.CONSUMER.INFO.OFFERS.a": true, "$JS.API.CONSUMER.MSG.NEXT.OFFERS.a": true, "$JS.API.CONSUMER.CREATE.EVENTS-0.a.events.>": false,
			"$JS.API.DIRECT.GET.KV_CAMPAIGNS.$KV.CAMPAIGNS.deployment": true, "$JS.API.DIRECT.GET.KV_CAMPAIGNS.$KV.CAMPAIGNS.live": false, "$JS.API.STREAM.MSG.GET.OFFERS": false, "$JS.API.STREAM.MSG.GET.EVENTS-0": false, "$JS.API.STREAM.MSG.GET.DEADLETTERS": false, "$JS.API.STREAM.MSG.GET.KV_CAMPAIGNS": false,
			"events.0.in": false, "events.0.control": false, "offers.web.0": false, "offers-test.web": false, "withheld.0": false, "$KV.CAMPAIGNS.live": false, "$KV.CAMPAIGNS.paused": false, "$KV.GROUP.member.a": false, "$O.SNAPSHOTS.M.a": false,
			"$JS.API.STREAM.CREATE.X": false, "$JS.API.STREAM.UPDATE.OFFERS": false, "$JS.API.STREAM.DELETE.OFFERS": false, "$JS.API.STREAM.PURGE.DEADLETTERS": false, "$JS.API.STREAM.MSG.DELETE.OFFERS": false,
		},
		"operator": {
			"$JS.API.STREAM.DELETE.X": true, "$JS.API.STREAM.PURGE.X": true, "$KV.CAMPAIGNS.x": true, "query.0": true, "query.status": true, "query.listen": true, "offers-test.web": true,
		},
	} {
		for subject, may := range subjects {
			refused(t, ns, role, "publish to "+subject, may, func(nc *nats.Conn) error { return nc.Publish(subject, nil) })
		}
	}
	for role, subjects := range map[string]map[string]bool{
		"gateway":    {"_INBOX_offerstream-gateway.x": true, "query.coupons.0": false, "query.gateways": true, "query.listen": true, "query.listen.a": false, "query.status": false, "offers-test.>": false, "_INBOX_offerstream-worker.>": false, "events.>": false, "$KV.GROUP.>": false, "$O.SNAPSHOTS.>": false, ">": false},
		"worker":     {"query.0": true, "query.coupons.0": true, "query.listen.a": false, "offers-test.>": false, "query.status": true, "_INBOX_offerstream-worker.x": true, ">": false},
		"subscriber": {"offers.>": true, "offers-test.>": true, "withheld.>": false, "page.>": false, "_INBOX.x": true, "$KV.GROUP.>": false, "$O.SNAPSHOTS.>": false, "events.>": false, "_INBOX_offerstream-worker.>": false, "query.*": false, "query.listen.a": false, ">": false},
		"deliver":    {"_INBOX_offerstream-deliver.x": true, "_INBOX.x": false, "_INBOX_offerstream-worker.>": false, "offers.>": false, "offers-test.>": false, "withheld.>": false, "events.>": false, "query.*": false, "query.listen.a": false, "dead.>": false, "$KV.GROUP.>": false, ">": false},
		"operator":   {">": true},
	} {
		for subject, may := range subjects {
			refused(t, ns, role, "subscribe to "+subject, may, func(nc *nats.Conn) error {
				_, err := nc.SubscribeSync(subject)
				return err
			})
		}
	}
	if _, err := nats.Connect(ns.ClientURL()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without a user: %v", err)
	}
	var no *broker.Refusal
	if _, err := broker.Connect(t.Context(), broker.Options{URL: strings.Replace(ns.ClientURL(), "//", "//worker:wrong@", 1)}); !errors.As(err, &no) {
		t.Errorf("with a wrong password: %v", err)
	}
	if _, err := broker.Connect(t.Context(), broker.Options{URL: as(ns, "subscriber"), Log: slog.New(slog.DiscardHandler)}); !errors.As(err, &no) {
		t.Errorf("a subscriber as a worker: %v", err)
	}
}

// refused does something as a role, and checks whether the server allows it.
func refused(t *testing.T, ns *server.Server, role, what string, may bool, do func(*nats.Conn) error) {
	t.Helper()
	nc, err := nats.Connect(as(ns, role), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := do(nc); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil { // the server's refusal comes before its answer to this
		t.Fatal(err)
	}
	if got := !errors.Is(nc.LastError(), nats.ErrPermissionViolation); got != may {
		t.Errorf("%s, %s: may is %v, want %v (%v)", role, what, got, may, nc.LastError())
	}
}

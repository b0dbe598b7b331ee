package deliver

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
)

// childAckWait is how long the server waits for a killed process.
const childAckWait = 2 * time.Second

// TestMain is also the process that TestKill kills.
func TestMain(m *testing.M) {
	if to := os.Getenv("OFFERSTREAM_TEST_DELIVER"); to != "" {
		if err := child(os.Getenv("OFFERSTREAM_TEST_NATS"), to); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(nats, to string) error {
	conn, err := broker.Connect(context.Background(), broker.Options{URL: nats, Client: "offerstream-deliver", Join: true, Reconnect: true})
	if err != nil {
		return err
	}
	d, err := New(Options{Conn: conn, Channel: "push", Receiver: Receiver{Preset: "webhook", URL: to, Secret: SecretText(key), AllowPrivate: true}, Letters: os.Getenv("OFFERSTREAM_TEST_LETTERS") != "", ackWait: childAckWait})
	if err != nil {
		return err
	}
	return d.Run(context.Background())
}

// TestKill kills a sender several times with kill -9 in the middle: nothing is lost, the
// offers of each user come in order, and what comes twice was in flight.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	const users, each, kills = 30, 40, 3
	d := deploy(t)
	to := receive(t, nil)
	var names []string
	for u := range users {
		names = append(names, fmt.Sprint("user", u))
	}
	d.offers(each, names...)
	start := func() *exec.Cmd { return d.sender(to) }
	killed(t, start, to, users*each, kills, rng)
	cmd := start()
	await(t, "all are delivered", func() bool { return d.left("deliver-push-webhook") == 0 })
	cmd.Process.Kill()
	cmd.Wait()
	all := to.got()
	for _, u := range names {
		last := 0
		for _, id := range to.ids(u) {
			n, err := strconv.Atoi(id[strings.IndexByte(id, '-')+1:])
			if err != nil || n > last+1 {
				t.Errorf("%s: %s comes after %d", u, id, last)
			}
			last = max(last, n)
		}
		if last != each {
			t.Errorf("%s: %d of %d came", u, last, each)
		}
	}
	repeats := len(all) - users*each
	t.Logf("%d requests, %d repeats after %d kills", len(all), repeats, kills)
	if repeats > kills*2*users { // each user has one in flight; another acknowledgement may be on its way
		t.Errorf("%d repeats", repeats)
	}
}

// sender starts a process that sends what the deployment has (TestMain).
func (d *deployment) sender(to *receiver, env ...string) *exec.Cmd {
	d.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "OFFERSTREAM_TEST_NATS="+d.url, "OFFERSTREAM_TEST_DELIVER="+to.URL), env...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	return cmd
}

// killed starts senders of so many offers, and kills each when it has sent some.
func killed(t *testing.T, start func() *exec.Cmd, to *receiver, offers, kills int, rng *rand.Rand) {
	t.Helper()
	from := len(to.got())
	for k := range kills {
		cmd := start()
		n := (k*offers + rng.IntN(offers)) / (kills + 1)
		await(t, "some are delivered", func() bool { return len(to.got()) > from+n })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
	}
}

// TestBrokerRestart restarts NATS while offers are delivered: nothing is lost.
func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := deployIn(t, dir, "")
	to := receive(t, nil)
	d.offers(50, "ada", "bob")
	r := d.start(Options{Receiver: d.webhook(to), Rate: 100, ackWait: 2 * time.Second})
	await(t, "some are delivered", func() bool { return len(to.got()) > 20 })
	u, err := url.Parse(d.url)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	d.ns.Shutdown()
	ns, err := embedded.Start(embedded.Options{Dir: dir, Port: port, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	await(t, "all are acknowledged", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // an answer may be lost with the connection
		defer cancel()
		con, err := d.conn.JS.Consumer(ctx, "OFFERS", "deliver-push-webhook")
		return err == nil && con.CachedInfo().NumAckPending+int(con.CachedInfo().NumPending) == 0
	})
	for _, user := range []string{"ada", "bob"} {
		last := 0
		for _, id := range to.ids(user) {
			n, _ := strconv.Atoi(id[4:])
			if n > last+1 {
				t.Errorf("%s comes after %d", id, last)
			}
			last = max(last, n)
		}
		if last != 50 {
			t.Errorf("%s: %d of 50 came\n%s", user, last, r.log)
		}
	}
	if n := len(to.got()); n != 100 {
		t.Errorf("%d requests for 100 offers: what was held was sent again", n)
	}
}

// TestRemoved: when its consumer is removed, it ends and says what to do, rather than
// beginning anew.
func TestRemoved(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, nil)
	d.offers(1, "ada")
	r := d.start(Options{Receiver: d.webhook(to)})
	await(t, "it is delivered", func() bool { return d.left("deliver-push-webhook") == 0 })
	if err := d.conn.JS.DeleteConsumer(limited(t), "OFFERS", "deliver-push-webhook"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.done:
		if r.done <- err; err == nil || !strings.Contains(err.Error(), "is gone: somebody has removed it") {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(within):
		t.Fatalf("it does not end\n%s", r.log)
	}
	d.offers(1, "bob")
	r = d.start(Options{Receiver: d.webhook(to), New: true})
	await(t, "it is there", func() bool { return d.left("deliver-push-webhook") == 0 })
	d.offers(1, "cid")
	await(t, "what is new is delivered", func() bool { return r.metric("sent_total", "") == 1 })
	if len(to.ids("ada")) != 1 || len(to.ids("bob")) != 0 || len(to.ids("cid")) != 1 {
		t.Errorf("got %v", to.got())
	}
	if _, err := d.conn.JS.CreateOrUpdateConsumer(limited(t), "OFFERS", jetstream.ConsumerConfig{Durable: "mine", FilterSubject: "offers.web.*"}); err != nil {
		t.Fatal(err)
	}
	r = d.start(Options{Receiver: d.webhook(to), Name: "mine"})
	if err := <-r.done; err == nil || !strings.Contains(err.Error(), "exists and is another one") {
		t.Errorf("with the consumer of somebody else: %v", err)
	} else {
		r.done <- err
	}
}

// A receipt is a message that keeps what it is answered.
type receipt struct {
	jetstream.Msg
	acks, naks int
}

func (r *receipt) Ack() error { r.acks++; return nil }
func (r *receipt) Nak() error { r.naks++; return nil }

// TestLanes: what comes again is not worked on again, and what a process before this one
// had taken is worked on before anything else, in order.
func TestLanes(t *testing.T) {
	var g holding
	g.init()
	order := make(chan uint64, 10)
	put := func(seq uint64, m *receipt) {
		h := &held{seq: seq, key: "u:ada"}
		g.put(t.Context(), h, m, func() {
			order <- seq
			g.acknowledge(h)
		})
	}
	g.returning(2, 5, time.Hour)
	put(7, &receipt{})
	put(5, &receipt{})
	put(5, &receipt{}) // once more
	if g.closed == false || len(order) > 0 {
		t.Fatal("a lane runs before all has come back")
	}
	put(3, &receipt{})
	for _, want := range []uint64{3, 5, 7} {
		if got := <-order; got != want {
			t.Errorf("%d is worked on, want %d", got, want)
		}
	}
	g.lanesEnded.Wait()
	m := &receipt{}
	put(5, m)
	g.lanesEnded.Wait()
	if m.acks != 1 || len(order) > 0 {
		t.Errorf("what is acknowledged and comes again: %d acknowledgements, %d worked on", m.acks, len(order))
	}
	if len(g.all) != 0 || g.bytes != 0 || len(g.lanes) != 0 {
		t.Errorf("%d held, %d bytes, %d lanes", len(g.all), g.bytes, len(g.lanes))
	}
}

package audit

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
	"offerstream/pipeline/worker"
)

// quiet returns a logger that discards everything, unless LOG is set.
func quiet() *slog.Logger {
	if os.Getenv("LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// within returns a context that limits how long a test waits.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func startNATS(t *testing.T, dir string) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: dir, Port: -1, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func connect(t *testing.T, url string, partitions int) *broker.Conn {
	t.Helper()
	c, err := broker.Connect(within(t), broker.Options{URL: url, Client: "test", Partitions: partitions, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// apply stores the set and makes it live.
func apply(t *testing.T, c *broker.Conn, def *campaign.Definition) string {
	t.Helper()
	ctx := within(t)
	hash, err := c.PutSet(ctx, def)
	if err != nil {
		t.Fatal(err)
	}
	_, rev, err := c.Live(ctx)
	if err == nil {
		err = c.MakeLive(ctx, hash, rev)
	}
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// connecting returns how a worker connects.
func connecting(url string) func(context.Context) (*broker.Conn, error) {
	return func(ctx context.Context) (*broker.Conn, error) {
		return broker.Connect(ctx, broker.Options{URL: url, Client: "worker", Log: quiet()})
	}
}

// A running is a running worker.
type running struct {
	*worker.Worker
	cancel context.CancelFunc
	done   chan error
}

func start(t *testing.T, url, dir string, change ...func(*worker.Options)) *running {
	t.Helper()
	opt := worker.Options{Dir: dir, Log: quiet(), Checkpoint: 50 * time.Millisecond, Confirm: time.Second, Connect: connecting(url)}
	for _, c := range change {
		c(&opt)
	}
	w, err := worker.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{w, cancel, make(chan error, 1)}
	go func() { r.done <- w.Run(ctx) }()
	t.Cleanup(func() { r.stop(t) })
	return r
}

func (r *running) stop(t *testing.T) {
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil {
			t.Error(err)
		}
		r.done <- nil
	case <-time.After(time.Minute):
		t.Fatal("the worker does not stop")
	}
}

// await polls until holds returns true.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); !holds(); <-time.After(5 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("in vain awaited: %s", what)
		}
	}
}

// inForce waits until the set is in force in every partition, and every partition
// that this worker should run is running.
func (r *running) inForce(t *testing.T, hash string) {
	t.Helper()
	await(t, "set in force", func() bool {
		st := r.Status()
		for _, s := range st {
			if s.Set != hash {
				return false
			}
		}
		return len(st) > 0 && r.Ready() == nil
	})
}

// applied waits until every message of the logs is applied and every offer is
// stored.
func (r *running) applied(t *testing.T, c *broker.Conn) {
	t.Helper()
	await(t, "all applied", func() bool {
		st := r.Status()
		for p, s := range st {
			if s.Stopped != "" {
				t.Fatalf("partition %d: %s", p, s.Stopped)
			}
			_, last, err := c.Extent(t.Context(), p)
			if err != nil || s.Seq < last || s.Waiting > 0 {
				return false
			}
		}
		return len(st) > 0
	})
}

// A scripted is a pack for a partition.
type scripted struct {
	p    int
	data []byte
}

// publish appends packs to the logs.
func publish(t *testing.T, c *broker.Conn, packs []scripted) {
	t.Helper()
	ctx := within(t)
	for _, pk := range packs {
		if _, err := c.JS.PublishMsg(ctx, &nats.Msg{Subject: c.Names.EventsSubject(pk.p, "in"), Data: pk.data}); err != nil {
			t.Fatal(err)
		}
	}
}

// verified checks that the offers equal a replay of the log.
func verified(t *testing.T, c *broker.Conn) Verdict {
	t.Helper()
	v, err := Verify(within(t), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK() {
		t.Errorf("%+v", v)
	}
	return v
}

// views returns a set that sends an offer at every Product Viewed from the given
// number on.
func views(t *testing.T, least int) *campaign.Definition {
	t.Helper()
	return &campaign.Definition{
		Engine: pipeline.Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
		Forget:   campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown},
		Features: []campaign.Feature{{Name: "seen", On: []string{"Product Viewed"}, Agg: "count"}},
		Campaigns: []campaign.Campaign{{ID: "again", On: []string{"Product Viewed"}, If: []string{fmt.Sprintf("seen >= %d", least)},
			Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Advertising, Data: []byte(`{"n":"{{ seen }}"}`)}}},
	}
}

func view(i int, user string) []byte {
	return fmt.Appendf(nil, `{"type":"track","event":"Product Viewed","userId":%q,"messageId":"%s-%d","receivedAt":%q}`, user, user, i, value.FormatTime(time.Now().UnixNano()))
}

// waiting returns a set that sends an offer a given time after a Product Viewed.
func waiting(t *testing.T, clock string, after time.Duration) *campaign.Definition {
	t.Helper()
	def := views(t, 1)
	def.Clock = clock
	def.Campaigns[0].Unless = &campaign.Unless{On: []string{"Order Completed"}, Within: after}
	return def
}

// at returns an event with a log time, padded to a size.
func at(ns int64, id, user string, size int) []byte {
	e := fmt.Sprintf(`{"type":"track","event":"Product Viewed","userId":%q,"messageId":%q,"timestamp":%q,"properties":{"x":"`, user, id, value.FormatTime(ns))
	return append([]byte(e), strings.Repeat("x", size)+`"}}`...)
}

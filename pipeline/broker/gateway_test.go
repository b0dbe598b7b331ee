package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

func openLog(t *testing.T, c *Conn) *GatewayLog {
	t.Helper()
	g, err := c.OpenGatewayLog(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGatewayLog(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 2, Prefix: "x"})
	g := openLog(t, c)
	ctx := limited(t)
	if g.Partitions() != 2 || g.Clock() != campaign.ClockBroker || g.ForgetAnonymous() != campaign.DefaultForgetAnonymous || g.Ready() != nil {
		t.Errorf("%d partitions, clock %s, forget.anonymous %v, ready: %v", g.Partitions(), g.Clock(), g.ForgetAnonymous(), g.Ready())
	}
	for _, id := range []string{"a", "b", "a"} { // the same pack again is stored once
		if err := g.Publish(ctx, 1, id, []byte(id)); err != nil {
			t.Fatal(err)
		}
	}
	st, err := c.JS.Stream(ctx, c.Names.EventsStream(1))
	if err != nil {
		t.Fatal(err)
	}
	if n := st.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("%d packs are stored, want 2", n)
	}
	if m, err := st.GetMsg(ctx, 2); err != nil || string(m.Data) != "b" || m.Subject != "x.events.1.in" {
		t.Errorf("the second pack: %v, %v", m, err)
	}

	letters := []pipeline.Dead{{Reason: "json", Detail: "line\n\"one\" <&>", Raw: []byte(`{"a`)}, {Reason: "type", Raw: []byte("{}\n{}")}}
	for range 2 {
		if err := g.DeadLetters(ctx, "d", letters); err != nil {
			t.Fatal(err)
		}
	}
	dead, err := c.JS.Stream(ctx, c.Names.DeadStream())
	if err != nil {
		t.Fatal(err)
	}
	m, err := dead.GetLastMsgForSubject(ctx, "x.dead.gateway")
	if err != nil {
		t.Fatal(err)
	}
	want := "{\"reason\":\"json\",\"detail\":\"line\\n\\\"one\\\" \\u003c\\u0026\\u003e\",\"bytes\":3}\n{\"a\n" + "{\"reason\":\"type\",\"detail\":\"\",\"bytes\":5}\n{}\n{}\n"
	if m.Sequence != 1 || string(m.Data) != want || m.Header.Get(headerLetters) != "2" {
		t.Errorf("dead letters %d: %q, %v, want %q", m.Sequence, m.Data, m.Header, want)
	}
	if _, err := value.ParseTime(m.Header.Get(headerTime)); err != nil {
		t.Error(err)
	}
}

// TestGatewayLettersLeaveRoom: a full stream of dead letters would stop partitions.
// So gateways store nothing more in it when half of it is used, by whomever, until
// there is room again.
func TestGatewayLettersLeaveRoom(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1, Prefix: "x"})
	ctx := limited(t)
	dead, err := c.JS.Stream(ctx, c.Names.DeadStream())
	if err != nil {
		t.Fatal(err)
	}
	conf := dead.CachedInfo().Config
	conf.MaxBytes = 1 << 20
	if _, err := c.JS.UpdateStream(ctx, conf); err != nil {
		t.Fatal(err)
	}
	logs := []*GatewayLog{openLog(t, c), openLog(t, c)} // two gateways
	large := []pipeline.Dead{{Reason: "size", Raw: make([]byte, 20<<10)}}
	refused := [2]int{}
	for i := range 100 {
		switch err := logs[i%2].DeadLetters(ctx, fmt.Sprint(i), large); {
		case errors.Is(err, ErrNoRoom):
			refused[i%2]++
		case err != nil:
			t.Fatal(err)
		}
	}
	used := func() uint64 {
		t.Helper()
		info, err := dead.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Bytes
	}
	if n := used(); n > 1<<19+2*(1<<15) || n < 1<<18 || refused[0] == 0 || refused[1] == 0 {
		t.Errorf("gateways use %d of %d bytes, %v letters refused", n, 1<<20, refused)
	}
	m, err := message(c.Names.DeadSubject(0), pipeline.Effect{Pos: pipeline.Position{N: 1}, Dead: &pipeline.Dead{Reason: "panic", Raw: make([]byte, 300<<10)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.JS.PublishMsg(ctx, m); err != nil {
		t.Errorf("a worker's letter: %v", err)
	}
	if err := dead.Purge(ctx, jetstream.WithPurgeSubject(c.Names.DeadGateway())); err != nil {
		t.Fatal(err)
	}
	await(t, "room again", func() bool { return logs[0].DeadLetters(ctx, "again", large) == nil })
}

// TestGatewayLogThatWasCutBack: a log that has lost acknowledged messages stops
// the gateway; a log that is merely unavailable does not.
func TestGatewayLogThatWasCutBack(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	g := openLog(t, c)
	ctx := limited(t)
	for i := range 3 {
		if err := g.Publish(ctx, 0, fmt.Sprint(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	stream := c.streams()[2]
	if err := c.JS.DeleteStream(ctx, stream.Name); err != nil {
		t.Fatal(err)
	}
	if err := g.Publish(ctx, 0, "3", nil); err == nil || errors.Is(err, ErrLoud) {
		t.Errorf("no stream: %v", err)
	}
	if _, err := c.JS.CreateStream(ctx, stream); err != nil {
		t.Fatal(err)
	}
	if err := g.Publish(ctx, 0, "3", nil); !errors.Is(err, ErrLoud) {
		t.Errorf("message 1 after message 3: %v", err)
	}
	if err := g.Publish(ctx, 0, "3", nil); err != nil {
		t.Errorf("a duplicate's sequence is of its first copy: %v", err)
	}
}

// TestGatewayLogFollowsTheSet: a gateway's log has the clock and forget.anonymous of the set
// that is live.
func TestGatewayLogFollowsTheSet(t *testing.T) {
	t.Parallel()
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s, Partitions: 1})
	live(t, c, define(campaign.ClockEvent, 1))
	g := openLog(t, c)
	if g.Clock() != campaign.ClockEvent {
		t.Errorf("it opened with clock %s", g.Clock())
	}
	def := define(campaign.ClockBroker, 1)
	def.Forget.Anonymous = 30 * 24 * time.Hour
	live(t, c, def)
	await(t, "clock: broker", func() bool { return g.Clock() == campaign.ClockBroker })
	if g.ForgetAnonymous() != def.Forget.Anonymous {
		t.Errorf("the log has forget.anonymous %v, the live set %v", g.ForgetAnonymous(), def.Forget.Anonymous)
	}

	// A live set that cannot be read is retried until another set is live.
	if _, err := c.kv.Put(limited(t), liveKey, []byte("0123")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(limited(t))
	opened := make(chan error, 1)
	go func() {
		_, err := dial(t, Options{InProcess: s}).OpenGatewayLog(ctx)
		opened <- err
	}()
	live(t, c, define(campaign.ClockEvent, 2))
	await(t, "clock: event", func() bool { return g.Clock() == campaign.ClockEvent })
	if err := <-opened; err != nil {
		t.Error(err)
	}
	cancel()
}

// TestGatewayLogOutage: while NATS is away the log is not ready and accepts
// nothing; when it is back, the same packs are stored once.
func TestGatewayLogOutage(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, embedded.Options{Dir: dir, Port: -1})
	port := portOf(t, s)
	c := dial(t, Options{URL: s.ClientURL(), Client: "gateway", Partitions: 1, Reconnect: true})
	g := openLog(t, c)
	ctx := limited(t)
	if err := g.Publish(ctx, 0, "a", []byte("a")); err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
	await(t, "not ready", func() bool { return g.Ready() != nil })
	if err := g.Publish(ctx, 0, "b", []byte("b")); err == nil || errors.Is(err, ErrLoud) {
		t.Errorf("without NATS: %v", err)
	}
	serve(t, embedded.Options{Dir: dir, Port: port})
	await(t, "ready", func() bool { return g.Ready() == nil })
	for _, id := range []string{"a", "b"} {
		await(t, "pack "+id, func() bool {
			once, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			err := g.Publish(once, 0, id, []byte(id))
			if errors.Is(err, ErrLoud) {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	if _, last, err := c.Extent(ctx, 0); err != nil || last != 2 {
		t.Errorf("the log ends at %d, %v; want 2", last, err)
	}
}

func BenchmarkGatewayPublish(b *testing.B) {
	s, err := embedded.Start(embedded.Options{Dir: b.TempDir(), Port: -1, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Shutdown()
	c, err := Connect(b.Context(), Options{URL: s.ClientURL(), Partitions: 1, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	g, err := c.OpenGatewayLog(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), within)
	defer cancel()
	for _, size := range []int{500, 128 << 10} {
		pack := make([]byte, size)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for i := range b.N {
				if err := g.Publish(ctx, 0, fmt.Sprintf("%d-%d-%d", size, b.N, i), pack); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// limit changes the largest message that a stream takes (-1: any): with 1, it refuses
// every publish, while everything else works.
func limit(t *testing.T, c *Conn, stream string, bytes int32) {
	t.Helper()
	st, err := c.JS.Stream(limited(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	cfg.MaxMsgSize = bytes
	if _, err := c.JS.UpdateStream(limited(t), cfg); err != nil {
		t.Fatal(err)
	}
}

// TestGatewayLogRefused: a log that refuses publishes says so after a while, although
// the connection is there, and finds out by itself when they are stored again: a
// gateway that is not ready gets no events. What it publishes for that has no events.
func TestGatewayLogRefused(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 2})
	g := openLog(t, c)
	ctx := limited(t)
	for p := range 2 {
		if err := g.Publish(ctx, p, fmt.Sprint("first", p), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	limit(t, c, "EVENTS-1", 1)
	if err := g.Publish(ctx, 1, "refused", []byte("xx")); err == nil {
		t.Fatal("it is not refused")
	}
	if err := g.Refused(); err != nil {
		t.Errorf("at once: %v", err) // it may be a change of leaders
	}
	await(t, "it is refused", func() bool { return g.Refused() != nil })
	if err := g.Refused(); !strings.Contains(err.Error(), "events.1.in") || g.Ready() != nil {
		t.Errorf("%v; connected: %v", err, g.Ready())
	}
	if err := g.Publish(ctx, 0, "other", []byte("x")); err != nil || g.Refused() == nil {
		t.Errorf("the other partition: %v, %v", err, g.Refused())
	}
	limit(t, c, "EVENTS-1", -1)
	await(t, "it is stored again", func() bool { return g.Refused() == nil })
	sizes, err := storedSizes(c, 1)
	if err != nil || len(sizes) < 2 || sizes[0] != 1 || slices.Max(sizes[1:]) != 0 {
		t.Errorf("messages of %v bytes are stored: %v", sizes, err)
	}
}

func storedSizes(c *Conn, partition int) (sizes []int, err error) {
	err = c.ScanLog(context.Background(), partition, 1, func(m pipeline.Message) error {
		sizes = append(sizes, len(m.Data))
		return nil
	})
	return sizes, err
}

// TestGatewayLogGone: a gateway without events notices that streams are gone, and
// that a stream was made anew, where it must publish nothing by itself: enough
// messages would hide that others are lost.
func TestGatewayLogGone(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 2})
	g := openLog(t, c)
	ctx := limited(t)
	for i := range 3 {
		if err := g.Publish(ctx, 1, fmt.Sprint(i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	st, err := c.JS.Stream(ctx, "EVENTS-1")
	if err == nil {
		err = c.JS.DeleteStream(ctx, "EVENTS-1")
	}
	if err != nil {
		t.Fatal(err)
	}
	says := func(words string) func() bool {
		return func() bool { err := g.Refused(); return err != nil && strings.Contains(err.Error(), words) }
	}
	await(t, "the stream is gone", says("stream EVENTS-1 is gone"))
	if _, err := c.JS.CreateStream(ctx, st.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	await(t, "the stream is another one", says("message 3 was acknowledged"))
	g.failing.note("events.1.in", time.Now(), errors.New("no stream"))
	g.watchOnce(ctx, 1)
	if sizes, err := storedSizes(c, 1); err != nil || len(sizes) > 0 {
		t.Errorf("it has published %v: %v", sizes, err)
	}
}

package broker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/broker/embedded"
)

// TestProvisionAtOnce: of several processes that start at once, the first makes
// the deployment and all others use it; deployments with other prefixes are
// separate.
func TestProvisionAtOnce(t *testing.T) {
	s := serve(t, embedded.Options{})
	partitions := make([]int, 8)
	var all sync.WaitGroup
	for i := range partitions {
		all.Go(func() {
			c, err := open(t, Options{InProcess: s, Prefix: []string{"", "x"}[i%2]})
			if err != nil {
				t.Error(err)
				return
			}
			partitions[i] = c.Partitions
		})
	}
	all.Wait()
	for _, p := range partitions {
		if p != DefaultPartitions {
			t.Errorf("partitions as seen: %v", partitions)
		}
	}
}

// TestOnePartitionCount: if several processes want different numbers of
// partitions, one wins and the others are refused.
func TestOnePartitionCount(t *testing.T) {
	s := serve(t, embedded.Options{})
	errs := make([]error, 6)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { _, errs[i] = open(t, Options{InProcess: s, Partitions: i + 1}) })
	}
	all.Wait()
	won := 0
	for i, err := range errs {
		var no *Refusal
		if err == nil {
			won = i + 1
		} else if !errors.As(err, &no) {
			t.Error(err)
		}
	}
	c := dial(t, Options{InProcess: s})
	if c.Partitions != won {
		t.Errorf("%d won, there are %d", won, c.Partitions)
	}
	n := 0
	for range c.JS.StreamNames(limited(t)).Name() {
		n++
	}
	if n != won+2+3 { // the logs, two streams of chains, three buckets
		t.Errorf("%d streams for %d partitions", n, won)
	}
	if got := refusal(t, Options{InProcess: s, Partitions: won + 1}); !strings.Contains(got, fmt.Sprintf("it has %d partitions, not %d", won, won+1)) {
		t.Error(got)
	}
}

func TestStreamThatDiffers(t *testing.T) {
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s, Partitions: 2})
	ctx := limited(t)
	for _, bad := range []struct {
		stream string
		change func(*jetstream.StreamConfig)
		want   string
	}{
		{"OFFERS", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, "stream OFFERS: max_msgs_per_subject is 5, this deployment needs 100000: change it with"},
		{"OFFERS", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "stream OFFERS: max_age is 1h0m0s, this deployment needs 0s: change it with"},
		{"OFFERS", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, "stream OFFERS: discard is DiscardOld, this deployment needs DiscardNew: change it with"},
		{"OFFERS", func(c *jetstream.StreamConfig) { c.AllowDirect = true }, "stream OFFERS: allow_direct is true"},
		{"OFFERS", func(c *jetstream.StreamConfig) { c.MaxBytes = -1 }, "stream OFFERS: max_bytes is -1"},
		{"DEADLETTERS", func(c *jetstream.StreamConfig) { c.MaxMsgs = 7 }, "stream DEADLETTERS: max_msgs is 7"},
		{"EVENTS-1", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "stream EVENTS-1: max_age is 1h0m0s, this deployment needs 168h0m0s: start with --retention 1h0m0s"},
		{"EVENTS-1", func(c *jetstream.StreamConfig) {
			c.Subjects = slices.DeleteFunc(c.Subjects, func(s string) bool { return s == "events.1.accept" })
		}, "stream EVENTS-1: subjects is events.1.control events.1.from.* events.1.in events.1.tick, this deployment needs events.1.accept"},
		{"EVENTS-1", func(c *jetstream.StreamConfig) { c.Duplicates = time.Second }, "stream EVENTS-1: duplicate_window is 1s"},
	} {
		st, err := c.JS.Stream(ctx, bad.stream)
		if err != nil {
			t.Fatal(err)
		}
		good := st.CachedInfo().Config
		config := good
		config.Subjects = append([]string(nil), good.Subjects...)
		bad.change(&config)
		if _, err := c.JS.UpdateStream(ctx, config); err != nil {
			t.Fatal(err)
		}
		if got := refusal(t, Options{InProcess: s}); !strings.Contains(got, bad.want) {
			t.Errorf("got  %s\nwant %s", got, bad.want)
		}
		if _, err := c.JS.UpdateStream(ctx, good); err != nil {
			t.Fatal(err)
		}
	}
	if got := refusal(t, Options{InProcess: s, Replicas: 3}); !strings.Contains(got, "start with --replicas 1") {
		t.Error(got)
	}
	if got := refusal(t, Options{InProcess: s, Retention: time.Hour}); !strings.Contains(got, "this deployment needs 1h0m0s: start with --retention 168h0m0s") {
		t.Error(got)
	}
	dial(t, Options{InProcess: s})
}

func TestForeignBucket(t *testing.T) {
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s, Prefix: "x"})
	kv, err := c.JS.CreateKeyValue(limited(t), jetstream.KeyValueConfig{Bucket: "CAMPAIGNS"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(limited(t), deploymentKey, []byte("summer")); err != nil {
		t.Fatal(err)
	}
	if got := refusal(t, Options{InProcess: s}); !strings.Contains(got, "Use another prefix") {
		t.Error(got)
	}
}

// TestLostBucket: a deployment whose bucket is lost is not made anew with another
// number of partitions.
func TestLostBucket(t *testing.T) {
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s, Partitions: 3})
	if err := c.JS.DeleteKeyValue(limited(t), "CAMPAIGNS"); err != nil {
		t.Fatal(err)
	}
	if got := refusal(t, Options{InProcess: s}); !strings.Contains(got, "nats kv put CAMPAIGNS deployment") {
		t.Error(got)
	}
	kv, err := c.JS.KeyValue(limited(t), "CAMPAIGNS")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(limited(t), deploymentKey, []byte(`{"partitions":3}`)); err != nil {
		t.Fatal(err)
	}
	if c := dial(t, Options{InProcess: s}); c.Partitions != 3 {
		t.Errorf("restored with %d partitions", c.Partitions)
	}
}

// TestChainStreamTrimsAndRefuses: a chain keeps its newest records, always
// including the last; a full stream refuses new messages (P3).
func TestChainStreamTrimsAndRefuses(t *testing.T) {
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s, Prefix: "x"})
	ctx := limited(t)
	config := c.chainStream("SMALL", 64<<10, "small.*")
	config.MaxMsgsPerSubject = 3
	st, err := c.JS.CreateStream(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	last := uint64(0) // the last sequence on small.a
	for i := range 4 {
		ack, err := c.JS.Publish(ctx, "small.a", fmt.Append(nil, i), jetstream.WithExpectLastSequencePerSubject(last))
		if err != nil {
			t.Fatal(err)
		}
		last = ack.Sequence
	}
	info, err := st.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if info.State.FirstSeq != 2 || info.State.LastSeq != 4 {
		t.Errorf("after a fourth record where three are kept: %d to %d", info.State.FirstSeq, info.State.LastSeq)
	}
	for i := 0; ; i++ {
		if i == 100 {
			t.Fatal("it never refused")
		}
		if _, err := c.JS.Publish(ctx, fmt.Sprintf("small.b%d", i), make([]byte, 4<<10)); err != nil {
			if !strings.Contains(err.Error(), "maximum bytes exceeded") {
				t.Error(err)
			}
			break
		}
	}
	if m, err := st.GetLastMsgForSubject(ctx, "small.a"); err != nil || string(m.Data) != "3" {
		t.Errorf("the chain's last record after the stream was full: %v, %v", m, err)
	}
}

// TestLittleStorage: a server with little storage reserves less; one with next to
// none is refused with a reason.
func TestLittleStorage(t *testing.T) {
	for _, c := range []struct {
		store  int64
		offers int64
	}{{64 << 30, 7 << 30}, {1 << 30, 7 << 27}, {256 << 20, 7 << 25}, {1 << 20, 0}} {
		ns, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: c.store})
		if err != nil {
			t.Fatal(err)
		}
		ns.Start()
		t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
		o := Options{InProcess: ns, Partitions: 1}
		if c.offers == 0 {
			if got := refusal(t, o); !strings.Contains(got, "give JetStream more storage") {
				t.Error(got)
			}
			continue
		}
		conn := dial(t, o)
		st, err := conn.JS.Stream(limited(t), "OFFERS")
		if err != nil {
			t.Fatal(err)
		}
		if got := st.CachedInfo().Config.MaxBytes; got != c.offers {
			t.Errorf("with %d bytes of storage OFFERS has %d, want %d", c.store, got, c.offers)
		}
		dial(t, o)
	}
}

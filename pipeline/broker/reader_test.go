package broker

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/task"
)

// fill appends messages to partition 0's log.
func fill(t *testing.T, c *Conn, n int, data []byte) {
	t.Helper()
	for range n {
		if _, err := c.JS.Publish(limited(t), c.Names.EventsSubject(0, "in"), data); err != nil {
			t.Fatal(err)
		}
	}
}

func openReader(t *testing.T, c *Conn, from uint64) *Reader {
	t.Helper()
	r, err := c.OpenReader(limited(t), 0, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// nextMessage waits for the log's next message, or the reader's error.
func (r *Reader) nextMessage(t *testing.T) (pipeline.Message, error) {
	t.Helper()
	ctx := limited(t)
	for ctx.Err() == nil {
		if m, ok, err := r.Take(); ok || err != nil {
			return m, err
		}
		if r.Silent() {
			t.Fatalf("nothing comes after message %d", r.next-1)
		}
		r.Wait(ctx, task.Real{}.NewSignal(), time.Second)
	}
	t.Fatal("nothing comes")
	return pipeline.Message{}, nil
}

// TestReader reads an existing log and one that grows, with more messages and
// bytes than one pull requests.
func TestReader(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 300_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
			n := min(3*readAhead, 20_000_000/size)
			fill(t, c, n, make([]byte, size))
			r := openReader(t, c, 1)
			for i := range 2 * n {
				if i == n {
					if src := r.source.(*natsSource); src.waits() == 0 && (!r.CaughtUp() || r.Pending() != 0) {
						t.Errorf("at the end of the log %d messages are pending", r.Pending())
					}
					fill(t, c, n, make([]byte, size))
				}
				m, err := r.nextMessage(t)
				if err != nil {
					t.Fatal(err)
				}
				if m.Seq != uint64(i+1) || m.Kind != pipeline.In || len(m.Data) != size || m.Stored == 0 {
					t.Fatalf("message %d: %d, kind %d, %d bytes", i+1, m.Seq, m.Kind, len(m.Data))
				}
				if i < n-1 && r.CaughtUp() {
					t.Fatalf("caught up at message %d of %d", i+1, n)
				}
				if p := r.source.(*natsSource).pulls; p.messages > p.Most() || p.bytes > 2*readAheadSize {
					t.Fatalf("%d messages of %d bytes are asked for", p.messages, p.bytes)
				}
			}
		})
	}
}

// sizes returns what the server counts of each of a log's messages when it sends
// them all to one consumer.
func sizes(t *testing.T, c *Conn, partition, messages int) (all []int) {
	t.Helper()
	con, err := c.JS.CreateConsumer(limited(t), c.Names.EventsStream(partition), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := con.Fetch(messages, jetstream.FetchMaxWait(within))
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		msg := nats.Msg{Subject: m.Subject(), Reply: m.Reply(), Header: m.Headers(), Data: m.Data()}
		all = append(all, msg.Size())
	}
	if len(all) != messages {
		t.Fatalf("%d messages of %d: %v", len(all), messages, batch.Error())
	}
	return all
}

// TestReaderPullsUsedUp: where the messages of a pull add up to exactly its bytes,
// the server sends no status at its end. All of these messages have the same size,
// so that each pull ends like that, whatever order the server serves them in.
func TestReaderPullsUsedUp(t *testing.T) {
	t.Parallel()
	for _, size := range []int{8 << 10, 16 << 10, 128 << 10, 512 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 2})
			n := 5 * readAheadSize / size
			publish := func(p int, sizeOf func(i int) int) {
				for i := range n {
					m := &nats.Msg{Subject: c.Names.EventsSubject(p, "in"), Data: make([]byte, sizeOf(i))}
					if i%3 == 0 {
						m.Header = nats.Header{"Nats-Msg-Id": {fmt.Sprintf("%08d", i)}}
					}
					if _, err := c.JS.PublishMsg(limited(t), m); err != nil {
						t.Fatal(err)
					}
				}
			}
			publish(1, func(int) int { return 0 })
			beside := sizes(t, c, 1, n)
			publish(0, func(i int) int { return size - beside[i] })
			if got := sizes(t, c, 0, n); slices.Min(got) != size || slices.Max(got) != size {
				t.Fatalf("messages of %d to %d bytes, not of %d", slices.Min(got), slices.Max(got), size)
			}

			r := openReader(t, c, 1)
			for i := range n {
				if m, err := r.nextMessage(t); err != nil || m.Seq != uint64(i+1) {
					t.Fatalf("message %d: %d, %v", i+1, m.Seq, err)
				}
			}
			seen := 0
			if err := c.ScanLog(limited(t), 0, 1, func(pipeline.Message) error { seen++; return nil }); err != nil || seen != n {
				t.Errorf("%d messages of %d: %v", seen, n, err)
			}
			leases := 0
			if src, err := c.Wire.Read(limited(t), c.Names.EventsStream(0), 1); err != nil { // as the watch of the leases reads
				t.Error(err)
			} else {
				defer src.Close()
				await(t, "all messages", func() bool {
					_, ok, err := src.Next()
					if ok {
						leases++
					}
					return leases == n || err != nil || time.Since(src.Heard()) > readSilence
				})
				if leases != n {
					t.Errorf("%d messages of %d", leases, n)
				}
			}
		})
	}
}

// serveLarge starts a server that takes messages larger than one pull requests.
func serveLarge(t *testing.T) *server.Server {
	t.Helper()
	ns, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), MaxPayload: 8 << 20, MaxPending: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(within) {
		t.Fatal("no server")
	}
	return ns
}

// TestReaderTakesAnySize reads a message larger than one pull requests.
func TestReaderTakesAnySize(t *testing.T) {
	c := dial(t, Options{InProcess: serveLarge(t)})
	fill(t, c, 3, []byte("small"))
	fill(t, c, 2, bytes.Repeat([]byte("x"), 2*readAheadSize))
	fill(t, c, 3, []byte("small"))
	r := openReader(t, c, 1)
	for seq := range uint64(8) {
		if m, err := r.nextMessage(t); err != nil || m.Seq != seq+1 {
			t.Fatalf("message %d: %d, %v", seq+1, m.Seq, err)
		}
	}
}

// TestReaderCountsAsTheServer: whatever the messages' sizes, a reader knows what is
// left of its pulls as exactly as the server. The last message exceeds what any of
// them has left, so that the server ends all of them and says what is left.
func TestReaderCountsAsTheServer(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := dial(t, Options{InProcess: serveLarge(t)})
	n := 2000
	for i := range n {
		m := &nats.Msg{Subject: c.Names.EventsSubject(0, []string{"in", "tick", "control"}[rng.IntN(3)]), Data: make([]byte, rng.IntN(1<<(4+rng.IntN(13))))}
		if rng.IntN(2) == 0 {
			m.Header = nats.Header{"Nats-Msg-Id": {fmt.Sprint(i)}, "A": {strings.Repeat("x", rng.IntN(300))}}
		}
		if _, err := c.JS.PublishMsg(limited(t), m); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, c, 1, make([]byte, 2*readAheadSize))
	r := openReader(t, c, 1)
	for range n + 1 {
		if _, err := r.nextMessage(t); err != nil {
			t.Fatal(err)
		}
	}
	src := r.source.(*natsSource)
	for deadline := time.Now().Add(readSilence); ; r.Wait(limited(t), task.Real{}.NewSignal(), readIdle) {
		if _, _, err := r.Take(); err != nil || time.Now().After(deadline) {
			t.Fatalf("%d bytes are counted as requested, where only pulls of %d that have got nothing are open: %v", src.pulls.bytes, readAheadSize, err)
		}
		if src.pulls.bytes%readAheadSize == 0 {
			return
		}
	}
}

// TestReaderGap: a message that does not follow the one before is an error, and
// never skipped.
func TestReaderGap(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
	fill(t, c, 5, []byte("x"))
	st, err := c.JS.Stream(limited(t), c.Names.EventsStream(0))
	if err == nil {
		err = st.DeleteMsg(limited(t), 3)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := openReader(t, c, 1)
	for range 2 {
		if _, err := r.nextMessage(t); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := r.nextMessage(t); !errors.Is(err, ErrGap) {
		t.Errorf("message %d, %v", m.Seq, err)
	}
}

// TestReaderWithoutConsumer: an operator deletes the consumer. (If it is deleted
// before it has received the first pull, the server sends nothing, and the
// reader becomes Silent.)
func TestReaderWithoutConsumer(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
	fill(t, c, 1, []byte("x"))
	r := openReader(t, c, 1)
	if _, err := r.nextMessage(t); err != nil { // so that the consumer has received the pull
		t.Fatal(err)
	}
	if err := c.JS.DeleteConsumer(limited(t), c.Names.EventsStream(0), r.source.(*natsSource).consumer); err != nil {
		t.Fatal(err)
	}
	if _, err := r.nextMessage(t); !errors.Is(err, errReader) {
		t.Errorf("got %v", err)
	}
}

// TestReaderSilent: a reader is not silent while a message waits to be taken.
func TestReaderSilent(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
	r := openReader(t, c, 1)
	src := r.source.(*natsSource)
	src.heard = time.Now().Add(-2 * readSilence)
	if !r.Silent() {
		t.Error("not silent")
	}
	fill(t, c, 1, []byte("x"))
	await(t, "a message", func() bool { return src.waits() > 0 })
	if r.Silent() {
		t.Error("silent, with a message waiting")
	}
	if _, err := r.nextMessage(t); err != nil || r.Silent() {
		t.Error("silent after a message", err)
	}
}

// TestDelivered: what is read of a message's reply subject is what the client library
// reads, and only unusual ones are left to it.
func TestDelivered(t *testing.T) {
	for _, reply := range []string{
		"$JS.ACK.EVENTS-3.abc.1.77.76.1796000000123456789.12",
		"$JS.ACK._.hash.EVENTS-3.abc.1.77.76.1796000000123456789.12.token",
		"$JS.ACK.domain.hash.EVENTS-3.abc.1.77.76.1796000000123456789.12.token",
		"$JS.ACK.EVENTS-3.abc.1.77.76.1796000000123456789",
		"$JS.ACK.EVENTS-3.abc.1.x.76.1796000000123456789.12",
		"$JS.ACK.EVENTS-3.abc.1..76.1796000000123456789.12",
		"_INBOX.a.b.c.d.e.f.g.h",
	} {
		m := &nats.Msg{Reply: reply, Sub: &nats.Subscription{}}
		meta, bad := m.Metadata()
		seq, stored, pending, err := delivered(m)
		switch {
		case (err != nil) != (bad != nil):
			t.Errorf("%s: %v, the library says %v", reply, err, bad)
		case err == nil && (seq != meta.Sequence.Stream || stored != meta.Timestamp.UnixNano() || pending != meta.NumPending):
			t.Errorf("%s: %d %d %d, the library says %+v", reply, seq, stored, pending, meta)
		}
	}
	m := &nats.Msg{Reply: "$JS.ACK.EVENTS-3.abc.1.77.76.1796000000123456789.12"}
	if seq, _, _, err := delivered(m); err != nil || seq != 77 { // without a subscription the library refuses it
		t.Errorf("a plain reply subject is left to the library: %v", err)
	}
}

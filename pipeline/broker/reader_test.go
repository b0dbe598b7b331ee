package broker

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

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
				if asked := r.source.(*natsSource).asked; asked > readAhead+readAhead/2 {
					t.Fatalf("%d messages are asked for", asked)
				}
			}
		})
	}
}

// TestReaderTakesAnySize reads a message larger than one pull requests.
func TestReaderTakesAnySize(t *testing.T) {
	ns, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), MaxPayload: 8 << 20, MaxPending: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(within) {
		t.Fatal("no server")
	}
	c := dial(t, Options{InProcess: ns})
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

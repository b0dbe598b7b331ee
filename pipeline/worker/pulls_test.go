package worker

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestPullsUsedUp: a worker that starts anew and verify read a log in which every
// pull ends with its bytes used up by its last message, of which the server says
// nothing. Neither waits for messages that it has not requested.
func TestPullsUsedUp(t *testing.T) {
	t.Parallel()
	const size, n = 16 << 10, 400 // 128 messages use up the 2 MiB of a pull
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, views(t, 1))
	first := start(t, ns.ClientURL(), t.TempDir(), nil)
	first.inForce(t, hash)
	first.applied(t, c)
	first.stop(t)

	_, last, err := c.Extent(within(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	stream, subject := c.Names.EventsStream(0), c.Names.EventsSubject(0, "in")
	// A consumer counts what is pending exactly only where it begins behind what it
	// counts, and the count stands in each reply. So one consumer gives the length of
	// a name, and another one the lengths of messages.
	consumer := func() jetstream.Consumer {
		con, err := c.JS.CreateConsumer(within(t), stream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
		if err != nil {
			t.Fatal(err)
		}
		return con
	}
	con := consumer()
	for i := range n {
		seq := last + uint64(i) + 1
		reply := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.%d.%d", stream, con.CachedInfo().Name, seq, seq, time.Now().UnixNano(), n-i-1)
		e := bytes.TrimSuffix(view(i, "ada"), []byte("}"))
		pad := size - len(subject) - len(reply) - len(e) - len(`,"properties":{"pad":""}}`)
		publish(t, c, []scripted{{0, fmt.Appendf(nil, `%s,"properties":{"pad":%q}}`, e, strings.Repeat("x", pad))}})
	}
	batch, err := consumer().Fetch(int(last) + n)
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		msg := nats.Msg{Subject: m.Subject(), Reply: m.Reply(), Header: m.Headers(), Data: m.Data()}
		if m.Subject() == subject && msg.Size() != size {
			t.Fatalf("a message has %d bytes, want %d", msg.Size(), size)
		}
	}

	var mu sync.Mutex
	var said bytes.Buffer
	w := start(t, ns.ClientURL(), t.TempDir(), func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(writer(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return said.Write(b)
		}), nil))
	})
	w.applied(t, c)
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(said.String(), "nothing has come") {
		t.Errorf("the worker waited in vain:\n%s", &said)
	}
	if v := verified(t, c); v.Applied != n {
		t.Errorf("%+v", v)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

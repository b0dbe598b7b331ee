package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/broker/embedded"
)

// take returns the next n messages of a feed as subject and text.
func (f *Feed) take(t *testing.T, n int) (all []string) {
	t.Helper()
	for range n {
		m, err := f.Next(limited(t))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m.Subject+" "+string(m.Data))
	}
	return all
}

func putOffers(t *testing.T, c *Conn, subject string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := c.JS.Publish(limited(t), subject, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFeed: a feed has the messages under its filter, all and in order, also where its
// consumer is gone, where messages are lost on their way, and after NATS was restarted.
func TestFeed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, embedded.Options{Dir: dir, Port: -1})
	port := portOf(t, s)
	c := dial(t, Options{URL: s.ClientURL(), Partitions: 2, Reconnect: true})
	putOffers(t, c, "offers.web.0", 0, 10)
	putOffers(t, c, "offers.sms.0", 0, 5)
	putOffers(t, c, "withheld.0", 0, 5)
	f := c.WebFeed(time.Now().Add(-time.Hour))
	defer f.Close()
	if n, err := f.Pending(limited(t)); n != 10 || err != nil {
		t.Fatalf("%d messages, %v", n, err)
	}
	next := 0
	check := func(n int) {
		t.Helper()
		for _, got := range f.take(t, n) {
			if want := fmt.Sprintf("offers.web.%d %d", next/10%2, next); got != want {
				t.Fatalf("%q came, want %q", got, want)
			}
			next++
		}
	}
	check(10)
	putOffers(t, c, "offers.web.1", 10, 20)
	check(5)
	st, err := c.JS.Stream(limited(t), "OFFERS")
	if err != nil {
		t.Fatal(err)
	}
	for name := range st.ConsumerNames(limited(t)).Name() { // as after a crash of its server
		if err := st.DeleteConsumer(limited(t), name); err != nil {
			t.Fatal(err)
		}
	}
	putOffers(t, c, "offers.web.0", 20, 30)
	check(15)

	lost := f.sub // messages that came are not read: the next one shows it
	putOffers(t, c, "offers.web.1", 30, 40)
	for range 3 {
		if _, err := lost.NextMsgWithContext(limited(t)); err != nil {
			t.Fatal(err)
		}
	}
	check(10)

	s.Shutdown()
	serve(t, embedded.Options{Dir: dir, Port: port})
	await(t, "the stream is there again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // a question may get lost with its connection
		defer cancel()
		_, _, err := c.Wire.Extent(ctx, "OFFERS")
		return err == nil
	})
	putOffers(t, c, "offers.web.0", 40, 50)
	check(10)
}

// TestFeedShrunk: a feed says that its stream has lost what it has delivered.
func TestFeedShrunk(t *testing.T) {
	t.Parallel()
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s, Partitions: 2})
	putOffers(t, c, "offers.web.0", 0, 10)
	f := c.WebFeed(time.Now().Add(-time.Hour))
	f.take(t, 10)
	if err := c.JS.DeleteStream(limited(t), "OFFERS"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, Options{InProcess: s, Partitions: 2}); err != nil { // makes it again
		t.Fatal(err)
	}
	if _, err := f.Next(limited(t)); !errors.Is(err, ErrShrunk) {
		t.Fatal(err)
	}
}

// TestFeedLarge: the server waits for a feed that has much to read.
func TestFeedLarge(t *testing.T) {
	t.Parallel()
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s, Partitions: 1})
	const n, size = 2000, 50_000
	for i := range n {
		m := &nats.Msg{Subject: "offers.web.0", Data: append(fmt.Appendf(nil, "%d ", i), make([]byte, size)...)}
		if _, err := c.JS.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-c.JS.PublishAsyncComplete():
	case <-limited(t).Done():
		t.Fatal("the messages are not stored")
	}
	f := c.WebFeed(time.Now().Add(-time.Hour))
	defer f.Close()
	opened := 0
	for i, sub := 0, f.sub; i < n; i++ {
		m, err := f.Next(limited(t))
		if err != nil {
			t.Fatal(err)
		}
		var got int
		if fmt.Sscan(string(m.Data[:8]), &got); got != i {
			t.Fatalf("message %d came, want %d", got, i)
		}
		if f.sub != sub {
			sub = f.sub
			opened++
		}
	}
	if opened > 1 {
		t.Errorf("the consumer was made %d times", opened)
	}
}

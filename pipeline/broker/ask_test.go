package broker

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/broker/embedded"
)

// TestAsk asks two listeners, only the first of two, and nobody.
func TestAsk(t *testing.T) {
	s := serve(t, embedded.Options{Port: -1})
	asker, a, b := dial(t, Options{URL: s.ClientURL(), Log: quiet()}), dial(t, Options{URL: s.ClientURL(), Log: quiet()}), dial(t, Options{URL: s.ClientURL(), Log: quiet()})
	listen := func(c *Conn, name string) (stop func()) {
		stop, err := c.Wire.Listen("query.0", func(q Question) {
			if err := q.Answer([]byte(name + " heard " + string(q.Data))); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.NC.FlushTimeout(time.Minute); err != nil { // so that the server knows the subscription
			t.Fatal(err)
		}
		return stop
	}
	ask := func(enough int, within time.Duration) (got []string) {
		ctx, cancel := context.WithTimeout(limited(t), within)
		defer cancel()
		err := asker.Ask(ctx, "query.0", []byte("who?"), func(answer []byte) bool {
			got = append(got, string(answer))
			return len(got) == enough
		})
		if err != nil {
			t.Error(err)
		}
		slices.Sort(got)
		return got
	}
	if got := ask(1, time.Minute); got != nil {
		t.Errorf("nobody listens: %v", got)
	}
	stopA, stopB := listen(a, "a"), listen(b, "b")
	if got := ask(2, time.Minute); !slices.Equal(got, []string{"a heard who?", "b heard who?"}) {
		t.Errorf("two listen: %v", got)
	}
	stopA()
	if err := a.NC.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := ask(2, 200*time.Millisecond); !slices.Equal(got, []string{"b heard who?"}) {
		t.Errorf("one listens: %v", got)
	}
	stopB()
}

// TestAskMuch: answers of any size come whole, also if several listeners answer at
// once.
func TestAskMuch(t *testing.T) {
	s := serve(t, embedded.Options{Port: -1})
	asker, a, b := dial(t, Options{URL: s.ClientURL(), Log: quiet()}), dial(t, Options{URL: s.ClientURL(), Log: quiet()}), dial(t, Options{URL: s.ClientURL(), Log: quiet()})
	most := int(asker.NC.MaxPayload())
	for _, size := range []int{0, 1, most - headerRoom, most - headerRoom + 1, most, 2 * (most - headerRoom), 5_000_000} {
		want := map[string]bool{}
		var stops []func()
		for i, c := range []*Conn{a, b} {
			text := bytes.Repeat([]byte{byte('a' + i)}, size)
			want[string(text)] = true
			stop, err := c.Wire.Listen("query.0", func(q Question) {
				if err := q.Answer(text); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.NC.FlushTimeout(time.Minute); err != nil { // so that the server knows the subscription
				t.Fatal(err)
			}
			stops = append(stops, stop)
		}
		n := 0
		err := asker.Ask(limited(t), "query.0", nil, func(answer []byte) bool {
			if !want[string(answer)] {
				t.Errorf("size %d: an answer of %d bytes", size, len(answer))
			}
			n++
			return n == 2
		})
		if n != 2 || err != nil {
			t.Errorf("size %d: %d answers, %v", size, n, err)
		}
		for i, c := range []*Conn{a, b} {
			stops[i]()
			if err := c.NC.FlushTimeout(time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAskPart: an answer that does not come whole is an error, and so is one that
// is too long to be sent.
func TestAskPart(t *testing.T) {
	s := serve(t, embedded.Options{Port: -1})
	asker, other := dial(t, Options{URL: s.ClientURL(), Log: quiet()}), dial(t, Options{URL: s.ClientURL(), Log: quiet()})
	for _, parts := range [][]string{{"x 1 2"}, {"x 2 2"}, {"x 1 3", "x 1 3"}, {"x 1 3", "x 3 3"}, {"x"}, {"x 3 2"}, {"x 1 1000"}} {
		sub, err := other.NC.Subscribe("query.0", func(m *nats.Msg) {
			for _, p := range parts {
				if err := other.NC.PublishMsg(&nats.Msg{Subject: m.Reply, Header: nats.Header{headerPart: {p}}, Data: []byte("half")}); err != nil {
					t.Error(err)
				}
			}
		})
		if err == nil {
			err = other.NC.FlushTimeout(time.Minute)
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(limited(t), 300*time.Millisecond)
		if err := asker.Ask(ctx, "query.0", nil, func(answer []byte) bool { t.Errorf("%v: an answer %q", parts, answer); return true }); err == nil {
			t.Errorf("%v: no error", parts)
		} else {
			t.Log(err)
		}
		cancel()
		if err := errors.Join(sub.Unsubscribe(), other.NC.FlushTimeout(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if err := answer(asker.NC, &nats.Msg{Reply: "x"}, make([]byte, (mostParts+1)<<20)); err == nil {
		t.Error("an answer of 65 MB is sent")
	}
}

package broker

import (
	"context"
	"slices"
	"testing"
	"time"

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

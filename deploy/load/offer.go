package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// An offer is what is read of an offer.
type offer struct {
	Campaign, User, Event string
	Data                  json.RawMessage
}

// sent is the time, in milliseconds since 1970, that the offer of an order repeats.
func (o offer) sent() (ms int64, ok bool) {
	var data struct{ Sent json.Number }
	if o.Campaign != "order-thanks" || json.Unmarshal(o.Data, &data) != nil {
		return 0, false
	}
	ms, err := data.Sent.Int64()
	return ms, err == nil
}

// listen calls take with each offer that is published, until stop is called.
func listen(url string, take func(offer)) (stop func(), err error) {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return nil, err
	}
	_, err = nc.Subscribe("offers.>", func(m *nats.Msg) {
		var o offer
		if json.Unmarshal(m.Data, &o) == nil {
			take(o)
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return nc.Close, nil
}

// echo sends an event of each of n users, from the first to the last, and writes what
// their offers say.
func (s *sender) echo(ctx context.Context, nats string, users, n int, w io.Writer) error {
	var mu sync.Mutex
	lines := map[string]string{}
	have := func() int { mu.Lock(); defer mu.Unlock(); return len(lines) }
	stop, err := listen(nats, func(o offer) {
		if o.Campaign == "echo" {
			mu.Lock()
			lines[o.Event] = o.line()
			mu.Unlock()
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	var batch []byte
	for i := range n {
		batch = s.event(batch, "Echo", i*users/n, int64(i), time.Now())
	}
	if err := s.post(ctx, wrap(batch)); err != nil {
		return err
	}
	for end := time.Now().Add(offerWithin); have() < n; {
		if time.Now().After(end) {
			return fmt.Errorf("only %d of %d echoes came within %s", have(), n, offerWithin)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	mu.Lock()
	defer mu.Unlock()
	return write(w, lines)
}

func (o offer) line() string { return fmt.Sprintf("%s %s %s", o.User, o.Event, o.Data) }

func write(w io.Writer, lines map[string]string) error {
	var sorted []string
	for _, line := range lines {
		sorted = append(sorted, line)
	}
	slices.Sort(sorted)
	for _, line := range sorted {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// echoesOf writes what the offers of campaign echo in a file of offers say.
func echoesOf(path string, w io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := map[string]string{}
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var o offer
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return err
		}
		if o.Campaign == "echo" {
			lines[o.Event] = o.line()
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	return write(w, lines)
}

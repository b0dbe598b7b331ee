// Command load is what deploy/change.sh sends to a deployment: the past of a shop, its
// steady traffic, and events whose offers say what the features of a user are.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	to := fs.String("to", "", "the gateway's `URL`")
	key := fs.String("key", "", "a `KEY` of role server")
	nats := fs.String("nats", "", "the `URL` of NATS, where offers come")
	users := fs.Int("users", 1000, "the `N` users")
	fill := fs.Int("fill", 0, "send `E` events of each user as fast as possible, and end")
	rate := fs.Int("rate", 0, "send `R` events a second until SIGTERM")
	echo := fs.Int("echo", 0, "send an event Echo of `N` of the users, and write what the offers of campaign echo say")
	echoes := fs.String("echoes", "", "write what the offers of campaign echo in a `FILE` of backtest say")
	file := fs.String("out", "", "the `FILE` for latencies or echoes")
	if err := fs.Parse(args); err != nil {
		return err
	}
	f, err := os.Create(*file)
	if *file == "" {
		f, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	s := &sender{url: *to + "/v1/batch", key: *key, run: time.Now().UnixNano(),
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}}
	switch {
	case *echoes != "":
		return echoesOf(*echoes, f)
	case *echo > 0:
		return s.echo(ctx, *nats, *users, *echo, f)
	case *fill > 0:
		return s.fill(ctx, *users, *fill)
	case *rate > 0:
		return s.steady(ctx, *nats, *users, *rate, f, out)
	}
	return errors.New("nothing to send: give --fill, --rate, --echo or --echoes")
}

const (
	inFlight    = 64          // requests that are under way at the same time
	offerWithin = time.Minute // how long an event is sent again, and its offer awaited
)

// A sender posts batches of events until the gateway has accepted them.
type sender struct {
	url, key string
	client   *http.Client
	run      int64 // in message ids, so that those of different runs differ
	retries  atomic.Int64
}

func (s *sender) post(ctx context.Context, batch []byte) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(batch))
		if err != nil {
			return err
		}
		req.SetBasicAuth(s.key, "")
		resp, err := s.client.Do(req)
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			switch {
			case resp.StatusCode == http.StatusOK:
				return nil
			case resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode < 500:
				return fmt.Errorf("the gateway refuses: %s: %s", resp.Status, body)
			}
		}
		s.retries.Add(1)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// event appends an event of a user. n tells the events of a run apart.
func (s *sender) event(dst []byte, name string, user int, n int64, sent time.Time) []byte {
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, `{"type":"track","messageId":"`...)
	dst = strconv.AppendInt(dst, s.run, 36)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, n, 10)
	dst = append(dst, `","userId":"user-`...)
	dst = strconv.AppendInt(dst, int64(user), 10)
	return fmt.Appendf(dst, `","event":%q,"properties":{"product_id":"p%d","category":"c%d","brand":"b%d","price":%d,"sent":%d}}`,
		name, n%997, n%13, n%7, 10+n%90, sent.UnixMilli())
}

// fill sends events of each user as fast as possible.
func (s *sender) fill(ctx context.Context, users, each int) error {
	const batchUsers, senders = 200, 16
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for ctx.Err() == nil {
				first := int(next.Add(batchUsers)) - batchUsers
				if first >= users {
					return
				}
				var batch []byte
				for i := range each {
					for u := first; u < min(first+batchUsers, users); u++ {
						name := "Product Viewed"
						if i == each-1 {
							name = "Product Added"
						}
						batch = s.event(batch, name, u, int64(u*each+i), time.Now())
					}
				}
				if err := s.post(ctx, wrap(batch)); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func wrap(events []byte) []byte { return append(append([]byte(`{"batch":[`), events...), `]}`...) }

// steady sends events at a rate until ctx is done. One in ten is an order, whose offer
// it awaits: a line of f is when an order was to be sent, and how long its offer took,
// in milliseconds.
func (s *sender) steady(ctx context.Context, nats string, users, rate int, f io.Writer, out io.Writer) error {
	w := bufio.NewWriter(f)
	defer w.Flush()
	var mu sync.Mutex
	open := map[string]bool{} // orders whose offer has not come yet
	stop, err := listen(nats, func(o offer) {
		mu.Lock()
		defer mu.Unlock()
		if sent, ok := o.sent(); ok && open[o.Event] {
			delete(open, o.Event)
			fmt.Fprintln(w, sent, time.Now().UnixMilli()-sent)
		}
	})
	if err != nil {
		return err
	}
	defer stop()

	const every = 20 * time.Millisecond
	tokens := make(chan struct{}, inFlight)
	failed := make(chan error, inFlight)
	var all sync.WaitGroup
	rng := rand.New(rand.NewPCG(uint64(s.run), 1))
	sent := int64(0)
	for start := time.Now(); ctx.Err() == nil; {
		due := int64(time.Since(start).Seconds() * float64(rate))
		var batch []byte
		for now := time.Now(); sent < due && len(batch) < 100<<10; sent++ {
			name := [...]string{"Product Viewed", "Product Viewed", "Products Searched", "Product Viewed", "Product Added"}[sent%5]
			if sent%10 == 9 {
				name = "Order Completed"
				mu.Lock()
				open[strconv.FormatInt(s.run, 36)+"-"+strconv.FormatInt(sent, 10)] = true
				mu.Unlock()
			}
			batch = s.event(batch, name, rng.IntN(users), sent, now)
		}
		if len(batch) > 0 {
			tokens <- struct{}{}
			all.Go(func() {
				// What was made is sent, also when the load is to end: else its offer would be missed.
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), offerWithin)
				defer cancel()
				if err := s.post(ctx, wrap(batch)); err != nil {
					failed <- err
				}
				<-tokens
			})
		}
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
	all.Wait()
	left := func() int { mu.Lock(); defer mu.Unlock(); return len(open) }
	for end := time.Now().Add(offerWithin); left() > 0 && time.Now().Before(end); {
		time.Sleep(every)
	}
	mu.Lock()
	defer mu.Unlock()
	fmt.Fprintf(out, "%d events sent, %d requests sent again, %d offers of orders missed\n", sent, s.retries.Load(), len(open))
	if len(open) > 0 {
		return fmt.Errorf("the offers of %d orders did not come within %s", len(open), offerWithin)
	}
	return nil
}

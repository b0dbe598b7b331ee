package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Limits of one request. The bytes stay under the gateway's 500 KB. The events
// are no more than the newest 64, whose ids each user's state always remembers,
// so that a request can be sent again.
const (
	batchEvents = 64
	batchBytes  = 400 << 10
)

// A sender posts batches to a gateway like a well-behaved SDK: one at a time,
// and again if the gateway is overloaded or the network fails.
type sender struct {
	gateway, key string
	client       *http.Client
	retries      int             // so far
	notify       func(err error) // of a retry; may be nil
}

func newSender(gateway, key string) *sender {
	return &sender{gateway: strings.TrimRight(gateway, "/"), key: key, client: &http.Client{Timeout: 30 * time.Second}}
}

// errRefused is an answer that sending again would not change.
var errRefused = errors.New("the gateway refuses")

// errNoEvent is a refusal because of the content that was sent.
var errNoEvent = fmt.Errorf("%w the content", errRefused)

// batch sends events, each a JSON object, until the gateway has accepted them.
func (s *sender) batch(ctx context.Context, events [][]byte) error {
	var body bytes.Buffer
	body.WriteString(`{"batch":[`)
	body.Write(bytes.Join(events, []byte{','}))
	body.WriteString(`]}`)
	return s.send(ctx, "/v1/batch", body.Bytes())
}

// send posts a body until the gateway has accepted it.
func (s *sender) send(ctx context.Context, path string, body []byte) error {
	for attempt := 0; ; attempt++ {
		wait, err := s.post(ctx, path, body)
		if err == nil || errors.Is(err, errRefused) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.retries++
		if s.notify != nil {
			s.notify(err)
		}
		if wait == 0 {
			wait = min(100*time.Millisecond<<min(attempt, 6), 5*time.Second)
		}
		wait += rand.N(wait/2 + 1)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// post makes one request. wait is the time that Retry-After asks for.
func (s *sender) post(ctx context.Context, path string, body []byte) (wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.gateway+path, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("%w: %v", errRefused, err)
	}
	req.SetBasicAuth(s.key, "")
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
	if resp.StatusCode == http.StatusOK {
		return 0, nil
	}
	err = fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(answer))
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
		if sec, perr := strconv.Atoi(resp.Header.Get("Retry-After")); perr == nil && sec >= 0 {
			wait = min(time.Duration(sec)*time.Second, 10*time.Second)
		}
		return wait, err
	}
	why := errRefused
	if resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusRequestEntityTooLarge {
		why = errNoEvent
	}
	return 0, fmt.Errorf("%w: %w", why, err)
}

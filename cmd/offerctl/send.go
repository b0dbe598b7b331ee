package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline/event"
)

// Limits of one request. The bytes stay well under the gateway's 4 MB. The events
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
	as           string          // who has sent the events before, as the header Offerstream-Sender names them; "": nobody
	retries      int             // so far
	denied       int             // events of batches that the gateway has refused because of the key
	refused      int             // events of batches that it has refused, these among them
	notify       func(err error) // of a retry; may be nil
}

func newSender(gateway, key string) *sender {
	return &sender{gateway: strings.TrimRight(gateway, "/"), key: key, client: &http.Client{Timeout: 30 * time.Second}}
}

// errRefused is an answer that sending again would not change.
var errRefused = errors.New("the gateway refuses")

// errNoEvent is a refusal because of the content that was sent.
var errNoEvent = fmt.Errorf("%w the content", errRefused)

// deniedErr is an error if the gateway has refused events because of the key.
func (s *sender) deniedErr() error {
	if s.denied == 0 {
		return nil
	}
	return fmt.Errorf("the gateway refused %d events that this key may not send: clock events, consent, redeemed coupons and events about items need --server-key with a key of role server; facts need one that has the role feeder, too; its log has the reasons", s.denied)
}

// keyFlags are the flags with the key of a gateway.
type keyFlags struct{ write, server *string }

// keys declares the flags. of says for which subcommand they are.
func (f *flags) keys(of string) keyFlags {
	return keyFlags{
		f.String("write-key", "", of+"the gateway's write `KEY`, of role browser"),
		f.String("server-key", "", of+"a `KEY` of role server, instead of --write-key; OFFERSTREAM_SERVER_KEY in the environment"),
	}
}

// one is the given key, "" if there is none.
func (k keyFlags) one() (string, error) {
	if *k.write != "" && *k.server != "" {
		return "", usagef("--write-key and --server-key exclude each other")
	}
	return cmp.Or(*k.write, *k.server, envOr("OFFERSTREAM_SERVER_KEY", "")), nil
}

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
	if s.as != "" {
		req.Header.Set("Offerstream-Sender", s.as)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
	if resp.StatusCode == http.StatusOK {
		var said struct{ Denied, Refused int }
		if json.Unmarshal(answer, &said) == nil {
			s.denied += said.Denied
			s.refused += said.Refused
		}
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
	var said struct{ Reason string }
	_ = json.Unmarshal(answer, &said)
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusForbidden:
		why = errNoEvent
	case http.StatusUnauthorized:
		if said.Reason == event.DeniedUnproved { // else the key is wrong, for all events
			why = errNoEvent
		}
	}
	return 0, fmt.Errorf("%w: %w", why, err)
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/pipeline/ingest"
)

// A tab is a page with a stream, which speaks as pipeline/page/offerstream.js does, but
// waits a tenth of its time before it comes again.
type tab struct {
	gateway string // its URL
	client  *http.Client
	rng     *rand.Rand
	tally   *tally

	user    string // "": a visitor
	id      string // the visitor's
	key     string // the entity's
	token   string
	expires time.Time
	last    string // the id of the last event

	mu    sync.Mutex
	has   map[string]bool // the offers that it shows
	shown map[string]int  // how often it was told that an offer is open
	wrong []string
}

// A tally is of all tabs.
type tally struct {
	shown, streams, renewed, inStream atomic.Int64
}

func (t *tab) fail(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong = append(t.wrong, fmt.Sprintf(format, args...))
}

// visit renews the visitor's token if it has expired, or soon will.
func (t *tab) visit(ctx context.Context) error {
	if time.Until(t.expires) > 10*time.Second {
		return nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.gateway+"/v1/visitor", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+t.token)
	resp, err := t.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("POST /v1/visitor: %s: %w", resp.Status, err)
	}
	t.tally.renewed.Add(1)
	t.keep(b)
	return nil
}

// keep takes a token of the visitor.
func (t *tab) keep(data []byte) {
	var v struct {
		ID, Token string
		Expires   time.Time
	}
	if err := json.Unmarshal(data, &v); err != nil || v.ID != t.id {
		t.fail("visitor %s is told %s: %v", t.id, data, err)
		return
	}
	t.token, t.expires = v.Token, v.Expires
}

// run holds a stream until ctx is done.
func (t *tab) run(ctx context.Context) {
	for tries := 0; ctx.Err() == nil; tries++ {
		if t.stream(ctx) {
			tries = 0
		}
		wait := time.Duration(float64(min(3*time.Second, 100*time.Millisecond<<min(tries, 10))) * (.5 + t.rng.Float64()/2))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// stream reads one stream, and reports whether anything came.
func (t *tab) stream(ctx context.Context) (came bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.gateway+"/v1/offers/stream", nil)
	if err != nil {
		t.fail("%v", err)
		return false
	}
	if t.user == "" {
		if err := t.visit(ctx); err != nil {
			return false
		}
		r.Header.Set("Authorization", "Bearer "+t.token)
	} else {
		expires := time.Now().Add(time.Duration(2+t.rng.IntN(8)) * time.Second)
		r.Header.Set("Authorization", "Bearer "+ingest.UserToken([]byte(drillSecret), t.user, expires))
		r.Header.Set("X-Write-Key", drillKey)
		r.Header.Set("Offerstream-User", url.PathEscape(t.user))
	}
	if t.last != "" {
		r.Header.Set("Last-Event-ID", t.last)
	}
	resp, err := t.client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		if resp.StatusCode == http.StatusUnauthorized {
			t.expires = time.Time{}
		} else if resp.StatusCode != http.StatusServiceUnavailable {
			t.fail("GET /v1/offers/stream: %s", resp.Status)
		}
		return false
	}
	t.tally.streams.Add(1)
	dead := time.AfterFunc(time.Minute, cancel)
	defer dead.Stop()
	in := bufio.NewReaderSize(resp.Body, 1<<10)
	for block := map[string]string{}; ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return came
		}
		came = true
		dead.Reset(time.Minute)
		if line == "\n" {
			t.take(block)
			clear(block)
		} else if name, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok {
			block[name] = text
		}
	}
}

// take takes an event.
func (t *tab) take(block map[string]string) {
	if id := block["id"]; id != "" {
		t.last = id
	}
	var of struct{ ID, Reason string }
	switch data := []byte(block["data"]); block["event"] {
	case "offer":
		if json.Unmarshal(data, &of) == nil {
			t.mu.Lock()
			t.has[of.ID] = true
			t.shown[of.ID]++
			t.mu.Unlock()
			t.tally.shown.Add(1)
		}
	case "gone":
		if err := json.Unmarshal(data, &of); err != nil || !t.drop(of.ID) {
			t.fail("%s goes, which was not there: %v", data, err)
		}
	case "token":
		t.keep(data)
		t.tally.inStream.Add(1)
	case "login":
		t.fail("login, though nobody has become a user")
	}
}

// drop reports whether the tab had the offer.
func (t *tab) drop(id string) (had bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	had = t.has[id]
	delete(t.has, id)
	return had
}

// sees reports whether the tab shows an offer.
func (t *tab) sees(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.has[id]
}

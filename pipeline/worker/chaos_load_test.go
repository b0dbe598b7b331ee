package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

const (
	chaosRate    = 500  // events a second
	chaosUsers   = 1000 // so many that in a run of minutes no user has more events than a duplicate ring remembers, whoever its visitors were
	chaosRegular = 100  // of the users, who make a third of the events of users
	chaosClients = 64
)

// The keys of the load's senders.
const (
	chaosBrowser = "KEY"
	chaosServer  = "SERVER"
)

// A load sends events as shops' servers and browsers do: each event until it is
// acknowledged, under the same messageId.
type load struct {
	url    string
	client http.Client
	run    string

	mu       sync.Mutex
	made     map[string]bool // events by messageId; true: acknowledged
	attempts int
	failed   int      // number of failed attempts
	refused  []string // answers that refuse an event as bad
}

func newLoad(addr string, seed uint64) *load {
	return &load{url: "http://" + addr, run: fmt.Sprint("chaos-", seed, "-"), made: map[string]bool{},
		client: http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: chaosClients}}}
}

// A parcel is a request and the events in it.
type parcel struct {
	path string
	key  string // of its sender
	body []byte
	ids  []string
}

type chaosEvent struct {
	Type        string         `json:"type"`
	Event       string         `json:"event,omitempty"`
	Name        string         `json:"name,omitempty"`
	Kind        string         `json:"kind,omitempty"` // of an item
	ID          string         `json:"id,omitempty"`   // likewise
	MessageID   string         `json:"messageId"`
	UserID      string         `json:"userId,omitempty"`
	AnonymousID string         `json:"anonymousId,omitempty"`
	PreviousID  string         `json:"previousId,omitempty"`
	Timestamp   string         `json:"timestamp"`
	Properties  map[string]any `json:"properties,omitempty"`
}

// key is the key of the entity that the event steps.
func (e *chaosEvent) key() string {
	switch {
	case e.Type == "item":
		return event.ItemKey(e.Kind, e.ID)
	case e.UserID != "":
		return event.UserKey(e.UserID, false)
	}
	return event.UserKey(e.AnonymousID, true)
}

// parcel returns the next request: a single event, as from a page, or a batch. Half
// come from browsers, which can neither log in nor report prices.
func (l *load) parcel(rng *rand.Rand, n int) parcel {
	p := parcel{key: chaosBrowser}
	kinds := shopKinds
	if rng.IntN(2) == 0 {
		p.key = chaosServer
	} else {
		kinds = shopKinds[:browserKinds]
	}
	events := make([]chaosEvent, 1+rng.IntN(6))
	for i := range events {
		events[i] = chaosHappens(rng, kinds)
		events[i].MessageID = fmt.Sprint(l.run, n+i)
		events[i].Timestamp = value.FormatTime(time.Now().UnixNano())
		p.ids = append(p.ids, events[i].MessageID)
	}
	var body any = map[string]any{"batch": events}
	p.path = "/v1/batch"
	if len(events) == 1 {
		p.path, body = "/v1/"+events[0].Type, events[0]
	}
	p.body, _ = json.Marshal(body) // cannot fail for plain values
	return p
}

// send sends events for the given time, and then waits until all are acknowledged
// or ctx is done.
func (l *load) send(ctx context.Context, rng *rand.Rand, span time.Duration) {
	parcels := make(chan parcel)
	var clients sync.WaitGroup
	for i := range chaosClients {
		own := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
		clients.Go(func() {
			for p := range parcels {
				if l.deliver(ctx, own, p) && own.IntN(50) == 0 { // sometimes send it again, as if the answer had been lost
					l.deliver(ctx, own, p)
				}
			}
		})
	}
	n := 0
	beat := time.NewTicker(5 * time.Millisecond)
	defer beat.Stop()
	for start, due := time.Now(), 0.0; time.Since(start) < span; <-beat.C {
		due = min(due+chaosRate*0.005, chaosRate/2) // events that could not be sent in time are dropped, as if they had not happened
		for due > 0 && time.Since(start) < span {
			p := l.parcel(rng, n)
			n += len(p.ids)
			due -= float64(len(p.ids))
			l.mu.Lock()
			for _, id := range p.ids {
				l.made[id] = false
			}
			l.mu.Unlock()
			parcels <- p
		}
	}
	close(parcels)
	clients.Wait()
}

// deliver sends a parcel again and again until it is acknowledged, as SDKs do.
func (l *load) deliver(ctx context.Context, rng *rand.Rand, p parcel) bool {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		status, answer, err := l.post(ctx, p)
		l.mu.Lock()
		l.attempts++
		switch {
		case err == nil && status == http.StatusOK:
			for _, id := range p.ids {
				l.made[id] = true
			}
			l.mu.Unlock()
			return true
		case err == nil && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout && status < 500:
			if len(l.refused) < 10 {
				l.refused = append(l.refused, fmt.Sprintf("%s: %d %s", p.path, status, answer))
			}
			l.mu.Unlock()
			return false
		}
		l.failed++
		l.mu.Unlock()
		select {
		case <-time.After(wait/2 + time.Duration(rng.Int64N(int64(wait)))):
		case <-ctx.Done():
			return false
		}
	}
}

func (l *load) post(ctx context.Context, p parcel) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+p.path, bytes.NewReader(p.body))
	if err != nil {
		return 0, nil, err
	}
	req.SetBasicAuth(p.key, "")
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 4096))
	return resp.StatusCode, answer, err
}

// acknowledged returns the number of acknowledged events, by messageId.
func (l *load) acknowledged() (n int) {
	for _, acked := range l.made {
		if acked {
			n++
		}
	}
	return n
}

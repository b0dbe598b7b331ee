package deliver

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Times between attempts.
const (
	firstWait     = time.Second      // the longest wait after the first attempt
	lastWait      = 15 * time.Minute // the longest wait at all
	maxRetryAfter = time.Hour        // a receiver that asks for more is asked again after this
)

// A backoff says how long to wait before the next attempt: a random time up to a limit
// that doubles with each attempt ("full jitter"), so that many offers that failed at the
// same time do not come back at the same time.
type backoff struct {
	first, last time.Duration

	mu  sync.Mutex
	rng *rand.Rand
}

func newBackoff(first, last time.Duration, seed uint64) *backoff {
	return &backoff{first: first, last: last, rng: rand.New(rand.NewPCG(seed, 0))}
}

// after is the time to wait after a number of failed attempts, from 1.
func (b *backoff) after(attempts int) time.Duration {
	most := b.last
	if shift := max(attempts, 1) - 1; shift < 32 && b.first<<shift < most {
		most = b.first << shift
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Duration(b.rng.Int64N(int64(most) + 1))
}

// retryAfter reads the header Retry-After: seconds, or a time. It is 0 if there is none,
// or if it is none that can be read.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

package deliver

import (
	"net/http"
	"testing"
	"time"
)

// TestBackoff: waits are between zero and a limit that doubles, spread over all of it,
// and the same for the same seed.
func TestBackoff(t *testing.T) {
	a, b := newBackoff(time.Second, 15*time.Minute, 7), newBackoff(time.Second, 15*time.Minute, 7)
	most := time.Second
	for attempts := 1; attempts < 80; attempts++ {
		var longest, shortest time.Duration = 0, most
		for range 200 {
			is := a.after(attempts)
			if again := b.after(attempts); is != again {
				t.Fatalf("attempt %d: %v and %v for one seed", attempts, is, again)
			}
			longest, shortest = max(longest, is), min(shortest, is)
		}
		if longest > most || longest < most*9/10 || shortest > most/10 {
			t.Errorf("attempt %d: waits from %v to %v, want 0 to %v", attempts, shortest, longest, most)
		}
		most = min(2*most, 15*time.Minute)
	}
	if newBackoff(time.Second, time.Minute, 1).after(9) == newBackoff(time.Second, time.Minute, 2).after(9) {
		t.Error("two seeds give the same")
	}
}

// TestRetryAfterHeader: seconds or a time, at most an hour.
func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "3600": time.Hour, "99999999999": time.Hour, "18446744073709551615": time.Hour, "-1": 0, "1.5": 0, "soon": 0,
		"Thu, 01 Jan 2026 10:00:30 GMT": 30 * time.Second, "Thu, 01 Jan 2026 09:00:00 GMT": 0, "Fri, 02 Jan 2026 10:00:00 GMT": time.Hour,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

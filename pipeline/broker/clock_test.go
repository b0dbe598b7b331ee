package broker

import (
	"context"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/broker/embedded"
)

// TestClockSaid: a difference of the clocks is logged once, and again when it has
// changed by more than a minute.
func TestClockSaid(t *testing.T) {
	var log lines
	k := &clockWatch{log: log.logger()}
	for _, c := range []struct {
		ahead time.Duration
		want  string // "": nothing
	}{
		{0, ""},
		{50 * time.Second, ""},
		{-time.Minute, ""},
		{24 * time.Hour, `AHEAD of the clock of NATS: let NTP set both clocks; nothing is lost or doubled meanwhile" ahead=24h0m0s`},
		{24*time.Hour + 50*time.Second, ""},
		{24*time.Hour + 2*time.Minute, "ahead=24h2m0s"},
		{61 * time.Second, "ahead=1m1s"},
		{59 * time.Second, "agrees with the clock of NATS again"},
		{0, ""},
		{-24 * time.Hour, "BEHIND the clock of NATS"},
		{-24 * time.Hour, ""},
		{90 * time.Second, "ahead=1m30s"},
	} {
		before := log.String()
		k.say(c.ahead)
		said := strings.TrimPrefix(log.String(), before)
		if (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("%v ahead: the log says %q, want %q", c.ahead, said, c.want)
		}
	}
}

// TestWatchClock compares clocks with a real server.
func TestWatchClock(t *testing.T) {
	s := serve(t, embedded.Options{Port: -1})
	for _, off := range []time.Duration{0, 24 * time.Hour, -24 * time.Hour} {
		var log lines
		c := dial(t, Options{URL: s.ClientURL(), Log: log.logger()})
		ctx, cancel := context.WithCancel(limited(t))
		c.WatchClock(ctx, func() int64 { return time.Now().Add(off).UnixNano() }, func(ahead time.Duration) {
			cancel() // ends WatchClock
			if (ahead-off).Abs() > time.Minute || off == 0 && ahead != 0 {
				t.Errorf("%v ahead, want %v", ahead, off)
			}
		})
		if got := strings.Count(log.String(), "let NTP set"); (got == 1) != (off != 0) {
			t.Errorf("%v ahead: %s", off, log.String())
		}
	}
}

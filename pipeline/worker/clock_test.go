package worker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// kinds counts the messages of partition 0's log by kind.
func kinds(t *testing.T, c *broker.Conn) map[pipeline.Kind]int {
	t.Helper()
	n := map[pipeline.Kind]int{}
	if err := c.ScanLog(within(t), 0, 0, func(m pipeline.Message) error { n[m.Kind]++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTicks: there are at most ten ticks a second, even if the owner's clock is a
// day ahead, and none under clock: event.
func TestTicks(t *testing.T) {
	t.Parallel()
	ahead := func(o *Options) {
		o.Now = func() int64 { return time.Now().Add(24 * time.Hour).UnixNano() }
	}
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, waiting(t, campaign.ClockBroker, 10*time.Minute))
	began := time.Now()
	w := start(t, ns.ClientURL(), t.TempDir(), ahead)
	w.inForce(t, hash)
	publish(t, c, []scripted{{0, view(1, "ada")}})
	await(t, "some ticks", func() bool { return kinds(t, c)[pipeline.Tick] >= 4 })
	w.stop(t)
	if n, most := kinds(t, c)[pipeline.Tick], int(time.Since(began)/tickEvery)+1; n > most {
		t.Errorf("%d ticks, at most %d may be", n, most)
	}
	if n := len(stored(t, c)); n != 0 {
		t.Errorf("%d offers before their time", n)
	}

	ns = startNATS(t, t.TempDir(), -1)
	c = connect(t, ns.ClientURL(), 1)
	hash = apply(t, c, waiting(t, campaign.ClockEvent, 10*time.Minute))
	w = start(t, ns.ClientURL(), t.TempDir(), ahead)
	w.inForce(t, hash)
	publish(t, c, []scripted{{0, at(1e9, "a", "ada", 1)}})
	w.applied(t, c)
	w.inForce(t, apply(t, c, waiting(t, campaign.ClockEvent, 11*time.Minute))) // this takes about a second
	if n := kinds(t, c)[pipeline.Tick]; n != 0 {
		t.Errorf("%d ticks under clock: event", n)
	}
}

// TestClocksADayOff: of two workers and three gateways, some have clocks that are
// a day ahead and some clocks that are a day behind. The workers log that, and
// offers and timers are exact.
func TestClocksADayOff(t *testing.T) {
	t.Parallel()
	const partitions, day = 4, 24 * time.Hour
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), partitions)
	def := views(t, 1)
	later := def.Campaigns[0]
	later.ID, later.Offer.Channel = "later", "push"
	later.Unless = &campaign.Unless{On: []string{"Order Completed"}, Within: 10 * time.Millisecond}
	def.Campaigns = append(def.Campaigns, later)
	hash := apply(t, c, def)
	type member struct {
		*running
		log *said
		off time.Duration
	}
	var group []member
	for _, off := range []time.Duration{day, -day} {
		log := &said{}
		group = append(group, member{start(t, ns.ClientURL(), t.TempDir(), func(o *Options) {
			o.Now = func() int64 { return time.Now().Add(off).UnixNano() }
			o.Connect = func(ctx context.Context) (*broker.Conn, error) {
				return broker.Connect(ctx, broker.Options{URL: ns.ClientURL(), Client: "worker", Log: log.logger()})
			}
		}), log, off})
	}
	owned(t, []*running{group[0].running, group[1].running}, partitions, 0)
	await(t, "the set in force", func() bool {
		for p := range partitions {
			if group[0].Status()[p].Set != hash && group[1].Status()[p].Set != hash {
				return false
			}
		}
		return true
	})
	n := 0
	more := func() { // an event in each partition, each time from another gateway
		for p := range partitions {
			user := fmt.Sprint("user", n)
			received := time.Now().Add([]time.Duration{0, day, -day}[n/partitions%3])
			publish(t, c, []scripted{{p, fmt.Appendf(nil, `{"type":"track","event":"Product Viewed","userId":%q,"messageId":%q,"receivedAt":%q}`, user, user, value.FormatTime(received.UnixNano()))}})
			n++
		}
	}
	for range 10 {
		more()
	}
	events := n
	await(t, "all offers of these, those at once and those later", func() bool {
		more() // if the worker's clock is behind, only events move log time on
		at := map[string]int{}
		for o := range stored(t, c) {
			for _, id := range []string{"again", "later"} {
				if strings.Contains(o, `"campaign":"`+id+`"`) {
					at[id]++
				}
			}
		}
		return at["again"] >= events && at["later"] >= events
	})
	await(t, "status shows both clocks", func() bool {
		o, err := audit.Look(within(t), c, 30*time.Second)
		if err != nil || len(o.Members) != 2 {
			t.Fatalf("%+v, %v", o.Members, err)
		}
		return !slices.ContainsFunc(o.Members, func(m audit.Member) bool {
			d := time.Duration(m.Ahead * 1e9).Abs()
			return d < day-time.Minute || d > day+time.Minute
		})
	})
	for _, m := range group {
		await(t, "the log says so", func() bool { return strings.Contains(m.log.String(), "let NTP set") })
	}
	group[0].stop(t)
	group[1].applied(t, c)
	verified(t, c)
	atOnce := 0
	for o := range stored(t, c) {
		if strings.Contains(o, `"campaign":"again"`) {
			atOnce++
		}
	}
	if atOnce != n {
		t.Errorf("%d offers at once, of %d events", atOnce, n)
	}
	for _, m := range group {
		got, want := m.log.String(), "AHEAD of the clock of NATS"
		if m.off < 0 {
			want = "BEHIND the clock of NATS"
		}
		if strings.Count(got, "let NTP set") != 1 || !strings.Contains(got, want) {
			t.Errorf("a clock %v ahead: the log does not say so once:\n%s", m.off, got)
		}
	}
	t.Logf("%d events", n)
}

// said collects log lines.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *said) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *said) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *said) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

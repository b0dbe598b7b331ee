package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
)

// quiet returns a logger that discards everything, unless LOG is set.
func quiet() *slog.Logger {
	if os.Getenv("LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// within returns a context that limits how long a test waits.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func startNATS(t *testing.T, dir string, port int) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: dir, Port: port, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func connect(t *testing.T, url string, partitions int) *broker.Conn {
	t.Helper()
	c, err := broker.Connect(within(t), broker.Options{URL: url, Client: "test", Partitions: partitions, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// apply stores the set and makes it live.
func apply(t *testing.T, c *broker.Conn, def *campaign.Definition) string {
	t.Helper()
	ctx := within(t)
	hash, err := c.PutSet(ctx, def)
	if err != nil {
		t.Fatal(err)
	}
	_, rev, err := c.Live(ctx)
	if err == nil {
		err = c.MakeLive(ctx, hash, rev)
	}
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// A running is a running worker.
type running struct {
	*Worker
	cancel context.CancelFunc
	done   chan error
}

// start starts a worker. A directory's lock lives as long as any process has
// its file open, and a process that another test starts has it for a moment,
// until it runs its own program: so this waits for such a moment's end.
func start(t *testing.T, url, dir string, change func(*Options)) *running {
	t.Helper()
	syscall.ForkLock.RLock()
	//lint:ignore SA2001 it is enough to have waited
	syscall.ForkLock.RUnlock()
	opt := Options{Dir: dir, Log: quiet(), Checkpoint: 50 * time.Millisecond, Confirm: time.Second, Connect: func(ctx context.Context) (*broker.Conn, error) {
		return broker.Connect(ctx, broker.Options{URL: url, Client: "worker", Log: quiet()})
	}}
	if change != nil {
		change(&opt)
	}
	w, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{w, cancel, make(chan error, 1)}
	go func() { r.done <- w.Run(ctx) }()
	t.Cleanup(func() { r.stop(t) })
	return r
}

func (r *running) stop(t *testing.T) {
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil {
			t.Error(err)
		}
		r.done <- nil
	case <-time.After(time.Minute):
		t.Fatal("the worker does not stop")
	}
}

// await polls until holds returns true.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); !holds(); <-time.After(5 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("in vain awaited: %s", what)
		}
	}
}

// inForce waits until the set is in force in every partition, and every partition
// that this worker should run is running.
func (r *running) inForce(t *testing.T, hash string) {
	t.Helper()
	await(t, "set in force", func() bool {
		st := r.Status()
		for _, s := range st {
			if s.Set != hash {
				return false
			}
		}
		return len(st) > 0 && r.Ready() == nil
	})
}

// applied waits until every message of the logs is applied and every offer is
// stored.
func (r *running) applied(t *testing.T, c *broker.Conn) {
	t.Helper()
	await(t, "all applied", func() bool {
		st := r.Status()
		for p, s := range st {
			if s.Stopped != "" {
				t.Fatalf("partition %d: %s", p, s.Stopped)
			}
			_, last, err := c.Extent(t.Context(), p)
			if err != nil || s.Seq < last || s.Waiting > 0 {
				return false
			}
		}
		return len(st) > 0
	})
}

// A script is a campaign set and packs for several partitions, with the offers
// that a backtest gives.
type script struct {
	def   *campaign.Definition
	packs []scripted
	want  map[string]int // the number of each offer, by its JSON
}

// views returns a set that sends an offer at every Product Viewed from the given
// number on.
func views(t *testing.T, least int) *campaign.Definition {
	t.Helper()
	return &campaign.Definition{
		Engine: pipeline.Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
		Forget:   campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown},
		Features: []campaign.Feature{{Name: "seen", On: []string{"Product Viewed"}, Agg: "count"}},
		Campaigns: []campaign.Campaign{{ID: "again", On: []string{"Product Viewed"}, If: []string{fmt.Sprintf("seen >= %d", least)},
			Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Advertising, Data: []byte(`{"n":"{{ seen }}"}`)}}},
	}
}

// waiting returns a set that sends an offer a given time after a Product Viewed.
func waiting(t *testing.T, clock string, after time.Duration) *campaign.Definition {
	t.Helper()
	def := views(t, 1)
	def.Clock = clock
	def.Campaigns[0].Unless = &campaign.Unless{On: []string{"Order Completed"}, Within: after}
	return def
}

type scripted struct {
	p    int
	data []byte
}

// write makes a script under clock: event from a seed. No visitor becomes a user in it:
// when the visitor's record reaches the user depends on the partitions.
func write(t *testing.T, seed uint64, partitions int) script {
	t.Helper()
	setJSON, events := oracle.Generate(seed)
	var dec event.Decoder
	events = slices.DeleteFunc(events, func(raw []byte) bool {
		ev, err := dec.Decode(raw)
		if err != nil {
			return false
		}
		_, claims := ev.Claims()
		return claims
	})
	s := writeFor(t, setJSON, events, seed, partitions)
	b, problems := pipeline.NewBacktest(s.def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, raw := range events {
		if err := b.Line(raw, func(o *pipeline.Offer) { s.want[asJSON(t, o)]++ }); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// writeMixed is write for users who meet: with items, budgets, pools and logins. What it
// offers live depends on when mails come, so there is nothing to compare it with.
func writeMixed(t *testing.T, seed uint64, partitions int) script {
	t.Helper()
	c := oracle.RandomMixed(seed)
	return writeFor(t, c.Set, c.Events, seed, partitions)
}

// forgetLate makes a set forget nobody before all mails have come that are on their way,
// as apply demands (LANGUAGE.md, rule 17).
func forgetLate(def *campaign.Definition) {
	def.Forget = campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown}
	for i := range def.Items {
		def.Items[i].Forget = campaign.DefaultForgetItem
	}
}

// writeFor makes packs of events for several partitions.
func writeFor(t *testing.T, setJSON []byte, events [][]byte, seed uint64, partitions int) script {
	t.Helper()
	def, err := campaign.ParseDefinition(setJSON)
	if err != nil {
		t.Fatal(err)
	}
	def.Clock = campaign.ClockEvent
	def.Brakes = nil // a backtest has none
	forgetLate(def)
	s := script{def: def, want: map[string]int{}}
	rng := rand.New(rand.NewPCG(seed, 1))
	gather := make([][]byte, partitions)
	flush := func(p int) {
		if len(gather[p]) > 0 {
			s.packs = append(s.packs, scripted{p, gather[p]})
			gather[p] = nil
		}
	}
	var dec event.Decoder
	now, begun := int64(math.MinInt64), false
	for _, raw := range events {
		ev, err := dec.Admit(raw, 0)
		if err != nil || !ev.HasTimestamp && !begun {
			continue
		}
		if ev.HasTimestamp {
			now, begun = max(now, ev.Timestamp), true
		}
		if ev.Type == event.Clock {
			continue
		}
		first, last := event.Partition(ev.Key, partitions), event.Partition(ev.Key, partitions)
		if ev.Type == event.Fact { // which every partition gets
			first, last = 0, partitions-1
		}
		for p := first; p <= last; p++ {
			gather[p] = fmt.Appendf(gather[p], `{"logTime":%q,"messageId":%s,`, value.FormatTime(now), asJSON(t, ev.ID))
			gather[p] = append(append(gather[p], raw[1:]...), '\n')
			if rng.IntN(3) == 0 {
				flush(p)
			}
		}
	}
	for p := range gather {
		gather[p] = fmt.Appendf(gather[p], `{"type":"clock","timestamp":%q}`, value.FormatTime(now))
		flush(p)
	}
	return s
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// publish appends packs to the logs.
func publish(t *testing.T, c *broker.Conn, packs []scripted) {
	t.Helper()
	ctx := within(t)
	for _, pk := range packs {
		if _, err := c.JS.PublishMsg(ctx, &nats.Msg{Subject: c.Names.EventsSubject(pk.p, "in"), Data: pk.data}); err != nil {
			t.Fatal(err)
		}
	}
}

// stored returns the number of each stored offer, by its JSON.
func stored(t *testing.T, c *broker.Conn) map[string]int {
	t.Helper()
	got := map[string]int{}
	for p := range c.Partitions {
		err := c.ScanOffers(within(t), p, func(r broker.Record) error {
			if r.Chain == "page" { // a backtest gives none
				return nil
			}
			got[string(r.Data)]++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func same(t *testing.T, got, want map[string]int) {
	t.Helper()
	for o := range want {
		if got[o] != want[o] {
			t.Errorf("%d times, want %d: %s", got[o], want[o], o)
		}
	}
	for o := range got {
		if want[o] == 0 {
			t.Errorf("not in the backtest: %s", o)
		}
	}
}

// verified checks that the offers equal a replay of the log.
func verified(t *testing.T, c *broker.Conn) audit.Verdict {
	t.Helper()
	v, err := audit.Verify(within(t), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK() {
		t.Errorf("%+v", v)
	}
	return v
}

// TestOffers runs random campaigns over random events through JetStream: the
// offers must be those of a backtest.
func TestOffers(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 3; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			ns := startNATS(t, t.TempDir(), -1)
			c := connect(t, ns.ClientURL(), 3)
			s := write(t, seed, 3)
			hash := apply(t, c, s.def)
			w := start(t, ns.ClientURL(), t.TempDir(), nil)
			w.inForce(t, hash)
			publish(t, c, s.packs)
			w.applied(t, c)
			same(t, stored(t, c), s.want)
			verified(t, c)
			t.Logf("%d packs, %d offers", len(s.packs), len(s.want))
		})
	}
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
)

func TestLive(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	ctx := limited(t)
	is, rev, err := c.Live(ctx)
	if is.Set != "" || rev != 0 || err != nil {
		t.Fatalf("none is live: %+v, %d, %v", is, rev, err)
	}
	if err := c.MakeLive(ctx, "0123", rev); !errors.Is(err, ErrNoSet) {
		t.Errorf("a set that is not there: %v", err)
	}
	one, err := c.PutSet(ctx, define(campaign.ClockBroker, 1))
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.PutSet(ctx, define(campaign.ClockEvent, 2))
	if err != nil {
		t.Fatal(err)
	}
	for _, next := range []string{one, two, one} {
		if err := c.MakeLive(ctx, next, rev); err != nil {
			t.Fatal(err)
		}
		if err := c.MakeLive(ctx, two, rev); !errors.Is(err, ErrLiveChanged) {
			t.Errorf("over what nobody had looked at: %v", err)
		}
		if is, rev, err = c.Live(ctx); is.Set != next || err != nil {
			t.Fatalf("live: %+v, %v, want %q", is, err, next)
		}
	}
}

// live stores a set and makes it the live one.
func live(t *testing.T, c *Conn, def *campaign.Definition) string {
	t.Helper()
	ctx := limited(t)
	hash, err := c.PutSet(ctx, def)
	if err != nil {
		t.Fatal(err)
	}
	_, rev, err := c.Live(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeLive(ctx, hash, rev); err != nil {
		t.Fatal(err)
	}
	return hash
}

// TestWatchLive: a watch reports the live set and each change, also after the
// server was away.
func TestWatchLive(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, embedded.Options{Dir: dir, Port: -1})
	url, port := s.ClientURL(), portOf(t, s)
	c := dial(t, Options{URL: url, Partitions: 1, Reconnect: true})
	ctx, cancel := context.WithCancel(limited(t))
	told, ended := make(chan string, 16), make(chan error, 1)
	go func() { ended <- c.WatchLive(ctx, func(live Live) { told <- live.Set }) }()
	next := func(want string) {
		t.Helper()
		select {
		case got := <-told:
			if got != want {
				t.Fatalf("told %q, want %q", got, want)
			}
		case <-ctx.Done():
			t.Fatalf("%q was never told", want)
		}
	}
	next("")
	next(live(t, c, define(campaign.ClockBroker, 1)))
	next(live(t, c, define(campaign.ClockBroker, 2)))
	s.Shutdown()
	serve(t, embedded.Options{Dir: dir, Port: port})
	other := dial(t, Options{URL: url})
	next(live(t, other, define(campaign.ClockBroker, 3)))
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
}

func TestWatchLiveEndsWithItsConnection(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	told, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- c.WatchLive(limited(t), func(live Live) { told <- live.Set }) }()
	<-told
	c.Close()
	if err := <-ended; err == nil {
		t.Error("the watch ended without an error")
	}
}

// TestRecord: the whole record comes back. It is written only with sets that are
// stored, and only if it is not too large.
func TestRecord(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 2, Prefix: "x"})
	ctx := limited(t)
	one, two := live(t, c, define(campaign.ClockBroker, 1)), live(t, c, define(campaign.ClockBroker, 2))
	was, rev, err := c.Live(ctx)
	if err != nil || was.Revision != 2 || was.At == "" || !reflect.DeepEqual(was.Previous, &Previous{Set: one, At: was.Previous.At}) || was.Previous.At == "" {
		t.Fatalf("%+v, %v", was, err)
	}
	want := Live{Revision: 7, Set: two, By: "ada", At: "2026-03-01T12:00:00Z", Previous: &Previous{Set: one, Cancelled: 3},
		Backfill: &Backfill{Set: one, Engine: 4, Features: []string{"seen"}, Campaigns: []string{"c0"}, Overdue: "6h", Rate: 0.25}}
	if err := c.PutLive(ctx, want, rev); err != nil {
		t.Fatal(err)
	}
	got, rev, err := c.Live(ctx)
	if err != nil || !reflect.DeepEqual(got, want) || got.Go() || got.Asked() != one {
		t.Errorf("%+v, %v", got, err)
	}
	if err := c.MakeLive(ctx, one, rev); !errors.Is(err, ErrAsked) {
		t.Errorf("made live while a backfill is asked for: %v", err)
	}
	want.Backfill.Set = two
	if !want.Go() || want.Asked() != "" {
		t.Error("it is not live by backfill")
	}
	for _, tc := range []struct {
		name   string
		change func(*Live)
		words  string
	}{
		{"a live set that is not stored", func(l *Live) { l.Set = "0123" }, ErrNoSet.Error()},
		{"no live set", func(l *Live) { l.Set = "" }, ErrNoSet.Error()},
		{"a set to fold that is not stored", func(l *Live) { l.Backfill = &Backfill{Set: "0123"} }, ErrNoSet.Error()},
		{"a long list", func(l *Live) {
			l.Backfill = &Backfill{Set: one, Features: strings.Fields(strings.Repeat("feature-with-a-name ", 30_000))}
		}, "change fewer campaigns at a time"},
	} {
		next := want
		tc.change(&next)
		if err := c.PutLive(ctx, next, rev); err == nil || !strings.Contains(err.Error(), tc.words) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if now, same, err := c.Live(ctx); err != nil || same != rev || now.Revision != 7 {
		t.Errorf("%+v, %v", now, err)
	}
	for _, value := range []string{"{", `{"revision":"x"}`} {
		if _, err := c.kv.PutString(ctx, liveKey, value); err != nil {
			t.Fatal(err)
		}
		if now, _, err := c.Live(ctx); err == nil || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("%s: %+v, %v", value, now, err)
		}
	}
	if err := c.kv.Delete(ctx, liveKey); err != nil {
		t.Fatal(err)
	}
	if now, rev, err := c.Live(ctx); err != nil || now.Set != "" || rev != 0 {
		t.Errorf("after it was deleted: %+v, %d, %v", now, rev, err)
	}
}

// An unheard wire loses the answer to each publish, and if lost is set the publish
// itself.
type unheard struct {
	Wire
	lost bool
}

type unheardPublisher struct {
	Publisher
	lost bool
}

func (w unheard) Publisher(subject string) (Publisher, error) {
	p, err := w.Wire.Publisher(subject)
	return unheardPublisher{p, w.lost}, err
}

func (p unheardPublisher) Publish(ctx context.Context, h nats.Header, data []byte, expect uint64) (uint64, error) {
	if !p.lost {
		p.Publisher.Publish(ctx, h, data, expect)
	}
	return 0, errNoAnswer
}

// TestRecordAnswerLost: if the answer is lost, what is stored decides.
func TestRecordAnswerLost(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	ctx := limited(t)
	wire := c.Wire
	c.Wire = unheard{wire, false}
	if err := c.PutPauses(ctx, Pauses{Revision: 1}, 0); err != nil {
		t.Errorf("stored: %v", err)
	}
	_, rev, err := c.Pauses(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PutPauses(ctx, Pauses{Revision: 2}, 0); !errors.Is(err, ErrLiveChanged) {
		t.Errorf("refused: %v", err)
	}
	c.Wire = unheard{wire, true}
	if err := c.PutPauses(ctx, Pauses{Revision: 2}, rev); err == nil || errors.Is(err, ErrLiveChanged) {
		t.Errorf("lost: %v", err)
	}
	if now, _, err := c.Pauses(ctx); err != nil || now.Revision != 1 {
		t.Errorf("%+v, %v", now, err)
	}
}

// TestPausesRecord: pauses that no worker could carry out are refused; a watch tells
// each change.
func TestPausesRecord(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	ctx, cancel := context.WithCancel(limited(t))
	told, ended := make(chan Pauses, 16), make(chan error, 1)
	go func() { ended <- c.WatchPauses(ctx, func(p Pauses) { told <- p }) }()
	if none := <-told; !reflect.DeepEqual(none, Pauses{}) {
		t.Errorf("told %+v", none)
	}
	if none, rev, err := c.Pauses(ctx); err != nil || rev != 0 || !reflect.DeepEqual(none, Pauses{}) {
		t.Errorf("%+v, %d, %v", none, rev, err)
	}
	many := make([]string, 501)
	for i := range many {
		many[i] = fmt.Sprint("c", i)
	}
	for _, bad := range []Pauses{{Campaigns: many, Channels: many}, {Campaigns: []string{""}}, {Channels: []string{""}}} {
		if err := c.PutPauses(ctx, bad, 0); err == nil {
			t.Errorf("%d campaigns and %d channels are paused", len(bad.Campaigns), len(bad.Channels))
		}
	}
	want := Pauses{Revision: 4, Campaigns: many[:499], Channels: many, Resumed: map[string]uint64{PauseName("sms", ""): 2}, Reasons: map[string]string{PauseName("", "c1"): "ada"}, By: "bob", At: "2026-03-01T12:00:00Z"}
	if err := c.PutPauses(ctx, want, 0); err != nil {
		t.Fatal(err)
	}
	if got, _, err := c.Pauses(ctx); err != nil || !reflect.DeepEqual(got, want) || got.Resumed["channel sms"] != 2 || got.Reasons["campaign c1"] != "ada" {
		t.Errorf("%+v, %v", got, err)
	}
	if got := <-told; !reflect.DeepEqual(got, want) {
		t.Errorf("told %+v", got)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
}

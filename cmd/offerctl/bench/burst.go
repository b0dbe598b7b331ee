package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/config"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// burstCampaign holds the offers of the night until eight.
const burstCampaign = `
version: 1
zone: UTC
policies:
  consent: none
  quiet_hours: {channels: [push], from: "20:50", to: "08:00", then: hold, at_most: 13h}
campaigns:
  morning:
    on: Product Wished
    offer:
      channel: push
      expires: 4h
      data: {title: "Still looking for {{ event.properties.name }}?", product: "{{ event.properties.product_id }}"}
    limits: [{max: 1, within: 7d}]
`

// burstNight is the time of all events, before the end of the quiet hours.
const burstNight = 9 * time.Hour

// burstStall is how long no offer may be stored until a burst has failed.
const burstStall = time.Minute

// A burstReport is the result of `bench --burst`: medians of the rounds.
type burstReport struct {
	Ratio       float64 `json:"ratio"` // the rate with NATS syncing each write / without, median of the rounds
	Offers      int     `json:"offers"`
	Seconds     float64 `json:"seconds"` // from the first stored offer to the last
	Rate        float64 `json:"offers_per_s"`
	Worker      float64 `json:"worker_cpu_us_per_offer"`
	NATS        float64 `json:"nats_cpu_us_per_offer"`
	HeldMB      float64 `json:"held_peak_mb"`  // the most memory that the worker has used until all offers are held
	PeakMB      float64 `json:"peak_mb"`       // the same until all are stored
	SecondsSync float64 `json:"seconds_fsync"` // these with NATS syncing each write
	RateSync    float64 `json:"offers_per_s_fsync"`
	WorkerSync  float64 `json:"worker_cpu_us_per_offer_fsync"`
	NATSSync    float64 `json:"nats_cpu_us_per_offer_fsync"`
	HeldMBSync  float64 `json:"held_peak_mb_fsync"`
	PeakMBSync  float64 `json:"peak_mb_fsync"`
}

// A burst is one release.
type burst struct {
	seconds      float64
	worker, nats float64 // seconds of CPU
	held, peak   int64   // bytes
}

// burst is `bench --burst`: the offers of all users are released at once.
func (b *Run) burst(ctx context.Context) (*burstReport, error) {
	file := filepath.Join(b.dir, "burst.yaml")
	if err := os.WriteFile(file, []byte(burstCampaign), 0o600); err != nil {
		return nil, err
	}
	def, err := config.LoadCampaigns(file)
	if err != nil {
		return nil, err
	}
	// The clocks of gateway and worker stand in a night that is over by the clock of
	// NATS: log time is the earlier of both, so it is night until the worker's clock goes.
	b.clock = time.Now().UTC().Truncate(24 * time.Hour).Add(-16*time.Hour - burstNight).UnixNano()
	var plain, synced []burst
	var ratios []float64
	for i := range b.Rounds {
		b.say("round %d of %d", i+1, b.Rounds)
		one, err := b.release(ctx, def, false)
		if err != nil {
			return nil, err
		}
		b.say("round %d of %d, each write synced", i+1, b.Rounds)
		other, err := b.release(ctx, def, true)
		if err != nil {
			return nil, err
		}
		plain, synced = append(plain, one), append(synced, other)
		ratios = append(ratios, one.seconds/other.seconds)
	}
	r := &burstReport{Ratio: median(ratios), Offers: b.Users}
	n := float64(b.Users)
	seconds := func(v burst) float64 { return v.seconds }
	workerMicros := func(v burst) float64 { return v.worker * 1e6 / n }
	natsMicros := func(v burst) float64 { return v.nats * 1e6 / n }
	held := func(v burst) float64 { return float64(v.held) / 1e6 }
	peak := func(v burst) float64 { return float64(v.peak) / 1e6 }
	r.Seconds, r.SecondsSync = medianOf(plain, seconds), medianOf(synced, seconds)
	r.Rate, r.RateSync = n/r.Seconds, n/r.SecondsSync
	r.Worker, r.WorkerSync = medianOf(plain, workerMicros), medianOf(synced, workerMicros)
	r.NATS, r.NATSSync = medianOf(plain, natsMicros), medianOf(synced, natsMicros)
	r.HeldMB, r.HeldMBSync = medianOf(plain, held), medianOf(synced, held)
	r.PeakMB, r.PeakMBSync = medianOf(plain, peak), medianOf(synced, peak)
	return r, nil
}

// release lets a worker hold an offer of each user, and then releases all of them. NATS
// and the deployment are new each time, and gone afterwards.
func (b *Run) release(ctx context.Context, def *campaign.Definition, sync bool) (r burst, err error) {
	const prefix = "burst"
	dir := filepath.Join(b.dir, "burst")
	defer os.RemoveAll(dir)
	defer os.RemoveAll(b.preparedBy(prefix))
	line, stop, err := part{Role: "nats", Dir: filepath.Join(dir, "nats"), Sync: sync, Metered: true}.start(ctx)
	if err != nil {
		return r, err
	}
	defer stop()
	var nats string
	if _, err := fmt.Sscan(line, &b.url, &nats); err != nil {
		return r, fmt.Errorf("bench part nats printed %q: %w", line, err)
	}
	if err := b.prepare(ctx, prefix, def); err != nil {
		return r, err
	}
	meter, end, err := part{Role: "worker", URL: b.url, Prefix: prefix, Dir: filepath.Join(dir, "worker"), Metered: true, Clock: b.clock}.start(ctx)
	if err != nil {
		return r, err
	}
	defer end()
	if _, err := b.sendAll(ctx, prefix, b.Users, wishes()); err != nil {
		return r, err
	}
	worker, err := usage(ctx, meter, "")
	if err != nil {
		return r, err
	}
	if worker.Events != uint64(b.Users) {
		return r, fmt.Errorf("bench: %d events applied of %d", worker.Events, b.Users)
	}
	server, err := usage(ctx, nats, "")
	if err != nil {
		return r, err
	}
	if n, err := b.offers(ctx, prefix); err != nil {
		return r, err
	} else if n > 0 {
		return r, fmt.Errorf("bench: %d offers were not held", n)
	}
	conn, err := b.connect(ctx, prefix)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	got, err := subscribe(ctx, conn, b.Users)
	if err != nil {
		return r, err
	}
	defer got.stop()
	if _, err := usage(ctx, meter, morningPath); err != nil {
		return r, err
	}
	if err := got.all(ctx); err != nil {
		return r, err
	}
	after, err := usage(ctx, meter, "")
	if err != nil {
		return r, err
	}
	serverAfter, err := usage(ctx, nats, "")
	if err != nil {
		return r, err
	}
	r = burst{worker: after.CPU - worker.CPU, nats: serverAfter.CPU - server.CPU, held: worker.Peak, peak: after.Peak}
	r.seconds = got.last.Sub(got.first).Seconds()
	return r, noMore(ctx, conn, b.Users)
}

// wishes makes an event of each user in turn.
func wishes() func(dst []byte) []byte {
	user := 0
	return func(dst []byte) []byte {
		dst = fmt.Appendf(dst, `{"type":"track","event":"Product Wished","messageId":"wish-%d-4a7c-b1d2","userId":"user-%d","properties":{"product_id":"p%d","name":"A product with a name","price":19.99,"currency":"EUR"}}`, user, user, user%8000)
		user++
		return dst
	}
}

// A burstSubscriber receives the offers while they are stored, as a system that delivers
// them does: a chain keeps 100,000 records only, which may be fewer than there are users.
type burstSubscriber struct {
	stop func()

	mu          sync.Mutex
	tally       tally
	first, last time.Time // when they were stored
	err         error
}

func subscribe(ctx context.Context, conn *broker.Conn, users int) (*burstSubscriber, error) {
	con, err := conn.JS.CreateConsumer(ctx, conn.Names.OffersStream(), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy,
		FilterSubject: conn.Names.OfferSubjects(), MemoryStorage: true})
	if err != nil {
		return nil, err
	}
	s := &burstSubscriber{tally: tally{has: make([]bool, users)}}
	reading, err := con.Consume(func(m jetstream.Msg) {
		var o struct{ User string }
		meta, err := m.Metadata()
		if err == nil {
			err = json.Unmarshal(m.Data(), &o)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil {
			if s.last = meta.Timestamp; s.tally.n == 0 {
				s.first = s.last
			}
			err = s.tally.add(o.User)
		}
		s.err = cmp.Or(s.err, err)
	})
	if err != nil {
		return nil, err
	}
	s.stop = reading.Stop
	return s, nil
}

// all waits until each user has an offer.
func (s *burstSubscriber) all(ctx context.Context) error {
	last, since := 0, time.Now()
	for {
		s.mu.Lock()
		n, missing, err := s.tally.n, s.tally.complete(), s.err
		s.mu.Unlock()
		switch {
		case err != nil || missing == nil:
			return err
		case n > last:
			last, since = n, time.Now()
		case time.Since(since) > burstStall:
			return fmt.Errorf("%w, and no other got one for %s", missing, burstStall)
		}
		if err := pauseFor(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// noMore checks that no more records than so many offers have been stored.
func noMore(ctx context.Context, conn *broker.Conn, offers int) error {
	st, err := conn.JS.Stream(ctx, conn.Names.OffersStream())
	if err != nil {
		return err
	}
	if last := st.CachedInfo().State.LastSeq; last != uint64(offers) {
		return fmt.Errorf("bench: %d records are stored for %d offers", last, offers)
	}
	return nil
}

// A tally checks that each of the users who wished has one offer.
type tally struct {
	has []bool
	n   int
}

func (t *tally) add(user string) error {
	id, _ := strings.CutPrefix(user, "user-")
	i, err := strconv.Atoi(id)
	switch {
	case err != nil || i < 0 || i >= len(t.has):
		return fmt.Errorf("bench: an offer is of %q, who has sent no event", user)
	case t.has[i]:
		return fmt.Errorf("bench: two offers are of %q", user)
	}
	t.has[i] = true
	t.n++
	return nil
}

func (t *tally) complete() error {
	if t.n != len(t.has) {
		return fmt.Errorf("bench: %d of %d users have an offer", t.n, len(t.has))
	}
	return nil
}

func (r *burstReport) Print(w io.Writer) {
	fmt.Fprintf(w, "%d held offers are released at once, one of each user\n\n", r.Offers)
	fmt.Fprintf(w, "%-22s %9s %10s %22s %20s %12s %10s\n", "", "seconds", "offers/s", "worker, us per offer", "NATS, us per offer", "worker, MB", "when held")
	line := func(name string, seconds, rate, worker, nats, peak, held float64) {
		fmt.Fprintf(w, "%-22s %9.2f %10.0f %22.1f %20.1f %12.0f %10.0f\n", name, seconds, rate, worker, nats, peak, held)
	}
	line("without syncing", r.Seconds, r.Rate, r.Worker, r.NATS, r.PeakMB, r.HeldMB)
	line("sync_interval: always", r.SecondsSync, r.RateSync, r.WorkerSync, r.NATSSync, r.PeakMBSync, r.HeldMBSync)
	fmt.Fprintf(w, "\nIn the median of the rounds, the rate with syncing is %.2f of that without. The time is from the first stored offer to the last; us are microseconds of CPU, from the release until all is stored; MB are the most that the worker has used, in all and until all offers were held.\n", r.Ratio)
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// bench is `offerctl bench`.
func bench(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "bench [--events N] [--users U] [--lookup-users L] [--campaigns K] [--gateway] [--backtest] [--group] [--rounds N] [--json]", `
Measures this machine in one run, with NATS as a process of its own: how fast a
worker catches up, as a ratio to reading the same events from JetStream one a
message with nothing else done, also with state far beyond its cache; how long
an offer takes from HTTP in to a subscriber, at half of what is sustained; what
finding a user's state costs. Rounds alternate; the medians count. Absolute
figures mean little from one machine to another, ratios more.`,
		"offerctl bench --events 200000 --json")
	b := benchRun{std: std, search: defaultSearch, turns: defaultTurns, groupTurn: defaultGroupTurn}
	fs.IntVar(&b.events, "events", 0, "`N` events (default 1000000; with --backtest 10000000)")
	fs.IntVar(&b.users, "users", 100_000, "of `U` users")
	fs.IntVar(&b.lookupUsers, "lookup-users", 1_000_000, "look up state among `L` users")
	fs.IntVar(&b.campaigns, "campaigns", 0, "`K` generated campaigns instead of the shipped ones, and the worker's rate alone")
	fs.IntVar(&b.rounds, "rounds", 3, "`N` rounds")
	fs.BoolVar(&b.gatewayOnly, "gateway", false, "the gateway instead, against a bare HTTP handler; neither --events nor --campaigns means anything to it")
	fs.BoolVar(&b.backtestOnly, "backtest", false, "a backtest instead, and its memory")
	fs.BoolVar(&b.groupOnly, "group", false, "a group of workers instead: hand-overs, kills, restores; --lookup-users are then the users of the rebuild")
	asJSON := fs.Bool("json", false, "the last line of standard output is one JSON object")
	if err := fs.none(args); err != nil {
		return err
	}
	switch {
	case b.events != 0:
	case b.backtestOnly:
		b.events = backtestEvents
	default:
		b.events = benchDefault
	}
	if b.gatewayOnly && b.backtestOnly || b.gatewayOnly && b.groupOnly || b.backtestOnly && b.groupOnly {
		return usagef("--gateway, --backtest and --group are runs of their own")
	}
	if b.events < 1000 || b.users < 1 || b.rounds < 1 || b.campaigns < 0 || b.lookupUsers < 100 {
		return usagef("--events takes at least 1000, --lookup-users 100, --users and --rounds 1")
	}
	found, err := b.measure(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(std.out).Encode(found)
	}
	found.print(std.out)
	return nil
}

const benchDefault = 1_000_000 // events

// A benchRun is one run.
type benchRun struct {
	std                              stdio
	events, users, campaigns, rounds int
	lookupUsers                      int
	gatewayOnly, backtestOnly        bool
	groupOnly                        bool
	search                           liveSearch
	turns                            gatewayTurns
	groupTurn                        time.Duration // with snapshots, and without

	dir      string
	url      string
	progress *progress
	some     int // events in packs of one
}

// A benchFinding is what a run found: an object whose `ratio` says the most,
// or a table.
type benchFinding interface{ print(io.Writer) }

// measure runs all that the flags ask for.
func (b *benchRun) measure(ctx context.Context) (found benchFinding, err error) {
	if b.dir, err = os.MkdirTemp("", "offerstream-bench-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(b.dir)
	b.progress = newProgress(b.std.err)
	defer b.progress.done()
	if b.backtestOnly {
		return b.backtest(ctx)
	}
	var stop func()
	b.url, stop, err = benchPart{Role: "nats", Dir: filepath.Join(b.dir, "nats")}.start(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	if b.gatewayOnly {
		return b.gateway(ctx)
	}
	if b.groupOnly {
		return b.group(ctx)
	}
	return b.all(ctx)
}

// definition is the set as the flags have it.
func (b *benchRun) definition() (*pipeline.Definition, error) {
	if b.campaigns > 0 {
		return benchCampaigns(b.campaigns), nil
	}
	return loadOrShipped("", "")
}

// packSizes are measured beside what the gateway makes, with fewer events.
var packSizes = []int{1, 4, 15, 60}

const packEvents = 25_000 // of a partition

// all measures the worker, and without --campaigns what is around it.
func (b *benchRun) all(ctx context.Context) (*benchReport, error) {
	def, err := b.definition()
	if err != nil {
		return nil, err
	}
	r := &benchReport{Events: b.events, Users: b.users, Campaigns: len(def.Campaigns), Packs: map[string]float64{}}
	b.say("sending the events through the gateway")
	if err := b.prepare(ctx, "live", def); err != nil {
		return nil, err
	}
	if r.GatewayRate, err = b.send(ctx, "live", newBenchEvents(1, b.users), b.events); err != nil {
		return nil, err
	}
	b.say("packing them one a message")
	if _, err := b.repack(ctx, "live", "raw", 1, b.events); err != nil {
		return nil, err
	}
	if err := b.catchUp(ctx, r); err != nil {
		return nil, err
	}
	if b.campaigns > 0 {
		return r, nil
	}
	for _, n := range packSizes {
		b.say("packs of %d", n)
		if err := b.packs(ctx, def, n, r); err != nil {
			return nil, err
		}
	}
	if err := b.drop(ctx, "live", "raw"); err != nil {
		return nil, err
	}
	if r.Live, err = b.live(ctx, def); err != nil {
		return nil, err
	}
	return r, b.lookups(ctx, def, r)
}

// catchUp reads raw, lets a worker work and reads the packs, round by round.
func (b *benchRun) catchUp(ctx context.Context, r *benchReport) error {
	var raws, works, bares benchRounds
	for i := range b.rounds {
		b.say("round %d of %d", i+1, b.rounds)
		raw, err := b.part(ctx, "read", "raw", i, 0)
		if err != nil {
			return err
		}
		work, err := b.part(ctx, "work", "live", i, b.events)
		if err != nil {
			return err
		}
		bare, err := b.part(ctx, "read", "live", i, 0)
		if err != nil {
			return err
		}
		raws, works, bares = append(raws, raw), append(works, work), append(bares, bare)
	}
	n := float64(b.events)
	rate := func(v benchResult) float64 { return n / v.Seconds }
	r.Raw, r.Worker, r.Bare = raws.median(rate), works.median(rate), bares.median(rate)
	r.MicrosEvent = works.median(func(v benchResult) float64 { return v.CPU * 1e6 / n })
	r.AllocsEvent = works.median(func(v benchResult) float64 { return float64(v.Allocs) / n })
	r.PeakMB = works.median(func(v benchResult) float64 { return float64(v.Peak) / 1e6 })
	r.PackMean = n / float64(works[0].Messages)
	var ratios []float64
	for i := range raws {
		ratios = append(ratios, raws[i].Seconds/works[i].Seconds)
	}
	r.Ratio = median(ratios)
	var err error
	r.Offers, err = b.offers(ctx, "live")
	return err
}

// benchRounds are the results of one part, round by round.
type benchRounds []benchResult

func (rs benchRounds) median(of func(benchResult) float64) float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, of(r))
	}
	return median(v)
}

// packs lets a worker work on a part of the events, n a message.
func (b *benchRun) packs(ctx context.Context, def *pipeline.Definition, n int, r *benchReport) error {
	prefix := fmt.Sprintf("pack%d", n)
	if err := b.prepare(ctx, prefix, def); err != nil {
		return err
	}
	events, err := b.repack(ctx, "live", prefix, n, packEvents)
	if err != nil {
		return err
	}
	work, err := b.part(ctx, "work", prefix, 0, events)
	if err != nil {
		return err
	}
	if n == 1 {
		b.some = events // rawOfSome reads them
	}
	raw, err := b.rawOfSome(ctx)
	if err != nil {
		return err
	}
	r.Packs[fmt.Sprint(n)] = float64(events) / work.Seconds / raw
	if n == 1 {
		return nil
	}
	return b.drop(ctx, prefix)
}

// rawOfSome reads the packs of one: raw as it is at this moment, in events a
// second.
func (b *benchRun) rawOfSome(ctx context.Context) (float64, error) {
	raw, err := b.part(ctx, "read", "pack1", 0, 0)
	return float64(b.some) / raw.Seconds, err
}

func (b *benchRun) say(format string, args ...any) {
	b.progress.last = time.Time{}
	b.progress.show(format, args...)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// part runs a part on one deployment. A worker begins with what preparing
// left, the set in force and nothing else: no users, no offers.
func (b *benchRun) part(ctx context.Context, role, prefix string, round, events int) (r benchResult, err error) {
	p := benchPart{Role: role, URL: b.url, Prefix: prefix, Dir: filepath.Join(b.dir, fmt.Sprintf("state-%s-%d", prefix, round))}
	if role == "work" {
		if err := b.forgetOffers(ctx, prefix); err != nil {
			return r, err
		}
		defer os.RemoveAll(p.Dir)
		if err := os.CopyFS(p.Dir, os.DirFS(b.preparedBy(prefix))); err != nil {
			return r, err
		}
	}
	if r, err = p.result(ctx); err != nil {
		return r, err
	}
	if role == "work" && r.Events != uint64(events) {
		return r, fmt.Errorf("bench: %d events applied of %d", r.Events, events)
	}
	return r, nil
}

func (b *benchRun) connect(ctx context.Context, prefix string) (*broker.Conn, error) {
	return benchPart{URL: b.url, Prefix: prefix}.connect(ctx)
}

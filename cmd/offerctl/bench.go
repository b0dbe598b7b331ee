package main

import (
	"context"
	"encoding/json"
	"io"

	"offerstream/cmd/offerctl/bench"
	"offerstream/pipeline"
)

// benchmark is `offerctl bench`.
func benchmark(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "bench [--events N] [--users U] [--lookup-users L] [--campaigns K] [--gateway] [--backtest] [--group] [--rounds N] [--json]", `
Measures this machine in one run, with NATS as a process of its own: how fast a
worker catches up, as a ratio to reading the same events from JetStream one a
message with nothing else done, also with state far beyond its cache; how long
an offer takes from HTTP in to a subscriber, at half of what is sustained; what
finding a user's state costs. Rounds alternate; the medians count. Absolute
figures mean little from one machine to another, ratios more.`,
		"offerctl bench --events 200000 --json")
	b := bench.New()
	fs.IntVar(&b.Events, "events", 0, "`N` events (default 1000000; with --backtest 10000000)")
	fs.IntVar(&b.Users, "users", 100_000, "of `U` users")
	fs.IntVar(&b.LookupUsers, "lookup-users", 1_000_000, "look up state among `L` users")
	fs.IntVar(&b.Campaigns, "campaigns", 0, "`K` generated campaigns instead of the shipped ones, and the worker's rate alone")
	fs.IntVar(&b.Rounds, "rounds", 3, "`N` rounds")
	fs.BoolVar(&b.GatewayOnly, "gateway", false, "the gateway instead, against a bare HTTP handler; neither --events nor --campaigns means anything to it")
	fs.BoolVar(&b.BacktestOnly, "backtest", false, "a backtest instead, and its memory")
	fs.BoolVar(&b.GroupOnly, "group", false, "a group of workers instead: hand-overs, kills, restores; --lookup-users are then the users of the rebuild")
	asJSON := fs.Bool("json", false, "the last line of standard output is one JSON object")
	if err := fs.none(args); err != nil {
		return err
	}
	if err := checkBench(b); err != nil {
		return err
	}
	live := newProgress(std.err)
	b.Say = live.say
	found, err := b.Measure(ctx)
	live.done()
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(std.out).Encode(found)
	}
	found.Print(std.out)
	return nil
}

// checkBench refuses what cannot be measured, and sets how many events there
// are where no flag does.
func checkBench(b *bench.Run) error {
	switch {
	case b.Events != 0:
	case b.BacktestOnly:
		b.Events = 10_000_000
	default:
		b.Events = 1_000_000
	}
	if b.GatewayOnly && b.BacktestOnly || b.GatewayOnly && b.GroupOnly || b.BacktestOnly && b.GroupOnly {
		return usagef("--gateway, --backtest and --group are runs of their own")
	}
	if b.Events < 1000 || b.Users < 1 || b.Rounds < 1 || b.Campaigns < 0 || b.LookupUsers < 100 {
		return usagef("--events takes at least 1000, --lookup-users 100, --users and --rounds 1")
	}
	return nil
}

// benchBacktest is what `bench --backtest` measures, in a process of its own:
// what `offerctl backtest --events FILE --out FILE` does.
func benchBacktest(ctx context.Context, def *pipeline.Definition, events, offers string) (*pipeline.Backtest, error) {
	return backtestFile(ctx, def, events, offers, stdio{out: io.Discard, err: io.Discard})
}

package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"slices"

	"offerstream/cmd/offerctl/bench"
	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// benchmark is `offerctl bench`.
func benchmark(ctx context.Context, args []string, std stdio) error {
	b := bench.New()
	fs := benchFlags(b, std)
	against := fs.String("against", "", "compare with another `BINARY` of offerctl, which gets the same flags")
	pairs := fs.Int("pairs", 10, "run both `N` times, with --against")
	asJSON := fs.Bool("json", false, "the last line of standard output is one JSON object")
	if err := fs.none(args); err != nil {
		return err
	}
	if err := checkBench(b); err != nil {
		return err
	}
	if *pairs < 1 || *pairs > 1000 {
		return usagef("--pairs takes 1 to 1000")
	}
	var found bench.Finding
	var err error
	if *against != "" {
		found, err = compareWith(ctx, *against, *pairs, fs, std)
	} else {
		found, err = measureHere(ctx, b, std)
	}
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(std.out).Encode(found)
	}
	found.Print(std.out)
	return nil
}

// benchFlags are those that say what is measured.
func benchFlags(b *bench.Run, std stdio) *flags {
	fs := newFlags(std, "bench [--events N] [--users U] [--lookup-users L] [--campaigns K] [--worker] [--gateway] [--backtest] [--group] [--rounds N] [--against BINARY [--pairs N]] [--json]", `
Measures this machine in one run, with NATS as a process of its own: how fast a
worker catches up, as a ratio to reading the same events from JetStream one a
message with nothing else done, also with state far beyond its cache; how long
an offer takes from HTTP in to a subscriber, at half of what is sustained; what
finding a user's state costs. Rounds alternate; the medians count. Absolute
figures mean little from one machine to another, ratios more. With --against
this program and another one measure in turn, and the ratios of what they found
are shown.`,
		"offerctl bench --events 200000 --json\nofferctl bench --worker --against ./offerctl-before")
	fs.IntVar(&b.Events, "events", 0, "`N` events (default 1000000; with --backtest 10000000)")
	fs.IntVar(&b.Users, "users", 100_000, "of `U` users")
	fs.IntVar(&b.LookupUsers, "lookup-users", 1_000_000, "look up state among `L` users")
	fs.IntVar(&b.Campaigns, "campaigns", 0, "`K` generated campaigns instead of the shipped ones, and the worker's rate alone")
	fs.IntVar(&b.Rounds, "rounds", 3, "`N` rounds")
	fs.BoolVar(&b.WorkerOnly, "worker", false, "the worker's rate alone, as with --campaigns")
	fs.BoolVar(&b.GatewayOnly, "gateway", false, "the gateway instead, against a bare HTTP handler; neither --events nor --campaigns means anything to it")
	fs.BoolVar(&b.BacktestOnly, "backtest", false, "a backtest instead, and its memory")
	fs.BoolVar(&b.GroupOnly, "group", false, "a group of workers instead: hand-overs, kills, restores; --lookup-users are then the users of the rebuild")
	return fs
}

func measureHere(ctx context.Context, b *bench.Run, std stdio) (bench.Finding, error) {
	live := newProgress(std.err)
	defer live.done()
	b.Say = live.say
	return b.Measure(ctx)
}

// compareWith lets this program and another one measure, both with the flags
// that were given.
func compareWith(ctx context.Context, other string, pairs int, fs *flags, std stdio) (bench.Finding, error) {
	this, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := bench.Against{This: this, Other: other, Pairs: pairs, Progress: std.err}
	fs.Visit(func(f *flag.Flag) {
		if !slices.Contains([]string{"against", "pairs", "json"}, f.Name) {
			a.Args = append(a.Args, "--"+f.Name+"="+f.Value.String())
		}
	})
	return a.Compare(ctx)
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
	kinds := 0
	for _, only := range []bool{b.WorkerOnly, b.GatewayOnly, b.BacktestOnly, b.GroupOnly} {
		if only {
			kinds++
		}
	}
	if kinds > 1 {
		return usagef("--worker, --gateway, --backtest and --group are runs of their own")
	}
	if b.Events < 1000 || b.Users < 1 || b.Rounds < 1 || b.Campaigns < 0 || b.LookupUsers < 100 {
		return usagef("--events takes at least 1000, --lookup-users 100, --users and --rounds 1")
	}
	return nil
}

// benchBacktest is what `bench --backtest` measures, in a process of its own:
// what `offerctl backtest --events FILE --out FILE` does.
func benchBacktest(ctx context.Context, def *campaign.Definition, events, offers string) (*pipeline.Backtest, error) {
	return backtestFile(ctx, def, events, offers, stdio{out: io.Discard, err: io.Discard})
}

package main

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"slices"

	"offerstream/cmd/offerctl/bench"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// benchmark is `offerctl bench`.
func benchmark(ctx context.Context, args []string, std stdio) error {
	b := bench.New()
	fs := benchFlags(b, std)
	against := fs.String("against", "", "compare with another `BINARY` of offerctl, which gets the same flags")
	pairs := fs.Int("pairs", 10, "with --against: run both `N` times")
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

// benchFlags returns the flags that select what is measured.
func benchFlags(b *bench.Run, std stdio) *flags {
	fs := newFlags(std, "bench [--events N] [--users U] [--lookup-users L] [--campaigns K [--rows]] [--worker] [--pack N] [--gateway] [--page] [--burst] [--idle] [--backtest] [--group] [--items [--partitions P] [--watchers W]] [--rounds N] [--against BINARY [--pairs N]] [--json]", `
Measures this machine, with NATS as a separate process: how fast a worker
catches up, as a ratio to reading the same events from JetStream, one per
message, and doing nothing else; the same with a state far larger than its cache;
how long an offer takes from the HTTP request to a subscriber, at half of the
highest sustained rate; and how long finding a user's state takes. Rounds
alternate, and the medians count. To compare machines, use ratios rather than
absolute figures. With --against, this program and another one measure in turn,
and the ratios of their results are shown.`,
		"offerctl bench --events 200000 --json\nofferctl bench --worker --against ./offerctl-before")
	fs.IntVar(&b.Events, "events", 0, "`N` events (default 1000000; with --backtest 10000000, with --items 300000)")
	fs.IntVar(&b.Users, "users", 0, "`U` users that the events belong to (default 100000; with --burst 200000)")
	fs.IntVar(&b.LookupUsers, "lookup-users", 1_000_000, "look up state among `L` users")
	fs.IntVar(&b.Campaigns, "campaigns", 0, "measure only the worker's rate, with `K` generated campaigns instead of the shipped ones, and with ten of them for comparison")
	fs.BoolVar(&b.Rows, "rows", false, "with --campaigns: those about single products are rows of one campaign (for_each)")
	fs.IntVar(&b.Rounds, "rounds", 3, "`N` rounds")
	fs.BoolVar(&b.WorkerOnly, "worker", false, "measure only the worker's rate")
	fs.IntVar(&b.Pack, "pack", 0, "measure only the worker's rate, with `N` events per message (1 to 200) instead of the gateway's own packs")
	fs.BoolVar(&b.GatewayOnly, "gateway", false, "measure the gateway instead, compared with a bare HTTP handler; --events and --campaigns have no effect")
	fs.BoolVar(&b.PageOnly, "page", false, "measure offers on pages instead: the time from a stored offer to the last byte in its page, with 1000 streams and 3000 events per second, and the gateway's memory with 5000 idle streams; --events has no effect")
	fs.BoolVar(&b.BurstOnly, "burst", false, "measure a burst instead: the held offers of all users are released at once, as at 08:00, with NATS syncing each write and without; --events has no effect")
	fs.BoolVar(&b.IdleOnly, "idle", false, "measure offerctl serve as the process of a small shop instead: its CPU and memory with 100 events per second, and with none; --events has no effect")
	fs.BoolVar(&b.BacktestOnly, "backtest", false, "measure a backtest instead, and its memory")
	fs.BoolVar(&b.GroupOnly, "group", false, "measure a group of workers instead: hand-overs, kills, restores; --lookup-users is then the number of users in the rebuild")
	fs.BoolVar(&b.ItemsOnly, "items", false, "measure campaigns that read features of products instead: the worker's rate as a ratio to that without them, the time from an event to its offer by way of a product, a hot product, and one price to all who watch it")
	fs.IntVar(&b.Partitions, "partitions", 0, "with --items: `P` partitions (default 8)")
	fs.IntVar(&b.Watchers, "watchers", 0, "with --items: `W` users watch the product (default 100000, which is the most)")
	return fs
}

func measureHere(ctx context.Context, b *bench.Run, std stdio) (bench.Finding, error) {
	live := newProgress(std.err)
	defer live.done()
	b.Say = live.say
	return b.Measure(ctx)
}

// compareWith lets this program and another one measure, both with the given
// flags.
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

// checkBench refuses settings that cannot be measured, and sets the default
// numbers of events and users.
func checkBench(b *bench.Run) error {
	switch {
	case b.Events != 0:
	case b.BacktestOnly:
		b.Events = 10_000_000
	case b.ItemsOnly:
		b.Events = 300_000
	default:
		b.Events = 1_000_000
	}
	switch {
	case b.Users != 0:
	case b.BurstOnly:
		b.Users = 200_000
	default:
		b.Users = 100_000
	}
	kinds := 0
	for _, only := range []bool{b.WorkerOnly, b.GatewayOnly, b.BacktestOnly, b.GroupOnly, b.ItemsOnly, b.PageOnly, b.BurstOnly, b.IdleOnly} {
		if only {
			kinds++
		}
	}
	if kinds > 1 {
		return usagef("--worker, --gateway, --page, --burst, --idle, --backtest, --group and --items exclude each other: give one of them")
	}
	if b.Events < 1000 || b.Users < 1 || b.Rounds < 1 || b.Campaigns < 0 || b.LookupUsers < 100 {
		return usagef("a number is too small: --events takes at least 1000, --lookup-users 100, --users and --rounds 1, --campaigns 0")
	}
	if err := checkItems(b); err != nil {
		return err
	}
	if b.Pack < 0 || b.Pack > mostPacked {
		return usagef("--pack takes 1 to %d", mostPacked)
	}
	if b.Pack > 0 && (kinds > 0 && !b.WorkerOnly || b.Campaigns > 0) {
		return usagef("--pack measures the worker's rate with the shipped campaigns: give it alone or with --worker")
	}
	if b.Rows && b.Campaigns == 0 {
		return usagef("--rows needs --campaigns: how many campaigns and rows there are")
	}
	return nil
}

// checkItems refuses settings of --items that cannot be measured, and sets those that
// were not given.
func checkItems(b *bench.Run) error {
	switch {
	case !b.ItemsOnly && (b.Partitions != 0 || b.Watchers != 0):
		return usagef("--partitions and --watchers need --items")
	case !b.ItemsOnly:
		return nil
	case b.Partitions < 0 || b.Partitions > 1024 || b.Watchers < 0 || b.Watchers > mostWatchers:
		return usagef("--partitions takes 1 to 1024, --watchers 1 to %d", mostWatchers)
	}
	if b.Partitions == 0 {
		b.Partitions = broker.DefaultPartitions
	}
	if b.Watchers == 0 {
		b.Watchers = mostWatchers
	}
	return nil
}

// mostPacked events of the bench take about 100 KB; a gateway's pack has at most 256 KB.
const mostPacked = 200

// mostWatchers is the most that a list of users may keep.
const mostWatchers = 100_000

// benchBacktest does what `offerctl backtest --events FILE --out FILE` does.
// `bench --backtest` measures it in a separate process.
func benchBacktest(ctx context.Context, def *campaign.Definition, events, offers string) (*backtest.Result, error) {
	return backtestFile(ctx, def, events, offers)
}

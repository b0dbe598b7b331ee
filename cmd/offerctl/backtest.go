package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/value"
	"offerstream/pipeline/zone"
)

// backtestCommand is `offerctl backtest`.
func backtestCommand(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "backtest --campaigns PATH --events FILE[.gz]|- | --nats URL [--campaigns PATH] [--compare OTHER] [--from TIME] [--to TIME] [--json] [--out FILE] [--report FILE.html]", `
Runs campaigns over a file of events, with the same core as in live operation but
without NATS. Log time comes from the events. The summary goes to standard
output: for each campaign how often its trigger came, how many offers went out and
to how many people, and what stopped the others. --out receives the offers, one JSON
object per line, with the same data as on their subjects; those withheld from a
holdout have "withheld": true. Without --coupon-keys the codes of coupons are all
COUPON.

With --nats the events are those of the live log, with their stored times, ticks and
control messages. Without --campaigns the campaigns run that were live, and the offers
are those that were stored; --campaigns runs others all the time. If the beginning of
the log has expired, the state before comes from the oldest snapshot. It only reads.

--compare runs other campaigns over the same events, and shows what would change
with them: offers gained, lost and moved to another time, the people reached, and
the outcomes of each campaign side by side.

--from and --to are a time (RFC 3339) or a date, which stands for its first moment
in the zone of the set. What came before --from still counts for features, limits
and waits.`,
		"offerctl backtest --campaigns deploy/campaigns --events events.jsonl --out offers.jsonl\n"+
			"offerctl backtest --campaigns deploy/campaigns --compare changed --events events.jsonl --from 2026-02-01 --to 2026-03-01\n"+
			"offerctl backtest --nats nats://127.0.0.1:4222 --compare changed")
	b := &backtestRun{std: std}
	fs.StringVar(&b.campaigns, "campaigns", "", "`PATH` of a campaign file or a directory of them")
	fs.StringVar(&b.compare, "compare", "", "the path of `OTHER` campaigns: show what would change with them")
	events := fs.String("events", "", "a `FILE` of events, one JSON object per line, may be gzipped; - for standard input")
	from := fs.String("from", "", "count offers and outcomes from a `TIME` on")
	to := fs.String("to", "", "end before a `TIME`")
	fs.BoolVar(&b.json, "json", false, "one JSON object instead of the text")
	fs.BoolVar(&b.rows, "rows", false, "show each row of for_each, too")
	fs.StringVar(&b.out, "out", "", "the `FILE` for the offers; with - they go to standard output, and the summary to standard error")
	fs.StringVar(&b.page, "report", "", "write a page with charts to a `FILE.html`; with --compare both runs side by side")
	readCoupons := fs.couponKeys()
	n := fs.nats()
	if err := fs.none(args); err != nil {
		return err
	}
	if fs.given("nats") {
		return b.overLog(ctx, n, *events, *from, *to, readCoupons)
	}
	if b.campaigns == "" || *events == "" {
		return usagef("--campaigns and --events are both required, or --nats")
	}
	if err := b.load(*from, *to, *events); err != nil {
		return err
	}
	var err error
	if b.coupons, err = readCoupons(); err != nil {
		return err
	}
	if b.compare != "" && !rereadable(*events) {
		return usagef("--compare reads the events twice, and %s can be read only once: write them to a file first", *events)
	}
	if b.page != "" && !rereadable(*events) {
		return usagef("--report reads the events again for its examples, and %s can be read only once: write them to a file first", *events)
	}
	return b.run(ctx, *events, fileSource(*events, std), fileExplainer(*events, std))
}

// A backtestRun is one run of the command.
type backtestRun struct {
	std                     stdio
	campaigns, compare, out string
	json, rows              bool
	coupons                 *coupon.Keys
	from, to                int64
	def, other              *campaign.Definition
	live                    *campaign.Definition // the set of the deployment, with --nats
	page                    string               // of --report
	report                  *backtestReport      // nil: none
}

// load reads the campaigns and the times. reads are the other files that are read.
func (b *backtestRun) load(from, to string, reads ...string) error {
	for _, path := range []string{b.campaigns, b.compare} {
		if path == "" {
			continue
		}
		files, err := config.CampaignFiles(path)
		if err != nil {
			return err
		}
		reads = append(reads, files...)
	}
	for _, out := range []string{b.out, b.page} {
		if err := apart(b.std, out, reads...); err != nil {
			return err
		}
	}
	var err error
	if b.campaigns != "" {
		if b.def, err = loadCampaigns(b.campaigns); err != nil {
			return err
		}
	}
	if b.compare != "" {
		if b.other, err = loadCampaigns(b.compare); err != nil {
			return fmt.Errorf("--compare: %w", err)
		}
	}
	return b.times(from, to)
}

// times reads --from and --to.
func (b *backtestRun) times(from, to string) (err error) {
	if b.from, err = readMoment("--from", from, b.def.Zone); err != nil {
		return err
	}
	if b.to, err = readMoment("--to", to, b.def.Zone); err != nil {
		return err
	}
	if from != "" && to != "" && b.to <= b.from {
		return usagef("--to %s is not after --from %s", to, from)
	}
	return nil
}

// readMoment reads a time, or a date in a zone; 0 if text is empty.
func readMoment(name, text, zoneName string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	loc := zone.OrUTC(zoneName)
	t, err := time.ParseInLocation(time.DateOnly, text, loc)
	if err == nil {
		return value.Nanos(t), nil
	}
	ns, err := value.ParseTime(text)
	if err != nil {
		return 0, usagef("%s %q is not a time: give a date, such as 2026-02-01 (its first moment in %s), or RFC 3339 with a zone, such as 2026-02-01T09:00:00+09:00", name, text, loc)
	}
	return ns, nil
}

// A backtestSource runs a set over events: those of a file, or of a live log. It
// calls the functions of opt as backtest.Run does.
type backtestSource func(ctx context.Context, def *campaign.Definition, opt backtest.Options) (*backtested, error)

// A backtested is a result, with what its source says about the events.
type backtested struct {
	*backtest.Result
	refused       refusals // lines of a file
	inputWarnings []string
}

// run runs the campaigns, and shows what they would have done.
func (b *backtestRun) run(ctx context.Context, from string, source backtestSource, tell explainer) error {
	if b.page != "" {
		b.report = &backtestReport{path: b.page}
	}
	summary := b.std.out
	if b.out == "-" {
		summary = b.std.err
	}
	var sent, otherSent backtest.Offers
	res, err := b.offers(ctx, source, b.def, &sent)
	if err != nil {
		return err
	}
	shown := &backtestSummary{run: b, backtested: res}
	if b.other != nil {
		in := b.reported(b.compare, b.other)
		shown.other, err = source(ctx, b.other, b.options(func(o *pipeline.Offer) error {
			in(o)
			otherSent.Add(o)
			return nil
		}))
		if err != nil {
			return fmt.Errorf("--compare: %w", err)
		}
		shown.change = backtest.Compare(res.Result, shown.other.Result, &sent, &otherSent)
	}
	if b.report != nil {
		results := []*backtest.Result{res.Result}
		if b.other != nil {
			results = append(results, shown.other.Result)
		}
		if err := b.report.write(ctx, from, results, shown.change, tell); err != nil {
			return err
		}
	}
	if b.json {
		return shown.writeJSON(summary)
	}
	return shown.writeText(onDisplay(summary))
}

// reported gives the offers of a run to the report, if there is one.
func (b *backtestRun) reported(name string, def *campaign.Definition) func(*pipeline.Offer) {
	if b.report == nil {
		return func(*pipeline.Offer) {}
	}
	return b.report.begin(name, def, cmp.Or(def, b.live)).offer
}

func (b *backtestRun) options(offer func(*pipeline.Offer) error) backtest.Options {
	opt := backtest.Options{Coupons: b.coupons, From: b.from, Offer: offer}
	if b.to != 0 {
		opt.To = b.to - 1 // what is at --to itself belongs to the next period
	}
	return opt
}

// offers runs a set, writes its offers to --out, and keeps in sent what a comparison
// needs of them.
func (b *backtestRun) offers(ctx context.Context, source backtestSource, def *campaign.Definition, sent *backtest.Offers) (*backtested, error) {
	out := bufio.NewWriter(io.Discard)
	var file *newFile
	switch b.out {
	case "":
	case "-":
		out = bufio.NewWriter(b.std.out)
	default:
		var err error
		if file, err = beginFile(b.out); err != nil {
			return nil, err
		}
		defer file.drop()
		out = bufio.NewWriterSize(file, 1<<20)
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	in := b.reported(b.campaigns, def)
	res, err := source(ctx, def, b.options(func(o *pipeline.Offer) error {
		in(o)
		if b.other != nil {
			sent.Add(o)
		}
		if b.out == "" {
			return nil
		}
		if err := enc.Encode(o); err != nil {
			return fmt.Errorf("writing offers: %w", err)
		}
		return nil
	}))
	if err != nil {
		return nil, err
	}
	err = out.Flush()
	if err == nil && file != nil {
		err = file.done()
	}
	if err != nil {
		return nil, fmt.Errorf("writing offers: %w", err)
	}
	return res, nil
}

// fileSource runs sets over a file of events, or standard input for "-".
func fileSource(path string, std stdio) backtestSource {
	return func(ctx context.Context, def *campaign.Definition, opt backtest.Options) (*backtested, error) {
		set, err := compiled(def, campaign.ClockEvent)
		if err != nil {
			return nil, err
		}
		in, err := openInput(path, std)
		if err != nil {
			return nil, err
		}
		defer in.close()
		res := &backtested{}
		opt.Refused = res.refused.add
		in.events = true
		if res.Result, err = backtest.Run(ctx, set, in.next, opt); err == nil {
			err = res.refused.all(in, res.Lines-res.refused.n)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		res.Set, res.inputWarnings = def.Hash(), res.refused.warnings(in)
		return res, nil
	}
}

// compiled compiles a set for a clock.
func compiled(def *campaign.Definition, clock string) (*pipeline.Set, error) {
	timed := *def
	timed.Clock = clock
	set, problems := pipeline.Compile(&timed)
	if len(problems) > 0 {
		return nil, problems[0] // cannot happen: the set was checked when it was loaded
	}
	return set, nil
}

// rereadable reports whether a file can be read a second time.
func rereadable(path string) bool {
	if path == "-" {
		return false
	}
	st, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist) || err == nil && st.Mode().IsRegular()
}

// backtestFile is `backtest --events EVENTS --out OUT` without a summary.
func backtestFile(ctx context.Context, def *campaign.Definition, events, out string) (*backtest.Result, error) {
	std := stdio{out: io.Discard, err: io.Discard}
	b := &backtestRun{std: std, out: out}
	res, err := b.offers(ctx, fileSource(events, std), def, nil)
	if err != nil {
		return nil, err
	}
	return res.Result, nil
}

// loadCampaigns reads and checks campaign files.
func loadCampaigns(paths ...string) (*campaign.Definition, error) {
	return config.LoadCampaigns(paths...)
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"text/tabwriter"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// backtest is `offerctl backtest`.
func backtest(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "backtest --campaigns PATH --events FILE[.gz]|- [--out FILE] [--coupon-keys FILE]", `
Runs campaigns over a file of events, with the same core as in live operation but
without NATS. Log time comes from the events. The summary goes to standard
output. --out receives the offers, one JSON object per line, with the same data
as on their subjects; those withheld from a holdout have "withheld": true. Without
--coupon-keys the codes of coupons are all COUPON.`,
		"offerctl backtest --campaigns deploy/campaigns --events events.jsonl --out offers.jsonl")
	campaigns := fs.String("campaigns", "", "`PATH` of a campaign file or a directory of them")
	events := fs.String("events", "", "a `FILE` of events, one JSON object per line, may be gzipped; - for standard input")
	outPath := fs.String("out", "", "the `FILE` for the offers; with - they go to standard output, and the summary to standard error")
	readCoupons := fs.couponKeys()
	if err := fs.none(args); err != nil {
		return err
	}
	if *campaigns == "" || *events == "" {
		return usagef("--campaigns and --events are both required")
	}
	files, err := config.CampaignFiles(*campaigns)
	if err != nil {
		return err
	}
	if err := apart(std, *outPath, append(files, *events)...); err != nil {
		return err
	}
	def, err := loadCampaigns(*campaigns)
	if err != nil {
		return err
	}
	keys, err := readCoupons()
	if err != nil {
		return err
	}
	_, err = backtestFile(ctx, def, keys, *events, *outPath, std)
	return err
}

// backtestFile runs the set over a file of events. Without keys codes of coupons
// are placeholders.
func backtestFile(ctx context.Context, def *campaign.Definition, keys *coupon.Keys, events, outPath string, std stdio) (*pipeline.Backtest, error) {
	b, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		return nil, problems[0] // cannot happen: the set was checked when it was loaded
	}
	if err := b.Coupons(keys); err != nil {
		return nil, err
	}
	in, err := openInput(events, std)
	if err != nil {
		return nil, err
	}
	defer in.close()
	var out *bufio.Writer
	summary := std.out
	switch outPath {
	case "":
		out = bufio.NewWriter(io.Discard)
	case "-":
		out, summary = bufio.NewWriter(std.out), std.err
	default:
		f, err := os.Create(outPath)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		out = bufio.NewWriterSize(f, 1<<20)
	}
	var refused refusals
	reached, err := backtestLines(ctx, b, in, out, &refused)
	if err == nil {
		err = refused.all(in, b.Lines-refused.n)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", events, err)
	}
	if err := out.Flush(); err != nil {
		return nil, fmt.Errorf("writing offers: %w", err)
	}
	in.close()
	summarise(summary, b, reached, &refused)
	refused.warn(summary, in)
	return b, nil
}

// backtestLines runs the input through b, writes the offers, and returns the
// users that each campaign reached.
func backtestLines(ctx context.Context, b *pipeline.Backtest, in *input, out io.Writer, refused *refusals) (map[string]map[string]bool, error) {
	reached := map[string]map[string]bool{}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	var writeErr error
	emit := func(o *pipeline.Offer) {
		if err := enc.Encode(o); err != nil {
			writeErr = err
		}
		if o.Withheld {
			return
		}
		campaign, _, _ := strings.Cut(o.Campaign, "/") // all its rows together
		if reached[campaign] == nil {
			reached[campaign] = map[string]bool{}
		}
		reached[campaign][o.User] = true
	}
	full, empty := make(chan *lines, 4), make(chan *lines, 4)
	for range cap(empty) {
		empty <- &lines{}
	}
	within, cancel := context.WithCancel(ctx)
	var reader sync.WaitGroup
	reader.Go(func() { admitLines(within, in, empty, full) })
	defer func() {
		cancel()
		if ctx.Err() == nil { // otherwise the reader may wait for a line that never comes
			reader.Wait()
		}
	}()
	for n := 0; ; {
		var ls *lines
		select {
		case ls = <-full:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if err := ls.apply(b, n, refused, emit); err != nil {
			return nil, err
		}
		if writeErr != nil {
			return nil, fmt.Errorf("writing offers: %w", writeErr)
		}
		n += ls.n
		if errors.Is(ls.end, io.EOF) {
			return reached, nil
		}
		if ls.end != nil {
			return nil, ls.end
		}
		empty <- ls
	}
}

// lines are some lines of a file. They are decoded while the lines before them
// are folded. Each line has a decoder of its own, which holds its event.
type lines struct {
	n        int
	text     []byte
	decoders [256]event.Decoder
	events   [256]*event.Event
	errs     [256]error
	end      error // the error, or io.EOF, that came instead of the next line
}

// apply folds the lines. before is the number of lines before them.
func (ls *lines) apply(b *pipeline.Backtest, before int, refused *refusals, emit func(*pipeline.Offer)) error {
	for i := range ls.n {
		if ls.events[i] == nil && ls.errs[i] == nil {
			continue // an empty line
		}
		if err := b.Admitted(ls.events[i], ls.errs[i], emit); err != nil {
			return fmt.Errorf("line %d: %w", before+i+1, err)
		}
		if b.Refused != nil {
			refused.add(before+i+1, b.Refused)
		}
	}
	return nil
}

// admitLines fills lines until the input ends.
func admitLines(ctx context.Context, in *input, empty <-chan *lines, full chan<- *lines) {
	for {
		var ls *lines
		select {
		case ls = <-empty:
		case <-ctx.Done():
			return
		}
		ls.n, ls.text = 0, ls.text[:0]
		for ls.n < len(ls.events) && ls.end == nil {
			line, err := in.next()
			if err == errLongLine {
				ls.events[ls.n], ls.errs[ls.n] = nil, err
				ls.n++
				continue
			}
			if err != nil {
				ls.end = err
				break
			}
			from := len(ls.text) // if text moves when it grows, the lines before keep the old memory
			ls.text = append(ls.text, bytes.TrimSpace(line)...)
			line = ls.text[from:len(ls.text):len(ls.text)]
			ls.events[ls.n], ls.errs[ls.n] = nil, nil
			if len(line) > 0 {
				ls.events[ls.n], ls.errs[ls.n] = ls.decoders[ls.n].AdmitLine(line)
			}
			ls.n++
		}
		ended := ls.end != nil
		select {
		case full <- ls:
		case <-ctx.Done():
			return
		}
		if ended {
			return
		}
	}
}

// summarise prints what every campaign did.
func summarise(w io.Writer, b *pipeline.Backtest, reached map[string]map[string]bool, refused *refusals) {
	var reasons []string
	for reason, n := range b.Rejected {
		reasons = append(reasons, fmt.Sprintf("%s %d", reason, n))
	}
	sort.Strings(reasons)
	fmt.Fprintf(w, "%d events, %d users, %d duplicates, %d rejected", b.Applied, b.UserCount(), b.Duplicates(), refused.n)
	if refused.n > 0 {
		fmt.Fprintf(w, " (%s); the first is line %d: %v", strings.Join(reasons, ", "), refused.line, refused.first)
	}
	fmt.Fprintln(w)
	if b.Loaded > 0 {
		fmt.Fprintf(w, "%s of facts' tables, given at the first event\n", count(int(b.Loaded), "row"))
	}
	for _, j := range b.Jumps {
		fmt.Fprintf(w, "warning: line %d moves log time from %s to %s\n", j.Line, value.FormatTime(j.From), value.FormatTime(j.To))
	}
	counts, features := b.Counts()
	campaignTable(w, whole(counts), reached)
	if features.Missing+features.Errors+features.Bounds > 0 {
		fmt.Fprintf(w, "\nfeatures: %d events lacked a field, %d errors, a bound was reached %d times\n", features.Missing, features.Errors, features.Bounds)
	}
}

// whole adds the counts of all rows of a campaign.
func whole(counts map[string]pipeline.Counts) map[string]pipeline.Counts {
	sums := map[string]pipeline.Counts{}
	for id, n := range counts {
		campaign, _, _ := strings.Cut(id, "/")
		sums[campaign] = sums[campaign].Plus(n)
	}
	return sums
}

// campaignTable prints the outcomes of each campaign's evaluations.
func campaignTable(w io.Writer, counts map[string]pipeline.Counts, reached map[string]map[string]bool) {
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	sort.Strings(names)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "\ncampaign\tevaluated\tfired\tusers\tpending\tsuppressed")
	for _, name := range names {
		c := counts[name]
		var why []string
		for o, n := range c.Ended {
			if what := pipeline.Outcome(o); n > 0 && what != pipeline.Fired {
				why = append(why, fmt.Sprintf("%s %d", what, n))
			}
		}
		if c.Missing+c.Errors > 0 {
			why = append(why, fmt.Sprintf("(expressions: %d missing a field, %d errors)", c.Missing, c.Errors))
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\n", name, c.Evaluated, c.Ended[pipeline.Fired], len(reached[name]), c.Pending(), strings.Join(why, ", "))
	}
	t.Flush()
}

// loadCampaigns reads and checks campaign files.
func loadCampaigns(paths ...string) (*campaign.Definition, error) {
	return config.LoadCampaigns(paths...)
}

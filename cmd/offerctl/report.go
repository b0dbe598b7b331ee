package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/explain"
	"offerstream/pipeline/report"
	"offerstream/pipeline/zone"
)

// A backtestReport collects what --report shows of each run.
type backtestReport struct {
	path string
	runs []*reportRun
}

// A reportRun is one run of a report.
type reportRun struct {
	name   string
	def    *campaign.Definition // nil: the sets that were live
	zone   *time.Location
	series *report.Series
	users  report.Reached
}

// otherLooked is among how many users examples are looked for besides those whom the
// campaigns reached: those of the first events.
const otherLooked = 40

// reportKept is how many evaluations of a campaign are kept of each of these users.
const reportKept = 20

// begin begins to collect a run. zoned is a set that has its zone.
func (r *backtestReport) begin(name string, def, zoned *campaign.Definition) *reportRun {
	loc := zone.OrUTC(zoned.Zone)
	run := &reportRun{name: name, def: def, zone: loc, series: report.NewSeries(loc), users: report.Reached{}}
	r.runs = append(r.runs, run)
	return run
}

// offer takes an offer of the run.
func (r *reportRun) offer(o *pipeline.Offer) {
	r.series.Add(o)
	r.users.Add(o)
}

// An explainer tells what happened to some users; besides those that are named, to
// some more of the source's users.
type explainer func(ctx context.Context, def *campaign.Definition, keys []string, more int) ([]*explain.Story, error)

// joined are the keys and those of others that are not among them.
func joined(keys, others []string) []string {
	for _, k := range others {
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// write writes the report.
func (r *backtestReport) write(ctx context.Context, source string, results []*backtest.Result, change *backtest.Comparison, tell explainer) error {
	loc := r.runs[0].zone
	p := &report.Page{Source: source, Zone: loc, Comparison: change}
	ids, _ := report.Shown(results...)
	for i, run := range r.runs {
		stories, err := tell(ctx, run.def, run.users.Keys(ids), otherLooked)
		if err != nil {
			return fmt.Errorf("--report: %w", err)
		}
		p.Runs = append(p.Runs, report.Run{Name: run.name, Result: results[i], Series: run.series, Examples: report.Examples(stories, loc)})
	}
	f, err := beginFile(r.path)
	if err != nil {
		return err
	}
	defer f.drop()
	w := bufio.NewWriter(onDisplay(f))
	if err := errors.Join(p.Write(w), w.Flush()); err != nil {
		return fmt.Errorf("writing %s: %w", r.path, err)
	}
	return f.done()
}

// fileExplainer tells of the users of a file of events.
func fileExplainer(path string, std stdio) explainer {
	return func(ctx context.Context, def *campaign.Definition, keys []string, more int) ([]*explain.Story, error) {
		others, err := firstUsers(ctx, path, std, more)
		if err != nil {
			return nil, err
		}
		keys = joined(keys, others)
		b, problems := pipeline.NewBacktest(def)
		if len(problems) > 0 {
			return nil, problems[0] // cannot happen: the set was checked when it was loaded
		}
		in, err := openInput(path, std)
		if err != nil {
			return nil, err
		}
		defer in.close()
		q := explanation{recorder: explain.New(keys...)}
		q.recorder.Keep(reportKept)
		q.recorder.Triggers()
		q.recorder.Watch(b)
		if err := q.lines(ctx, b, in); err != nil {
			return nil, err
		}
		var stories []*explain.Story
		for _, k := range keys {
			stories = append(stories, q.recorder.Story(explain.Query{User: k, Evaluated: true, Zone: zone.OrUTC(def.Zone)}))
		}
		return stories, nil
	}
}

// firstUsers are the keys of the users of a file's first events.
func firstUsers(ctx context.Context, path string, std stdio, most int) (keys []string, err error) {
	in, err := openInput(path, std)
	if err != nil {
		return nil, err
	}
	defer in.close()
	var dec event.Decoder
	err = in.each(ctx, new(refusals), func(line []byte) error {
		if len(keys) == most || in.n > 1000*most {
			return errEnough
		}
		ev, err := dec.AdmitLine(line)
		if err == nil && ev.OfUser() && !slices.Contains(keys, ev.Key) {
			keys = append(keys, strings.Clone(ev.Key))
		}
		return err
	})
	if err == errEnough {
		err = nil
	}
	return keys, err
}

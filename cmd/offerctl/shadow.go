package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/change"
	"offerstream/pipeline/report"
)

// shadow is `offerctl shadow`.
func shadow(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "shadow PATH [--for 1h] [--overdue drop] [--users N] [--report FILE.html] [--json] [--nats URL]", `
Follows the live log with a campaign set that is not live, and shows what it would
send beside what the live set sends: offers gained, lost and moved, to how many
users, with examples in words, and what an event costs it. It publishes nothing and
changes nothing of the deployment: its state is in its own memory.

It first folds the log from its beginning, or from the oldest snapshot to which the
log reaches back: with the sets that were live, and with the new one as a backfill
does. Then the new set begins as at `+"`apply --backfill`"+`, and from there on both are
counted, until --for is over or Ctrl-C. If another set goes live meanwhile, the live
side goes on with that set, and the report tells that.

It holds each user twice in memory, with some KB each. Where there are more than
--users it follows a sample of them, by a hash of their ids. A sample has no brakes.`,
		"offerctl shadow changed --for 1h --report shadow.html\nofferctl apply changed --backfill")
	r := &shadowRun{std: std}
	n := fs.nats()
	fs.DurationVar(&r.most, "for", 0, "how long to follow the log after it has caught up; 0: until Ctrl-C")
	overdue := fs.String("overdue", "drop", "what becomes of evaluations that were due before the set begins: `drop`, now, or a time over which they are spread, such as 6h")
	users := fs.Int("users", 200_000, "follow about `N` users at most; 0: all")
	fs.StringVar(&r.page, "report", "", "write a page with charts to a `FILE.html`, each minute and at the end")
	fs.BoolVar(&r.json, "json", false, "one JSON object instead of the text")
	readCoupons := fs.couponKeys()
	rest, err := fs.parse(args)
	if err != nil {
		return err
	}
	switch {
	case len(rest) != 1:
		return usagef("%s given: name a campaign file or a directory of them", count(len(rest), "path"))
	case *users < 0 || r.most < 0:
		return usagef("--users and --for cannot be below 0")
	}
	r.path, r.url = rest[0], *n.url
	opt := audit.ShadowOptions{Users: *users, Log: slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if opt.Overdue, err = pipeline.ParseOverdue(*overdue); err != nil {
		return usagef("--overdue: %v", err)
	}
	r.overdue = opt.Overdue
	if opt.Coupons, err = readCoupons(); err != nil {
		return err
	}
	files, err := config.CampaignFiles(r.path)
	if err == nil {
		err = apart(std, r.page, files...)
	}
	var def *campaign.Definition
	if err == nil {
		def, err = loadCampaigns(r.path)
	}
	if err != nil {
		return err
	}
	conn, err := n.connect(ctx, std)
	if err != nil {
		return err
	}
	defer conn.Close()
	live, err := liveDefinition(ctx, conn)
	if err != nil {
		return err
	}
	if r.page != "" { // found out now and not after an hour
		f, err := beginFile(r.page)
		if err != nil {
			return err
		}
		f.drop()
	}
	if opt.Set, err = setFor(def, live); err != nil {
		return err
	}
	opt.List = func(from audit.ShadowFrom) (*audit.ShadowList, error) { return listOf(from, opt.Set), nil }
	r.shadowCount = newShadowCount(live, def)
	opt.Folded, opt.Changed = r.take, r.changed
	return r.follow(ctx, func(joined func()) *audit.Shadow {
		opt.Joined = joined
		return audit.NewShadow(conn, opt)
	})
}

// listOf is what `apply --backfill` would take from the log.
func listOf(from audit.ShadowFrom, set *pipeline.Set) *audit.ShadowList {
	fed := map[string]int64{}
	for name, at := range from.Fed {
		fed[strings.TrimPrefix(name, "feature ")] = at
	}
	list := change.Between(from.Live, set, fed, from.Now, from.Reach, from.Retired...).Backfill
	return &audit.ShadowList{Features: list.Features, Campaigns: list.Campaigns}
}

// A shadowRun is one run of the command.
type shadowRun struct {
	std       stdio
	path, url string
	page      string // of --report
	json      bool
	most      time.Duration // of --for
	overdue   pipeline.Overdue
	*shadowCount
}

// How often the display changes, and the page.
const (
	shadowShown = 500 * time.Millisecond
	shadowPaged = time.Minute
)

// shadowSaid is how often a line tells how far it is where there is no terminal.
var shadowSaid = 10 * time.Second

// follow follows the log until the time is over, and reports.
func (r *shadowRun) follow(ctx context.Context, begin func(joined func()) *audit.Shadow) error {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	joined := make(chan struct{})
	s := begin(func() { r.began(); close(joined) })
	ended := make(chan error, 1)
	go func() { ended <- s.Run(within) }()
	err := r.show(s, joined, ended, cancel)
	st := s.State(true)
	switch {
	case errors.Is(err, errShadowFull):
		r.note(errShadowFull.Error())
		err = nil
	case !st.Begun && ctx.Err() != nil:
		return errors.New("it had not caught up with the log: there is nothing to compare yet")
	case !st.Begun:
		return err
	}
	return errors.Join(err, r.tell(r.compare(st)))
}

// show shows how far the shadow is until it has ended.
func (r *shadowRun) show(s *audit.Shadow, joined <-chan struct{}, ended <-chan error, cancel func()) (err error) {
	live := newProgress(r.std.err)
	defer live.done()
	every, said, page := time.NewTicker(shadowShown), time.NewTicker(shadowSaid), time.NewTicker(shadowPaged)
	defer every.Stop()
	defer said.Stop()
	defer page.Stop()
	for {
		select {
		case more := <-ended:
			return errors.Join(err, more)
		case <-joined:
			live.done()
			fmt.Fprintln(r.std.err, "it has caught up with the log: from here on both sets are counted")
			if joined = nil; r.most > 0 {
				defer time.AfterFunc(r.most, cancel).Stop()
			}
		case <-every.C:
			live.show("%s", r.line(s.State(false)))
		case <-said.C:
			if live.w == nil {
				fmt.Fprintln(r.std.err, r.line(s.State(false)))
			}
		case <-page.C:
			if joined == nil && r.page != "" && err == nil {
				if err = r.writePage(r.compare(s.State(true))); err != nil {
					cancel()
				}
			}
		}
	}
}

// tell writes what came of it.
func (r *shadowRun) tell(c *shadowComparison) error {
	if r.page != "" {
		if err := r.writePage(c); err != nil {
			return err
		}
	}
	if r.json {
		return c.writeJSON(r.std.out)
	}
	return c.writeText(onDisplay(r.std.out))
}

// writePage writes --report.
func (r *shadowRun) writePage(c *shadowComparison) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	loc := r.zone
	p := &report.Page{Title: "Shadow", Source: "the live log of " + r.url, Zone: loc, Comparison: c.change, Runs: []report.Run{
		{Name: "the live set", Result: c.live, Series: r.sides[0].series},
		{Name: r.path, Result: c.shadow, Series: r.sides[1].series, Examples: report.Examples(r.stories.all(loc), loc)},
	}}
	f, err := beginFile(r.page)
	if err != nil {
		return err
	}
	defer f.drop()
	w := bufio.NewWriter(onDisplay(f))
	if err := errors.Join(p.Write(w), w.Flush()); err != nil {
		return fmt.Errorf("writing %s: %w", r.page, err)
	}
	return f.done()
}

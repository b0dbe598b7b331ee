package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/change"
	"offerstream/pipeline/value"
)

// rollbackWithin is how long, in log time, the features of a set are fed on that is
// not live any more (LANGUAGE.md, rule 14).
const rollbackWithin = 24 * time.Hour

// rollback is `offerctl campaigns rollback`.
func (c *campaigns) rollback(ctx context.Context, _ []string) error {
	d, err := c.look(ctx)
	if err == nil {
		err = d.ready()
	}
	if err == nil {
		err = c.noBackfill(ctx, d)
	}
	if err != nil {
		return err
	}
	to := d.live.Previous
	if d.live.Set == "" || to == nil || to.Set == "" {
		return errors.New("which set was live before is not known: only one has been, or an older version has applied the one that is live; offerctl apply makes any files live")
	}
	def, err := c.conn.Set(ctx, to.Set)
	if err != nil {
		return err
	}
	late := d.late(def, time.Now())
	changed, err := d.back(def, late == "")
	if err != nil {
		return err
	}
	out := onDisplay(c.std.out)
	fmt.Fprintf(out, "back from set %s%s%s\nto set %s%s\n", d.live.Set, prefixed(", live since ", d.live.At), prefixed(", by ", d.live.By), to.Set, prefixed(", which became live at ", to.At))
	for _, line := range changed.Lines() {
		fmt.Fprintln(out, line)
	}
	if to.Cancelled > 0 {
		fmt.Fprintf(out, "that change has cancelled %d pending: they stay cancelled\n", to.Cancelled)
	}
	sayFacts(out, d.def, def)
	if late != "" {
		fmt.Fprintf(out, "! %s: --force\n", late)
	}
	if (late != "" || changed.Refuses()) && !c.force {
		return errors.New("refused for what has a ! above: nothing changed")
	}
	if !c.yes {
		fmt.Fprint(out, "Make this live? [y/N] ")
		if !yesFrom(c.std.in) {
			fmt.Fprintln(out, "nothing changed")
			return errSilent
		}
	}
	return c.putBack(ctx, d, &changed)
}

// noBackfill refuses a rollback while a backfill runs.
func (c *campaigns) noBackfill(ctx context.Context, d *deployed) error {
	if asked := d.live.Asked(); asked != "" {
		return fmt.Errorf("a backfill of set %s runs: end it first, with offerctl apply --abort, or let it become live and roll back then", asked)
	}
	if !d.live.Go() || c.force {
		return nil
	}
	var lag []int
	for p := range c.conn.Partitions {
		m, err := c.conn.LastControl(ctx, p)
		if err != nil {
			return err
		}
		if m.Revision < d.live.Revision {
			lag = append(lag, p)
		}
	}
	if len(lag) > 0 {
		return fmt.Errorf("the backfill by which set %s becomes live is not at its end: partitions %s have not switched: wait for them, or --force, with which they never do", d.live.Set, ranges(lag))
	}
	return nil
}

// late says why features may start empty; "": they do not.
func (d *deployed) late(to *campaign.Definition, now time.Time) string {
	at, err := value.ParseTime(d.live.At)
	const empty = ", and features of the set before are fed on for 24 h of log time only: they may start empty"
	switch {
	case err != nil:
		return "when the change was is not known" + empty
	case to.Clock == campaign.ClockEvent || d.def.Clock == campaign.ClockEvent:
		return "under clock: event it is not known how much log time has passed since the change" + empty
	case now.Sub(time.Unix(0, at)) > rollbackWithin:
		return fmt.Sprintf("the change was %s ago%s", campaign.FormatDuration(now.Sub(time.Unix(0, at)).Truncate(time.Minute)), empty)
	}
	return ""
}

// back is what the rollback changes. kept: the features of the set are fed on.
func (d *deployed) back(def *campaign.Definition, kept bool) (change.Change, error) {
	var sets []*pipeline.Set
	for _, def := range []*campaign.Definition{d.def, def} {
		set, problems := pipeline.Compile(def)
		if set == nil {
			return change.Change{}, fmt.Errorf("set %s cannot be made live by this version: %w", def.Hash(), problems[0])
		}
		sets = append(sets, set)
	}
	var retired []*pipeline.Set
	if kept {
		retired = sets[1:]
	}
	now := int64(0) // log time
	for _, s := range d.owners {
		now = max(now, s.LogTime)
	}
	return change.Between(sets[0], sets[1], nil, now, 0, retired...), nil
}

// sayFacts names facts that the set brings back: what was known of one that the live
// set lacks is gone.
func sayFacts(out io.Writer, live, def *campaign.Definition) {
	had := map[string]bool{}
	for _, f := range live.Facts {
		had[f.Name] = true
	}
	var back []string
	for _, f := range def.Facts {
		if !had[f.Name] {
			back = append(back, f.Name)
		}
	}
	if len(back) > 0 {
		fmt.Fprintf(out, "facts %s come back without what was known: send them again, or apply the files, which loads their tables\n", several(back))
	}
}

// putBack makes the set live that was live before.
func (c *campaigns) putBack(ctx context.Context, d *deployed, changed *change.Change) (err error) {
	began := time.Now()
	last := d.live.Revision
	for _, r := range d.reports {
		for _, s := range r.Partitions {
			last = max(last, s.Revision)
		}
	}
	cancelled := 0
	for _, n := range changed.Cancelled {
		cancelled += n
	}
	next := broker.Live{Set: d.live.Previous.Set, By: c.by, At: value.FormatTime(began.UnixNano()), Previous: &broker.Previous{Set: d.live.Set, At: d.live.At, Cancelled: cancelled}}
	if next.Revision, err = c.conn.NextRevision(ctx, last, broker.LiveRevision); err != nil {
		return err
	}
	if err := c.conn.PutLive(ctx, next, d.liveRev); err != nil {
		return err
	}
	fmt.Fprintf(c.std.out, "set %s is live\n", next.Set)
	return c.awaitRevision(ctx, broker.LiveRevision, next.Revision, began, "in force", "the rollback")
}

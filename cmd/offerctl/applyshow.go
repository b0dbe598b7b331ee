package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// show prints the plan.
func (p *plan) show(a *applying) {
	if p.oldLost != "" {
		fmt.Fprintf(a.out, "the live set cannot be compared, so everything is shown as new, and what is cancelled is not known: %s\n", p.oldLost)
	}
	for _, line := range p.Lines() {
		fmt.Fprintln(a.out, line)
	}
	for _, text := range p.shared {
		fmt.Fprintf(a.out, "  %s\n", text)
	}
	if a.live.Set != "" {
		for why, ns := range p.unanswered() {
			fmt.Fprintf(a.out, "! partition %s: how many are pending, and how old features are, is not known: %s\n", ns, why)
		}
	}
	if p.Filled {
		fmt.Fprintln(a.out, p.reach())
		for _, d := range p.Disk {
			fmt.Fprintln(a.out, d)
		}
	}
	for _, m := range p.members.Members {
		if !m.Answers && m.Error == "" {
			fmt.Fprintf(a.out, "! worker %s does not answer: whether it runs engine %d is not known\n", m.ID, a.def.Engine)
		}
	}
}

// unanswered are the partitions that did not say what is pending, by the reason.
func (p *plan) unanswered() map[string]string {
	by := map[string][]int{}
	for _, u := range p.Unanswered {
		by[u.Why] = append(by[u.Why], u.Partition)
	}
	texts := map[string]string{}
	for why, ns := range by {
		texts[why] = ranges(ns)
	}
	return texts
}

// mostReaches bounds how many partitions are named with the beginning of their log.
const mostReaches = 8

// reach says from when on the log is folded again.
func (p *plan) reach() string {
	var whole []int
	var parts []string
	for _, r := range p.Logs {
		if r.since == 0 {
			whole = append(whole, r.Partition)
		} else if len(parts) < mostReaches {
			parts = append(parts, fmt.Sprintf("partition %d from %s", r.Partition, time.Unix(0, r.since).UTC().Format(time.RFC3339)))
		}
	}
	switch short := len(p.Logs) - len(whole); {
	case short == 0:
		return "the log is whole in all partitions: it is folded from its beginning"
	case short > len(parts):
		parts = append(parts, fmt.Sprintf("%d more", short-len(parts)))
	}
	if len(whole) > 0 {
		parts = append([]string{"partition " + ranges(whole) + " from its beginning"}, parts...)
	}
	return "! the log does not reach back to its beginning everywhere; it is folded: " + strings.Join(parts, ", ") + "; what visitors had done who became users before that is not found again"
}

// String says whether the worker's disk has room.
func (d diskNeed) String() string {
	switch {
	case d.Bytes == 0:
		return fmt.Sprintf("worker %s: how much disk the backfill takes is not known", d.Member)
	case d.Free == 0:
		return fmt.Sprintf("worker %s: the backfill takes about %s of its disk", d.Member, size(d.Bytes))
	case d.Free < d.Bytes:
		return fmt.Sprintf("! worker %s: the backfill takes about %s of its disk, which has %s free: it is given up there before the disk is full", d.Member, size(d.Bytes), size(d.Free))
	}
	return fmt.Sprintf("worker %s: the backfill takes about %s of its disk, which has %s free", d.Member, size(d.Bytes), size(d.Free))
}

// refusals are the reasons why the plan must not be carried out.
func (a *applying) refusals(ctx context.Context, p *plan, same, backfill bool) (all []error) {
	if same && !backfill {
		return nil
	}
	if err := a.oldWorkers(p); err != nil {
		all = append(all, err)
	}
	if err := a.running(ctx, p); err != nil {
		all = append(all, err)
	}
	if err := a.forgets(ctx); err != nil {
		all = append(all, err)
	}
	if p.Forced && !a.force {
		all = append(all, errors.New("the lines above that begin with ! say what would go wrong: change the campaigns, or use --force"))
	}
	if backfill {
		all = append(all, a.backfillRefusals(p, same)...)
	}
	return all
}

// forgets is the error if the set forgets earlier than the log: workers would not put
// it in force.
func (a *applying) forgets(ctx context.Context) error {
	retention, err := a.conn.Retention(ctx)
	if err != nil {
		return err
	}
	return pipeline.CheckForget(a.def, retention)
}

// oldWorkers is the error if workers do not run the set's engine.
func (a *applying) oldWorkers(p *plan) error {
	var old []string
	for _, m := range p.members.Members {
		if m.Answers && !runsEngine(m.Engines, a.def.Engine) {
			old = append(old, m.ID)
		}
	}
	if len(old) == 0 {
		return nil
	}
	return fmt.Errorf("the set needs engine %d, which these workers do not run, so their partitions would stop: %s: start the new version on all of them first", a.def.Engine, strings.Join(old, ", "))
}

// firstEngine is what a worker runs that does not say which engines it runs.
const firstEngine = 3

func runsEngine(engines []int, engine int) bool {
	if len(engines) == 0 {
		return engine == firstEngine
	}
	return slices.Contains(engines, engine)
}

// backfillRefusals are the reasons why a backfill cannot be begun.
func (a *applying) backfillRefusals(p *plan, same bool) (all []error) {
	switch {
	case a.live.Set == "":
		all = append(all, errors.New("no set is live yet, so there is nothing to fold again: apply without --backfill"))
	case p.oldLost != "":
		all = append(all, errors.New("the live set cannot be read, and a backfill goes on from it: apply without --backfill"))
	}
	for _, v := range p.Set {
		if v.Key == "clock" {
			all = append(all, fmt.Errorf("the live set has clock: %s and this one clock: %s: a backfill needs the same clock, because log time would jump at the switch", v.Old, v.New))
		}
	}
	if same && a.overdue == "" {
		all = append(all, errors.New("the set is live already, so a backfill of it goes in force as soon as it has caught up: say what becomes of overdue offers, with --overdue drop, now or a duration"))
	}
	return all
}

// running is the error while a backfill runs; nil if none does.
func (a *applying) running(ctx context.Context, p *plan) error {
	b := a.live.Backfill
	if b == nil {
		return nil
	}
	how := secondsOf(p.members, b.Set).how()
	if a.live.Asked() != "" {
		return fmt.Errorf("a backfill runs: %s asked for set %s on %s; %s\n%s", by(a.live.By), b.Set, shortTime(a.live.At), how, goOnCommands)
	}
	c := newCarrying(a.conn, a.live)
	for n, o := range p.members.Partitions {
		c.mark(n, o.Answers && carried(a.live, o.Revision, o.Set))
	}
	if err := c.look(ctx); err != nil {
		return err
	}
	left := len(c.done) - c.have
	if left == 0 || a.force {
		return nil
	}
	return fmt.Errorf("a backfill is going in force: %s made set %s live on %s, and %d of %d partitions have not switched yet; %s\n  offerctl status        # how far it is\n  offerctl apply --go    # waits until they have switched\nWith --force this set goes in force at once, and those partitions do not switch any more", by(a.live.By), b.Set, shortTime(a.live.At), left, len(c.done), how)
}

// goOnCommands say how to go on with a backfill.
const goOnCommands = `  offerctl status                                    # how far it is
  offerctl apply --go --overdue drop|now|DURATION    # make its set live
  offerctl apply --abort                             # give it up`

// record is what the record asks for.
func (p *plan) record(a *applying) *broker.Backfill {
	return &broker.Backfill{Set: a.def.Hash(), Engine: a.def.Engine, Features: p.Backfill.Features, Campaigns: p.Backfill.Campaigns, Overdue: a.overdue, Rate: a.rate}
}

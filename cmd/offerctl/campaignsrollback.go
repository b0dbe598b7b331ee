package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// rollback is `offerctl campaigns rollback`: an apply of the set that was live before,
// as it is stored.
func (c *campaigns) rollback(ctx context.Context, _ []string) error {
	a := &applying{applyFlags: c.back, std: c.std, out: onDisplay(c.std.out), in: bufio.NewReader(c.std.in), conn: c.conn}
	a.by, a.force, a.yes, a.wait = c.by, c.force, c.yes, c.wait
	if err := a.check(1, a.rate != defaultRate); err != nil { // the set counts as a path
		return err
	}
	var err error
	if a.live, a.rev, err = c.conn.Live(ctx); err != nil {
		return err
	}
	to := a.live.Previous
	if a.live.Set == "" || to == nil || to.Set == "" {
		return errors.New("which set was live before is not known: only one has been, or an older version has applied the one that is live; offerctl apply makes any files live")
	}
	if err := a.stored(ctx, to.Set); err != nil {
		return err
	}
	p, err := a.plan(ctx)
	if err != nil {
		return err
	}
	since, by := madeLive(ctx, c.conn, a.live)
	fmt.Fprintf(a.out, "back from set %s%s%s\nto set %s%s\n", a.live.Set, after(", live since ", shortTime(since)), after(", by ", by), to.Set, after(", which became live at ", shortTime(to.At)))
	p.show(a)
	backfill := p.Filled
	if a.backfill && !backfill {
		fmt.Fprintln(a.out, "nothing comes from the log: no backfill is needed")
	}
	a.sayCancelled(to.Cancelled, backfill)
	sayFacts(a.out, p, a.def)
	refused := a.refusals(ctx, p, to.Set == a.live.Set, backfill)
	if err := p.startsEmpty(); err != nil && !a.force {
		refused = append(refused, err)
	}
	if len(refused) > 0 {
		return errors.Join(refused...)
	}
	question := "Make this live?"
	if backfill {
		question = "Fold the log again under this set?"
	}
	if !a.confirmed(question) {
		fmt.Fprintln(a.out, "nothing changed")
		return errSilent
	}
	if backfill {
		return a.ask(ctx, p)
	}
	if err := a.put(ctx, broker.Live{Set: to.Set, Previous: a.previous(ctx, p.Total)}); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "set %s is live\n", to.Set)
	return a.tables(ctx)
}

// after is a text after another one, if there is any.
func after(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// sayCancelled says what the change has cancelled that is rolled back.
func (a *applying) sayCancelled(n int, backfill bool) {
	switch {
	case backfill:
		fmt.Fprintln(a.out, "what that change has cancelled comes from the log again, as far as its event is still there")
	case n > 0:
		fmt.Fprintf(a.out, "that change has cancelled %d pending, which stay cancelled: --backfill brings them back\n", n)
	}
}

// startsEmpty refuses what a rollback is not for: features of the set that nothing has
// fed on (LANGUAGE.md, rule 14).
func (p *plan) startsEmpty() error {
	var empty []string
	for _, f := range p.Features {
		if f.Empty && f.Young && !p.Filled {
			empty = append(empty, f.Name)
		}
	}
	if len(empty) == 0 {
		return nil
	}
	return fmt.Errorf("%s of the set would start empty: %s: features are fed on for 24 h of log time after a change, which is longer ago, or cannot be told: fill them with --backfill, or use --force", count(len(empty), "feature"), several(empty))
}

// sayFacts names facts that the set brings back: what was known of one that the live
// set lacks is gone.
func sayFacts(out io.Writer, p *plan, def *campaign.Definition) {
	var back []string
	for _, f := range def.Facts {
		for _, v := range p.Set {
			if v.Key == "facts."+f.Name && v.Old == "" {
				back = append(back, f.Name)
			}
		}
	}
	if len(back) > 0 {
		fmt.Fprintf(out, "! facts %s come back without what was known of them: send it again, or apply the files, which loads their tables\n", several(back))
	}
}

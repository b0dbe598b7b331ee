package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
)

// ask writes the record that asks for the backfill. That of the live set goes in force
// as soon as it has caught up.
func (a *applying) ask(ctx context.Context, p *plan) error {
	to := broker.Live{Set: a.live.Set, Previous: a.live.Previous, Backfill: p.record(a)}
	if err := a.put(ctx, to); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "the backfill of set %s has begun\n", to.Backfill.Set)
	if a.live.Go() {
		return a.awaitSwitch(ctx)
	}
	lags, err := newCarrying(a.conn, a.live).await(ctx, a.wait, nil)
	if err != nil {
		return a.left(ctx, err)
	}
	if err := lagging("the backfill is known", a.conn.Partitions, lags); err != nil {
		fmt.Fprintln(a.out, err)
	}
	if a.detach {
		fmt.Fprintln(a.out, goOnCommands)
		return nil
	}
	return a.attach(ctx)
}

// applyAsked tells how far the backfill of the set is, or shows it until it is done.
func (a *applying) applyAsked(ctx context.Context) error {
	if a.json {
		return usagef("a backfill of this set runs: offerctl status --json tells how far it is")
	}
	members, err := audit.Members(ctx, a.conn, 2*time.Second)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "a backfill of this set runs: %s asked for it on %s; %s\n", by(a.live.By), shortTime(a.live.At), secondsOf(members, a.live.Backfill.Set).how())
	if !a.dry {
		if err := a.store(ctx); err != nil {
			return err
		}
	}
	if a.dry || a.detach || !a.backfill {
		fmt.Fprintln(a.out, goOnCommands)
		return nil
	}
	return a.attach(ctx)
}

// sayRunning tells, if a backfill runs, how far it is.
func (a *applying) sayRunning(ctx context.Context) error {
	b := a.live.Backfill
	if b == nil {
		return nil
	}
	members, err := audit.Members(ctx, a.conn, 2*time.Second)
	if err != nil {
		return err
	}
	s := secondsOf(members, b.Set)
	if !a.live.Go() {
		fmt.Fprintf(a.out, "a backfill of another set, %s, runs: %s asked for it on %s; %s\n", b.Set, by(a.live.By), shortTime(a.live.At), s.how())
		return nil
	}
	c := newCarrying(a.conn, a.live)
	if err := c.look(ctx); err != nil {
		return err
	}
	if c.have < len(c.done) {
		fmt.Fprintf(a.out, "it is live by backfill, and in force in %d of %d partitions; %s\n", c.have, len(c.done), s.how())
	}
	return nil
}

// backfillEvery is how often the workers are asked how far they are.
const backfillEvery = 500 * time.Millisecond

// failedFor is how long a backfill must stay given up until attach returns: a worker
// tries some again after a minute.
const failedFor = 90 * time.Second

// attach shows how far the backfill is until it is done, and then makes the set live.
func (a *applying) attach(ctx context.Context) error {
	live := newProgress(a.std.err)
	defer live.done()
	said := map[string]bool{}
	var failed time.Time // since when something is given up that was not before
	for {
		s, err := a.lookAtSeconds(ctx)
		if err != nil {
			return a.left(ctx, err)
		}
		if a.live.Set == s.set {
			live.done()
			fmt.Fprintf(a.out, "%s has made it live\n", by(a.live.By))
			return a.awaitSwitch(ctx)
		}
		for _, text := range s.trouble {
			if !said[text] {
				said[text], failed = true, time.Now()
				live.done()
				fmt.Fprintln(a.out, text)
			}
		}
		if s.done() && (len(s.failed) == 0 || time.Since(failed) > failedFor) {
			live.done()
			return a.afterwards(ctx, s)
		}
		live.show("backfill %s %s", bar(s.part), s.how())
		select {
		case <-time.After(backfillEvery):
		case <-ctx.Done():
			return a.left(ctx, ctx.Err())
		}
	}
}

// lookAtSeconds finds out how far the backfill is, and whether it is still asked for.
func (a *applying) lookAtSeconds(ctx context.Context) (*secondFolds, error) {
	set := a.live.Backfill.Set
	now, rev, err := a.conn.Live(ctx)
	if err != nil {
		return nil, err
	}
	if now.Backfill == nil || now.Backfill.Set != set {
		return nil, fmt.Errorf("%s has given up the backfill on %s, or applied another set", by(now.By), shortTime(now.At))
	}
	a.live, a.rev = now, rev
	members, err := audit.Members(ctx, a.conn, 2*time.Second)
	if err != nil {
		return nil, err
	}
	return secondsOf(members, set), nil
}

// left tells, when the command is interrupted, that the backfill goes on.
func (a *applying) left(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	fmt.Fprintf(a.std.err, "\nthe backfill goes on without this command:\n%s\n", goOnCommands)
	return errSilent
}

// afterwards makes the set live if it is known what becomes of what is overdue, and
// no partition would stay behind.
func (a *applying) afterwards(ctx context.Context, s *secondFolds) error {
	fmt.Fprintf(a.out, "%d of %d partitions have caught up\n", s.caught, s.all)
	if len(s.failed) > 0 {
		return fmt.Errorf("the backfill was given up in partition %s, which would stay under the old set: mend what is wrong there and restart its worker, or give it up:\n%s", ranges(s.failed), goOnCommands)
	}
	if s.caught == 0 {
		return fmt.Errorf("all partitions have stopped:\n%s", goOnCommands)
	}
	fmt.Fprintln(a.out, s.overdueText())
	how, err := a.decided()
	if err != nil {
		return err
	}
	return a.makeLive(ctx, how)
}

// decided is what becomes of overdue offers: as was given, or as is answered now.
func (a *applying) decided() (string, error) {
	how := a.overdue
	if how == "" {
		how = a.live.Backfill.Overdue
	}
	for how == "" && !a.yes {
		fmt.Fprint(a.out, "What becomes of offers that are overdue at the switch? drop, now, or a duration over which they are spread, as 6h: ")
		line, err := a.in.ReadString('\n')
		if how = strings.TrimSpace(line); err != nil && how == "" {
			fmt.Fprintln(a.out)
			break
		}
		if _, err := pipeline.ParseOverdue(how); err != nil {
			fmt.Fprintln(a.out, err)
			how = ""
		}
	}
	if how == "" {
		fmt.Fprintf(a.out, "the set is not live yet, because nobody has said what becomes of offers that are overdue at the switch. Go on with\n%s\n", goOnCommands)
		return "", errSilent
	}
	return how, nil
}

// makeLive makes the set of the backfill live, and waits until each partition has
// switched.
func (a *applying) makeLive(ctx context.Context, overdue string) error {
	a.backfill = true
	p, err := a.plan(ctx)
	if err == nil {
		err = a.oldWorkers(p)
	}
	if err != nil {
		return err
	}
	b := *a.live.Backfill
	b.Overdue = overdue
	if err := a.put(ctx, broker.Live{Set: b.Set, Previous: a.previous(ctx, p.Total), Backfill: &b}); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "set %s is live, by backfill\n", b.Set)
	return a.awaitSwitch(ctx)
}

// switchWithin is how long at least apply waits for one more partition to switch: it
// stores its second state first.
const switchWithin = 5 * time.Minute

// awaitSwitch waits until each partition has switched.
func (a *applying) awaitSwitch(ctx context.Context) error {
	if a.wait == 0 {
		return nil
	}
	wait := a.wait
	if !a.waitSet {
		wait = switchWithin
	}
	live := newProgress(a.std.err)
	defer live.done()
	c := newCarrying(a.conn, a.live)
	lags, err := c.await(ctx, wait, func() {
		live.show("switching %s %d of %d partitions", bar(float64(c.have)/float64(len(c.done))), c.have, len(c.done))
	})
	live.done()
	if ctx.Err() != nil {
		fmt.Fprintln(a.std.err, "\nthe set is live, and the partitions switch without this command: see offerctl status")
		return errSilent
	}
	if err == nil {
		err = lagging("the set is live, by backfill, but in force", a.conn.Partitions, lags)
	}
	if err != nil {
		return err
	}
	return a.tables(ctx)
}

// goAhead is apply --go.
func (a *applying) goAhead(ctx context.Context) error {
	b := a.live.Backfill
	if b == nil {
		return errors.New("no backfill runs: begin one with offerctl apply PATH --backfill")
	}
	if err := a.stored(ctx, b.Set); err != nil {
		return err
	}
	if a.live.Go() {
		fmt.Fprintf(a.out, "%s made set %s live on %s\n", by(a.live.By), b.Set, shortTime(a.live.At))
		if a.overdue != "" && a.overdue != b.Overdue {
			return fmt.Errorf("what becomes of overdue offers is decided: %s", b.Overdue)
		}
		return a.awaitSwitch(ctx)
	}
	s, err := a.lookAtSeconds(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, s.how())
	if len(s.failed) > 0 && !a.force {
		return fmt.Errorf("the backfill was given up in partition %s, which would stay under the old set: mend what is wrong there and restart its worker; or use --force, then it switches when its backfill has succeeded", ranges(s.failed))
	}
	fmt.Fprintln(a.out, s.overdueText())
	how, err := a.decided()
	if err != nil {
		return err
	}
	if err := a.makeLive(ctx, how); err != nil {
		return err
	}
	if len(a.def.Facts) > 0 {
		fmt.Fprintln(a.out, "if facts have tables, load them: offerctl apply PATH")
	}
	return nil
}

// stored reads a set from the bucket, which has no tables.
func (a *applying) stored(ctx context.Context, hash string) (err error) {
	if a.def, err = a.conn.Set(ctx, hash); err == nil {
		a.set, err = oldSet(ctx, a.conn, new(checkpoint.Sets), hash)
	}
	return err
}

// giveUp is apply --abort. It is done when it is in every log: an owner that knows
// only the record before may append the switch until then.
func (a *applying) giveUp(ctx context.Context) error {
	asked := a.live.Asked()
	switch {
	case a.live.Go():
		return fmt.Errorf("%s made set %s live on %s: it is too late to give it up: go back with offerctl campaigns rollback", by(a.live.By), a.live.Set, shortTime(a.live.At))
	case asked == "":
		return errors.New("no backfill runs: there is nothing to give up")
	}
	if err := a.put(ctx, broker.Live{Set: a.live.Set, Previous: a.live.Previous}); err != nil {
		return err
	}
	lags, err := newCarrying(a.conn, a.live).await(ctx, a.wait, nil)
	if err == nil {
		err = lagging("the backfill is given up, but that is carried into the log", a.conn.Partitions, lags)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "the backfill of set %s is given up in all %d partitions; set %s stays live\n", asked, a.conn.Partitions, a.live.Set)
	return nil
}

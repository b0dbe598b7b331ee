package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

// carried reports whether what a log, or a worker, has carried out last is the record
// or a newer one. A record of an older version has no revision.
func carried(live broker.Live, revision uint64, set string) bool {
	if live.Revision == 0 {
		return set == live.Set
	}
	return revision >= live.Revision
}

// A carrying waits until a record is carried into the log of every partition.
type carrying struct {
	conn *broker.Conn
	live broker.Live
	done []bool // by partition
	have int    // how many are done

	members audit.Overview
	asked   time.Time // when members answered; zero: they were not asked yet
	began   time.Time // when have grew last
}

func newCarrying(conn *broker.Conn, live broker.Live) *carrying {
	return &carrying{conn: conn, live: live, done: make([]bool, conn.Partitions), began: time.Now()}
}

// look looks into the logs that are not done. A log whose control messages have
// expired tells nothing; so the workers are asked, too, once a second if it takes
// longer.
func (c *carrying) look(ctx context.Context) error {
	have := c.have
	for p := range c.done {
		if c.done[p] {
			continue
		}
		last, err := c.conn.LastControl(ctx, p)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.mark(p, err == nil && last.Seq > 0 && carried(c.live, last.Revision, last.Set))
	}
	if c.have < len(c.done) && time.Since(c.began) > 500*time.Millisecond && time.Since(c.asked) > time.Second {
		if err := c.ask(ctx); err != nil {
			return err
		}
	}
	if c.have > have {
		c.began = time.Now()
	}
	return nil
}

// ask asks the workers.
func (c *carrying) ask(ctx context.Context) (err error) {
	if c.members, err = audit.Members(ctx, c.conn, 2*time.Second); err != nil {
		return err
	}
	c.asked = time.Now()
	for p, o := range c.members.Partitions {
		c.mark(p, o.Answers && carried(c.live, o.Revision, o.Set))
	}
	return nil
}

func (c *carrying) mark(p int, done bool) {
	if done && !c.done[p] {
		c.done[p] = true
		c.have++
	}
}

// await waits until all are done. It gives up when only partitions are left that have
// stopped, or when none was done for some time, and returns those that are left.
// waiting, unless it is nil, is called after each look.
func (c *carrying) await(ctx context.Context, most time.Duration, waiting func()) ([]lag, error) {
	for {
		if err := c.look(ctx); err != nil {
			return nil, err
		}
		switch {
		case c.have == len(c.done):
			return nil, nil
		case !c.asked.IsZero() && c.onlyStopped() || time.Since(c.began) >= most:
			if c.asked.IsZero() {
				if err := c.ask(ctx); err != nil {
					return nil, err
				}
			}
			return c.left(), nil
		}
		if waiting != nil {
			waiting()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// onlyStopped reports whether all partitions that are left have stopped.
func (c *carrying) onlyStopped() bool {
	for p, o := range c.members.Partitions {
		if !c.done[p] && (o.Answers || len(o.Stops) == 0) {
			return false
		}
	}
	return true
}

// left are the partitions that are not done, and why.
func (c *carrying) left() (all []lag) {
	for p, o := range c.members.Partitions {
		if !c.done[p] {
			all = append(all, lag{p, whyBehind(o, c.live)})
		}
	}
	return all
}

// whyBehind says why a partition has not carried out a record.
func whyBehind(o audit.PartitionOverview, live broker.Live) string {
	switch s := secondOf(o, live.Backfill); {
	case !o.Answers && len(o.Stops) > 0:
		return fmt.Sprintf("it has stopped on %s: %s", o.Stops[0].Member, o.Stops[0].Why)
	case len(o.Owners) == 0:
		return "no worker owns it: check that a worker runs"
	case !o.Answers:
		return fmt.Sprintf("its owner %s does not answer", o.Owners[0])
	case s != nil && s.Failed != "":
		return "its backfill was given up: " + s.Failed
	case s != nil && !s.CaughtUp:
		return fmt.Sprintf("its backfill has come to message %d of %d", s.Seq, s.End)
	}
	return fmt.Sprintf("its owner %s has not put it into the log yet", o.Owners[0])
}

// A lag is a partition whose log has not carried out a record yet.
type lag struct {
	partition int
	why       string
}

// lagging is the error for partitions that lag; nil if none does.
func lagging(what string, partitions int, lags []lag) error {
	if len(lags) == 0 {
		return nil
	}
	byWhy := map[string][]int{}
	var order []string
	for _, l := range lags {
		if byWhy[l.why] == nil {
			order = append(order, l.why)
		}
		byWhy[l.why] = append(byWhy[l.why], l.partition)
	}
	text := fmt.Sprintf("%s only in %d of %d partitions", what, partitions-len(lags), partitions)
	for _, why := range order {
		text += fmt.Sprintf("\n  partition %s: %s", ranges(byWhy[why]), why)
	}
	return errors.New(text + "\na partition carries it out by itself when it runs again: see offerctl status")
}

// awaitSet waits until the set, which is live, is in force in all partitions.
func awaitSet(ctx context.Context, w io.Writer, conn *broker.Conn, hash string, most time.Duration) error {
	if most == 0 {
		return nil
	}
	live, _, err := conn.Live(ctx)
	if err != nil {
		return err
	}
	if live.Set != hash {
		return fmt.Errorf("%s has made another set live meanwhile, %s", by(live.By), live.Set)
	}
	lags, err := newCarrying(conn, live).await(ctx, most, nil)
	if err == nil {
		err = lagging("the set is live, but in force", conn.Partitions, lags)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "in force in all %d partitions\n", conn.Partitions)
	return nil
}

// by names who wrote a record.
func by(name string) string {
	if name == "" {
		return "somebody"
	}
	return name
}

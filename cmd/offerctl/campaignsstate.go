package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// deployed is what a deployment has: what is asked for, by the bucket, and what is in
// force, by the partitions' owners.
type deployed struct {
	live      broker.Live
	liveRev   uint64
	pauses    broker.Pauses
	pausesRev uint64
	def       *campaign.Definition // of the live set; nil: none is live
	members   audit.Overview
	of        int // partitions
}

// answerWithin is how long workers are waited for.
const answerWithin = 2 * time.Second

// look reads the bucket and asks the workers.
func (c *campaigns) look(ctx context.Context) (d *deployed, err error) {
	d = &deployed{of: c.conn.Partitions}
	if err = d.read(ctx, c.conn); err != nil {
		return nil, err
	}
	if d.live.Set != "" {
		if d.def, err = c.conn.Set(ctx, d.live.Set); err != nil {
			return nil, err
		}
	}
	d.members, err = audit.Members(ctx, c.conn, answerWithin)
	return d, err
}

// read reads what the bucket has that others may change meanwhile.
func (d *deployed) read(ctx context.Context, conn *broker.Conn) (err error) {
	if d.live, d.liveRev, err = conn.Live(ctx); err != nil {
		return err
	}
	d.pauses, d.pausesRev, err = conn.Pauses(ctx)
	return err
}

// ready refuses a change that an older worker would stop at.
func (d *deployed) ready() error {
	var old []string
	for _, m := range d.members.Members {
		if m.Answers && !runsEngine(m.Engines, pipeline.Engine) {
			old = append(old, m.ID)
		}
	}
	if len(old) == 0 {
		return nil
	}
	return fmt.Errorf("a control message of engine %d would stop the partitions of these workers, which do not run it: %s: start the new version on all of them first", pipeline.Engine, several(old))
}

// answered are the partitions whose owner has answered, and satisfies is.
func (d *deployed) answered(is func(o audit.PartitionOverview) bool) []int {
	all := []int{}
	for p, o := range d.members.Partitions {
		if o.Answers && is(o) {
			all = append(all, p)
		}
	}
	return all
}

func whatever(audit.PartitionOverview) bool { return true }

// braked are the partitions in which a brake has paused what has this PauseName.
func (d *deployed) braked(name string) []int {
	return d.answered(func(o audit.PartitionOverview) bool { return slices.Contains(o.Braked, name) })
}

// channelsOf are the channels of a set's campaigns, sorted.
func channelsOf(def *campaign.Definition) (all []string) {
	for i := range def.Campaigns {
		all = append(all, def.Campaigns[i].Offer.Channel)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// known returns an error if the set has no campaign, or row of one, with an id.
func (d *deployed) known(id string) error {
	if d.def == nil {
		return errors.New("no campaign set is live: run offerctl apply")
	}
	name, row, isRow := strings.Cut(id, "/")
	i := slices.IndexFunc(d.def.Campaigns, func(c campaign.Campaign) bool { return c.ID == name })
	var ids []string
	what := "the live set has no campaign " + name
	switch {
	case i >= 0 && !isRow:
		return nil
	case i >= 0:
		what = fmt.Sprintf("campaign %s has no row %s", name, row)
		for _, r := range d.def.Campaigns[i].Rows {
			if r.ID == row {
				return nil
			}
			ids = append(ids, r.ID)
		}
		if best := campaign.Nearest(row, ids); best != "" {
			return fmt.Errorf("%s: did you mean %q?", what, name+"/"+best)
		}
	default:
		for _, c := range d.def.Campaigns {
			ids = append(ids, c.ID)
		}
		if best := campaign.Nearest(name, ids); best != "" {
			return fmt.Errorf("%s: did you mean %q?", what, best)
		}
	}
	if len(ids) == 0 {
		return fmt.Errorf("%s, nor any other", what)
	}
	slices.Sort(ids)
	return fmt.Errorf("%s: it has %s", what, several(ids))
}

// knownChannel returns an error if no campaign of the set sends on a channel.
func (d *deployed) knownChannel(channel string) error {
	if d.def == nil {
		return errors.New("no campaign set is live: run offerctl apply")
	}
	all := channelsOf(d.def)
	if slices.Contains(all, channel) {
		return nil
	}
	what := "no campaign of the live set sends on channel " + channel
	if best := campaign.Nearest(channel, all); best != "" {
		return fmt.Errorf("%s: did you mean %q?", what, best)
	}
	return fmt.Errorf("%s: they send on %s", what, several(all))
}

// awaitPauses waits until what is paused is in the logs of all partitions, and says
// so. What an owner says that it has applied was in its log, from which it may have
// expired.
func (c *campaigns) awaitPauses(ctx context.Context, d *deployed, revision uint64, began time.Time, done string) error {
	if c.wait == 0 {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	has := d.answered(func(o audit.PartitionOverview) bool { return o.Pauses >= revision })
	var lags []lag
	for p := range d.of {
		if !slices.Contains(has, p) {
			lags = append(lags, lag{partition: p})
		}
	}
	for {
		lags = slices.DeleteFunc(lags, func(l lag) bool {
			m, err := c.conn.LastControl(within, l.partition)
			return err == nil && m.Pauses >= revision
		})
		if len(lags) == 0 {
			_, err := fmt.Fprintf(c.std.out, "%s in all %d partitions after %.1f s\n", done, d.of, time.Since(began).Seconds())
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-within.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			members, err := audit.Members(ctx, c.conn, answerWithin)
			if err != nil {
				return err
			}
			for i := range lags {
				lags[i].why = whyBehind(members.Partitions[lags[i].partition], broker.Live{})
			}
			return lagging(fmt.Sprintf("it is stored, but after %s %s", c.wait, done), d.of, lags)
		}
	}
}

// short is the beginning of a set's hash, as much as people need.
func short(hash string) string { return hash[:min(len(hash), 8)] }

// sayRest says of which partitions the state is not known, or not yet as asked for.
func (d *deployed) sayRest(w io.Writer) {
	for _, m := range d.members.Members {
		if !m.Answers {
			fmt.Fprintf(w, "worker %s does not answer\n", m.ID)
		}
	}
	behind := func(what string, is func(o audit.PartitionOverview) bool) {
		if all := d.answered(is); len(all) > 0 {
			fmt.Fprintf(w, "%s in partitions %s\n", what, ranges(all))
		}
	}
	var none []int
	for p, o := range d.members.Partitions {
		if !o.Answers {
			none = append(none, p)
		}
	}
	if len(none) > 0 {
		fmt.Fprintf(w, "no owner answers for partitions %s\n", ranges(none))
	}
	behind("the set is not in force yet", func(o audit.PartitionOverview) bool { return d.live.Set != "" && o.Set != d.live.Set })
	behind("what is paused is not in force yet", func(o audit.PartitionOverview) bool { return o.Pauses < d.pauses.Revision })
}

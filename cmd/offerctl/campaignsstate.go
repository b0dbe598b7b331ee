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
	owners    map[int]broker.PartitionStatus
	reports   map[string]broker.Report
	silent    []string // workers that do not answer
	of        int      // partitions
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
	if d.reports, d.silent, err = audit.Reports(ctx, c.conn, answerWithin); err != nil {
		return nil, err
	}
	d.owners = map[int]broker.PartitionStatus{}
	for _, r := range d.reports {
		for _, p := range r.Partitions {
			if p.Owned {
				d.owners[p.Partition] = p.PartitionStatus
			}
		}
	}
	return d, nil
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
	for id, r := range d.reports {
		if !slices.Contains(r.Engines, pipeline.Engine) {
			old = append(old, id)
		}
	}
	slices.Sort(old)
	if len(old) > 0 {
		return fmt.Errorf("%s of an older version, which would stop at a control message of engine %d: update %s first: %s", count(len(old), "worker")+map[bool]string{true: " is", false: " are"}[len(old) == 1], pipeline.Engine, map[bool]string{true: "it", false: "them"}[len(old) == 1], several(old))
	}
	return nil
}

// not are the partitions whose owner does not answer, or does not satisfy is.
func (d *deployed) not(is func(s broker.PartitionStatus) bool) (all []int) {
	for p := range d.of {
		if s, ok := d.owners[p]; !ok || !is(s) {
			all = append(all, p)
		}
	}
	return all
}

// braked are the partitions in which a brake has paused what has this PauseName.
func (d *deployed) braked(name string) (all []int) {
	for p := range d.of {
		if slices.Contains(d.owners[p].Braked, name) {
			all = append(all, p)
		}
	}
	return all
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

// awaitRevision waits until the last control message of each partition has a revision,
// and says so. what is the change, done what it is when it is done.
func (c *campaigns) awaitRevision(ctx context.Context, kind broker.RevisionKind, revision uint64, began time.Time, done, what string) error {
	if c.wait == 0 {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	var lag []int
	for p := range c.conn.Partitions {
		lag = append(lag, p)
	}
	for {
		lag = slices.DeleteFunc(lag, func(p int) bool {
			m, err := c.conn.LastControl(within, p)
			carried := m.Revision
			if kind == broker.PausesRevision {
				carried = m.Pauses
			}
			return err == nil && carried >= revision
		})
		if len(lag) == 0 {
			_, err := fmt.Fprintf(c.std.out, "%s in all %d partitions after %s\n", done, c.conn.Partitions, tenths(time.Since(began)))
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-within.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%s is stored, but after %s it is in the logs of only %d of %d partitions: it follows in partitions %s as soon as a worker owns them: see offerctl status", what, c.wait, c.conn.Partitions-len(lag), c.conn.Partitions, ranges(lag))
		}
	}
}

// tenths writes a short time.
func tenths(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// short is the beginning of a set's hash, as much as people need.
func short(hash string) string { return hash[:min(len(hash), 8)] }

// sayRest says of how many partitions what is asked for is not in force yet.
func (d *deployed) sayRest(w io.Writer) {
	if len(d.silent) > 0 {
		fmt.Fprintf(w, "%s not answer: %s\n", map[bool]string{true: "a worker does", false: "workers do"}[len(d.silent) == 1], several(d.silent))
	}
	old := d.not(func(broker.PartitionStatus) bool { return true })
	if len(old) > 0 {
		fmt.Fprintf(w, "no owner answers for partitions %s\n", ranges(old))
	}
	has := func(is func(s broker.PartitionStatus) bool) []int {
		return slices.DeleteFunc(d.not(is), func(p int) bool { return slices.Contains(old, p) })
	}
	if lag := has(func(s broker.PartitionStatus) bool { return s.Set == d.live.Set }); len(lag) > 0 && d.live.Set != "" {
		fmt.Fprintf(w, "the set is not in force yet in partitions %s\n", ranges(lag))
	}
	if lag := has(func(s broker.PartitionStatus) bool { return s.Pauses >= d.pauses.Revision }); len(lag) > 0 {
		fmt.Fprintf(w, "what is paused is not in force yet in partitions %s\n", ranges(lag))
	}
}

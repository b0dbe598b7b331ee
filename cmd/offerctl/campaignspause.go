package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// A pausing changes a record of what is paused. It is made anew from what the bucket
// has whenever somebody else has changed that meanwhile.
type pausing struct {
	pauses  broker.Pauses
	changed []string // by PauseName
	said    []string // lines about what stays as it is
}

// attempts is how often a record is read again that somebody else has changed.
const attempts = 20

// pause is `offerctl campaigns pause`.
func (c *campaigns) pause(ctx context.Context, ids []string) error {
	at := value.FormatTime(time.Now().UnixNano())
	reason := c.by + " at " + shortTime(at)
	if c.why != "" {
		reason += ": " + c.why
	}
	return c.changePauses(ctx, "paused", ids, func(d *deployed) (*pausing, error) {
		var wrong []error
		for _, id := range ids {
			wrong = append(wrong, d.known(id))
		}
		for _, channel := range c.channels {
			wrong = append(wrong, d.knownChannel(channel))
		}
		p := &pausing{pauses: d.pauses}
		if err := errors.Join(wrong...); err != nil {
			return nil, err
		}
		for _, id := range ids {
			p.pause(&p.pauses.Campaigns, "", id, reason)
		}
		for _, channel := range c.channels {
			p.pause(&p.pauses.Channels, channel, "", reason)
			if on := servicesOn(d.def, channel); len(on) > 0 {
				p.said = append(p.said, fmt.Sprintf("channel %s: what is of kind service goes on: %s", channel, several(on)))
			}
		}
		return p, nil
	})
}

// servicesOn are the campaigns of kind service that send on a channel.
func servicesOn(def *campaign.Definition, channel string) (ids []string) {
	for i := range def.Campaigns {
		if c := &def.Campaigns[i]; c.Offer.Channel == channel && c.Offer.Kind != campaign.Advertising {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// pause adds a campaign or a channel to a list of the record.
func (p *pausing) pause(list *[]string, channel, id, reason string) {
	is := broker.PauseName(channel, id)
	name := channel + id // one of them is empty
	base := campaign.NameOf(id)
	switch {
	case slices.Contains(*list, name):
		p.said = append(p.said, fmt.Sprintf("%s is paused already: %s", is, reasonOf(p.pauses, is)))
		return
	case base != id && slices.Contains(*list, base):
		p.said = append(p.said, fmt.Sprintf("%s is paused already, as all of %s is: %s", is, base, reasonOf(p.pauses, broker.PauseName("", base))))
		return
	}
	*list = append(*list, name)
	slices.Sort(*list)
	if p.pauses.Reasons == nil {
		p.pauses.Reasons = map[string]string{}
	}
	p.pauses.Reasons[is] = reason
	p.changed = append(p.changed, is)
}

// reasonOf says who has paused something, and why.
func reasonOf(p broker.Pauses, name string) string {
	if r := p.Reasons[name]; r != "" {
		return r
	}
	return "it is not known by whom"
}

// resume is `offerctl campaigns resume`.
func (c *campaigns) resume(ctx context.Context, ids []string) error {
	return c.changePauses(ctx, "resumed", ids, func(d *deployed) (*pausing, error) {
		p := &pausing{pauses: d.pauses}
		var wrong []error
		for _, id := range ids {
			wrong = append(wrong, p.resume(d, &p.pauses.Campaigns, "", id, func() error { return d.known(id) }))
		}
		for _, channel := range c.channels {
			wrong = append(wrong, p.resume(d, &p.pauses.Channels, channel, "", func() error { return d.knownChannel(channel) }))
		}
		return p, errors.Join(wrong...)
	})
}

// resume takes a campaign or a channel from a list of the record. A brake may have
// paused it where the record does not list it yet. known says what is wrong with a
// name that nothing has paused: what has left the live set can stay paused.
func (p *pausing) resume(d *deployed, list *[]string, channel, id string, known func() error) error {
	is := broker.PauseName(channel, id)
	name := channel + id
	i := slices.Index(*list, name)
	if i < 0 && len(d.braked(is)) == 0 {
		if err := known(); err != nil {
			return err
		}
		base := campaign.NameOf(id)
		if base != id && slices.Contains(*list, base) {
			return fmt.Errorf("%s is paused, as all of %s is: resume %s, and pause other rows of it", is, base, base)
		}
		if len(d.answered(whatever)) == d.of {
			p.said = append(p.said, is+" is not paused")
			p.sayRows(list, id)
			return nil
		}
	}
	if i >= 0 {
		*list = slices.Delete(*list, i, i+1)
	}
	p.changed = append(p.changed, is)
	p.sayRows(list, id)
	return nil
}

// sayRows says which rows of a campaign are paused by themselves.
func (p *pausing) sayRows(list *[]string, id string) {
	var rows []string
	for _, name := range *list {
		if id != "" && strings.HasPrefix(name, id+"/") {
			rows = append(rows, name)
		}
	}
	if len(rows) > 0 {
		p.said = append(p.said, "paused by itself stays "+several(rows))
	}
}

// changePauses makes a change of the record of what is paused, and waits until it is
// in all logs. A row's name counts as a campaign's.
func (c *campaigns) changePauses(ctx context.Context, done string, ids []string, change func(d *deployed) (*pausing, error)) error {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	slices.Sort(c.channels)
	c.channels = slices.Compact(c.channels)
	if len(ids)+len(c.channels) == 0 {
		return usagef("nothing is named: name campaigns, or channels with --channel")
	}
	d, err := c.look(ctx)
	if err != nil {
		return err
	}
	if err := d.ready(); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		began := time.Now()
		p, err := change(d)
		if err != nil {
			return err
		}
		if len(p.changed) > 0 {
			err = c.putPauses(ctx, d, p, done == "resumed")
		}
		if errors.Is(err, broker.ErrLiveChanged) && attempt < attempts {
			if err := d.read(ctx, c.conn); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		out := onDisplay(c.std.out)
		for _, line := range p.said {
			fmt.Fprintln(out, line)
		}
		for _, is := range p.changed {
			fmt.Fprintln(out, is, done)
		}
		if len(p.changed) == 0 && done == "resumed" {
			return nil
		}
		return c.awaitPauses(ctx, d, p.pauses.Revision, began, done)
	}
}

// putPauses writes the record.
func (c *campaigns) putPauses(ctx context.Context, d *deployed, p *pausing, resumes bool) (err error) {
	last := p.pauses.Revision
	for _, o := range d.members.Partitions {
		last = max(last, o.Pauses)
	}
	if p.pauses.Revision, err = c.conn.NextRevision(ctx, last, broker.PausesRevision); err != nil {
		return err
	}
	if resumes {
		p.resumed()
		if err := c.forget(ctx, &p.pauses); err != nil {
			return err
		}
	}
	p.pauses.By, p.pauses.At = c.by, value.FormatTime(time.Now().UnixNano())
	return c.conn.PutPauses(ctx, p.pauses, d.pausesRev)
}

// resumed notes under which revision what has changed was resumed.
func (p *pausing) resumed() {
	if p.pauses.Resumed == nil {
		p.pauses.Resumed = map[string]uint64{}
	}
	for _, is := range p.changed {
		p.pauses.Resumed[is] = p.pauses.Revision
		delete(p.pauses.Reasons, is)
	}
}

// forget bounds the record: of more than a thousand resumes, those leave first that
// were carried into all logs the longest ago. No brake can have tripped under an
// older revision than the last that its partition knows.
func (c *campaigns) forget(ctx context.Context, pauses *broker.Pauses) error {
	if len(pauses.Resumed) <= mostNamed {
		return nil
	}
	carried := pauses.Revision
	for p := range c.conn.Partitions {
		m, err := c.conn.LastControl(ctx, p)
		if err != nil {
			return err
		}
		carried = min(carried, m.Pauses)
	}
	forget(pauses, carried)
	return nil
}

// forget takes away the oldest resumes up to a revision, until there are no more than
// a thousand.
func forget(pauses *broker.Pauses, carried uint64) {
	var revisions []uint64
	for _, r := range pauses.Resumed {
		revisions = append(revisions, r)
	}
	slices.Sort(revisions)
	up := min(carried, revisions[max(len(revisions)-mostNamed-1, 0)])
	for name, r := range pauses.Resumed {
		if r <= up {
			delete(pauses.Resumed, name)
		}
	}
}

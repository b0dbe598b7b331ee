package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// A campaignList is what list shows.
type campaignList struct {
	Set        string           `json:"set"` // hash of the live set; "": none is live
	Revision   uint64           `json:"revision"`
	By         string           `json:"by,omitempty"`
	At         string           `json:"at,omitempty"`
	Pauses     uint64           `json:"pauses"` // revision of what is paused
	Partitions int              `json:"partitions"`
	Answered   []int            `json:"answered"`          // partitions whose owner has answered
	Unknown    []unanswered     `json:"unknown,omitempty"` // partitions that do not say what is pending
	Backfill   *listedBackfill  `json:"backfill,omitempty"`
	Campaigns  []listedCampaign `json:"campaigns"`
	Channels   []listedChannel  `json:"channels"` // those that are paused or braked

	Pools   map[string]pipeline.PoolState `json:"pools,omitempty"`    // from which campaigns of the live set take codes
	NotHeld []unanswered                  `json:"not_held,omitempty"` // partitions that do not say what is left of budgets and pools
}

// A listedCampaign is a campaign of the live set, or one that is paused and not in it.
type listedCampaign struct {
	ID      string        `json:"id"`
	Channel string        `json:"channel,omitempty"`
	Kind    string        `json:"kind,omitempty"`
	Rows    int           `json:"rows,omitempty"`
	Budget  *listedBudget `json:"budget,omitempty"`
	Pending *int          `json:"pending"`        // in the partitions that say so; null: none does
	Gone    bool          `json:"gone,omitempty"` // the live set lacks it
	State   string        `json:"state"`          // live, paused or braked: what stops all of it, in all partitions or in some
	Paused  []listedStop  `json:"paused,omitempty"`
	Braked  []listedStop  `json:"braked,omitempty"`
}

// A listedStop is what has paused a campaign, some of its rows, or its channel.
type listedStop struct {
	Name       string `json:"name"` // broker.PauseName
	Reason     string `json:"reason,omitempty"`
	Partitions []int  `json:"partitions,omitempty"` // in which a brake has
}

// A listedChannel is a channel whose advertising is paused.
type listedChannel struct {
	Channel string `json:"channel"`
	Paused  bool   `json:"paused"` // in all partitions; else brakes have in some
	Reason  string `json:"reason,omitempty"`
	Braked  []int  `json:"braked,omitempty"`
}

// A listedBackfill is one that has not ended.
type listedBackfill struct {
	Set       string         `json:"set"`
	Go        bool           `json:"go"` // it becomes live where its second fold has caught up
	Features  []string       `json:"features,omitempty"`
	Campaigns []string       `json:"campaigns,omitempty"`
	Overdue   string         `json:"overdue,omitempty"`
	CaughtUp  []int          `json:"caught_up"` // partitions
	Switched  []int          `json:"switched"`
	Failed    map[int]string `json:"failed,omitempty"` // why it was given up, by partition
}

// list is `offerctl campaigns list`.
func (c *campaigns) list(ctx context.Context, _ []string) error {
	d, err := c.look(ctx)
	if err != nil {
		return err
	}
	l := d.list()
	l.At, l.By = madeLive(ctx, c.conn, d.live)
	pending, whys, err := askPending(ctx, c.conn)
	if err != nil {
		return err
	}
	l.count(pending, whys)
	held, notHeld, err := askHeld(ctx, c.conn, d.def)
	if err != nil {
		return err
	}
	l.budgets(d.def, held, notHeld)
	if c.asJSON {
		return writeJSON(c.std.out, l)
	}
	out := onDisplay(c.std.out)
	l.write(out)
	d.sayRest(out)
	return nil
}

func (d *deployed) list() *campaignList {
	l := &campaignList{Set: d.live.Set, Revision: d.live.Revision, By: d.live.By, At: d.live.At, Pauses: d.pauses.Revision, Partitions: d.of, Answered: d.answered(whatever), Campaigns: []listedCampaign{}, Channels: []listedChannel{}}
	l.Backfill = d.backfill()
	known := map[string]bool{}
	if d.def != nil {
		for i := range d.def.Campaigns {
			l.Campaigns = append(l.Campaigns, d.campaign(&d.def.Campaigns[i]))
			known[d.def.Campaigns[i].ID] = true
		}
	}
	for _, id := range d.pauses.Campaigns {
		if !known[campaign.NameOf(id)] {
			is := broker.PauseName("", id)
			l.Campaigns = append(l.Campaigns, listedCampaign{ID: id, Gone: true, State: "paused", Paused: []listedStop{{Name: is, Reason: d.pauses.Reasons[is]}}})
		}
	}
	slices.SortFunc(l.Campaigns, func(a, b listedCampaign) int { return strings.Compare(a.ID, b.ID) })
	for _, channel := range d.stoppedChannels() {
		is := broker.PauseName(channel, "")
		l.Channels = append(l.Channels, listedChannel{channel, slices.Contains(d.pauses.Channels, channel), d.pauses.Reasons[is], d.braked(is)})
	}
	return l
}

// count counts what is pending.
func (l *campaignList) count(pending []*broker.Pending, whys []string) {
	n, known := map[string]int{}, false
	for p, is := range pending {
		if is == nil {
			l.Unknown = append(l.Unknown, unanswered{p, whys[p]})
			continue
		}
		known = true
		for id, stages := range is.Campaigns {
			for _, k := range stages {
				n[campaign.NameOf(id)] += k
			}
		}
	}
	for i := range l.Campaigns {
		if c := &l.Campaigns[i]; known && !c.Gone {
			is := n[c.ID]
			c.Pending = &is
		}
	}
}

// stoppedChannels are the channels that are paused, or that a brake has paused.
func (d *deployed) stoppedChannels() []string {
	all := slices.Clone(d.pauses.Channels)
	for _, o := range d.members.Partitions {
		for _, name := range o.Braked {
			if channel, ok := strings.CutPrefix(name, "channel "); o.Answers && ok {
				all = append(all, channel)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// campaign tells the state of a campaign of the live set.
func (d *deployed) campaign(def *campaign.Campaign) listedCampaign {
	c := listedCampaign{ID: def.ID, Channel: def.Offer.Channel, Kind: def.Offer.Kind, Rows: len(def.Rows), State: "live"}
	stops := []string{broker.PauseName("", def.ID)}
	if def.Offer.Kind == campaign.Advertising {
		stops = append(stops, broker.PauseName(def.Offer.Channel, ""))
	}
	paused := map[string]bool{}
	for _, id := range d.pauses.Campaigns {
		paused[broker.PauseName("", id)] = true
	}
	for _, channel := range d.pauses.Channels {
		paused[broker.PauseName(channel, "")] = true
	}
	for _, is := range stops {
		if in := d.braked(is); len(in) > 0 {
			c.State = "braked"
			c.Braked = append(c.Braked, listedStop{Name: is, Partitions: in})
		}
	}
	for _, is := range stops {
		if paused[is] {
			c.State = "paused"
			c.Paused = append(c.Paused, listedStop{Name: is, Reason: d.pauses.Reasons[is]})
		}
	}
	for _, r := range def.Rows {
		if is := broker.PauseName("", def.ID+"/"+r.ID); paused[is] {
			c.Paused = append(c.Paused, listedStop{Name: is, Reason: d.pauses.Reasons[is]})
		}
	}
	return c
}

// backfill tells of the backfill that has not ended; nil: there is none.
func (d *deployed) backfill() *listedBackfill {
	b := d.live.Backfill
	if b == nil {
		return nil
	}
	l := &listedBackfill{Set: b.Set, Go: d.live.Go(), Features: b.Features, Campaigns: b.Campaigns, Overdue: b.Overdue, Failed: map[int]string{}}
	l.Switched = d.answered(func(o audit.PartitionOverview) bool { return l.Go && carried(d.live, o.Revision, o.Set) })
	l.CaughtUp = d.answered(func(o audit.PartitionOverview) bool { s := secondOf(o, b); return s != nil && s.CaughtUp })
	for _, p := range d.answered(whatever) {
		if s := secondOf(d.members.Partitions[p], b); s != nil && s.Failed != "" {
			l.Failed[p] = s.Failed
		}
	}
	if l.Go && len(l.Switched) == d.of {
		return nil
	}
	return l
}

func (l *campaignList) write(out io.Writer) {
	if l.Set == "" {
		fmt.Fprintln(out, "no campaign set is live")
	} else {
		fmt.Fprintf(out, "set %s is live%s%s\n", l.Set, after(" since ", shortTime(l.At)), after(", by ", l.By))
	}
	l.Backfill.write(out, l.Partitions)
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	budgets := slices.ContainsFunc(l.Campaigns, func(c listedCampaign) bool { return c.Budget != nil })
	if budgets {
		fmt.Fprintln(w, "campaign\tchannel\tkind\tpending\tbudget\tstate")
	} else {
		fmt.Fprintln(w, "campaign\tchannel\tkind\tpending\tstate")
	}
	for i := range l.Campaigns {
		c := &l.Campaigns[i]
		if c.Gone {
			c.Channel, c.Kind = "-", "-"
		}
		pending := "-"
		if c.Pending != nil {
			pending = fmt.Sprint(*c.Pending)
		}
		if budgets {
			pending += "\t" + c.Budget.text()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.ID, c.Channel, c.Kind, pending, c.text(l.Partitions))
	}
	w.Flush()
	for why, ns := range (&plan{Unanswered: l.Unknown}).unanswered() {
		fmt.Fprintf(out, "what is pending in partitions %s is not known: %s\n", ns, why)
	}
	l.writeHeld(out)
	if len(l.Channels) > 0 {
		fmt.Fprintln(out)
	}
	for _, c := range l.Channels {
		fmt.Fprintf(out, "channel %s: advertising is %s\n", c.Channel, c.text(l.Partitions))
	}
}

func (c *listedChannel) text(of int) string {
	var parts []string
	if c.Paused {
		parts = append(parts, "paused"+after(": ", c.Reason))
	}
	if len(c.Braked) > 0 {
		parts = append(parts, brakedText(c.Braked, of))
	}
	return strings.Join(parts, "; ")
}

func brakedText(in []int, of int) string {
	return fmt.Sprintf("braked in %d of %s: %s", len(in), count(of, "partition"), ranges(in))
}

// text says in what state the campaign is, and why.
func (c *listedCampaign) text(of int) string {
	var parts []string
	rows := 0
	for _, s := range c.Paused {
		switch s.Name {
		case broker.PauseName("", c.ID):
			parts = append(parts, "paused"+after(": ", s.Reason))
		case broker.PauseName(c.Channel, ""):
			parts = append(parts, "paused with its channel")
		default:
			rows++
			if rows <= rowsShown {
				parts = append(parts, fmt.Sprintf("row %s paused%s", strings.TrimPrefix(s.Name, broker.PauseName("", c.ID+"/")), after(": ", s.Reason)))
			}
		}
	}
	if rows > rowsShown {
		parts = append(parts, fmt.Sprintf("%d of %d rows paused", rows, c.Rows))
	}
	for _, s := range c.Braked {
		how := ""
		if s.Name != broker.PauseName("", c.ID) {
			how = " with its channel"
		}
		parts = append(parts, brakedText(s.Partitions, of)+how)
	}
	if c.Gone {
		parts = append(parts, "not in the live set")
	}
	if c.State == "live" {
		parts = append([]string{"live"}, parts...)
	}
	return strings.Join(parts, "; ")
}

// rowsShown is how many paused rows of a campaign are shown one by one.
const rowsShown = 3

func (b *listedBackfill) write(out io.Writer, of int) {
	if b == nil {
		return
	}
	if b.Go {
		fmt.Fprintf(out, "it becomes live by a backfill: %d of %s have switched", len(b.Switched), count(of, "partition"))
	} else {
		fmt.Fprintf(out, "a backfill of set %s runs: %d of %s have caught up", b.Set, len(b.CaughtUp), count(of, "partition"))
	}
	if len(b.Features) > 0 {
		fmt.Fprintf(out, "; features %s", several(b.Features))
	}
	if len(b.Campaigns) > 0 {
		fmt.Fprintf(out, "; campaigns %s", several(b.Campaigns))
	}
	fmt.Fprintln(out)
	for p := range of {
		if why := b.Failed[p]; why != "" {
			fmt.Fprintf(out, "partition %d has given it up: %s\n", p, why)
		}
	}
}

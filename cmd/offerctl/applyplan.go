package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/change"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/value"
)

// A plan is what an apply will do, as the deployment is now.
type plan struct {
	change.Change
	Forced bool `json:"needs_force"`     // the change needs --force
	Total  int  `json:"cancelled_total"` // evaluations that it cancels, as far as is known

	Unanswered []unanswered `json:"unanswered,omitempty"` // partitions that did not say what is pending
	Logs       []logReach   `json:"logs,omitempty"`       // from when on a backfill would fold each partition
	Disk       []diskNeed   `json:"disk,omitempty"`       // of each worker, for a backfill

	members audit.Overview
	oldLost string // why the live set cannot be compared; "": it can
	shared  []string
}

// An unanswered is a partition that did not say what is pending.
type unanswered struct {
	Partition int    `json:"partition"`
	Why       string `json:"why"`
}

// A logReach tells from when on a partition's log can be folded again.
type logReach struct {
	Partition int    `json:"partition"`
	Since     string `json:"since,omitempty"` // RFC 3339; "": from its beginning

	since int64 // log time; 0: from its beginning
}

// A diskNeed is how much disk a backfill takes of a worker: about as much again as
// the partitions that it owns.
type diskNeed struct {
	Member string `json:"member"`
	Bytes  int64  `json:"bytes"`
	Free   int64  `json:"free,omitempty"` // 0: not known
}

// plan finds out what changes, and asks the workers what is pending.
func (a *applying) plan(ctx context.Context) (*plan, error) {
	p := &plan{}
	var err error
	if p.members, err = audit.Members(ctx, a.conn, 2*time.Second); err != nil {
		return nil, err
	}
	for _, o := range p.members.Partitions {
		a.reported = max(a.reported, o.Revision)
	}
	var sets checkpoint.Sets
	old, err := oldSet(ctx, a.conn, &sets, a.live.Set)
	if err != nil {
		if errors.Is(err, checkpoint.ErrFetch) {
			return nil, err
		}
		p.oldLost = err.Error()
	}
	live := newProgress(a.std.err)
	defer live.done()
	live.show("asking the workers what is pending")
	pending, whys, err := askPending(ctx, a.conn)
	if err != nil {
		return nil, err
	}
	fed, now := map[string]int64{}, int64(0)
	for i, answer := range pending {
		if answer == nil {
			p.Unanswered = append(p.Unanswered, unanswered{i, whys[i]})
			continue
		}
		now = max(now, answer.LogTime)
		for name, since := range answer.Fed { // as the partition in which it is youngest has it
			name = strings.TrimPrefix(name, "feature ")
			fed[name] = max(fed[name], since)
		}
	}
	if now, err = logTime(ctx, a.conn, p.members, now); err != nil {
		return nil, err
	}
	reach, err := p.reaches(ctx, a.conn, a.def.Clock, now)
	if err != nil {
		return nil, err
	}
	retired, err := retiredSets(ctx, a.conn, &sets, a.live.Set, old, a.set)
	if err != nil {
		return nil, err
	}
	p.Change = change.Between(old, a.set, fed, now, reach, retired...)
	p.Filled = a.backfill && !p.emptyBackfill()
	p.count(pending)
	p.Forced = p.Refuses()
	if p.Filled {
		p.disk()
	}
	return p, nil
}

// oldSet is the live set; nil if there is none.
func oldSet(ctx context.Context, conn *broker.Conn, sets *checkpoint.Sets, hash string) (*pipeline.Set, error) {
	if hash == "" {
		return nil, nil
	}
	return sets.Get(ctx, conn)(hash)
}

// Limits of asking all partitions: how many at a time, and how long for an answer,
// for which an owner reads all its users, with half a core.
const (
	askedAtOnce = 16
	askedFor    = 30 * time.Second
)

// askPending asks the owners of all partitions what is pending. nil is that of a
// partition which does not answer, and why says why.
func askPending(ctx context.Context, conn *broker.Conn) (all []*broker.Pending, why []string, err error) {
	all, why = make([]*broker.Pending, conn.Partitions), make([]string, conn.Partitions)
	err = askEach(ctx, conn, broker.Query{Pending: true}, func(p int, a broker.Answer, err error) {
		switch {
		case err != nil:
			why[p] = err.Error()
		case a.Pending == nil && a.Error != "" && !strings.Contains(a.Error, "cannot be decoded"):
			why[p] = a.Error
		case a.Pending == nil:
			why[p] = "its worker is of a version that does not say what is pending"
		default:
			all[p] = a.Pending
		}
	})
	return all, why, err
}

// askEach asks the owners of all partitions, and calls fn with each answer; for several
// partitions at a time.
func askEach(ctx context.Context, conn *broker.Conn, query broker.Query, fn func(p int, a broker.Answer, err error)) error {
	free := make(chan struct{}, askedAtOnce)
	var wg sync.WaitGroup
	for p := range conn.Partitions {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			within, cancel := context.WithTimeout(ctx, askedFor)
			defer cancel()
			a, err := askPartition(within, conn, p, query)
			if errors.Is(err, errNoAnswer) {
				err = fmt.Errorf("no worker answers within %s", askedFor)
			}
			fn(p, a, err)
		})
	}
	wg.Wait()
	return ctx.Err()
}

// logTime is the log time of the deployment: known is that of the partitions that say
// what is pending. A log with messages whose worker says nothing is not at its
// beginning.
func logTime(ctx context.Context, conn *broker.Conn, members audit.Overview, known int64) (int64, error) {
	for _, o := range members.Partitions {
		if !o.LogTime.IsZero() {
			known = max(known, o.LogTime.UnixNano())
		}
	}
	if known > 0 {
		return known, nil
	}
	for p := range conn.Partitions {
		_, end, err := conn.Extent(ctx, p)
		if err != nil {
			return 0, err
		}
		if end > 1 { // more than the control message of the first set
			return time.Now().UnixNano(), nil
		}
	}
	return 0, nil
}

// reaches finds out from when on each partition can be folded again, and returns the
// latest of these times: the beginning of its log, or else the oldest snapshot with
// which a second fold can begin, or else now.
func (p *plan) reaches(ctx context.Context, conn *broker.Conn, clock string, now int64) (latest int64, err error) {
	for n := range conn.Partitions {
		first, _, err := conn.Extent(ctx, n)
		if err != nil {
			return 0, err
		}
		r := logReach{Partition: n}
		if first > 1 {
			if r.since, err = oldestStart(ctx, conn, n, first, clock, now); err != nil {
				return 0, err
			}
			r.Since = value.FormatTime(r.since)
		}
		latest = max(latest, r.since)
		p.Logs = append(p.Logs, r)
	}
	return latest, nil
}

// oldestStart is the log time, or a moment after it, of the oldest snapshot with which
// a second fold of a log can begin that begins at message first; else now.
func oldestStart(ctx context.Context, conn *broker.Conn, p int, first uint64, clock string, now int64) (int64, error) {
	if clock == campaign.ClockEvent { // a snapshot's time is not log time then
		return now, nil
	}
	snapshots, err := conn.Snapshots(ctx, p)
	if err != nil {
		return 0, err
	}
	for _, m := range slices.Backward(snapshots) {
		if m.Seq+1 >= first && checkpoint.Whole(m) && checkpoint.Readable(m) == nil {
			return min(m.Time.UnixNano(), now), nil
		}
	}
	return now, nil
}

// count counts what the change cancels. What is not pending cannot lack anything.
func (p *plan) count(pending []*broker.Pending) {
	answered := len(p.Unanswered) < len(pending)
	waiting := map[string]int{}
	for _, a := range pending {
		if a == nil {
			continue
		}
		for unit, stages := range a.Campaigns {
			for _, n := range stages {
				waiting[campaign.NameOf(unit)] += n
			}
		}
	}
	p.Cancelled = map[string]int{}
	for i := range p.Campaigns {
		c := &p.Campaigns[i]
		filled := p.Filled && slices.Contains(p.Backfill.Campaigns, c.ID)
		if filled || len(p.Unanswered) == 0 && waiting[c.ID] == 0 {
			c.Lost = nil
		}
		if !c.Cancels || !c.Waits || !answered {
			continue
		}
		if len(c.CancelledRows) > 0 && waiting[c.ID] > 0 {
			// The workers count campaigns, not rows: so this is the most that it can be.
			p.shared = append(p.shared, fmt.Sprintf("%s has %d pending, in the rows that stay, too", c.ID, waiting[c.ID]))
		}
		p.Cancelled[c.ID] = waiting[c.ID]
		p.Total += waiting[c.ID]
	}
}

func (p *plan) emptyBackfill() bool { return len(p.Backfill.Features)+len(p.Backfill.Campaigns) == 0 }

// disk finds out how much disk the second states take.
func (p *plan) disk() {
	for _, m := range p.members.Members {
		if len(m.Owns) == 0 {
			continue
		}
		d := diskNeed{Member: m.ID, Free: m.Free}
		for _, n := range m.Owns {
			d.Bytes += p.members.Partitions[n].Bytes
		}
		p.Disk = append(p.Disk, d)
	}
}

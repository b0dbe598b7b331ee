package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"offerstream/pipeline/broker"
)

// An Overview is the status of a deployment, from the workers' leases and from
// their answers.
type Overview struct {
	Time       time.Time           `json:"time"`       // when the leases were read, by this machine's clock
	Members    []Member            `json:"members"`    // by id
	Partitions []PartitionOverview `json:"partitions"` // by number
}

// A Member is a worker that has a lease, or answered without one.
type Member struct {
	ID      string    `json:"id"`
	Heard   time.Time `json:"heard,omitzero"` // when it renewed its lease, by the server's clock; zero: it has none
	Answers bool      `json:"answers"`        // it has answered in time
	Leaving bool      `json:"leaving,omitempty"`
	Short   bool      `json:"short,omitempty"`   // it has given up its partitions: no room on its disk
	Owns    []int     `json:"owns,omitempty"`    // by its lease, or its answer
	Ready   []int     `json:"ready,omitempty"`   // follows and has caught up with
	Follows []int     `json:"follows,omitempty"` // follows and has not caught up with
	Ahead   float64   `json:"ahead,omitempty"`   // how many seconds its clock is ahead of the clock of NATS; negative: behind
	Error   string    `json:"error,omitempty"`   // what is wrong with its lease
}

// A PartitionOverview is the status of a partition as its owner reports it.
type PartitionOverview struct {
	Partition int               `json:"partition"`
	Owners    []string          `json:"owners"`  // two for a moment are not an error
	Answers   bool              `json:"answers"` // an owner has answered; otherwise the fields from here to Bytes are 0 or empty, unless the partition has stopped
	Seq       uint64            `json:"seq"`     // the last message applied
	Lag       uint64            `json:"lag"`     // messages after it
	Events    uint64            `json:"events"`  // events applied since the partition began
	Waiting   int               `json:"waiting"` // records not known stored
	LogTime   time.Time         `json:"log_time,omitzero"`
	Set       string            `json:"set"`      // hash of the campaign set in force
	Bytes     int64             `json:"bytes"`    // size of the owner's state on disk
	Snapshot  *SnapshotOverview `json:"snapshot"` // the newest; null: none
	Stops     []Stop            `json:"stops"`
}

// A SnapshotOverview describes a snapshot.
type SnapshotOverview struct {
	Seq   uint64    `json:"seq"` // the last message in it
	Time  time.Time `json:"time"`
	Bytes int64     `json:"bytes"`
}

// A Stop says that the partition has stopped loudly in a member.
type Stop struct {
	Member string `json:"member"`
	Why    string `json:"why"`
}

// OK reports whether each partition has an owner and none has stopped.
func (o Overview) OK() bool {
	return !slices.ContainsFunc(o.Partitions, func(p PartitionOverview) bool { return len(p.Owners) == 0 || len(p.Stops) > 0 })
}

// Look reads the leases and asks all workers, waiting at most that long for their
// answers. It creates and changes nothing.
func Look(ctx context.Context, conn *broker.Conn, wait time.Duration) (Overview, error) {
	now := time.Now()
	leases, err := conn.Leases(ctx)
	if err != nil {
		return Overview{}, err
	}
	reports, err := ask(ctx, conn, leases, wait)
	if err != nil {
		return Overview{}, err
	}
	snapshots, err := conn.NewestSnapshots(ctx)
	if err != nil {
		return Overview{}, err
	}
	o := overview(conn.Partitions, leases, reports, snapshots)
	o.Time = now
	for i := range o.Partitions {
		p := &o.Partitions[i]
		if len(p.Stops) == 0 || p.Answers {
			continue
		}
		_, end, err := conn.Extent(ctx, p.Partition) // a stopped partition does not know which messages came after
		if err != nil {
			return Overview{}, err
		}
		p.Lag = end - min(p.Seq, end)
	}
	return o, nil
}

// ask gathers the answers of all workers that have leases, and of any others that
// answer before these have.
func ask(ctx context.Context, conn *broker.Conn, leases map[string]broker.Lease, wait time.Duration) (map[string]broker.Report, error) {
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	reports := map[string]broker.Report{}
	missing := maps.Clone(leases)
	err := conn.Ask(within, conn.Names.StatusSubject(), nil, func(answer []byte) (enough bool) {
		var r broker.Report
		if json.Unmarshal(answer, &r) == nil && r.Member != "" {
			reports[r.Member] = r
			delete(missing, r.Member)
		}
		return len(missing) == 0 && len(reports) > 0
	})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("ask the workers: %w", err)
	}
	return reports, nil
}

func overview(partitions int, leases map[string]broker.Lease, reports map[string]broker.Report, snapshots map[int]broker.SnapshotMeta) Overview {
	o := Overview{Members: []Member{}, Partitions: make([]PartitionOverview, partitions)}
	for p := range o.Partitions {
		o.Partitions[p] = PartitionOverview{Partition: p, Owners: []string{}, Stops: []Stop{}}
		if s, ok := snapshots[p]; ok {
			o.Partitions[p].Snapshot = &SnapshotOverview{s.Seq, s.Time, s.Bytes}
		}
	}
	ids := slices.Concat(slices.Collect(maps.Keys(leases)), slices.Collect(maps.Keys(reports)))
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		m := Member{ID: id, Heard: leases[id].Time}
		var c broker.Claim
		if lease, has := leases[id]; has {
			var err error
			if c, err = broker.ParseClaim(lease.Value); err != nil {
				m.Error = "its lease cannot be decoded: " + err.Error()
			}
		}
		m.Leaving, m.Short, m.Ready, m.Follows = c.Leaving, c.Short, c.Ready, c.Follow
		var report broker.Report
		report, m.Answers = reports[id]
		m.Ahead = report.Ahead.Seconds()
		m.Owns = o.owns(id, c, report)
		o.Members = append(o.Members, m)
	}
	return o
}

// owns returns the partitions that a member owns by its lease or its answer, and
// adds the member's report to each partition's overview.
func (o *Overview) owns(id string, c broker.Claim, report broker.Report) (owns []int) {
	exists := func(p int) bool { return p >= 0 && p < len(o.Partitions) }
	all := slices.Clone(c.Own)
	for _, r := range report.Partitions {
		if !exists(r.Partition) {
			continue
		}
		if r.Owned {
			all = append(all, r.Partition)
		}
		o.Partitions[r.Partition].take(id, r)
	}
	slices.Sort(all)
	for _, p := range slices.Compact(all) {
		if exists(p) {
			owns = append(owns, p)
			o.Partitions[p].Owners = append(o.Partitions[p].Owners, id)
		}
	}
	return owns
}

// take adds a member's report to the partition's overview. The report of an owner
// counts; without one, that of a member in which the partition has stopped.
func (p *PartitionOverview) take(id string, r broker.PartitionReport) {
	if r.Stopped != "" {
		p.Stops = append(p.Stops, Stop{id, r.Stopped})
	}
	if p.Answers || !r.Owned && r.Stopped == "" {
		return
	}
	p.Answers = r.Owned
	p.Seq, p.Lag, p.Events, p.Waiting, p.Set, p.Bytes = r.Seq, r.Lag, r.Applied, r.Waiting, r.Set, r.Bytes
	if r.LogTime != 0 {
		p.LogTime = time.Unix(0, r.LogTime).UTC()
	}
}

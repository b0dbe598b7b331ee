package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// An Overview is the status of a deployment, from the workers' leases and from
// their answers.
type Overview struct {
	Time       time.Time           `json:"time"`       // when the leases were read, by this machine's clock
	Members    []Member            `json:"members"`    // by id
	Partitions []PartitionOverview `json:"partitions"` // by number

	gateways []string // why gateways are not ready
	lost     []string // streams of all partitions that are gone
}

// A Member is a worker that has a lease, or answered without one.
type Member struct {
	ID      string    `json:"id"`
	Heard   time.Time `json:"heard,omitzero"`   // when it renewed its lease, by the server's clock; zero: it has none
	Silent  bool      `json:"silent,omitempty"` // its lease was not renewed for longer than it lasts, and is still there
	Answers bool      `json:"answers"`          // it has answered in time
	Leaving bool      `json:"leaving,omitempty"`
	Short   bool      `json:"short,omitempty"`   // it has given up its partitions: no room on its disk
	Owns    []int     `json:"owns,omitempty"`    // by its lease, or its answer
	Ready   []int     `json:"ready,omitempty"`   // follows and has caught up with
	Follows []int     `json:"follows,omitempty"` // follows and has not caught up with
	Ahead   float64   `json:"ahead,omitempty"`   // how many seconds its clock is ahead of the clock of NATS; negative: behind
	Error   string    `json:"error,omitempty"`   // what is wrong with its lease
	Engines []int     `json:"engines,omitempty"` // those that it runs; none, though it answers: engine 3 alone
	Free    int64     `json:"free,omitempty"`    // bytes that its disk has free; 0: not known

	refused string // why its lease is not stored
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

	Revision uint64          `json:"revision,omitempty"` // of the record of the live set, as last applied
	Pauses   uint64          `json:"pauses,omitempty"`   // of what is paused, likewise
	Paused   []string        `json:"paused,omitempty"`   // campaigns that operators have paused
	Channels []string        `json:"channels,omitempty"` // channels that they have paused
	Braked   []string        `json:"braked,omitempty"`   // what brakes of the partition have paused: "channel sms"
	Second   *SecondOverview `json:"second,omitempty"`   // its second fold; null: none

	Pools map[string]pipeline.PoolState `json:"pools,omitempty"` // of codes, of which under a tenth is left

	refused string // why what its owner publishes is not stored
	lost    string // what is wrong with its stream
}

// A SnapshotOverview describes a partition's newest snapshot, and how many there are.
type SnapshotOverview struct {
	Seq    uint64    `json:"seq"` // the last message in it
	Time   time.Time `json:"time"`
	Bytes  int64     `json:"bytes"`
	Kept   int       `json:"kept"`   // the last two, and one a day for as long as the log reaches back
	Oldest time.Time `json:"oldest"` // the oldest one's time
}

// A SecondOverview says how far the second fold of a partition is.
type SecondOverview struct {
	Set      string         `json:"set"`  // hash of the set under which it folds
	From     uint64         `json:"from"` // the message at which it began; 0: the log's beginning
	Seq      uint64         `json:"seq"`  // the last message that it has applied
	End      uint64         `json:"end"`  // the last message of the log
	CaughtUp bool           `json:"caught_up"`
	Overdue  map[string]int `json:"overdue,omitempty"` // how many evaluations are overdue, by "<campaign> <channel>"
	Switched bool           `json:"switched,omitempty"`
	Failed   string         `json:"failed,omitempty"` // why it was given up
	Bytes    int64          `json:"bytes"`            // size of its state on disk
}

// A Stop says that the partition has stopped loudly in a member.
type Stop struct {
	Member string `json:"member"`
	Why    string `json:"why"`
}

// OK reports whether everything works, as far as can be seen: there is no Problem.
func (o Overview) OK() bool { return len(o.Problems()) == 0 }

// A Problem is a reason why a deployment is not ready.
type Problem struct {
	Partitions []int // those that have it; none: it is not about partitions
	Why        string
}

// Problems returns why the deployment is not ready: a partition without an owner, or
// whose owner does not answer, or that has stopped or lost its log; a worker that does
// not renew its lease; publishes that NATS refuses.
func (o Overview) Problems() []Problem {
	var all []Problem
	add := func(p int, why string) {
		for i := range all {
			if all[i].Why == why {
				all[i].Partitions = append(all[i].Partitions, p)
				return
			}
		}
		all = append(all, Problem{[]int{p}, why})
	}
	for _, p := range o.Partitions {
		switch {
		case len(p.Stops) > 0:
			add(p.Partition, "stopped")
		case len(p.Owners) == 0:
			add(p.Partition, "no worker owns it")
		case !p.Answers:
			add(p.Partition, "no owner of it answers")
		}
		if p.lost != "" {
			add(p.Partition, p.lost)
		}
		if p.refused != "" {
			add(p.Partition, p.refused)
		}
	}
	for _, m := range o.Members {
		switch {
		case m.refused != "":
			all = append(all, Problem{Why: "worker " + m.ID + ": " + m.refused})
		case m.Silent:
			all = append(all, Problem{Why: "worker " + m.ID + ": its lease has not been renewed for longer than it lasts, and has not expired: NATS may store nothing"})
		}
	}
	for _, stream := range o.lost {
		all = append(all, Problem{Why: "stream " + stream + " is gone: NATS has lost it, or has another directory"})
	}
	for _, why := range o.gateways {
		all = append(all, Problem{Why: "a gateway: " + why})
	}
	return all
}

// members reads the leases and asks all workers.
func members(ctx context.Context, conn *broker.Conn, wait time.Duration) (leases map[string]broker.Lease, reports map[string]broker.Report, err error) {
	if leases, err = conn.Leases(ctx); err == nil {
		reports, err = ask(ctx, conn, leases, wait)
	}
	return leases, reports, err
}

// Members is Look without what the logs, the snapshots and the gateways tell, for who
// looks again and again.
func Members(ctx context.Context, conn *broker.Conn, wait time.Duration) (Overview, error) {
	now := time.Now()
	leases, reports, err := members(ctx, conn, wait)
	if err != nil {
		return Overview{}, err
	}
	o := overview(conn.Partitions, leases, reports, nil)
	o.Time = now
	return o, nil
}

// Look reads the leases and asks all workers, waiting at most that long for their
// answers, and as long for the gateways'. It creates and changes nothing.
func Look(ctx context.Context, conn *broker.Conn, wait time.Duration) (Overview, error) {
	now := time.Now()
	leases, reports, err := members(ctx, conn, wait)
	if err != nil {
		return Overview{}, err
	}
	snapshots, err := conn.NewestSnapshots(ctx)
	if err != nil {
		return Overview{}, err
	}
	o := overview(conn.Partitions, leases, reports, snapshots)
	o.Time = now
	if o.gateways, err = askGateways(ctx, conn, wait); err != nil {
		return Overview{}, err
	}
	for i := range o.Partitions {
		if err := o.Partitions[i].compare(ctx, conn); err != nil {
			return Overview{}, err
		}
	}
	for _, stream := range []string{conn.Names.OffersStream(), conn.Names.DeadStream()} {
		_, _, err := conn.Wire.Extent(ctx, stream)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			o.lost = append(o.lost, stream)
		case err != nil:
			return Overview{}, err
		}
	}
	return o, nil
}

// compare compares what is known of the partition with its log.
func (p *PartitionOverview) compare(ctx context.Context, conn *broker.Conn) error {
	_, end, err := conn.Extent(ctx, p.Partition)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		p.lost = "its stream is gone: NATS has lost it, or has another directory"
	case err != nil:
		return err
	case p.Seq > end:
		p.lost = "its log ends before the last message that was applied: NATS has lost messages"
	case len(p.Stops) > 0 && !p.Answers: // it does not know which messages came after
		p.Lag = end - p.Seq
	}
	return nil
}

// askGateways returns why gateways are not ready. How many there are is not known:
// so it waits a moment after each answer for more.
func askGateways(ctx context.Context, conn *broker.Conn, wait time.Duration) (why []string, err error) {
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var last *time.Timer
	err = conn.Ask(within, conn.Names.GatewaysSubject(), nil, func(answer []byte) (enough bool) {
		if last == nil {
			last = time.AfterFunc(answersApart, cancel)
		}
		last.Reset(answersApart)
		var r broker.GatewayReport
		if json.Unmarshal(answer, &r) == nil && r.Refused != "" {
			why = append(why, r.Refused)
		}
		return false
	})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("ask the gateways: %w", err)
	}
	slices.Sort(why)
	return slices.Compact(why), nil
}

// answersApart is how long after one gateway's answer another's may come.
const answersApart = 250 * time.Millisecond

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

func overview(partitions int, leases map[string]broker.Lease, reports map[string]broker.Report, snapshots map[int]broker.NewestSnapshot) Overview {
	o := Overview{Members: []Member{}, Partitions: make([]PartitionOverview, partitions)}
	for p := range o.Partitions {
		o.Partitions[p] = PartitionOverview{Partition: p, Owners: []string{}, Stops: []Stop{}}
		if s, ok := snapshots[p]; ok {
			o.Partitions[p].Snapshot = &SnapshotOverview{s.Seq, s.Time, s.Bytes, s.Kept, s.Oldest}
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
		m.Silent = leases[id].Silent
		m.Leaving, m.Short, m.Ready, m.Follows = c.Leaving, c.Short, c.Ready, c.Follow
		var report broker.Report
		report, m.Answers = reports[id]
		m.Ahead, m.refused = report.Ahead.Seconds(), report.Refused
		m.Engines, m.Free = report.Engines, report.Free
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
	p.Answers, p.refused = r.Owned, r.Refused
	p.Seq, p.Lag, p.Events, p.Waiting, p.Set, p.Bytes = r.Seq, r.Lag, r.Applied, r.Waiting, r.Set, r.Bytes
	p.Revision, p.Pauses, p.Paused, p.Channels, p.Braked = r.Revision, r.Pauses, r.Paused, r.Channels, r.Braked
	p.Pools = r.Pools
	if s := r.Second; s != nil {
		p.Second = (*SecondOverview)(s)
	}
	if r.LogTime != 0 {
		p.LogTime = time.Unix(0, r.LogTime).UTC()
	}
}

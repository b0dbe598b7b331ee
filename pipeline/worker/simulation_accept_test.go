package worker

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// accept does what an operator does after a loud stop: stop all workers, accept
// the loss in each partition that has stopped, retrying until that succeeds, and
// start the workers again.
func (g *simGroup) accept() error {
	stopped := slices.Sorted(maps.Keys(g.stopped()))
	for _, m := range g.workers {
		if g.chance(500) {
			m.cancel()
		} else {
			g.crash(m)
		}
	}
	from := g.time
	ended := func() bool {
		for _, m := range g.workers {
			if m.of != nil && m.ended == nil {
				return false
			}
		}
		return true
	}
	if err := g.simulation.run(func() bool { return ended() || g.time > from+time.Minute }, from+2*time.Minute); err != nil {
		return err
	}
	for _, m := range g.workers {
		g.crash(m)
		m.of = nil
	}
	before := map[int]simSnapshot{}
	for _, p := range stopped {
		if all := g.snapshots[p]; len(all) > 0 {
			before[p] = all[0]
		}
		if g.chance(400) { // the operator comes late
			g.expire(p)
		}
	}
	switch {
	case g.chance(300):
		g.broker.faults = simFaults{lost: g.rng.IntN(60), late: g.rng.IntN(60), ackLost: g.rng.IntN(60), gap: g.rng.IntN(30), slowness: g.upTo(20 * time.Millisecond)}
	case g.chance(700):
		g.broker.faults = g.someFaults()
	}
	var err error
	over := false
	g.start(&process{name: "operator"}, func() {
		for _, p := range stopped {
			if err = g.acceptOne(p); err != nil {
				break
			}
		}
		over = true
	})
	if err := g.simulation.run(func() bool { return over }, g.time+time.Hour); err != nil {
		return fmt.Errorf("an acceptance: %w", err)
	}
	for _, p := range stopped {
		if old, ok := before[p]; ok && err == nil && old.meta.Seq != g.snapshots[p][0].meta.Seq && g.chance(300) { // a worker that was frozen while storing a snapshot stores it now
			g.keep(p, old)
		}
	}
	return err
}

// acceptOne starts an acceptance again and again until one succeeds. If clocks
// differ much, that is never the first one, and the operator sets them.
func (g *simGroup) acceptOne(p int) error {
	fits := slices.ContainsFunc(g.snapshots[p], func(s simSnapshot) bool { return g.fits(p, s) })
	if g.chance(50) {
		g.broker.skew = 24 * time.Hour
	}
	for attempt := 0; ; attempt++ {
		apart := g.broker.skew.Abs() > time.Minute
		for g.broker.down > g.time {
			g.rest(context.Background(), nil, 50*time.Millisecond)
		}
		if attempt == 30 {
			g.broker.faults = simFaults{}
		}
		world := simWorld{g.simulation, g.runs.of}
		wire := g.broker.connect(world.of)
		conn := broker.Simulated(wire, world, broker.Names{}, g.partitions, g.log)
		limit := state.Limit{Entries: 30 + g.rng.IntN(2000), Bytes: 1 << 20}
		sets := &checkpoint.Sets{}
		for hash, set := range g.sets {
			sets.Add(hash, set)
		}
		given := maps.Clone(g.broker.given)
		done, err := audit.Accept(context.Background(), conn, audit.AcceptOptions{Partition: p, Why: "a simulation", Dir: "operator", Log: g.log, Lost: func(audit.Example) {},
			Now: func() int64 { return g.now().UnixNano() }, Disk: &simDisk{simulation: g.simulation, limit: limit, stores: map[string]*state.Memory{}}, Archive: simArchive{g, wire, true}, Sets: sets,
			Walk: func(ctx context.Context, stream, filter string, since time.Time, fn func(broker.Stored) error) error {
				of, on, any := strings.Cut(filter, "*")
				return wire.call(ctx, func() error {
					st := g.broker.stream(stream)
					for _, m := range st.messages {
						if m.Seq < st.first || !since.IsZero() && m.Time < since.UnixNano() || m.Subject != filter && !(any && strings.HasPrefix(m.Subject, of) && strings.HasSuffix(m.Subject, on)) {
							continue
						}
						if err := fn(m); err != nil {
							return err
						}
					}
					return nil
				})
			}})
		wire.end()
		if done.Seq > 0 { // it may have stored its snapshot
			g.accepted[p] = append(g.accepted[p], simAccepted{done, g.broker.stream(fmt.Sprint("EVENTS-", p)).messages[done.Seq-1].Time, given})
		}
		switch {
		case apart && (err == nil || done.Seq > 0):
			return fmt.Errorf("partition %d: it was accepted although the clocks differ by %s: %+v", p, g.broker.skew, done)
		case apart:
			g.broker.skew = 0
		case err == nil && fits && done.From == 0 && len(done.Skipped) > 0:
			return fmt.Errorf("partition %d: more of it was accepted as lost than is: %+v", p, done)
		case err == nil:
			g.counts.accepted++
			g.sound[p] = true
			return nil
		case attempt > 60:
			return fmt.Errorf("partition %d: no acceptance comes through: %w", p, err)
		}
		g.log.Info("accept again", "partition", p, "error", err)
		g.rest(context.Background(), nil, time.Second)
	}
}

// fits reports whether a snapshot fits the log as it is now.
func (g *simGroup) fits(p int, s simSnapshot) bool {
	st := g.broker.stream(fmt.Sprint("EVENTS-", p))
	m := state.NewMemory(state.Limit{})
	if s.damaged || m.Restore(bytes.NewReader(s.bytes)) != nil {
		return false
	}
	c, err := checkpoint.LoadCursor(simStore{m, &simDisk{simulation: g.simulation}})
	same := func(seq uint64, stored int64) bool {
		return stored == 0 || seq < st.first || seq <= uint64(len(st.messages)) && st.messages[seq-1].Time == stored
	}
	return err == nil && c.Seq+1 >= st.first && c.Seq <= uint64(len(st.messages)) && same(c.Seq, c.Stored) && same(c.Seq+1, c.Partly)
}

// A simAccepted is an acceptance that has been started.
type simAccepted struct {
	audit.Accepted
	stored int64
	given  map[string]uint64 // simBroker.given before it
}

// acceptances returns the acceptances in a partition's log.
func (g *simGroup) acceptances(p int) (all []simAccepted) {
	log := g.broker.stream(fmt.Sprint("EVENTS-", p)).messages
	for _, a := range g.accepted[p] {
		if a.Seq <= uint64(len(log)) && log[a.Seq-1].Time == a.stored {
			all = append(all, a)
		}
	}
	return all
}

// lastAccepted returns the message of the last acceptance in a partition's log,
// after which the offers are exact, and its stored time; 0: there is none.
func (g *simGroup) lastAccepted(p int) (seq uint64, stored int64) {
	if all := g.acceptances(p); len(all) > 0 {
		last := all[len(all)-1]
		return last.Seq, last.stored
	}
	return 0, 0
}

// isBehind reports whether a snapshot's state has folded the last acceptance.
func (g *simGroup) isBehind(p int, m broker.SnapshotMeta) bool {
	_, stored := g.lastAccepted(p)
	return checkpoint.HasFolded(m, stored)
}

// skipped returns the messages that no acceptance could read or had in its
// snapshot.
func (g *simGroup) skipped(p int) map[uint64]bool {
	none := map[uint64]bool{}
	all := g.acceptances(p)
	for of := len(all) - 1; of >= 0; { // its snapshot may be from the acceptance before
		a := all[of]
		for _, gap := range a.Skipped {
			var from, to uint64
			fmt.Sscanf(gap, "%d-%d", &from, &to)
			for seq := from; seq <= to; seq++ {
				none[seq] = true
			}
		}
		if a.From == 0 {
			break
		}
		for of--; of >= 0 && all[of].Seq > a.From; of-- {
		}
	}
	return none
}

// behind returns the records of a chain from the mark of an acceptance on.
func behind(stored []broker.Stored, seq uint64, at int64) []broker.Stored {
	for i, r := range stored {
		if pos, err := broker.ParsePosition(r.Header); err == nil && pos.S == seq && pos.T == at && r.Header.Get("ce-type") == "offerstream.accepted" {
			return stored[i:]
		}
	}
	return stored
}

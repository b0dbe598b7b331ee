package worker

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// fault causes a random fault.
func (g *simGroup) fault() {
	m := g.workers[g.rng.IntN(len(g.workers))]
	switch g.rng.IntN(14) {
	case 0, 1, 2:
		g.crash(m)
	case 3:
		if m.of != nil && m.disk.until <= g.time { // not while frozen: a frozen worker cannot notice that its disk gets full
			m.of.frozen = g.time + g.upTo(40*time.Second)
			g.counts.freezes++
		}
	case 4:
		g.broker.restart(g.upTo(3 * time.Second))
		g.counts.restarts++
	case 5:
		g.broker.frozen = g.time + g.upTo(200*time.Millisecond)
	case 6:
		g.broker.skew = g.upTo(4*time.Second) - 2*time.Second
		if g.chance(100) {
			g.broker.skew += 24 * time.Hour
		}
	case 7:
		if m.of != nil && m.ended == nil {
			m.cancel()
			g.counts.leaves++
		}
	case 8:
		g.broker.faults = g.someFaults()
	case 13:
		if m.of == nil || m.of.frozen <= g.time {
			need := int64(4+g.partitions) * 64 << 20
			if m.of != nil {
				need += m.w.restoring.Load()
			}
			m.disk.fill(need)
			g.counts.full++
		}
	case 9: // the log's beginning expires, up to a snapshot
		g.expire(g.rng.IntN(g.partitions))
	default:
		if m.of == nil || m.ended != nil {
			g.run1(m)
		}
	}
}

// expire expires the beginning of a log, up to a snapshot.
func (g *simGroup) expire(p int) {
	st := g.broker.stream(fmt.Sprint("EVENTS-", p))
	all := slices.DeleteFunc(slices.Clone(g.snapshots[p]), func(s simSnapshot) bool {
		return !g.isBehind(p, s.meta) || !s.damaged && !g.fits(p, s)
	})
	if len(all) > 0 {
		oldest := all[len(all)-1].meta.Seq
		first := min(oldest+uint64(g.rng.IntN(2)), uint64(len(st.messages))+1)
		for seq, sw := range g.switches(p) {
			if seq > oldest { // whoever begins at the snapshot brings the second state of this switch there
				first = min(first, sw.Seq+1)
			}
		}
		st.first = max(st.first, min(first, g.young(p)))
		g.counts.expired++
	}
}

// young is the first message of a log that may not have expired yet: all logs keep their
// messages for the same time, so a mail is there as long as the message from which it is.
func (g *simGroup) young(p int) uint64 {
	st := g.broker.stream(fmt.Sprint("EVENTS-", p))
	for _, m := range st.messages {
		if simKind(m.Subject) != pipeline.From {
			continue
		}
		from := g.broker.stream(fmt.Sprint("EVENTS-", simFrom(m.Subject)))
		if pos, err := broker.ParsePosition(m.Header); err == nil && pos.S >= max(from.first, 1) && pos.S <= uint64(len(from.messages)) && from.messages[pos.S-1].Time == pos.T {
			return m.Seq
		}
	}
	return uint64(len(st.messages)) + 1
}

// fill makes a disk get full gradually for a while, until it has no room, or
// room for stores but not for a snapshot.
func (d *simDisk) fill(need int64) {
	d.since, d.until = d.time, d.time+d.upTo(90*time.Second)
	d.from, d.to = need*5/4, 0
	if d.chance(300) {
		d.to = need
	}
}

// crash kills a worker, and may damage its disk or lose commits.
func (g *simGroup) crash(m *simWorker) {
	if m.of == nil || m.ended != nil {
		return
	}
	g.counts.crashes++
	g.kill(m.of)
	for _, w := range slices.Clone(g.broker.wires) {
		if w.of == m.of {
			w.end()
		}
	}
	m.of = nil
	switch g.rng.IntN(6) {
	case 0:
		clear(m.disk.stores)
		g.counts.lostDisks++
	case 1:
		for _, dir := range slices.Sorted(maps.Keys(m.disk.stores)) {
			m.disk.stores[dir].Forget(g.rng.IntN(4))
		}
		g.counts.lostDisks++
	}
}

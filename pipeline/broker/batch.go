package broker

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
)

// Offers of one chain that wait together go as one batch, of which the server stores
// all or none. It has one condition, as a single record has: that the first one follows
// the chain's tail. So nothing else changes: after anything but success the tail tells
// which record is next (PROTOCOL.md, P1), and the next attempt is a single record.
//
// With one replica, a batch costs the server 2.7 ms, whatever is in it, since it syncs
// a file in which it puts the batch aside; a single offer costs both sides 90 us. With
// several replicas it is put aside in memory.

const (
	// mostBatched is how many messages JetStream allows in a batch.
	mostBatched = 1000
	// mostBatchedBytes bounds the data of the offers in a batch, beyond the first.
	mostBatchedBytes = 4 << 20

	leastBatched         = 64 // how many are cheaper as a batch than one by one
	leastBatchedReplicas = 8  // the same where a stream has replicas

	// gatherFor is how long records wait to be more, while the fold is behind its log.
	// The server has 50 batches of a stream at a time.
	gatherFor = 250 * time.Millisecond
)

// setBatches decides from the settings of the stream of offers when they go as a batch.
func (c *Conn) setBatches(offers jetstream.StreamConfig) {
	switch {
	case !offers.AllowAtomicPublish:
		c.least = 0
	case offers.Replicas > 1:
		c.least = leastBatchedReplicas
	default:
		c.least = leastBatched
	}
}

// batched returns how many of the first records that wait are published together, one if
// fewer than least can be. Their numbers follow each other. A mark, and a dead letter,
// which may be large, are published alone.
func batched(waiting []pipeline.Effect, least int) (n int) {
	bytes := 0
	for n < len(waiting) && n < mostBatched {
		e := &waiting[n]
		if e.Mark != nil || e.Dead != nil || n > 0 && e.Pos.N != waiting[n-1].Pos.N+1 {
			break
		}
		if e.Offer != nil {
			bytes += len(e.Offer.Data)
		}
		if n > 0 && bytes > mostBatchedBytes {
			break
		}
		n++
	}
	if n < least || least == 0 {
		return min(len(waiting), 1)
	}
	return n
}

// patient reports whether so many records should wait to be more.
func (ch *chain) patient(n int) bool {
	cs := ch.all
	if ch.mails || n == mostBatched || cs.conn.least == 0 || !cs.behind.Load() || cs.muted.Load() {
		return false
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return !cs.awaited
}

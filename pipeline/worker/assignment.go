package worker

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline/broker"
)

// members are the claims of all that are alive, by their ids.
type members map[string]broker.Claim

// ranked are the members that take partitions, the one that should own p
// first: rendezvous hashing, so that only what must move moves.
func (m members) ranked(p int) []string {
	ids := make([]string, 0, len(m))
	for id, c := range m {
		if !c.Leaving {
			ids = append(ids, id)
		}
	}
	weight := func(id string) uint64 { return xxhash.Sum64String(fmt.Sprintf("%d/%s", p, id)) }
	slices.SortFunc(ids, func(a, b string) int {
		switch wa, wb := weight(a), weight(b); {
		case wa > wb || wa == wb && a < b:
			return -1
		default:
			return 1
		}
	})
	return ids
}

// A duty is what a member should do about a partition now.
type duty uint8

const (
	leaveIt  duty = iota // not run it
	followIt             // fold it, and publish nothing
	ownIt                // fold it and publish
)

// duty says what member me should do about p, by what all claim and what it
// does now: owns p, or has caught up with it.
//
// The first in rank shall own it, the next ones (standbys) shall follow. Who
// owns it goes on until the first is ready, so that nobody waits for a replay.
// Where nobody owns it, the first that is ready does; the first of all where
// nobody is. Two that own it at once are no error: the lower in rank lets go.
func (m members) duty(me string, p, standbys int, owns, ready bool) duty {
	ranks := m.ranked(p)
	rank := slices.Index(ranks, me)
	at := func(id string) int { // a member that leaves stands behind all others
		if i := slices.Index(ranks, id); i >= 0 {
			return i
		}
		return len(ranks)
	}
	mine := at(me)
	wanted := leaveIt
	if rank >= 0 && rank <= standbys {
		wanted = followIt
	}
	owned, before, anyReady := false, false, false // by others; one before me, or any other, is ready
	for id, c := range m {
		if id == me {
			continue
		}
		own, isReady := slices.Contains(c.Own, p), slices.Contains(c.Ready, p)
		if owns && at(id) < mine && (own || at(id) == 0 && isReady) {
			return wanted // it goes on from here
		}
		owned = owned || own
		anyReady = anyReady || isReady
		before = before || isReady && at(id) < mine
	}
	switch {
	case owns && len(ranks) > 0:
		return ownIt
	case owned || owns || rank < 0:
		return wanted
	case ready && !before, rank == 0 && !anyReady:
		return ownIt
	}
	return wanted
}

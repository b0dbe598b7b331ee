package worker

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline/broker"
)

// members are the claims of all members that are alive, by id.
type members map[string]broker.Claim

// ranked returns the members that take partitions, the one that should own p
// first. The order is by rendezvous hashing, so that few partitions move when a
// member comes or goes.
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
	leaveIt  duty = iota // do not run it
	followIt             // fold it and publish nothing
	ownIt                // fold it and publish
)

// duty returns what member me should do about partition p, given the claims of
// all members and what me does now: whether it owns p, and whether it is ready,
// that is, has caught up with p.
//
// The first in rank should own p, and the next ones (as many as standbys) should
// follow it. The present owner goes on until the first in rank is ready, so that
// offers do not wait for a replay. If nobody owns p, the first in rank that is
// ready takes it, or the first of all if none is ready. It is no error if two own
// p at once: the lower in rank lets go.
func (m members) duty(me string, p, standbys int, owns, ready bool) duty {
	ranks := m.ranked(p)
	rank := slices.Index(ranks, me)
	at := func(id string) int { // a member that leaves ranks behind all others
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
	owned, before, anyReady := false, false, false // another member owns p; one that ranks before me is ready; any other is ready
	for id, c := range m {
		if id == me {
			continue
		}
		own, isReady := slices.Contains(c.Own, p), slices.Contains(c.Ready, p)
		if owns && at(id) < mine && (own || at(id) == 0 && isReady) {
			return wanted // the other member takes over
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

package main

import (
	"context"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
)

// What of retired sets is relied on: features of the last eight are fed on for a day
// of log time. That an apply is carried out some minutes later must not
// matter.
const (
	retiredFor  = 24*time.Hour - 15*time.Minute
	mostRetired = 8
)

// retiredSets are the sets whose features every partition still feeds, though they are
// not live any more. Under clock: event the log does not tell, so there are none.
func retiredSets(ctx context.Context, conn *broker.Conn, sets *checkpoint.Sets, live string, old, new *pipeline.Set) (all []*pipeline.Set, err error) {
	if old == nil || old.Definition().Clock != campaign.ClockBroker || new.Definition().Clock != campaign.ClockBroker {
		return nil, nil
	}
	var hashes []string
	for p := range conn.Partitions {
		controls, err := conn.Controls(ctx, p)
		if err != nil {
			return nil, err
		}
		here := retiredIn(controls, live, time.Now())
		if p == 0 {
			hashes = here
		}
		hashes = slices.DeleteFunc(hashes, func(h string) bool { return !slices.Contains(here, h) })
		if len(hashes) == 0 {
			return nil, nil
		}
	}
	for _, hash := range hashes {
		if set, err := sets.Get(ctx, conn)(hash); err == nil { // one that is gone keeps nothing
			all = append(all, set)
		}
	}
	return all, nil
}

// retiredIn are the sets, but for the live one, that a log's control messages have
// taken out of force in the last day, the newest eight.
func retiredIn(controls []broker.ControlMessage, live string, now time.Time) (hashes []string) {
	set := ""
	for _, c := range controls {
		if c.Set == "" || c.Set == set {
			continue
		}
		if set != "" && now.Sub(time.Unix(0, c.Stored)) < retiredFor {
			hashes = append(slices.DeleteFunc(hashes, func(h string) bool { return h == set }), set)
		}
		set = c.Set
	}
	if set != live {
		return nil // the live set is not in force here yet
	}
	hashes = slices.DeleteFunc(hashes, func(h string) bool { return h == live })
	return hashes[max(len(hashes)-mostRetired, 0):]
}

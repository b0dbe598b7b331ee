package audit

import (
	"context"
	"maps"
	"slices"
	"time"

	"offerstream/pipeline/broker"
)

// Reports asks all workers for their status, waiting at most that long for their
// answers. silent are the ids of those that have a lease and did not answer.
func Reports(ctx context.Context, conn *broker.Conn, wait time.Duration) (reports map[string]broker.Report, silent []string, err error) {
	leases, err := conn.Leases(ctx)
	if err != nil {
		return nil, nil, err
	}
	if reports, err = ask(ctx, conn, leases, wait); err != nil {
		return nil, nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(leases)) {
		if _, answered := reports[id]; !answered {
			silent = append(silent, id)
		}
	}
	return reports, silent, nil
}

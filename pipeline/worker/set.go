package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// sets are the compiled campaign sets of this process: the partitions share
// them.
type sets struct {
	mu   sync.Mutex
	sets map[string]*pipeline.Set
}

// errFetch marks a set that could not be fetched now, but may be later.
var errFetch = errors.New("the campaign set cannot be fetched now")

// get returns a function that finds sets by hash, for a Fold.
func (s *sets) get(ctx context.Context, conn *broker.Conn) func(hash string) (*pipeline.Set, error) {
	return func(hash string) (*pipeline.Set, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if set := s.sets[hash]; set != nil {
			return set, nil
		}
		def, err := conn.Set(ctx, hash)
		if errors.Is(err, broker.ErrNoSet) {
			return nil, fmt.Errorf("campaign set %s: %w: apply it again", hash, err)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", errFetch, hash, err)
		}
		set, problems := pipeline.Compile(def)
		if len(problems) > 0 {
			return nil, fmt.Errorf("campaign set %s does not compile here: run the binary that it was applied with: %w", hash, problems[0])
		}
		if s.sets == nil {
			s.sets = map[string]*pipeline.Set{}
		}
		s.sets[hash] = set
		return set, nil
	}
}

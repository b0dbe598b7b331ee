package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// Sets are the compiled campaign sets of a process, which all its folds share.
// The zero value is empty.
type Sets struct {
	mu   sync.Mutex
	sets map[string]*pipeline.Set
}

// ErrFetch means that a set could not be fetched now. A later attempt may succeed.
var ErrFetch = errors.New("the campaign set cannot be fetched now")

// Get returns a function, for a fold, that finds sets by hash. It fetches and
// compiles sets that are not known yet. Its error is ErrFetch, broker.ErrNoSet,
// or that this binary cannot compile the set.
func (s *Sets) Get(ctx context.Context, conn *broker.Conn) func(hash string) (*pipeline.Set, error) {
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
			return nil, fmt.Errorf("%w: %s: %w", ErrFetch, hash, err)
		}
		set, problems := pipeline.Compile(def)
		if len(problems) > 0 {
			return nil, fmt.Errorf("campaign set %s cannot be compiled by this binary: run the binary that applied it: %w", hash, problems[0])
		}
		s.add(hash, set)
		return set, nil
	}
}

// Add makes a compiled set known, so that it is not fetched.
func (s *Sets) Add(hash string, set *pipeline.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(hash, set)
}

func (s *Sets) add(hash string, set *pipeline.Set) {
	if s.sets == nil {
		s.sets = map[string]*pipeline.Set{}
	}
	s.sets[hash] = set
}

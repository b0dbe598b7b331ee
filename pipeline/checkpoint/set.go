package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// Sets are the compiled campaign sets of a process: all its folds share them.
// The zero value has none.
type Sets struct {
	mu   sync.Mutex
	sets map[string]*pipeline.Set
}

// ErrFetch marks a set that could not be fetched now, but may be later.
var ErrFetch = errors.New("the campaign set cannot be fetched now")

// Get returns a function that finds sets by hash, for a fold: those that are
// known, and others by fetching and compiling them. Its error is ErrFetch,
// broker.ErrNoSet, or that the set does not compile here.
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
			return nil, fmt.Errorf("campaign set %s does not compile here: run the binary that it was applied with: %w", hash, problems[0])
		}
		s.add(hash, set)
		return set, nil
	}
}

// Add makes a compiled set known, which is then not fetched.
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

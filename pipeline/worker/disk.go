package worker

import "offerstream/state"

// A store is a partition's state.Store, or the simulation's.
type store interface {
	Entity(key string, dst []byte) ([]byte, bool, error)
	Cursor() ([]byte, error)
	Note(name string) ([]byte, error)
	Timers(fn func(due int64, key string) error) error
	Limit() state.Limit
	NewBatch() *state.Batch
	Commit(b *state.Batch, cursor []byte) error
	Close() error
}

// A disk is where stores lie.
type disk interface {
	open(dir string, o state.Options) (store, error)
	discard(dir string) error
}

// badgers is the disk of this machine.
type badgers struct{}

func (badgers) open(dir string, o state.Options) (store, error) {
	s, err := state.Open(dir, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (badgers) discard(dir string) error { return state.Discard(dir) }

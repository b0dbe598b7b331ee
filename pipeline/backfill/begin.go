package backfill

import (
	"encoding/json"

	"offerstream/pipeline"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// Begin makes the second state of a set out of the live state in a store, which is a
// copy of its own, or is empty: then it begins with the log. A store in which Begin
// was interrupted has no second state, and no live one either.
func Begin(store checkpoint.Store, hash string, o Options) (*Second, error) {
	set, err := o.Sets(hash)
	if err != nil {
		return nil, err
	}
	from, err := checkpoint.LoadCursor(store)
	if err != nil {
		return nil, err
	}
	if from.Partly != 0 || from.Within != 0 {
		return nil, ErrPartly
	}
	cursor, err := pipeline.BeginSecond(from, set, o.Listed, o.Sets)
	if err != nil {
		return nil, err
	}
	s := &Second{Name: Name{hash, set.Definition().Engine, from.Seq}, Options: o, store: store, shrink: 2, next: checkpoint.Next}
	s.cache = checkpoint.NewCache(store, o.CacheBytes, checkpoint.Lookups{})
	s.writer = checkpoint.NewWriter(s.cache, from.Epoch)
	if s.fold, err = pipeline.NewFold(cursor, o.Sets, s.cache); err != nil {
		return nil, err
	}
	if err := s.dormant(); err != nil {
		return nil, err
	}
	if err := s.commit(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(s.Name)
	if err != nil {
		return nil, err
	}
	batch := store.NewBatch()
	batch.Note(noteName, b)
	stored, err := checkpoint.StoredCursor(cursor)
	if err == nil {
		err = store.Commit(batch, stored)
	}
	if err != nil {
		return nil, err
	}
	return s, s.begin()
}

// Nothing makes a second state, in an empty store, that has no users and stands at a
// message: of a second state that is lost, or of which nobody is needed.
func Nothing(store checkpoint.Store, hash string, seq uint64, o Options) (*Second, error) {
	s, err := Begin(store, hash, o)
	if err != nil {
		return nil, err
	}
	s.fold.Skip(seq)
	s.at, s.same = place{seq: seq}, true // it is of no log
	return s, nil
}

// dormant starts the absences of users who are away (pipeline.Fold.Dormant).
func (s *Second) dormant() error {
	if !s.fold.Dormancy() {
		return nil
	}
	n := 0
	return s.store.Entities("", func(key string, _ []byte, _ state.Pieces) error {
		if err := recovered(func() error { return s.fold.Dormant(key) }); err != nil {
			return err
		}
		if s.cache.Full(s.shrink) {
			if err := s.commit(); err != nil {
				return err
			}
		}
		if n++; n%64 == 0 {
			return s.rest()
		}
		return nil
	})
}

package backfill

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// A Name is what a second state is a function of, beside its position in the log.
type Name struct {
	Set    string `json:"set"`    // hash of the set under which it is folded
	Engine int    `json:"engine"` // of that set
	From   uint64 `json:"from"`   // the message at which it began; 0: the log's beginning
}

// noteName is the note with a store's Name.
const noteName = "second"

// Errors of second states.
var (
	// ErrNone means that a store has no second state, or only the beginning of one.
	ErrNone = errors.New("there is no second state")
	// ErrPartly means that a live state is within a message, so that no second state
	// can begin with it.
	ErrPartly = errors.New("the state is within a message")
	// ErrLog means that the log does not have what a second state needs to go on: it
	// must begin anew.
	ErrLog = errors.New("the log does not go on where the second state ends")
)

// Options are what a second state needs. Rest may be nil.
type Options struct {
	Conn       *broker.Conn
	Partition  int
	Sets       func(hash string) (*pipeline.Set, error)
	CacheBytes int64
	Confirm    time.Duration // how long a contradiction in the log is looked at again
	Listed     []string      // for Begin: the features that the switch will list
	Only       []string      // keys of the entities that are folded; nil: all
	PassGaps   bool          // messages that are missing in the log are passed over: an operator has accepted that
	Rest       func() error  // called after some work; its error ends the work
}

func (o *Options) rest() error {
	if o.Rest == nil {
		return nil
	}
	return o.Rest()
}

// A Second is a second state in a store, with its fold. It is for one task.
type Second struct {
	Name
	Options
	store  checkpoint.Store
	cache  *checkpoint.Cache
	writer *checkpoint.Writer
	fold   *pipeline.Fold

	reader  *broker.Reader // nil: none is open
	at      place          // the last message that is applied completely
	partly  place          // the message that is applied in part; zero: none
	doubt   doubt
	same    bool // the log is known to have the message at which the state was opened
	gap     bool // the next gap is passed over
	moved   bool // whether anything was applied since the last commit
	shrink  int  // commits are smaller than the store's limit by this factor
	guarded []pipeline.StepID
	next    func(*pipeline.Fold) (more bool, err error) // makes a step
}

// doubt is since when the log has continuously been wrong or unreadable, and when it
// was last found so.
type doubt struct {
	since, last time.Time
	times       int // that it was found so
}

// A place identifies a message, by its sequence and the time at which it was stored.
type place struct {
	seq    uint64
	stored int64
}

// Open opens the second state that a store has. The error is ErrNone if it has none.
func Open(store checkpoint.Store, o Options) (*Second, error) {
	s := &Second{Options: o, store: store, shrink: 2, next: checkpoint.Next}
	b, err := store.Note(noteName)
	if err != nil {
		return nil, err
	}
	if b == nil || json.Unmarshal(b, &s.Name) != nil {
		return nil, ErrNone
	}
	return s, s.begin()
}

// begin makes the fold from the last commit.
func (s *Second) begin() error {
	cursor, err := checkpoint.LoadCursor(s.store)
	if err != nil {
		return err
	}
	if !cursor.Second {
		return fmt.Errorf("%w: the cursor is that of a live state", state.ErrDamaged)
	}
	s.cache = checkpoint.NewCache(s.store, s.CacheBytes, checkpoint.Lookups{})
	s.writer = checkpoint.NewWriter(s.cache, cursor.Epoch)
	if s.fold, err = pipeline.NewFold(cursor, s.Sets, s.cache); err != nil {
		return fmt.Errorf("campaign set of the second state: %w", err)
	}
	if err := s.claims(); err != nil {
		return err
	}
	if s.Only != nil {
		s.fold.Only(s.Only...)
	}
	for _, step := range s.guarded {
		s.fold.Guard(step)
	}
	s.at, s.partly, s.moved = place{cursor.Seq, cursor.Stored}, place{}, false
	if cursor.Partly != 0 {
		s.partly = place{cursor.Seq + 1, cursor.Partly}
	}
	return nil
}

// claims tells the fold of the users that wait for visitors: these timers are the first.
func (s *Second) claims() error {
	enough := errors.New("enough")
	err := s.store.Timers(func(due int64, key string) error {
		if due != pipeline.DueByMail {
			return enough
		}
		s.fold.Schedule(due, key)
		return nil
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return err
}

// Seq is the last message that is applied completely.
func (s *Second) Seq() uint64 { return s.at.seq }

// Lists reports whether the state began for a switch that lists these features.
func (s *Second) Lists(features []string) bool {
	return slices.Equal(s.fold.Cursor().Listed, slices.Sorted(slices.Values(features)))
}

// Fits reports whether the log is known to have the message at which the state was
// opened (PROTOCOL.md, P5): before that, the state may be of a log that is lost.
func (s *Second) Fits() bool { return s.same }

// Cursor is the fold's cursor.
func (s *Second) Cursor() pipeline.Cursor { return s.fold.Cursor() }

// Close ends the fold. The store stays open.
func (s *Second) Close() {
	if s.reader != nil {
		s.reader.Close()
		s.reader = nil
	}
}

// apply folds a message.
func (s *Second) apply(m pipeline.Message) error {
	s.cache.Expect(m.Data)
	if err := s.fold.Begin(m); err != nil {
		return err
	}
	for {
		more, err := s.next(s.fold)
		if err != nil {
			return err
		}
		if s.moved = true; !more {
			s.at = place{m.Seq, m.Stored}
			return nil
		}
		if s.cache.Full(s.shrink) {
			if err := s.commit(); err != nil {
				return err
			}
		}
	}
}

// Commit stores what was applied since the last commit.
func (s *Second) Commit() error {
	if !s.moved {
		return nil
	}
	err := s.commit()
	if s.again(err) {
		s.Close()
		return s.begin() // what is lost is folded again
	}
	return err
}

func (s *Second) commit() error {
	if err := s.writer.Encode(s.fold.Cursor()); err != nil {
		return err
	}
	if err := s.writer.Commit(); err != nil {
		return err
	}
	s.writer.Done()
	s.moved = false
	return nil
}

// again reports whether a fold that begins again at the last commit gets past an
// error, and prepares for that.
func (s *Second) again(err error) bool {
	if bad, ok := checkpoint.NewPoison(err, s.guarded); ok {
		s.guarded = append(s.guarded, bad.Step)
		return true
	}
	if errors.Is(err, state.ErrTooBig) && s.shrink < checkpoint.MaxShrink {
		s.shrink *= 2
		return true
	}
	return false
}

// Overdue counts the evaluations that are overdue, by campaign and channel.
func (s *Second) Overdue() (map[[2]string]int, error) {
	if err := s.Commit(); err != nil {
		return nil, err
	}
	set, err := s.Sets(s.Set)
	if err != nil {
		return nil, err
	}
	counts, now := map[[2]string]int{}, s.fold.Cursor().LogTime
	errLater := errors.New("not overdue")
	n := 0
	err = s.store.Timers(func(due int64, key string) error {
		if due > now {
			return errLater
		}
		if n++; n%64 == 0 {
			if err := s.rest(); err != nil {
				return err
			}
		}
		e, err := s.cache.Look(key)
		if err != nil {
			return err
		}
		return recovered(func() error {
			set.Overdue(e, now, func(campaign, channel string) { counts[[2]string{campaign, channel}]++ })
			return nil
		})
	})
	if errors.Is(err, errLater) {
		err = nil
	}
	return counts, err
}

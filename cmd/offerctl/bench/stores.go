package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/state"
)

// userStores are a worker's stores, with the state of many users.
type userStores struct {
	dir, prefix       string
	partitions, users int
}

func userKey(user int) string { return "u:user-" + strconv.Itoa(user) }

func (s userStores) open(p int) (*state.Store, error) {
	return state.Open(filepath.Join(s.dir, fmt.Sprintf("partition-%d", p)), state.Options{MemTable: 64 << 20,
		Identity: state.Identity{Prefix: s.prefix, Partitions: s.partitions, Partition: p}})
}

// fill writes all users into the stores, in random order, and keeps the worker's
// cursor. It returns the mean size of a user in bytes.
func (s userStores) fill(def *campaign.Definition) (encoded float64, err error) {
	of := make([][]int, s.partitions)
	for u := range s.users {
		p := event.Partition(userKey(u), s.partitions)
		of[p] = append(of[p], u)
	}
	states, err := userStates(def, min(s.users, 8000))
	if err != nil {
		return 0, err
	}
	for _, st := range states {
		encoded += float64(len(st.bytes)) / float64(len(states))
	}
	errs := make([]error, s.partitions)
	var all sync.WaitGroup
	for half := range 2 {
		all.Go(func() {
			for p := half; p < s.partitions; p += 2 {
				rand.New(rand.NewPCG(uint64(p), 7)).Shuffle(len(of[p]), func(i, j int) { of[p][i], of[p][j] = of[p][j], of[p][i] })
				errs[p] = s.write(p, of[p], states)
			}
		})
	}
	all.Wait()
	for p, err := range errs {
		if err != nil {
			return 0, fmt.Errorf("bench: writing partition %d: %w", p, err)
		}
	}
	return encoded, nil
}

func (s userStores) write(p int, users []int, states []userState) (err error) {
	st, err := s.open(p)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := st.Close(); err == nil {
			err = cerr
		}
	}()
	cursor, err := st.Cursor()
	if err != nil || cursor == nil {
		return fmt.Errorf("the worker has left no cursor in %s: %w", s.dir, err)
	}
	b := st.NewBatch()
	for _, u := range users {
		key, one := userKey(u), states[u%len(states)]
		b.Put(key, one.bytes, nil)
		if one.due != pipeline.NoDue {
			b.Schedule(one.due, key)
		}
		if !st.Limit().Admits(b.Entries()*2, b.Bytes()*2) {
			if err := st.Commit(b, cursor); err != nil {
				return err
			}
			b.Reset()
		}
	}
	return st.Commit(b, cursor)
}

// A userState is an encoded state, which can be stored for any user.
type userState struct {
	bytes []byte
	due   int64
}

// userStates folds ten events per user, which are from 30 to 10 minutes old.
func userStates(def *campaign.Definition, users int) ([]userState, error) {
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	all := pipeline.Memory{}
	// The set was put in force in epoch 1 of the stores.
	fold, err := pipeline.NewFold(pipeline.Cursor{Set: set.Hash(), Epoch: 1}, func(string) (*pipeline.Set, error) { return set, nil }, all)
	if err != nil {
		return nil, err
	}
	seq := uint64(0)
	take := func(m pipeline.Message) error {
		seq++
		m.Seq = seq
		if err := fold.Begin(m); err != nil {
			return err
		}
		for more := true; more; {
			if more, err = fold.Next(); err != nil {
				return err
			}
		}
		return nil
	}
	gen, n, now := newGenerator(2, users), 10*users, time.Now()
	gen.even = true
	for i := range n {
		at := now.Add(-30*time.Minute + 20*time.Minute*time.Duration(i)/time.Duration(n))
		if err := take(pipeline.Message{Stored: at.UnixNano(), Kind: pipeline.In, Data: gen.next(nil)}); err != nil {
			return nil, err
		}
	}
	if err := take(pipeline.Message{Stored: now.UnixNano(), Kind: pipeline.Tick}); err != nil {
		return nil, err
	}
	var states []userState
	for u := range users {
		if e := all[userKey(u)]; e != nil {
			states = append(states, userState{e.AppendBinary(nil), e.Due()})
		}
	}
	return states, nil
}

// tables calls fn with each of Badger's tables, and returns their size in bytes.
func tables(dir string, fn func(*os.File) error) (bytes int64, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "partition-*", "*.sst"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return 0, err
		}
		info, err := f.Stat()
		if err == nil {
			bytes += info.Size()
			err = fn(f)
		}
		f.Close()
		if err != nil {
			return 0, err
		}
	}
	return bytes, nil
}

package ingest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// fakeLog is a Log in memory. Like the broker's, it stores packs with the same id
// once.
type fakeLog struct {
	mu      sync.Mutex
	packs   [][]string // by partition, in order
	ids     map[string]bool
	letters []pipeline.Dead
	clock   string
	forget  time.Duration
	down    error                                                                       // returned by Ready
	refused error                                                                       // returned by Refused
	coupon  func(partition int, user, code, order string) (pipeline.CouponState, error) // nil: there is no answer

	// publish, if set, runs before each publish is stored; its error is
	// returned, after storing if it is errAckLost.
	publish func(ctx context.Context, partition int, id string, pack []byte) error
	calls   atomic.Int64

	// bury does the same for dead letters.
	bury     func(ctx context.Context, id string, letters []pipeline.Dead) error
	messages int // of dead letters
}

var (
	errFake    = errors.New("fake: not stored")
	errAckLost = errors.New("fake: stored, but the acknowledgement is lost")
)

func newFakeLog(partitions int) *fakeLog {
	return &fakeLog{packs: make([][]string, partitions), ids: map[string]bool{}, clock: campaign.ClockBroker, forget: campaign.DefaultForgetAnonymous}
}

func (f *fakeLog) Partitions() int { return len(f.packs) }

func (f *fakeLog) Clock() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clock
}

func (f *fakeLog) ForgetAnonymous() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.forget
}

func (f *fakeLog) Coupon(ctx context.Context, p int, user, code, order string) (pipeline.CouponState, error) {
	f.mu.Lock()
	ask := f.coupon
	f.mu.Unlock()
	if ask == nil {
		<-ctx.Done()
		return pipeline.CouponState{}, ctx.Err()
	}
	return ask(p, user, code, order)
}

func (f *fakeLog) Ready() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func (f *fakeLog) Refused() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused
}

func (f *fakeLog) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeLog) Publish(ctx context.Context, p int, id string, pack []byte) error {
	f.calls.Add(1)
	err := error(nil)
	if f.publish != nil {
		if err = f.publish(ctx, p, id, pack); err != nil && !errors.Is(err, errAckLost) {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ids[id] {
		f.ids[id] = true
		f.packs[p] = append(f.packs[p], string(pack))
	}
	return err
}

func (f *fakeLog) DeadLetters(ctx context.Context, id string, letters []pipeline.Dead) error {
	err := error(nil)
	if f.bury != nil {
		if err = f.bury(ctx, id, letters); err != nil && !errors.Is(err, errAckLost) {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ids[id] {
		f.ids[id] = true
		f.letters = append(f.letters, slices.Clone(letters)...)
		f.messages++
	}
	return err
}

// events returns the stored events of one partition, in order.
func (f *fakeLog) events(p int) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, pack := range f.packs[p] {
		out = append(out, strings.Split(pack, "\n")...)
	}
	return out
}

// all returns the stored events of all partitions.
func (f *fakeLog) all() []string {
	var out []string
	for p := range f.packs {
		out = append(out, f.events(p)...)
	}
	return out
}

// dead returns the reasons of the dead letters.
func (f *fakeLog) dead() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, l := range f.letters {
		out = append(out, l.Reason)
	}
	return out
}

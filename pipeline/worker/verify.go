package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// Sums are what a verification counts.
type Sums struct {
	Applied   uint64 `json:"events"`    // events in the log, behind the snapshot where it began with one
	Offers    int    `json:"offers"`    // that the log gives
	Stored    int    `json:"stored"`    // that are stored
	Trimmed   int    `json:"trimmed"`   // given by the log, before the first that its chain still has, or before an acceptance: not looked at
	Missing   int    `json:"missing"`   // given by the log and not stored
	Duplicate int    `json:"double"`    // stored once more
	Different int    `json:"different"` // stored otherwise than the log gives them
	Extra     int    `json:"extra"`     // stored, and not given by the log
}

// Wrong is how many of them should not be.
func (s Sums) Wrong() int { return s.Missing + s.Duplicate + s.Different + s.Extra }

// PartitionSums are the sums of one partition.
type PartitionSums struct {
	Partition int    `json:"partition"`
	From      uint64 `json:"from"` // the last message of the snapshot that it began with; 0: it began with the log's first
	Sums
}

// A Verdict says whether the offers stream equals a replay of the log.
type Verdict struct {
	Sums
	Examples   []Example       `json:"examples"` // of what is wrong, the first few
	Partitions []PartitionSums `json:"partitions"`
}

const maxExamples = 10

// An Example is an offer with which something is wrong, and where it came from.
type Example struct {
	What      string `json:"what"` // missing, double, different or extra
	ID        string `json:"id"`
	Partition int    `json:"partition"`
	Chain     string `json:"chain"`
	N         uint64 `json:"n"` // its number on the chain
	S         uint64 `json:"s"` // the message of the partition's log that it came from
	Detail    string `json:"detail"`
}

func (e Example) String() string {
	return fmt.Sprintf("%s: offer %s, record %d of %s.%d, from message %d: %s", e.What, e.ID, e.N, e.Chain, e.Partition, e.S, e.Detail)
}

// OK says that the two are equal.
func (v *Verdict) OK() bool { return v.Wrong() == 0 }

func (v *Verdict) add(p int, from uint64, s Sums, examples []Example) {
	v.Applied += s.Applied
	v.Offers += s.Offers
	v.Stored += s.Stored
	v.Trimmed += s.Trimmed
	v.Missing += s.Missing
	v.Duplicate += s.Duplicate
	v.Different += s.Different
	v.Extra += s.Extra
	v.Partitions = append(v.Partitions, PartitionSums{p, from, s})
	v.Examples = append(v.Examples, examples[:min(len(examples), maxExamples-len(v.Examples))]...)
}

// VerifyOptions say what to verify. None are the zero value.
type VerifyOptions struct {
	Partitions   []int                                // (all)
	Settle       time.Duration                        // how long to wait for an offer that a worker has yet to publish, from when the last one came (0)
	Progress     func(partition int, seq, end uint64) // of the log, for each message; may be nil
	FromSnapshot bool                                 // begin with a snapshot though the log may have all (false)
	Dir          string                               // where a snapshot's state may be made, which is removed in the end (os.TempDir)
	Log          *slog.Logger                         // (none)
}

// Verify computes the partitions' logs anew and compares what they give with
// the offers that are stored, chain by chain, in step: in memory are the users
// of one partition, and of the offers those between the two. Where the log's
// beginning has expired, it begins with the oldest snapshot that the log
// reaches back to, on disk, and with what each chain has behind that. What comes
// after Verify has begun with a partition is left out. It writes nothing to NATS.
func Verify(ctx context.Context, conn *broker.Conn, opt *VerifyOptions) (v Verdict, err error) {
	if opt == nil {
		opt = &VerifyOptions{}
	}
	own, err := os.MkdirTemp(opt.Dir, "offerstream-verify-")
	if err != nil {
		return v, fmt.Errorf("a directory for a snapshot's state: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(own)) }()
	log := opt.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	v = Verdict{Examples: []Example{}}
	var compiled sets
	partitions := opt.Partitions
	for p := 0; opt.Partitions == nil && p < conn.Partitions; p++ {
		partitions = append(partitions, p)
	}
	for _, p := range partitions {
		state := replay{conn: conn, p: p, dir: filepath.Join(own, "state"), log: log, disk: badgers{}, archive: objects{conn: conn}, sets: &compiled, met: newMetrics(prometheus.NewRegistry(), &Worker{}), shrink: 2}
		a, err := verifyPast(ctx, &audit{replay: &state, opt: opt, next: next})
		if err != nil {
			return v, fmt.Errorf("verify partition %d: %w", p, err)
		}
		v.add(p, a.from, a.sums, a.examples)
	}
	return v, nil
}

// verifyPast begins anew at each step that panics, as a worker does.
func verifyPast(ctx context.Context, of *audit) (*audit, error) {
	for {
		a := *of
		a.left, a.chains = a.opt.Settle, map[string]*comparison{}
		err := a.run(ctx)
		a.close()
		if err = errors.Join(err, a.remove()); !a.again(err) {
			return &a, err
		}
	}
}

// An audit is the verification of one partition.
type audit struct {
	*replay // of a snapshot; closed where it began with the log's first message, and users are in memory
	opt     *VerifyOptions
	next    func(*pipeline.Fold) (more bool, err error)

	from     uint64                    // the last message of the snapshot; 0: none
	before   map[string]pipeline.Chain // what the chains had by then
	applied  uint64                    // events in it
	accepted uint64                    // the last Accept message of the log: what is before it is not looked at; 0: none
	end      uint64                    // the log's, when it began
	newest   uint64                    // the log's, when it was last looked up
	left     time.Duration             // for which may be waited
	chains   map[string]*comparison
	sums     Sums
	examples []Example
}

// run computes what the log gives and compares it.
func (a *audit) run(ctx context.Context) error {
	first, end, err := a.conn.Extent(ctx, a.p)
	if err != nil {
		return err
	}
	a.end, a.newest = end, end
	var stored int64
	if a.accepted, stored, err = a.conn.LastAccept(ctx, a.p); err != nil {
		return err
	}
	fold, err := a.origin(ctx, first, stored)
	if err != nil {
		return err
	}
	names, err := a.conn.OfferChains(ctx, a.p)
	if err != nil {
		return err
	}
	for _, name := range names {
		if a.accepted > a.from {
			break // each is looked at from its mark on
		}
		if _, err := a.chain(ctx, name, 0); err != nil {
			return err
		}
	}
	err = a.conn.ScanLog(ctx, a.p, a.from+1, func(m pipeline.Message) error {
		if m.Seq > end {
			return nil
		}
		if a.opt.Progress != nil {
			a.opt.Progress(a.p, m.Seq, end)
		}
		return a.apply(ctx, fold, m)
	})
	if err != nil {
		return err
	}
	if seq, _, _, _ := fold.At(); seq != end {
		return fmt.Errorf("the log was there up to message %d and could be read up to message %d", end, seq)
	}
	_, applied, _, _ := fold.At()
	a.sums.Applied = applied - a.applied
	for _, name := range slices.Sorted(maps.Keys(a.chains)) {
		if err := a.chains[name].finish(ctx); err != nil {
			return err
		}
	}
	return nil
}

// origin is the fold that the verification begins with: an empty one, or that
// of the oldest snapshot that the log reaches back to.
func (a *audit) origin(ctx context.Context, first uint64, accepted int64) (*pipeline.Fold, error) {
	if first == 1 && !a.opt.FromSnapshot {
		fold, err := pipeline.NewFold(pipeline.Cursor{}, a.sets.get(ctx, a.conn), pipeline.Memory{})
		if err != nil {
			return nil, err
		}
		for _, s := range a.guarded {
			fold.Guard(s)
		}
		return fold, nil
	}
	for attempt := 0; ; attempt++ {
		metas, err := a.archive.list(ctx, a.p)
		if err != nil {
			return nil, err
		}
		slices.Reverse(metas) // the oldest first
		metas = slices.DeleteFunc(metas, func(m broker.SnapshotMeta) bool {
			return accepted != 0 && m.Metadata[acceptedKey] != strconv.FormatInt(accepted, 10) // of before that
		})
		err = a.begin(ctx, metas, first, a.end)
		if errors.Is(err, broker.ErrSnapshotGone) && attempt < 3 {
			continue // there is a newer one
		}
		if err != nil {
			return nil, err
		}
		break
	}
	cursor := a.fold.Cursor()
	a.from, a.before, a.applied = cursor.Seq, cursor.Chains, cursor.Applied
	switch {
	case a.from > 0:
		return a.fold, nil
	case first > 1:
		return nil, fmt.Errorf("the log begins at message %d, what came before has expired: its offers can only be computed from a snapshot of the log at message %d or behind it, and there is none", first, first-1)
	}
	return nil, errors.New("there is no snapshot that fits the log")
}

// apply folds a message and compares the offers that it gives.
func (a *audit) apply(ctx context.Context, fold *pipeline.Fold, m pipeline.Message) error {
	if err := fold.Begin(m); err != nil {
		return err
	}
	var data []byte
	for {
		more, err := a.next(fold)
		if err != nil {
			return err
		}
		for _, e := range fold.Effects() {
			switch {
			case e.Mark != nil && m.Seq == a.accepted && e.Chain != "dead":
				c, err := a.chain(ctx, e.Chain, e.Pos.N)
				if err == nil {
					err = c.given(ctx, record{pos: e.Pos, id: broker.MarkID(e), hash: xxhash.Sum64(nil)})
				}
				if err != nil {
					return err
				}
				continue
			case e.Offer == nil:
				continue
			case m.Seq < a.accepted:
				a.sums.Offers++
				a.sums.Trimmed++
				continue
			}
			if data, err = e.Offer.AppendJSON(data[:0]); err != nil {
				return err
			}
			c, err := a.chain(ctx, e.Chain, 0)
			if err == nil {
				err = c.given(ctx, record{pos: e.Pos, id: e.Offer.ID, hash: xxhash.Sum64(data)})
			}
			if err != nil {
				return err
			}
		}
		if a.store != nil {
			if err := a.commitSome(); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// chain is the comparison of a chain, begun where there is none: at record
// number from, or the oldest behind the snapshot.
func (a *audit) chain(ctx context.Context, name string, from uint64) (*comparison, error) {
	if c := a.chains[name]; c != nil {
		return c, nil
	}
	if had := a.before[name].Last.N; had > 0 {
		from = max(from, had+1)
	}
	walk, err := a.conn.WalkChain(ctx, name, a.p)
	if err != nil {
		return nil, err
	}
	c := &comparison{audit: a, name: name, from: from, walk: walk, here: map[string]int{}, ids: map[uint64]bool{}}
	a.chains[name] = c
	if c.oldest, c.at, err = walk.Oldest(ctx); err != nil {
		return nil, err
	}
	c.oldest = max(c.oldest, from)
	if _, err = c.read(ctx); err != nil {
		return nil, err
	}
	for _, r := range c.window { // where the oldest one's number is wrong
		if n := r.pos.N; n > 0 {
			c.oldest = min(c.oldest, n)
		}
	}
	return c, nil
}

func (a *audit) close() {
	for _, c := range a.chains {
		c.walk.Close()
	}
}

// isLater says whether a record came from a message that the audit leaves out.
// One from beyond the log's end did not.
func (a *audit) isLater(ctx context.Context, pos pipeline.Position) (bool, error) {
	if pos.S <= a.end {
		return false, nil
	}
	if pos.S > a.newest {
		_, end, err := a.conn.Extent(ctx, a.p)
		if err != nil {
			return false, err
		}
		a.newest = max(a.newest, end)
	}
	return pos.S <= a.newest, nil
}

// gave says whether the log has given an offer of that id, as far as the newest
// of each chain go.
func (a *audit) gave(id string) bool {
	h := xxhash.Sum64String(id)
	for _, c := range a.chains {
		if c.ids[h] {
			return true
		}
	}
	return false
}

// wait lets a moment pass in which an offer may come. It says no when the
// time for that is over.
func (a *audit) wait(ctx context.Context) (bool, error) {
	if a.left <= 0 {
		return false, nil
	}
	moment := min(20*time.Millisecond, a.left)
	a.left -= moment
	select {
	case <-time.After(moment):
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// wrong counts an offer that should not be as it is.
func (a *audit) wrong(count *int, what, chain string, r record, detail string, args ...any) {
	*count++
	if len(a.examples) < maxExamples {
		a.examples = append(a.examples, Example{what, r.id, a.p, chain, r.pos.N, r.pos.S, fmt.Sprintf(detail, args...)})
	}
}

package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
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
	var compiled checkpoint.Sets
	partitions := opt.Partitions
	for p := 0; opt.Partitions == nil && p < conn.Partitions; p++ {
		partitions = append(partitions, p)
	}
	for _, p := range partitions {
		state := replay{conn: conn, p: p, dir: filepath.Join(own, "state"), log: log, disk: checkpoint.Badgers{}, archive: checkpoint.Objects{Conn: conn}, sets: &compiled, shrink: 2}
		done, err := verifyPast(ctx, &verification{replay: &state, opt: opt, next: checkpoint.Next})
		if err != nil {
			return v, fmt.Errorf("verify partition %d: %w", p, err)
		}
		v.add(p, done.from, done.sums, done.examples)
	}
	return v, nil
}

// verifyPast begins anew at each step that panics, as a worker does.
func verifyPast(ctx context.Context, of *verification) (*verification, error) {
	for {
		v := *of
		v.left, v.chains = v.opt.Settle, map[string]*comparison{}
		err := v.run(ctx)
		v.close()
		if err = errors.Join(err, v.remove()); !v.again(err) {
			return &v, err
		}
	}
}

// A verification is that of one partition.
type verification struct {
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
func (v *verification) run(ctx context.Context) error {
	first, end, err := v.conn.Extent(ctx, v.p)
	if err != nil {
		return err
	}
	v.end, v.newest = end, end
	var stored int64
	if v.accepted, stored, err = v.conn.LastAccept(ctx, v.p); err != nil {
		return err
	}
	fold, err := v.origin(ctx, first, stored)
	if err != nil {
		return err
	}
	if err := v.beginChains(ctx); err != nil {
		return err
	}
	err = v.conn.ScanLog(ctx, v.p, v.from+1, func(m pipeline.Message) error {
		if m.Seq > end {
			return nil
		}
		if v.opt.Progress != nil {
			v.opt.Progress(v.p, m.Seq, end)
		}
		return v.apply(ctx, fold, m)
	})
	if err != nil {
		return err
	}
	if seq, _, _, _ := fold.At(); seq != end {
		return fmt.Errorf("the log was there up to message %d and could be read up to message %d", end, seq)
	}
	_, applied, _, _ := fold.At()
	v.sums.Applied = applied - v.applied
	for _, name := range slices.Sorted(maps.Keys(v.chains)) {
		if err := v.chains[name].finish(ctx); err != nil {
			return err
		}
	}
	return nil
}

// beginChains begins with the chains that there are, unless each is looked at
// from its mark on.
func (v *verification) beginChains(ctx context.Context) error {
	names, err := v.conn.OfferChains(ctx, v.p)
	if err != nil || v.accepted > v.from {
		return err
	}
	for _, name := range names {
		if _, err := v.chain(ctx, name, 0); err != nil {
			return err
		}
	}
	return nil
}

// origin is the fold that the verification begins with: an empty one, or that
// of the oldest snapshot that the log reaches back to.
func (v *verification) origin(ctx context.Context, first uint64, accepted int64) (*pipeline.Fold, error) {
	if first == 1 && !v.opt.FromSnapshot {
		fold, err := pipeline.NewFold(pipeline.Cursor{}, v.sets.Get(ctx, v.conn), pipeline.Memory{})
		if err != nil {
			return nil, err
		}
		for _, s := range v.guarded {
			fold.Guard(s)
		}
		return fold, nil
	}
	for attempt := 0; ; attempt++ {
		metas, err := v.archive.List(ctx, v.p)
		if err != nil {
			return nil, err
		}
		slices.Reverse(metas) // the oldest first
		metas = slices.DeleteFunc(metas, func(m broker.SnapshotMeta) bool {
			return accepted != 0 && !checkpoint.HasFolded(m, accepted) // of before that
		})
		err = v.begin(ctx, metas, first, v.end)
		if errors.Is(err, broker.ErrSnapshotGone) && attempt < 3 {
			continue // there is a newer one
		}
		if err != nil {
			return nil, err
		}
		break
	}
	cursor := v.fold.Cursor()
	v.from, v.before, v.applied = cursor.Seq, cursor.Chains, cursor.Applied
	switch {
	case v.from > 0:
		return v.fold, nil
	case first > 1:
		return nil, fmt.Errorf("the log begins at message %d, what came before has expired: its offers can only be computed from a snapshot of the log at message %d or behind it, and there is none", first, first-1)
	}
	return nil, errors.New("there is no snapshot that fits the log")
}

// apply folds a message and compares the offers that it gives.
func (v *verification) apply(ctx context.Context, fold *pipeline.Fold, m pipeline.Message) error {
	if err := fold.Begin(m); err != nil {
		return err
	}
	var data []byte
	for {
		more, err := v.next(fold)
		if err != nil {
			return err
		}
		for _, e := range fold.Effects() {
			if data, err = v.compare(ctx, m.Seq, e, data); err != nil {
				return err
			}
		}
		if v.store != nil {
			if err := v.commitSome(); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// compare compares an effect of message seq with what is stored, if it is an
// offer or the accepted message's mark. It returns buf, which it may have made
// larger, for the next call.
func (v *verification) compare(ctx context.Context, seq uint64, e pipeline.Effect, buf []byte) (_ []byte, err error) {
	var given record
	var from uint64 // number on the chain
	switch {
	case e.Mark != nil && seq == v.accepted && e.Chain != "dead":
		given, from = record{pos: e.Pos, id: broker.MarkID(e), hash: xxhash.Sum64(nil)}, e.Pos.N
	case e.Offer == nil:
		return buf, nil
	case seq < v.accepted:
		v.sums.Offers++
		v.sums.Trimmed++
		return buf, nil
	default:
		if buf, err = e.Offer.AppendJSON(buf[:0]); err != nil {
			return buf, err
		}
		given = record{pos: e.Pos, id: e.Offer.ID, hash: xxhash.Sum64(buf)}
	}
	c, err := v.chain(ctx, e.Chain, from)
	if err != nil {
		return buf, err
	}
	return buf, c.given(ctx, given)
}

// chain is the comparison of a chain, begun where there is none: at record
// number from, or the oldest behind the snapshot.
func (v *verification) chain(ctx context.Context, name string, from uint64) (*comparison, error) {
	if c := v.chains[name]; c != nil {
		return c, nil
	}
	if had := v.before[name].Last.N; had > 0 {
		from = max(from, had+1)
	}
	walk, err := v.conn.WalkChain(ctx, name, v.p)
	if err != nil {
		return nil, err
	}
	c := &comparison{verification: v, name: name, from: from, walk: walk, here: map[string]int{}, ids: map[uint64]bool{}}
	v.chains[name] = c
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

func (v *verification) close() {
	for _, c := range v.chains {
		c.walk.Close()
	}
}

// isLater says whether a record came from a message that the verification leaves out.
// One from beyond the log's end did not.
func (v *verification) isLater(ctx context.Context, pos pipeline.Position) (bool, error) {
	if pos.S <= v.end {
		return false, nil
	}
	if pos.S > v.newest {
		_, end, err := v.conn.Extent(ctx, v.p)
		if err != nil {
			return false, err
		}
		v.newest = max(v.newest, end)
	}
	return pos.S <= v.newest, nil
}

// gave says whether the log has given an offer of that id, as far as the newest
// of each chain go.
func (v *verification) gave(id string) bool {
	h := xxhash.Sum64String(id)
	for _, c := range v.chains {
		if c.ids[h] {
			return true
		}
	}
	return false
}

// wait lets a moment pass in which an offer may come. It says no when the
// time for that is over.
func (v *verification) wait(ctx context.Context) (bool, error) {
	if v.left <= 0 {
		return false, nil
	}
	moment := min(20*time.Millisecond, v.left)
	v.left -= moment
	select {
	case <-time.After(moment):
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// wrong counts an offer that should not be as it is.
func (v *verification) wrong(count *int, what, chain string, r record, detail string, args ...any) {
	*count++
	if len(v.examples) < maxExamples {
		v.examples = append(v.examples, Example{what, r.id, v.p, chain, r.pos.N, r.pos.S, fmt.Sprintf(detail, args...)})
	}
}

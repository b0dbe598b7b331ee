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
	"offerstream/pipeline/coupon"
)

// Sums are the counts of a verification.
type Sums struct {
	Applied   uint64 `json:"events"`    // events in the log, from the snapshot on if it began with one
	Offers    int    `json:"offers"`    // offers that the log gives
	Stored    int    `json:"stored"`    // offers that are stored
	Trimmed   int    `json:"trimmed"`   // offers that the log gives but that were not compared: they precede the oldest record of their chain, or an acceptance
	Missing   int    `json:"missing"`   // offers that the log gives and that are not stored
	Duplicate int    `json:"double"`    // offers that are stored a second time
	Different int    `json:"different"` // offers that are stored differently from what the log gives
	Extra     int    `json:"extra"`     // offers that are stored and that the log does not give

	Mails MailSums `json:"mails"`
}

// MailSums are the counts of the mails from one partition to all, itself included.
type MailSums struct {
	Given     int `json:"given"`     // mails that the log gives
	Stored    int `json:"stored"`    // mails that the receivers' logs have
	Trimmed   int `json:"trimmed"`   // mails that were not compared: they have expired with the receiver's log, or precede an acceptance
	Missing   int `json:"missing"`   // mails that the log gives and that are not stored
	Different int `json:"different"` // mails that are stored differently from what the log gives
	Extra     int `json:"extra"`     // mails that are stored and that the log does not give
}

// Wrong is the number of errors among them.
func (s MailSums) Wrong() int { return s.Missing + s.Different + s.Extra }

func (s *MailSums) add(o MailSums) {
	s.Given += o.Given
	s.Stored += o.Stored
	s.Trimmed += o.Trimmed
	s.Missing += o.Missing
	s.Different += o.Different
	s.Extra += o.Extra
}

// Wrong is the number of errors among them.
func (s Sums) Wrong() int { return s.Missing + s.Duplicate + s.Different + s.Extra + s.Mails.Wrong() }

// PartitionSums are the sums of one partition.
type PartitionSums struct {
	Partition int    `json:"partition"`
	From      uint64 `json:"from"` // the last message in the snapshot with which it began; 0: it began with the log's first message
	Sums
}

// A Verdict says whether the stored offers equal those of a replay of the logs.
type Verdict struct {
	Sums
	Examples   []Example       `json:"examples"` // the first few errors
	Partitions []PartitionSums `json:"partitions"`
}

const maxExamples = 10

// An Example is an offer or a mail in error, and the message that it came from.
type Example struct {
	What      string `json:"what"` // missing, double, different, extra or lost
	ID        string `json:"id"`   // of an offer; a mail has none
	Partition int    `json:"partition"`
	Chain     string `json:"chain"`
	N         uint64 `json:"n"` // its number on the chain
	S         uint64 `json:"s"` // the message of the partition's log that it came from
	Detail    string `json:"detail"`
}

func (e Example) String() string {
	if _, ok := pipeline.MailsTo(e.Chain); ok {
		return fmt.Sprintf("%s: mail %d of %s.%d, from message %d: %s", e.What, e.N, e.Chain, e.Partition, e.S, e.Detail)
	}
	what := "offer"
	if e.Chain == "page" {
		what = "page record"
	}
	return fmt.Sprintf("%s: %s %s, record %d of %s.%d, from message %d: %s", e.What, what, e.ID, e.N, e.Chain, e.Partition, e.S, e.Detail)
}

// OK reports whether there are no errors.
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
	v.Mails.add(s.Mails)
	v.Partitions = append(v.Partitions, PartitionSums{p, from, s})
	v.Examples = append(v.Examples, examples[:min(len(examples), maxExamples-len(v.Examples))]...)
}

// VerifyOptions configure Verify. Zero values mean the defaults in parentheses.
type VerifyOptions struct {
	Partitions   []int                                                        // (all)
	Settle       time.Duration                                                // how long to wait, after the last offer came, for further offers that workers have not published yet (0)
	Progress     func(partition int, seq, end uint64)                         // called for each message of the log (nil)
	FromSnapshot bool                                                         // begin with a snapshot even if the log has all messages (false)
	Coupons      *coupon.Keys                                                 // keys of coupons (codes are not compared: each counts as a placeholder)
	Watch        func(partition int, f *pipeline.Fold, users pipeline.Memory) // takes each fold before its first message, with the users that it changes; not a fold that begins with a snapshot; a partition's second fold takes the place of its first, in which a step panicked (nil)
	Dir          string                                                       // directory for temporary state (os.TempDir)
	Log          *slog.Logger                                                 // (none)
}

// Verify folds the partitions' logs anew and compares the offers that they give
// with those that are stored, chain by chain, as the fold goes on, and the mails that
// they give with those in the receivers' logs, as far as these reach back. In memory it
// has the users of one partition, and the stored offers that are not matched yet.
// If the beginning of a log has expired, Verify begins with the oldest snapshot to
// which the log reaches back, whose state it keeps on disk, and with the records
// that follow it on each chain. It ignores messages that come after it has begun
// with a partition. It writes nothing to NATS.
func Verify(ctx context.Context, conn *broker.Conn, opt *VerifyOptions) (v Verdict, err error) {
	if opt == nil {
		opt = &VerifyOptions{}
	}
	own, err := os.MkdirTemp(opt.Dir, "offerstream-verify-")
	if err != nil {
		return v, fmt.Errorf("make a directory for a snapshot's state: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(own)) }()
	v = Verdict{Examples: []Example{}}
	var compiled checkpoint.Sets
	partitions := opt.Partitions
	for p := 0; opt.Partitions == nil && p < conn.Partitions; p++ {
		partitions = append(partitions, p)
	}
	for _, p := range partitions {
		of := newReading(newReplay(conn, p, filepath.Join(own, "state"), opt.Log, &compiled, opt.Coupons))
		done, err := verifyPast(ctx, &verification{reading: of, opt: opt})
		if err != nil {
			return v, fmt.Errorf("verify partition %d: %w", p, err)
		}
		v.add(p, done.from, done.sums, done.examples)
	}
	return v, nil
}

// verifyPast runs a verification, and runs it again if a step panics, guarding
// that step, as a worker does.
func verifyPast(ctx context.Context, template *verification) (v *verification, err error) {
	err = template.past(func() error {
		again := *template
		v = &again
		v.left, v.chains, v.mails = v.opt.Settle, map[string]*comparison{}, map[int]*mailComparison{}
		defer v.close()
		return v.run(ctx)
	})
	return v, err
}

// A verification verifies one partition.
type verification struct {
	*reading
	opt *VerifyOptions

	before   map[string]pipeline.Chain // the chains in the snapshot's cursor
	newest   uint64                    // the log's end when last looked up
	left     time.Duration             // how long it may still wait for offers
	chains   map[string]*comparison
	mails    map[int]*mailComparison // by receiver
	sums     Sums
	examples []Example
}

// run folds the log and compares the offers that it gives.
func (v *verification) run(ctx context.Context) error {
	if err := v.origin(ctx, v.opt.FromSnapshot); err != nil {
		return err
	}
	v.newest = v.end
	if v.opt.Watch != nil && v.users != nil {
		v.opt.Watch(v.p, v.fold, v.users)
	}
	cursor := v.fold.Cursor()
	v.before = cursor.Chains
	if err := v.beginChains(ctx); err != nil {
		return err
	}
	var data []byte
	err := v.read(ctx, v.opt.Progress, func(seq uint64) (err error) {
		for _, e := range v.fold.Effects() {
			if data, err = v.compare(ctx, seq, e, data); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, applied, _, _ := v.fold.At()
	v.sums.Applied = applied - cursor.Applied
	for _, name := range slices.Sorted(maps.Keys(v.chains)) {
		if err := v.chains[name].finish(ctx); err != nil {
			return err
		}
	}
	return v.finishMails(ctx)
}

// beginChains makes a comparison for each chain that exists, unless each chain is
// compared from its mark on.
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

// compare compares an effect of message seq with the stored record, if the effect
// is an offer, a page record or a mark of the last acceptance. It returns buf, perhaps enlarged,
// for the next call.
func (v *verification) compare(ctx context.Context, seq uint64, e pipeline.Effect, buf []byte) (_ []byte, err error) {
	var given record
	var from uint64 // number of the chain's first record to compare
	switch {
	case e.Mail != nil:
		return buf, v.compareMail(ctx, seq, e)
	case e.Mark != nil && seq == v.accepted && e.Chain != "dead":
		given, from = record{pos: e.Pos, id: broker.MarkID(e), hash: xxhash.Sum64(nil)}, e.Pos.N
	case e.Offer == nil && e.Page == nil:
		return buf, nil
	case seq < v.accepted:
		v.sums.Offers++
		v.sums.Trimmed++
		return buf, nil
	case e.Page != nil:
		given = record{pos: e.Pos, id: e.Page.ID, hash: xxhash.Sum64(e.Page.JSON())}
	default:
		if buf, err = e.Offer.AppendJSON(buf[:0]); err != nil {
			return buf, err
		}
		buf = append(buf, e.Offer.Granted()...)
		given = record{pos: e.Pos, id: e.Offer.ID, hash: xxhash.Sum64(buf)}
	}
	c, err := v.chain(ctx, e.Chain, from)
	if err != nil {
		return buf, err
	}
	return buf, c.given(ctx, given)
}

// chain returns the comparison of a chain. It makes it if there is none, beginning
// at record from, or at the oldest record after the snapshot.
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
	for _, r := range c.unmatched { // in case the oldest record has a wrong number
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
	for _, c := range v.mails {
		c.walk.Close()
	}
}

// isLater reports whether a record came from a message that was stored after the
// verification had begun. It is false for a record from beyond the log's end.
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

// gave reports whether the log has given an offer with that id, among the newest
// maxIDs of each chain.
func (v *verification) gave(id string) bool {
	h := xxhash.Sum64String(id)
	for _, c := range v.chains {
		if c.ids[h] {
			return true
		}
	}
	return false
}

// wait waits a moment for an offer to come. It returns false when the time for
// waiting is over.
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

// wrong counts an error, and keeps it as an example if it is among the first.
func (v *verification) wrong(count *int, what, chain string, r record, detail string, args ...any) {
	*count++
	if len(v.examples) < maxExamples {
		v.examples = append(v.examples, Example{what, r.id, v.p, chain, r.pos.N, r.pos.S, fmt.Sprintf(detail, args...)})
	}
}

package backtest

import (
	"context"
	"errors"
	"maps"
	"os"
	"strings"
	"sync"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

// LogOptions of Log are those of Run, but for Refused and Progress.
type LogOptions struct {
	Options
	Dir      string                        // directory for temporary files (os.TempDir)
	Read     func(messages, total uint64)  // is told how many messages of the logs were read; one call at a time
	Replayed func(p int, r audit.Replayed) // takes what was folded of each partition, in the end, in order
}

// Log runs a set over the live log of a deployment, as it is now, with its stored
// times, ticks and control messages (audit.Replay), several partitions at once. With
// a nil set the sets run that were live, and the offers are those that are stored.
//
// What users, items, budgets and pools received from each other is in the log, too. Under
// another set than the live ones it is still what those sent: questions of that set alone
// have no answer and stay pending, and what a visitor did before it became a user counts
// only in the features that were live.
//
// Options.Offer gets the offers of all partitions in the order of log time, those of
// one time in the order of partitions, after all have been folded: until then they
// are in files. A fact is in the log of each partition, and counts as an event in
// each.
func Log(ctx context.Context, conn *broker.Conn, set *pipeline.Set, opt LogOptions) (res *Result, err error) {
	dir, err := os.MkdirTemp(opt.Dir, "offerstream-backtest-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l := &liveLog{opt: opt, parts: make([]*part, conn.Partitions)}
	defer l.close()
	err = audit.Replay(ctx, conn, audit.ReplayOptions{
		Set: set, From: opt.From, Until: opt.To, Coupons: opt.Coupons, Dir: dir, Workers: opt.Workers,
		Begin: func(p int, f *pipeline.Fold) (err error) {
			if l.parts[p] != nil {
				l.parts[p].offers.close()
			}
			l.parts[p], err = newPart(dir, p, f, opt.Offer != nil)
			return err
		},
		Reached:  func(p int, f *pipeline.Fold) error { l.parts[p].count(f); return nil },
		Effect:   func(p int, _ int64, e pipeline.Effect) error { return l.parts[p].take(e) },
		End:      func(p int, f *pipeline.Fold, r audit.Replayed) error { return l.parts[p].end(f, r) },
		Progress: l.progress(ctx, conn),
	})
	if err != nil {
		return nil, err
	}
	for p, of := range l.parts {
		if opt.Replayed != nil {
			opt.Replayed(p, of.replayed)
		}
	}
	if opt.Offer != nil {
		if err := mergeOffers(l.parts, opt.Offer); err != nil {
			return nil, err
		}
	}
	return l.result(set), nil
}

// A liveLog is a run of Log.
type liveLog struct {
	opt   LogOptions
	parts []*part
}

// A part is what a partition's log gives.
type part struct {
	begun    uint64 // events applied in the snapshot
	counts   bool   // log time has reached From
	before   map[string]pipeline.Counts
	features pipeline.Counts // likewise
	rejected map[string]uint64
	reached  map[string]map[string]bool // as of a shard
	failed   failures
	offers   *offerFile // nil: nobody asks for them

	replayed    audit.Replayed
	events      uint64
	mails       uint64
	duplicates  uint64
	last        int64
	set         string
	all         map[string]pipeline.Counts
	allFeatures pipeline.Counts
}

func newPart(dir string, number int, f *pipeline.Fold, offers bool) (p *part, err error) {
	_, begun, _, _ := f.At()
	p = &part{begun: begun, rejected: map[string]uint64{}, reached: map[string]map[string]bool{}, failed: failures{}}
	f.Failures(func(one pipeline.Failure) {
		if p.counts {
			p.failed.add(one)
		}
	})
	if offers {
		p.offers, err = newOfferFile(dir, number)
	}
	return p, err
}

// count counts from here on.
func (p *part) count(f *pipeline.Fold) {
	p.counts = true
	p.before, p.features = f.Counts()
}

func (p *part) take(e pipeline.Effect) error {
	if e.Dead != nil {
		p.rejected[e.Dead.Reason]++
	}
	if e.Mail != nil {
		p.mails++
	}
	if e.Offer == nil || !p.counts {
		return nil
	}
	if !e.Offer.Withheld {
		campaign, _, _ := strings.Cut(e.Offer.Campaign, "/")
		users := p.reached[campaign]
		if users == nil {
			users = map[string]bool{}
			p.reached[campaign] = users
		}
		users[e.Offer.Entity()] = true
	}
	if p.offers == nil {
		return nil
	}
	return p.offers.add(e.Offer)
}

func (p *part) end(f *pipeline.Fold, r audit.Replayed) error {
	_, applied, last, set := f.At()
	p.replayed, p.events, p.last, p.set, p.duplicates = r, applied-p.begun, last, set, f.Duplicates()
	p.all, p.allFeatures = f.Counts()
	for id, n := range p.all {
		p.all[id] = n.Since(p.before[id])
	}
	p.allFeatures = p.allFeatures.Since(p.features)
	if p.offers == nil {
		return nil
	}
	return p.offers.flush()
}

// progress adds up what has been read of the partitions.
func (l *liveLog) progress(ctx context.Context, conn *broker.Conn) func(p int, seq, end uint64) {
	if l.opt.Read == nil {
		return nil
	}
	var mu sync.Mutex
	var total uint64
	began, read := map[int]uint64{}, map[int]uint64{}
	for p := range conn.Partitions {
		if first, last, err := conn.Extent(ctx, p); err == nil {
			total += last + 1 - first
		}
	}
	return func(p int, seq, end uint64) {
		mu.Lock()
		defer mu.Unlock()
		if _, ok := began[p]; !ok {
			began[p] = seq
		}
		read[p] = seq + 1 - min(began[p], seq)
		var sum uint64
		for _, n := range read {
			sum += n
		}
		l.opt.Read(sum, max(total, sum))
	}
}

// result adds up what the partitions have given.
func (l *liveLog) result(set *pipeline.Set) *Result {
	res := &Result{Rejected: map[string]uint64{}, Campaigns: map[string]*Campaign{}}
	if set != nil {
		for _, d := range set.Definition().Campaigns {
			res.campaign(d.ID)
		}
	}
	failed := failures{}
	for _, p := range l.parts {
		if first := p.replayed.First; first != 0 && (res.First == 0 || first < res.First) {
			res.First = first
		}
		if p.last > res.Last {
			res.Last = p.last
		}
		if p.set != "" {
			res.Set = p.set
		}
		res.Events += p.events
		res.Users += p.replayed.Users
		res.Duplicates += p.duplicates
		res.Mails += p.mails
		res.Loaded = p.replayed.Rows
		res.Lines += p.events
		for reason, n := range p.rejected {
			res.Rejected[reason] += n
			res.Lines += n
		}
		res.Features = res.Features.Plus(p.allFeatures)
		for id, n := range p.all {
			name, row, _ := strings.Cut(id, "/")
			c := res.campaign(name)
			c.Counts = c.Counts.Plus(n)
			if row != "" && n != (pipeline.Counts{}) {
				if c.Rows == nil {
					c.Rows = map[string]pipeline.Counts{}
				}
				c.Rows[id] = c.Rows[id].Plus(n)
			}
		}
		for name, users := range p.reached {
			maps.Copy(res.campaign(name).Users, users)
		}
		failed.plus(p.failed)
	}
	if l.opt.From != 0 {
		res.First = max(res.First, l.opt.From)
	}
	res.Failures = failed.most("")
	for id, c := range res.Campaigns {
		c.Failures = failed.most(id)
	}
	return res
}

// campaign is the campaign of an id, which the set need not have now.
func (r *Result) campaign(id string) *Campaign {
	c := r.Campaigns[id]
	if c == nil {
		c = &Campaign{Users: map[string]bool{}}
		r.Campaigns[id] = c
	}
	return c
}

func (l *liveLog) close() {
	for _, p := range l.parts {
		if p != nil {
			p.offers.close()
		}
	}
}

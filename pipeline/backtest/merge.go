package backtest

import (
	"maps"
	"strings"

	"offerstream/pipeline"
)

// merge gives a batch's refused lines and offers to the caller.
func (r *runner) merge(b *batch) error {
	if r.opt.Refused != nil {
		for i := range b.lines {
			if err := b.lines[i].err; err != nil {
				r.opt.Refused(b.first+i+1, err)
			}
		}
	}
	if err := r.offers(b); err != nil {
		return err
	}
	for _, err := range b.errs {
		if err != nil {
			return err
		}
	}
	if r.opt.Progress != nil {
		r.opt.Progress(uint64(b.first + len(b.lines)))
	}
	return nil
}

// offers gives the offers of all shards to the caller, in order. Those of each shard
// are in order already.
func (r *runner) offers(b *batch) error {
	if r.opt.Offer == nil {
		return nil
	}
	rest := r.rest[:0]
	rest = append(rest, b.offers...)
	r.rest = rest
	for {
		first := -1
		for i, offers := range rest {
			if len(offers) > 0 && (first < 0 || offers[0].compare(rest[first][0].place) < 0) {
				first = i
			}
		}
		if first < 0 {
			return nil
		}
		if err := r.opt.Offer(rest[first][0].offer); err != nil {
			return err
		}
		rest[first] = rest[first][1:]
	}
}

// result adds up what the stages have counted.
func (r *runner) result(set *pipeline.Set) *Result {
	st := r.stamper
	res := &Result{
		Set: set.Hash(), First: st.first, Last: st.now, Lines: st.lines, Events: st.events, Rejected: st.rejected, Jumps: st.jumps,
		Loaded: r.shards[0].loaded, Campaigns: map[string]*Campaign{},
	}
	if r.opt.From != 0 {
		res.First = max(st.first, r.opt.From)
	}
	for _, d := range set.Definition().Campaigns {
		c := &Campaign{Users: map[string]bool{}}
		if len(d.Rows) > 0 {
			c.Rows = map[string]pipeline.Counts{}
		}
		res.Campaigns[d.ID] = c
	}
	failed := failures{}
	for _, s := range r.shards {
		res.Users += uint64(s.core.Users())
		res.Duplicates += s.core.Duplicates()
		s.addTo(res)
		failed.plus(s.failed)
	}
	res.Failures = failed.most("")
	for id, c := range res.Campaigns {
		c.Failures = failed.most(id)
	}
	return res
}

// addTo adds the shard's counts.
func (s *shard) addTo(res *Result) {
	if !s.counts { // log time never reached From
		s.core.CountFromHere()
	}
	counts, features := s.core.Counts()
	res.Features = res.Features.Plus(features)
	for id, n := range counts {
		name, row, _ := strings.Cut(id, "/")
		c := res.Campaigns[name]
		c.Counts = c.Counts.Plus(n)
		if row != "" && n != (pipeline.Counts{}) {
			c.Rows[id] = c.Rows[id].Plus(n)
		}
	}
	for name, users := range s.reached {
		maps.Copy(res.Campaigns[name].Users, users)
	}
}

package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// mostSurveyed bounds the campaigns of a survey.
const mostSurveyed = 10_000

// survey counts what is pending in the last checkpoint, and answers when it has, while
// the fold goes on.
func (a *attempt) survey(within context.Context, asked broker.Question) {
	if !a.surveying.CompareAndSwap(false, true) {
		a.say(asked, broker.Answer{Error: "what is pending is being counted for somebody else: try again"})
		return
	}
	s := broker.PendingSurvey{Partition: a.p.number, Engine: a.fold.Definition().Engine, Fed: a.fold.Fed()}
	_, _, _, s.Set = a.fold.At()
	a.tasks.Go(func() {
		defer a.surveying.Store(false)
		err := a.countPending(within, &s)
		var answer broker.Answer
		if err == nil {
			answer.Pending, err = json.Marshal(s)
		}
		if err != nil {
			answer = broker.Answer{Error: err.Error()}
		}
		a.say(asked, answer)
	})
}

func (a *attempt) countPending(ctx context.Context, s *broker.PendingSurvey) error {
	cursor, err := checkpoint.LoadCursor(a.p.store)
	if err != nil {
		return err
	}
	s.Seq, s.LogTime = cursor.Seq, cursor.LogTime
	if s.First, _, err = a.conn.Extent(ctx, a.p.number); err != nil {
		return err
	}
	enough := errors.New("enough")
	err = a.conn.ScanLog(ctx, a.p.number, s.First, func(m pipeline.Message) error {
		s.First, s.Reach = m.Seq, m.Stored
		return enough
	})
	if err != nil && !errors.Is(err, enough) {
		return err
	}
	counts, names := map[broker.PendingCount]int{}, map[string]bool{}
	pace := pace{w: a.p.w, since: a.now()}
	pace.set(defaultRate)
	err = a.p.store.Entities("", func(key string, b []byte, _ state.Pieces) error {
		if s.Users++; s.Users%64 == 0 {
			if err := pace.rest(ctx); err != nil {
				return err
			}
		}
		e, err := checkpoint.Decode(key, b)
		if err != nil {
			return err
		}
		pipeline.Memory{key: e}.Pending(func(campaign, stage string, _ int64) {
			base, _, _ := strings.Cut(campaign, "/") // all its rows together
			counts[broker.PendingCount{Campaign: base, Stage: stage}]++
			names[base] = true
		})
		if len(names) > mostSurveyed {
			return fmt.Errorf("more than %d campaigns have something pending: that is more than can be listed", mostSurveyed)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("count what is pending in partition %d: %w", a.p.number, err)
	}
	s.Pending = []broker.PendingCount{}
	for c, n := range counts {
		c.N = n
		s.Pending = append(s.Pending, c)
	}
	slices.SortFunc(s.Pending, func(x, y broker.PendingCount) int {
		return cmp.Or(cmp.Compare(x.Campaign, y.Campaign), cmp.Compare(x.Stage, y.Stage))
	})
	return nil
}

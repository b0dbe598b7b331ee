package worker

import (
	"context"
	"fmt"
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
	s := broker.Pending{Engine: a.fold.Definition().Engine, Fed: a.fold.Fed(), Campaigns: map[string]map[string]int{}}
	a.tasks.Go(func() {
		defer a.surveying.Store(false)
		answer := broker.Answer{Pending: &s}
		if err := a.countPending(within, &s); err != nil {
			answer = broker.Answer{Error: err.Error()}
		}
		a.say(asked, answer)
	})
}

func (a *attempt) countPending(ctx context.Context, s *broker.Pending) error {
	cursor, err := checkpoint.LoadCursor(a.p.store)
	if err != nil {
		return err
	}
	s.Seq, s.LogTime = cursor.Seq, cursor.LogTime
	if s.First, s.Begins, err = a.conn.Begins(ctx, a.p.number); err != nil {
		return err
	}
	users := 0
	pace := pace{w: a.p.w, since: a.now()}
	pace.set(defaultRate)
	err = a.p.store.Entities("", func(key string, b []byte, _ state.Pieces) error {
		if users++; users%64 == 0 {
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
			if s.Campaigns[base] == nil {
				s.Campaigns[base] = map[string]int{}
			}
			s.Campaigns[base][stage]++
		})
		if len(s.Campaigns) > mostSurveyed {
			return fmt.Errorf("more than %d campaigns have something pending: that is more than can be listed", mostSurveyed)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("count what is pending in partition %d: %w", a.p.number, err)
	}
	return nil
}

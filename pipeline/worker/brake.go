package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// A braking makes what a brake has paused in this partition a pause of all
// partitions: its owner writes it into the record of what is paused, as an operator
// does, and a resume is one of an operator's.
type braking struct {
	tried time.Time // when it last read or wrote the record
}

// brakeEvery is the least time between two attempts to write the record.
const brakeEvery = time.Second

// look tells of brakes that have tripped, and writes into the record what it lacks.
func (b *braking) look(ctx context.Context, a *attempt) {
	braked := a.fold.Braked()
	a.tellBraked(braked)
	if len(braked) == 0 || a.p.muted.Load() || a.now().Sub(b.tried) < brakeEvery {
		return
	}
	watched := a.p.w.paused.Load() // may be old, which does no harm: the record is read before it is written
	if watched == nil || len(unlisted(*watched, braked)) == 0 {
		return
	}
	b.tried = a.now()
	if err := a.pauseAll(ctx, braked); errors.Is(err, broker.ErrLiveChanged) {
		a.p.log.Info("what a brake has paused cannot be paused in all partitions yet: trying again", "reason", err)
	} else if err != nil {
		a.p.log.Error("what a brake has paused cannot be paused in all partitions: trying again", "error", err)
	}
}

// tellBraked logs what brakes have paused since the last call, and shows it in the
// metrics.
func (a *attempt) tellBraked(braked []pipeline.Braked) {
	known := a.p.status.braked.Load()
	if known == nil {
		known = &[]pipeline.Braked{}
	}
	if slices.Equal(*known, braked) {
		return
	}
	for _, b := range braked {
		if !slices.Contains(*known, b) {
			a.p.log.Error("A BRAKE HAS TRIPPED: it pauses advertising until an operator resumes it", "paused", b.Name(), "reason", brakeReason(a.p.number, b), "message", b.Seq)
		}
	}
	a.p.status.braked.Store(&braked)
}

// brakeReason says which brake has paused something, and why.
func brakeReason(partition int, b pipeline.Braked) string {
	what := b.Channel
	if what == "" {
		what = "offers"
	}
	return fmt.Sprintf("brake of partition %d: %d %s in %s", partition, b.Sent, what, campaign.FormatDuration(b.Within))
}

// unlisted are those that a record does not list, and that nobody has resumed since
// they were paused.
func unlisted(pauses broker.Pauses, braked []pipeline.Braked) (lacks []pipeline.Braked) {
	for _, b := range braked {
		listed := b.Channel != "" && slices.Contains(pauses.Channels, b.Channel) || b.Channel == "" && slices.Contains(pauses.Campaigns, b.Campaign)
		if !listed && pauses.Resumed[b.Name()] <= b.Pauses {
			lacks = append(lacks, b)
		}
	}
	return lacks
}

// pauseAll writes into the record of what is paused what it lacks.
func (a *attempt) pauseAll(ctx context.Context, braked []pipeline.Braked) error {
	pauses, rev, err := a.conn.Pauses(ctx)
	if err != nil {
		return err
	}
	lacks := unlisted(pauses, braked)
	if len(lacks) == 0 {
		return nil
	}
	for _, b := range lacks {
		if b.Channel != "" {
			pauses.Channels = append(pauses.Channels, b.Channel)
		} else {
			pauses.Campaigns = append(pauses.Campaigns, b.Campaign)
		}
		if pauses.Reasons == nil {
			pauses.Reasons = map[string]string{}
		}
		pauses.Reasons[b.Name()] = brakeReason(a.p.number, b)
	}
	_, known := a.fold.Revisions()
	if pauses.Revision, err = a.conn.NextRevision(ctx, max(pauses.Revision, known), broker.PausesRevision); err != nil {
		return err
	}
	pauses.By, pauses.At = "brake", value.FormatTime(a.p.w.opt.Now())
	if err := a.conn.PutPauses(ctx, pauses, rev); err != nil {
		return err
	}
	for _, b := range lacks {
		a.p.log.Warn("what a brake has paused is to be paused in all partitions", "paused", b.Name(), "revision", pauses.Revision)
	}
	return nil
}

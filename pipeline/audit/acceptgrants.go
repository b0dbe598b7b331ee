package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// grantBytes is about how many bytes of grants an acceptance names: in base64 it must
// fit into a message of 1 MB.
const grantBytes = 512 << 10

// findGrants reads the grants of which some may be lost (PROTOCOL.md, G5): those with
// which offers have gone out, and those that the logs of other partitions have, whose
// offers may still go out. It returns nil if no campaign has a budget or a pool.
func (a *acceptance) findGrants(ctx context.Context) (*pipeline.Recount, error) {
	live, _, err := a.conn.Live(ctx)
	if err != nil {
		return nil, err
	}
	a.live = live.Revision
	var set *pipeline.Set
	if live.Set != "" {
		if set, err = a.sets.Get(ctx, a.conn)(live.Set); err != nil {
			return nil, err
		}
	}
	r := a.fold.Recount(set)
	if !r.Needed() {
		return nil, nil
	}
	names, since := a.conn.Names, time.Time{}
	if at := r.Since(); at > 0 {
		since = time.Unix(0, at)
	}
	for p := range a.conn.Partitions {
		err := a.opt.Walk(ctx, names.OffersStream(), names.OffersOf(p), since, func(m broker.Stored) error {
			granted := m.Header.Get(broker.HeaderGrants)
			if granted == "" {
				return nil
			}
			at, err := broker.ParsePosition(m.Header)
			if err == nil {
				err = r.Stored(granted, p == a.p, at)
			}
			if err != nil {
				return fmt.Errorf("the grants of record %s on %s: %w", m.Header.Get("ce-id"), m.Subject, err)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if p == a.p {
			continue
		}
		err = a.opt.Walk(ctx, names.EventsStream(p), names.ChainSubject(pipeline.MailChain(p), a.p), since, func(m broker.Stored) error {
			return pipeline.EachPacked(m.Data, func(_ pipeline.Position, mail []byte) error { return r.Sent(mail) })
		})
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// enter records the acceptance in the log. If it counts so many grants again that one
// message cannot name them, it is as if it had been interrupted and started again.
func (a *acceptance) enter(ctx context.Context) error {
	all := []pipeline.Acceptance{a.record}
	if live, _ := a.fold.Revisions(); live > a.live {
		return fmt.Errorf("the bucket has answered with revision %d of what is live, and the log has revision %d: start this command again", a.live, live)
	}
	if a.recount != nil && a.recount.Unset() {
		return errors.New("offers of campaigns with budgets or pools are stored, but the bucket says that no campaign set is live: apply the set and start this command again")
	}
	if a.recount != nil {
		all, a.found = a.recount.Acceptances(a.record, grantBytes)
		a.left = a.recount.Left
	}
	for _, one := range all {
		seq, err := a.conn.AppendAccept(ctx, a.p, a.after, one)
		if err != nil {
			return err
		}
		a.after = seq
	}
	a.end, a.done.Seq, a.recount = a.after, a.after, nil
	return nil
}

package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// acceptedMails are the mails of a partition that an acceptance finds stored, and those
// that it sends.
type acceptedMails struct {
	found   map[string]broker.ChainTail // the tails before, by chain
	tails   map[string]broker.ChainTail // the tails now
	begins  map[string]int64            // the stored time of the first message of a receiver's log whose beginning has expired, by chain
	waiting map[string][]pipeline.Effect
	bytes   int // of those that wait
}

// mailsBefore looks up what is stored.
func (a *acceptance) mailsBefore(ctx context.Context) (m acceptedMails, err error) {
	m = acceptedMails{map[string]broker.ChainTail{}, map[string]broker.ChainTail{}, map[string]int64{}, map[string][]pipeline.Effect{}, 0}
	for to := range a.conn.Partitions {
		chain := pipeline.MailChain(to)
		if m.found[chain], err = a.conn.MailTail(ctx, a.p, to); err != nil {
			return m, err
		}
		first, begins, err := a.conn.Begins(ctx, to)
		if err != nil {
			return m, err
		}
		if first > 1 {
			m.begins[chain] = begins
		}
	}
	maps.Copy(m.tails, m.found)
	return m, nil
}

// newest is the stored time of the newest acceptance that any mail names, or of one
// that is known besides.
func (m *acceptedMails) newest(known int64) int64 {
	for _, t := range m.found {
		known = max(known, t.G)
	}
	return known
}

// lost reports whether a mail that the log gives is not stored, and cannot have expired
// with the receiver's log. A tail that is of another log counts as lost.
func (m *acceptedMails) lost(e pipeline.Effect) bool {
	t := m.found[e.Chain]
	switch order := mailOrder(e.Pos, t.Position); {
	case t.Seq == 0 || order > 0:
		begins, aged := m.begins[e.Chain]
		return !aged || begins != 0 && e.Pos.T > begins
	case order == 0:
		return e.Pos != t.Position
	}
	return false
}

func (a *acceptance) loseMail(e pipeline.Effect) {
	to, _ := pipeline.MailsTo(e.Chain)
	a.done.LostMails[to]++
	a.opt.Lost(Example{"lost", "", a.p, e.Chain, e.Pos.N, e.Pos.S, "the log gives it, and the log of partition " + fmt.Sprint(to) + " does not have it"})
}

// send sends a mail of an acceptance, unless it is stored already, together with those
// that follow it.
func (a *acceptance) send(ctx context.Context, e pipeline.Effect) error {
	if t := a.mails.tails[e.Chain]; t.Seq > 0 && mailOrder(e.Pos, t.Position) <= 0 {
		a.fold.Sent(e.Chain, t.Seq)
		return nil
	}
	a.mails.waiting[e.Chain] = append(a.mails.waiting[e.Chain], e)
	if a.mails.bytes += len(e.Mail); a.mails.bytes < 16*pipeline.MostPacked {
		return nil
	}
	return a.sendAll(ctx)
}

// drop drops what waits: it is computed anew.
func (m *acceptedMails) drop() {
	clear(m.waiting)
	m.bytes = 0
}

// sendAll publishes what waits.
func (a *acceptance) sendAll(ctx context.Context) error {
	m := &a.mails
	for _, chain := range slices.Sorted(maps.Keys(m.waiting)) {
		tail, err := a.conn.PublishMails(ctx, a.p, m.waiting[chain], m.tails[chain].Seq)
		if err != nil {
			return err
		}
		m.tails[chain] = tail
		delete(m.waiting, chain)
		a.fold.Sent(chain, tail.Seq)
	}
	m.bytes = 0
	return nil
}

package worker

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/value"
)

// A controller carries what the bucket says into the log: it appends a control
// message when the record of the live set, or the pauses, have a revision above the
// one that was last applied (PROTOCOL.md, D3).
type controller struct {
	tried time.Time // when it last read the bucket
	after hint      // what it knew then
}

// A hint is what makes the controller look. What the watches tell may be old.
type hint struct {
	live             *broker.Live
	paused           *broker.Pauses
	revision, pauses uint64 // last applied
}

// controlEvery is the least time between two looks for the same reason.
const controlEvery = time.Second

// look compares the bucket with the fold, and appends at most one control message.
// Another owner may do the same at the same time: so the message is appended only
// if no other control message follows the last one applied.
func (c *controller) look(ctx context.Context, a *attempt) {
	h := hint{live: a.p.w.live.Load(), paused: a.p.w.paused.Load()}
	h.revision, h.pauses = a.fold.Revisions()
	seq, _, _, set := a.fold.At()
	newLive, newPauses := h.live != nil && isNew(*h.live, h.revision, set), h.paused != nil && h.paused.Revision > h.pauses
	old := h.live != nil && h != c.after && isOld(*h.live, h.revision, set)
	if !newLive && !newPauses && !old || a.p.muted.Load() || h == c.after && a.now().Sub(c.tried) < controlEvery {
		return
	}
	c.tried, c.after = a.now(), h
	if old {
		a.sayOld(ctx, h, set)
	}
	last, err := a.conn.LastControl(ctx, a.p.number)
	if err != nil {
		a.p.log.Warn("cannot read the last control message: trying again", "error", err)
		return
	}
	if last.Seq > seq {
		return // a control message is on its way
	}
	if newLive {
		if m, ok := a.controlLive(ctx, h, set); ok {
			a.append(ctx, last.Seq, m)
			return
		}
	}
	if newPauses {
		if m, ok := a.controlPauses(ctx, h); ok {
			a.append(ctx, last.Seq, m)
		}
	}
}

// isNew reports whether a record is to be carried into a log with this revision and
// set. A record without a revision counts only in a log without revisions.
func isNew(live broker.Live, revision uint64, set string) bool {
	if live.Revision == 0 {
		return revision == 0 && live.Set != "" && live.Set != set
	}
	return live.Revision > revision && live.Set != ""
}

// isOld reports whether a record with another set than the one in force is older than
// what the log has carried out. It will never be carried out.
func isOld(live broker.Live, revision uint64, set string) bool {
	return live.Revision < revision && live.Set != "" && live.Set != set
}

// sayOld says that the record is old, if it is.
func (a *attempt) sayOld(ctx context.Context, h hint, set string) {
	if live, _, err := a.conn.Live(ctx); err == nil && isOld(live, h.revision, set) {
		a.p.log.Error("the live set of the bucket is not put in force: its record is older than what this log has carried out; it was written by an older offerctl, or restored: apply the campaigns again",
			"set", live.Set, "revision", live.Revision, "carried_out", h.revision)
	}
}

// controlLive returns the control message that carries out the record of the live
// set; ok is false if there is none to append now.
func (a *attempt) controlLive(ctx context.Context, h hint, set string) (m broker.Control, ok bool) {
	// The watch may lag behind: another owner may have put a newer set in force
	// already, which the watched one would undo.
	live, _, err := a.conn.Live(ctx)
	if err != nil {
		a.p.log.Warn("cannot read which campaign set is live: trying again", "error", err)
		return m, false
	}
	if !isNew(live, h.revision, set) {
		return m, false
	}
	next, err := a.p.w.sets.Get(ctx, a.conn)(live.Set)
	if err != nil {
		a.p.log.Error("the live campaign set cannot be put in force", "set", live.Set, "error", err)
		return m, false
	}
	if err := a.forgetsLate(ctx, next); err != nil {
		a.p.log.Error("the live campaign set is not put in force: apply another one, or keep events for less time", "set", live.Set, "error", err)
		return m, false
	}
	m = broker.Control{Engine: max(pipeline.Engine, next.Definition().Engine), Revision: live.Revision, Pauses: h.pauses, Set: live.Set, By: live.By}
	if live.Revision == 0 { // members of the version that wrote it do not run this engine
		m.Engine = next.Definition().Engine
	}
	if seq, _, _, _ := a.fold.At(); live.Go() && seq > 0 { // in a log that has nothing, there is nothing to join
		m.Switch = a.switchTo(ctx, live)
		return m, m.Switch != nil
	}
	return m, true
}

// forgetsLate returns an error if the set forgets earlier than the log does.
func (a *attempt) forgetsLate(ctx context.Context, set *pipeline.Set) error {
	retention, err := a.conn.Retention(ctx)
	if err != nil {
		return err
	}
	return pipeline.CheckForget(set.Definition(), retention)
}

// controlPauses returns the control message that carries out the pauses; ok is false
// if there is none to append.
func (a *attempt) controlPauses(ctx context.Context, h hint) (m broker.Control, ok bool) {
	pauses, _, err := a.conn.Pauses(ctx)
	if err != nil {
		a.p.log.Warn("cannot read what is paused: trying again", "error", err)
		return m, false
	}
	if pauses.Revision <= h.pauses {
		return m, false
	}
	return broker.Control{Engine: pipeline.Engine, Revision: h.revision, Pauses: pauses.Revision,
		Paused: append([]string{}, pauses.Campaigns...), Channels: slices.Clone(pauses.Channels), Resumed: pauses.Resumed, By: pauses.By}, true
}

// append appends a control message, provided that the last one has sequence after.
func (a *attempt) append(ctx context.Context, after uint64, m broker.Control) {
	m.At = value.FormatTime(a.p.w.opt.Now())
	data, err := json.Marshal(m)
	if err == nil {
		err = a.conn.Control(ctx, a.p.number, after, data)
	}
	if err != nil {
		a.p.log.Warn("cannot append the control message: trying again", "set", m.Set, "revision", m.Revision, "pauses", m.Pauses, "error", err)
		return
	}
	seq, _, _, _ := a.fold.At()
	if m.Set == "" {
		a.p.log.Info("campaigns and channels are paused from here", "campaigns", m.Paused, "channels", m.Channels, "pauses", m.Pauses, "after", seq)
		return
	}
	a.p.log.Info("campaign set goes live from here", "set", m.Set, "revision", m.Revision, "after", seq)
}

package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// heal ends all faults, and starts all workers that do not run.
func (g *simGroup) heal() {
	g.broker.faults, g.broker.frozen, g.broker.down = simFaults{}, 0, 0
	for _, m := range g.workers {
		m.disk.until = 0
		if m.of != nil {
			m.of.frozen = 0
		}
		if m.of == nil || m.ended != nil {
			g.run1(m)
		}
	}
}

// settled reports whether every partition has one owner, which has applied
// everything and what the bucket says, and the right number of followers, and all
// offers are stored.
func (g *simGroup) settled() bool {
	if len(g.stopped()) > 0 {
		return true // waiting changes nothing any more
	}
	live, pauses := g.records()
	owners, follow := make([]int, g.partitions), make([]int, g.partitions)
	for _, m := range g.workers {
		if m.ended != nil {
			g.run1(m) // it was told to leave before heal
			return false
		}
		for p, s := range m.w.Status() {
			switch {
			case !s.Owned && !s.Follows:
			case s.Seq < uint64(len(g.broker.stream(fmt.Sprint("EVENTS-", p)).messages)) || s.Waiting > 0:
				return false
			case s.Revision != live.Revision || s.Set != live.Set || s.Pauses != pauses.Revision:
				return false
			case s.Owned:
				owners[p]++
			default:
				follow[p]++
			}
		}
	}
	for p := range owners {
		if owners[p] != 1 || follow[p] != min(g.standbys, len(g.workers)-1) {
			return false
		}
	}
	return true
}

// stopped returns why partitions have stopped loudly, by partition.
func (g *simGroup) stopped() map[int]error {
	var stopped map[int]error
	for _, m := range g.workers {
		for p, s := range m.w.Status() {
			if s.Stopped != "" {
				if stopped == nil {
					stopped = map[int]error{}
				}
				stopped[p] = fmt.Errorf("%s: partition %d stopped: %s", m.name, p, s.Stopped)
			}
		}
	}
	return stopped
}

// died returns an error if a disk was written to when it was full, or a reader has
// stopped for ever.
func (g *simGroup) died() error {
	if g.broker.stalled != nil {
		return g.broker.stalled
	}
	for _, m := range g.workers {
		if m.disk.died != nil {
			return fmt.Errorf("%s: %w", m.name, m.disk.died)
		}
	}
	return nil
}

// exact compares the stored offers with a pure fold of the log.
func (g *simGroup) exact() error {
	stored := map[string][]broker.Stored{}
	for _, stream := range []string{"OFFERS", "DEADLETTERS"} {
		for _, r := range g.broker.stream(stream).messages {
			stored[r.Subject] = append(stored[r.Subject], r)
		}
	}
	if err := numbersRise(stored); err != nil {
		return err
	}
	mails, err := g.mails()
	if err != nil {
		return err
	}
	whole := g.newWhole()
	for p := range g.partitions {
		if err := g.notAhead(p); err != nil {
			return err
		}
		if err := g.exactPartition(p, stored, mails[p], whole); err != nil {
			return err
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(stored)) {
		if n := len(stored[subject]); n > 0 {
			return fmt.Errorf("%s: the last %d records are too many", subject, n)
		}
	}
	return whole.check()
}

// numbersRise checks, as a subscriber does, that the numbers on each chain rise.
func numbersRise(stored map[string][]broker.Stored) error {
	for _, subject := range slices.Sorted(maps.Keys(stored)) {
		n := uint64(0)
		for _, r := range stored[subject] {
			pos, err := broker.ParsePosition(r.Header)
			if err != nil || pos.N <= n {
				return fmt.Errorf("%s: record %d follows %d (%v)", subject, pos.N, n, err)
			}
			n = pos.N
		}
	}
	return nil
}

// notAhead checks that no owner of a partition has applied more than its log has.
func (g *simGroup) notAhead(p int) error {
	end := len(g.broker.stream(fmt.Sprint("EVENTS-", p)).messages)
	for _, m := range g.workers {
		all := m.w.Status()
		if all == nil { // the worker has just been restarted
			continue
		}
		if s := all[p]; s.Owned && s.Seq > uint64(end) {
			return fmt.Errorf("%s: partition %d: message %d is applied, and the log ends at %d", m.name, p, s.Seq, end)
		}
	}
	return nil
}

// exactPartition removes from stored the records that a fold of the partition's
// log gives, in order, and checks each. It ignores what precedes the last
// acceptance.
func (g *simGroup) exactPartition(p int, stored map[string][]broker.Stored, mails map[string][]simMail, whole *simWhole) error {
	accepted, acceptedStored := g.lastAccepted(p)
	for subject := range stored {
		if accepted > 0 && strings.HasSuffix(subject, fmt.Sprint(".", p)) {
			stored[subject] = behind(stored[subject], accepted, acceptedStored)
		}
	}
	if err := g.newNumbers(p, stored); err != nil {
		return err
	}
	fold, err := g.newFold(p)
	if err != nil {
		return err
	}
	whole.folds = append(whole.folds, fold)
	switches, speaks := g.switches(p), map[string]bool{}
	for _, m := range g.broker.stream(fmt.Sprint("EVENTS-", p)).messages {
		live, pauses := fold.Revisions()
		var made []pipeline.Effect
		err := fold.take(m, func(effects []pipeline.Effect) error {
			made = append(made, effects...)
			for _, e := range effects {
				if m.Seq < accepted {
					continue // an operator has accepted these offers as they are
				}
				if e.Mail != nil {
					if err := exactMail(mails, p, e); err != nil {
						return err
					}
					speaks[e.Chain] = true
					g.counts.mails++
					continue
				}
				if err := g.exactRecord(broker.Names{}.ChainSubject(e.Chain, p), e, stored); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		whole.folded(fold, m, made)
		_, switches := switches[m.Seq] // one that does not count is repeated
		if now, paused := fold.Revisions(); simKind(m.Subject) == pipeline.Control && now == live && paused == pauses && !switches && m.Seq >= accepted {
			return fmt.Errorf("partition %d: control message %d, %s, is in vain after revision %d and pauses %d", p, m.Seq, m.Data, live, pauses)
		}
	}
	if g.counts.cuts > 0 { // what a lost log gave is noticed with the first mail to the same partition
		maps.DeleteFunc(mails, func(chain string, _ []simMail) bool { return !speaks[chain] })
	}
	if err := noneLeft(mails, p); err != nil {
		return err
	}
	return g.exactState(p, fold)
}

// exactState compares the states of a partition in all stores that have applied the
// whole log with that of a fold.
func (g *simGroup) exactState(p int, fold *simFold) error {
	end, _, _, _ := fold.At()
	for _, m := range g.workers {
		st := m.disk.stores[filepath.Join(m.name, fmt.Sprint("partition-", p))]
		if st == nil {
			continue
		}
		c, err := checkpoint.LoadCursor(simStore{st, m.disk})
		if err != nil {
			return err
		}
		if c.Seq != end || c.Partly != 0 || c.Accepted != fold.Cursor().Accepted || c.Stored != fold.Cursor().Stored {
			continue // it is behind, or of a log that was cut back since its worker gave the partition up
		}
		ents := pipeline.Memory{}
		err = st.Entities("", func(key string, b []byte, _ state.Pieces) (err error) {
			ents[key], err = pipeline.DecodeEntity(key, b)
			return err
		})
		if err != nil {
			return err
		}
		if want := fold.Cursor(); !maps.Equal(c.Got, want.Got) || c.Fan != want.Fan {
			return fmt.Errorf("%s, partition %d: the last mails applied are %v, and in a fold of the log %v", m.name, p, c.Got, want.Got)
		}
		stored, err := pipeline.NewFold(c, g.set, ents)
		if err != nil {
			return err
		}
		keys := maps.Clone(ents)
		maps.Copy(keys, fold.ents)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			got, err := stored.User(key)
			if err != nil {
				return err
			}
			want, err := fold.User(key)
			if err != nil {
				return err
			}
			if key[0] == 'c' || key[0] == 'p' { // what it is shown as is not all
				a, b := ents[key], fold.ents[key]
				if none := (a == nil || a.Empty()) && (b == nil || b.Empty()); !none && (a == nil || b == nil || !bytes.Equal(a.AppendBinary(nil), b.AppendBinary(nil))) {
					return fmt.Errorf("%s, partition %d: the state of %s is not that of a fold of the log", m.name, p, key)
				}
			}
			a, errA := json.Marshal(got)
			b, errB := json.Marshal(want)
			if errA != nil || errB != nil || string(a) != string(b) {
				return fmt.Errorf("%s, partition %d: the state of %s reads\n%s, and in a fold of the log\n%s %v %v", m.name, p, key, a, b, errA, errB)
			}
		}
		g.counts.states++
	}
	return nil
}

// newNumbers checks that no record after the last acceptance has a number that a
// subscriber to its subject may have seen before, and would drop.
func (g *simGroup) newNumbers(p int, stored map[string][]broker.Stored) error {
	all := g.acceptances(p)
	if len(all) == 0 {
		return nil
	}
	last := all[len(all)-1]
	for _, subject := range slices.Sorted(maps.Keys(last.given)) {
		if !strings.HasSuffix(subject, fmt.Sprint(".", p)) || strings.HasPrefix(subject, "events.") { // numbers of mails begin anew
			continue
		}
		for _, r := range stored[subject] {
			if pos, err := broker.ParsePosition(r.Header); err == nil && pos.N <= last.given[subject] {
				return fmt.Errorf("%s: record %d comes after the acceptance in message %d, but record %d was given out before it", subject, pos.N, last.Seq, last.given[subject])
			}
		}
	}
	return nil
}

// exactRecord removes the first record on a subject from stored, and compares it
// with the effect that the fold gives.
func (g *simGroup) exactRecord(subject string, e pipeline.Effect, stored map[string][]broker.Stored) error {
	if len(stored[subject]) == 0 {
		return fmt.Errorf("%s: record %d is missing: %+v", subject, e.Pos.N, e.Pos)
	}
	r := stored[subject][0]
	stored[subject] = stored[subject][1:]
	pos, err := broker.ParsePosition(r.Header)
	if err != nil {
		return err
	}
	if pos != e.Pos {
		return fmt.Errorf("%s: stored is %+v, the log gives %+v", subject, pos, e.Pos)
	}
	if e.Offer != nil {
		if want, err := e.Offer.AppendJSON(nil); err != nil || string(want) != string(r.Data) {
			return fmt.Errorf("%s: record %d is %s, the log gives %s (%v)", subject, pos.N, r.Data, want, err)
		}
		if granted := r.Header.Get(broker.HeaderGrants); granted != e.Offer.Granted() {
			return fmt.Errorf("%s: record %d names the grants %q, the log gives %q", subject, pos.N, granted, e.Offer.Granted())
		}
		g.counts.offers++
	}
	if e.Page != nil {
		if want := e.Page.JSON(); string(want) != string(r.Data) || r.Header.Get("ce-id") != e.Page.ID {
			return fmt.Errorf("%s: record %d is %s %s, the log gives %s %s", subject, pos.N, r.Header.Get("ce-id"), r.Data, e.Page.ID, want)
		}
		g.counts.pages++
	}
	return nil
}

func simKind(subject string) pipeline.Kind {
	if strings.Contains(subject, ".from.") {
		return pipeline.From
	}
	for kind, end := range map[pipeline.Kind]string{pipeline.In: ".in", pipeline.Tick: ".tick", pipeline.Control: ".control", pipeline.Accept: ".accept"} {
		if strings.HasSuffix(subject, end) {
			return kind
		}
	}
	return 0
}

// state describes all partitions and workers, for error messages.
func (g *simGroup) state() string {
	s := fmt.Sprintf("after %v, %d steps:\n", g.time, g.steps)
	for _, name := range slices.Sorted(maps.Keys(g.broker.streams)) {
		s += fmt.Sprintf("%s: %d messages\n", name, len(g.broker.streams[name].messages))
	}
	for _, m := range g.workers {
		s += fmt.Sprintf("%s: runs %v, %+v\n", m.name, m.of != nil && m.ended == nil, m.w.Status())
		if m.ended != nil && !errors.Is(*m.ended, context.Canceled) {
			s += fmt.Sprintf("  ended: %v\n", *m.ended)
		}
	}
	return s
}

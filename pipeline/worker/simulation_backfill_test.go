package worker

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// change makes an operator's change of what is live: another set, plainly or by a
// backfill, the go for a backfill, its end, or the way back.
func (g *simGroup) change(t *testing.T, other func() *campaign.Definition) {
	live, _ := g.records()
	next := broker.Live{Revision: live.Revision + 1, Set: live.Set, By: "ada", Previous: live.Previous}
	switch r := g.rng.IntN(10); {
	case live.Asked() != "" && r < 6:
		next.Set, next.Backfill = live.Backfill.Set, live.Backfill
		next.Backfill.Overdue = []string{"drop", "now", "5s"}[g.rng.IntN(3)]
		next.Previous = &broker.Previous{Set: live.Set}
		g.counts.gos++
	case live.Asked() != "" && r < 8: // an abort
		g.counts.aborts++
	case live.Asked() != "":
		return
	case live.Previous != nil && r < 2: // a rollback
		next.Set, next.Previous = live.Previous.Set, &broker.Previous{Set: live.Set}
		g.counts.rollbacks++
	case r < 4:
		def := other()
		if !g.store(t, def) {
			return
		}
		next.Set, next.Previous = def.Hash(), &broker.Previous{Set: live.Set}
		g.counts.applies++
	default:
		def := other()
		if def.Hash() == live.Set || !g.store(t, def) {
			return
		}
		next.Backfill = g.backfill(def)
		g.counts.backfills++
	}
	g.put(t, "live", next)
}

// backfill asks for a set; it lists most of what the set has.
func (g *simGroup) backfill(def *campaign.Definition) *broker.Backfill {
	b := &broker.Backfill{Set: def.Hash(), Engine: def.Engine, Features: []string{}, Campaigns: []string{}}
	for _, f := range def.Features {
		if g.chance(850) {
			b.Features = append(b.Features, f.Name)
		}
	}
	for _, c := range def.Campaigns {
		if g.chance(850) {
			b.Campaigns = append(b.Campaigns, c.ID)
		}
	}
	return b
}

// variant is a set with timers, and with campaigns that reach users who are away.
func (g *simGroup) variant(t *testing.T) *campaign.Definition {
	def := waiting(t, campaign.ClockBroker, time.Duration(1+g.rng.IntN(20))*time.Second)
	if g.chance(500) {
		def.Features = append(def.Features, campaign.Feature{Name: "more", On: []string{"Product Viewed"}, Agg: "count", Within: time.Duration(g.rng.IntN(60)) * time.Second})
		def.Campaigns = append(def.Campaigns, campaign.Campaign{ID: "more", On: []string{"Product Viewed"}, If: []string{"more >= 2"}, Offer: campaign.OfferSpec{Channel: "more", Kind: campaign.Advertising, Data: []byte(`{"n":"{{ more }}"}`)}})
	}
	if g.chance(500) {
		def.Campaigns = append(def.Campaigns, campaign.Campaign{ID: "away", On: []string{"*"}, Unless: &campaign.Unless{On: []string{"*"}, Within: time.Duration(1+g.rng.IntN(10)) * time.Second}, Offer: campaign.OfferSpec{Channel: "away", Kind: campaign.Service}})
	}
	if g.chance(400) {
		def.Brakes = []campaign.Brake{{Channel: "web", Max: 1 + g.rng.IntN(8), Within: time.Duration(5+g.rng.IntN(60)) * time.Second, PerCampaign: g.chance(300)}}
	}
	slices.SortFunc(def.Campaigns, func(a, b campaign.Campaign) int { return strings.Compare(a.ID, b.ID) })
	return def
}

// switches are the switches in the log of a partition, by message.
func (g *simGroup) switches(p int) map[uint64]pipeline.Switch {
	all := map[uint64]pipeline.Switch{}
	for _, m := range g.broker.stream(fmt.Sprint("EVENTS-", p)).messages {
		if simKind(m.Subject) != pipeline.Control {
			continue
		}
		var c struct{ Switch *pipeline.Switch }
		if err := json.Unmarshal(m.Data, &c); err == nil && c.Switch != nil {
			all[m.Seq] = *c.Switch
		}
	}
	return all
}

// A simFold folds the log of a partition from its beginning, and makes the second
// states of its switches itself.
type simFold struct {
	*pipeline.Fold
	g       *simGroup
	p       int
	ents    pipeline.Memory
	skipped map[uint64]bool
	froms   map[uint64]bool // messages at which second states begin
	states  map[uint64]simState
}

// A simState is a live state between two messages.
type simState struct {
	cursor pipeline.Cursor
	ents   map[string][]byte
}

func (g *simGroup) newFold(p int) (f *simFold, err error) {
	f = &simFold{g: g, p: p, ents: pipeline.Memory{}, skipped: g.skipped(p), froms: map[uint64]bool{}, states: map[uint64]simState{0: {}}}
	for _, sw := range g.switches(p) {
		f.froms[sw.From] = true
	}
	f.Fold, err = pipeline.NewFold(pipeline.Cursor{}, g.set, f.ents)
	if err == nil {
		f.Partition(p, g.partitions)
	}
	return f, err
}

func (g *simGroup) set(hash string) (*pipeline.Set, error) {
	if s := g.sets[hash]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("set %s is not known", hash)
}

// take folds a message and calls fn with the effects of each step.
func (f *simFold) take(m broker.Stored, fn func([]pipeline.Effect) error) error {
	if f.skipped[m.Seq] {
		f.Skip(m.Seq)
		return nil
	}
	if err := f.Begin(simMessage(m)); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = f.Next(); err != nil {
			return err
		}
		if err := fn(f.Effects()); err != nil {
			return err
		}
	}
	if sw, _ := f.Switching(); sw != nil {
		second, ents, err := f.second(sw, m.Seq)
		if err != nil {
			return fmt.Errorf("the second state of the switch in message %d: %w", m.Seq, err)
		}
		f.g.counts.switches++
		if err := f.JoinMemory(second, f.ents, ents); err != nil {
			return err
		}
	}
	if f.froms[m.Seq] {
		s := simState{f.Cursor(), map[string][]byte{}}
		for key, e := range f.ents {
			s.ents[key] = e.AppendBinary(nil)
		}
		f.states[m.Seq] = s
	}
	return nil
}

// second is the second state of a switch in message seq.
func (f *simFold) second(sw *pipeline.Switch, seq uint64) (none pipeline.Cursor, ents pipeline.Memory, err error) {
	from, ok := f.states[sw.From]
	if !ok {
		return none, nil, fmt.Errorf("it begins at message %d, which is none", sw.From)
	}
	cursor, err := pipeline.BeginSecond(from.cursor, f.g.sets[sw.Set], sw.Features, f.g.set)
	if err != nil {
		return none, nil, err
	}
	ents = pipeline.Memory{}
	for key, b := range from.ents {
		if ents[key], err = pipeline.DecodeEntity(key, b); err != nil {
			return none, nil, err
		}
	}
	second, err := pipeline.NewFold(cursor, f.g.set, ents)
	if err != nil {
		return none, nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(from.ents)) {
		if err := second.Dormant(key); err != nil {
			return none, nil, err
		}
	}
	for _, m := range f.g.broker.stream(fmt.Sprint("EVENTS-", f.p)).messages[sw.From : seq-1] {
		if f.skipped[m.Seq] {
			second.Skip(m.Seq)
			continue
		}
		if err := second.Begin(simMessage(m)); err != nil {
			return none, nil, err
		}
		for more := true; more; {
			if more, err = second.Next(); err != nil {
				return none, nil, err
			}
		}
	}
	return second.Cursor(), ents, nil
}

func simMessage(m broker.Stored) pipeline.Message {
	return pipeline.Message{Seq: m.Seq, Stored: m.Time, Kind: simKind(m.Subject), From: simFrom(m.Subject), Data: m.Data}
}

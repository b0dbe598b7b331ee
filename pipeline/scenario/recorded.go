package scenario

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"offerstream/pipeline/event"
	"offerstream/pipeline/zone"
)

// A Recorded is a Recording as lines of a scenario. Log times, event times and
// duplicates are those of the log.
type Recorded struct {
	Day      Day
	Zone     string
	User     string   // as in a line
	Lines    []string // of `events`
	Facts    int      // how many of them are facts
	Replaced []string // names of what was replaced
}

// Lines writes what was recorded.
func (r *Recording) Lines() (*Recorded, error) {
	def := r.set.Definition()
	out := &Recorded{Zone: def.Zone, Day: Day{Zone: zone.OrUTC(def.Zone)}}
	out.Day.Date = time.Unix(0, r.From).In(out.Day.Zone).Format(time.DateOnly)
	w := &writer{day: out.Day, as: disguiseOf(r.set, r.Key, r.Offers()), contexts: bytes.Contains(def.JSON(), []byte("context"))}
	out.User = w.as.name
	if r.Key[:2] == "a:" {
		out.User = "~" + out.User
	}
	facts := slices.Collect(maps.Values(r.inForce))
	facts = append(facts, r.changes...)
	out.Facts = len(facts)
	all := append(slices.Clone(r.kept), facts...)
	slices.SortFunc(all, func(a, b logged) int { return a.n - b.n })
	if err := w.write(out, all, r); err != nil {
		return nil, err
	}
	out.Replaced = slices.Sorted(maps.Keys(w.as.replaced))
	return out, nil
}

// write writes the events in the order of the log. Where log time is later than an
// event's own time, a line of its own lets time pass first.
func (w *writer) write(out *Recorded, all []logged, r *Recording) error {
	now, begun := int64(0), false
	pass := func(to int64) {
		if !begun || to > now {
			out.Lines = append(out.Lines, w.day.Show(to))
			now, begun = to, true
		}
	}
	for _, f := range r.set.Definition().Facts {
		if len(f.Rows) > 0 && !begun {
			pass(r.First) // a table's rows count from the log's beginning
		}
	}
	ids := newIDs(r.kept)
	var dec event.Decoder
	for _, e := range all {
		ev, err := dec.DecodeAs(e.raw, 0)
		if err != nil {
			return fmt.Errorf("an event of the log: %w", err)
		}
		if e.own < e.log {
			pass(e.log)
		}
		now, begun = max(now, e.log), true
		out.Lines = append(out.Lines, ids.line(ev, e, w))
	}
	pass(r.Last)
	return nil
}

// ids gives those events a messageId without which the scenario would have other
// duplicates than the log.
type ids struct {
	twice map[string]bool   // ids that occur more than once
	given map[string]string // by the id in the log
	lines map[string]bool
}

func newIDs(events []logged) *ids {
	d := &ids{twice: map[string]bool{}, given: map[string]string{}, lines: map[string]bool{}}
	seen := map[string]bool{}
	for _, e := range events {
		d.twice[e.id] = seen[e.id] // and so it stays, because it is seen from now on
		seen[e.id] = true
	}
	return d
}

// line writes an event, with an id if it needs one.
func (d *ids) line(ev *event.Event, e logged, w *writer) string {
	if ev.Type == event.Fact {
		return w.line(ev, e.own, "")
	}
	text := ""
	if !d.twice[e.id] {
		text = w.line(ev, e.own, "")
	}
	if text == "" || d.lines[text] { // the second of two events that look the same
		if d.given[e.id] == "" {
			d.given[e.id] = fmt.Sprintf("m%d", len(d.given)+1)
		}
		text = w.line(ev, e.own, d.given[e.id])
	}
	d.lines[text] = true
	return text
}

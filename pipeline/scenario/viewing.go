package scenario

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A Seen holds the actual values of a View, in the order of its Values, as canonical
// JSON.
type Seen []string

// A viewing looks at what is stored while a scenario runs.
//
// Before the first event whose log time is later than that of a view, it lets time
// pass up to the view, as a line with only that time would. This changes no outcome:
// the timers that are due until then would fire before that event anyway, in the same
// order and at the same log times. After the last event it lets no time pass.
type viewing struct {
	s     *Scenario
	b     *pipeline.Backtest
	left  []int // the views of a time that are still to come, by time, as indexes of s.Views
	seen  []Seen
	clock pipeline.EventClock // log time after the last event
	dec   event.Decoder
}

func (s *Scenario) viewing(b *pipeline.Backtest) *viewing {
	v := &viewing{s: s, b: b, seen: make([]Seen, len(s.Views))}
	for i, x := range s.Views {
		if x.Timed {
			v.left = append(v.left, i)
		}
	}
	slices.SortStableFunc(v.left, func(i, j int) int { return cmp.Compare(s.Views[i].Time, s.Views[j].Time) })
	return v
}

// before takes the views between the last event and the next one, which is nil if it
// is refused. Offers that become due go to out.
func (v *viewing) before(next *event.Event, out func(*pipeline.Offer)) error {
	if len(v.left) == 0 || next == nil {
		return nil
	}
	then := v.clock
	if !move(&then, next) {
		return nil
	}
	for ; len(v.left) > 0 && v.s.Views[v.left[0]].Time < then.Now; v.left = v.left[1:] {
		at := v.s.Views[v.left[0]].Time
		if v.clock.Begun && at > v.clock.Now {
			if err := v.pass(at, out); err != nil {
				return err
			}
		}
		if err := v.look(v.left[0]); err != nil {
			return err
		}
	}
	v.clock = then
	return nil
}

// move moves a clock to log time after an event of a scenario. It returns false if
// there is no log time yet.
func move(clock *pipeline.EventClock, ev *event.Event) bool {
	if ev.Type != event.Clock {
		ev.HasLogTime = false // as in a backtest
	}
	return clock.Move(ev)
}

// pass lets time pass.
func (v *viewing) pass(to int64, out func(*pipeline.Offer)) error {
	ev, err := v.dec.AdmitLine(clockEvent(to))
	if err != nil {
		return err
	}
	v.clock.Now = to
	return v.b.Admitted(ev, nil, out)
}

// end takes the other views, where the scenario ends.
func (v *viewing) end() ([]Seen, error) {
	for i, seen := range v.seen {
		if seen == nil {
			if err := v.look(i); err != nil {
				return nil, err
			}
		}
	}
	return v.seen, nil
}

// look takes view i now.
func (v *viewing) look(i int) error {
	of := v.s.Views[i]
	values, err := of.stored(v.b)
	if err != nil {
		return fmt.Errorf("the view %s: %w", of.Text, err)
	}
	for _, x := range of.Values {
		is, err := x.part(values[x.Name], v.b)
		if err != nil {
			return fmt.Errorf("the view %s: %s: %w", of.Text, x.Text(), err)
		}
		v.seen[i] = append(v.seen[i], canonical(is))
	}
	return nil
}

// stored are the values of what is looked at, by name, as `offerctl item` and
// `offerctl user` show features.
func (v *View) stored(b *pipeline.Backtest) (map[string]json.RawMessage, error) {
	switch {
	case v.Budget != "":
		is, err := b.Budget(v.Budget)
		return members(is, err)
	case v.Pool != "":
		is, err := b.Pool(v.Pool)
		return members(is, err)
	case v.Kind != "":
		is, err := b.Item(event.ItemKey(v.Kind, v.ID))
		if err != nil {
			return nil, err
		}
		return is.Features, nil
	}
	is, err := b.User(event.UserKey(v.ID, v.Anonymous))
	if err != nil {
		return nil, err
	}
	return is.Features, nil
}

// members are those of the JSON of a value, if there is no error.
func members(of any, err error) (all map[string]json.RawMessage, _ error) {
	if err == nil {
		err = json.Unmarshal(compact(of), &all)
	}
	return all, err
}

// part is what a view says of a feature: all of it, what is under a key, or a member.
func (x *ViewValue) part(is json.RawMessage, b *pipeline.Backtest) (json.RawMessage, error) {
	if isList(b, x.Name) {
		return x.ofList(is)
	}
	if x.Keyed {
		of, ok, err := memberOf(is, x.Key)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			of = b.Empty(x.Name)
		}
		is = of
	}
	if x.Member != "" {
		of, ok, err := memberOf(is, x.Member)
		if err != nil || !ok {
			return nil, fmt.Errorf("there is no %s: %w", x.Member, err)
		}
		is = of
	}
	return is, nil
}

// memberOf is a member of an object.
func memberOf(is json.RawMessage, name string) (of json.RawMessage, ok bool, err error) {
	var all map[string]json.RawMessage
	err = json.Unmarshal(is, &all)
	of, ok = all[name]
	return of, ok, err
}

// ofList is what a view says of a list of users: how many there are, or if a list is
// expected, the first of them.
func (x *ViewValue) ofList(is json.RawMessage) (json.RawMessage, error) {
	var list pipeline.ItemUsers
	if err := json.Unmarshal(is, &list); err != nil {
		return nil, err
	}
	if x.Is[0] == '[' {
		return compact(list.First), nil
	}
	return compact(list.Size), nil
}

// isList reports whether a feature is a list of users.
func isList(b *pipeline.Backtest, name string) bool {
	return slices.ContainsFunc(b.Definition().Features, func(f campaign.Feature) bool { return f.Name == name && f.Agg == "users" })
}

// Span is log time after the first and after the last event. ok is false if no event
// has a time.
func (s *Scenario) Span() (from, to int64, ok bool) {
	var clock pipeline.EventClock
	var dec event.Decoder
	for _, e := range s.Events {
		ev, err := dec.AdmitLine(e.JSON)
		if err != nil || !move(&clock, ev) {
			continue
		}
		if !ok {
			from, ok = clock.Now, true
		}
	}
	return from, clock.Now, ok
}

// clockEvent is an event that lets time pass.
func clockEvent(ns int64) []byte {
	return fmt.Appendf(nil, `{"type":"clock","timestamp":%q}`, value.FormatTime(ns))
}

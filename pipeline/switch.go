package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline/value"
)

// A Switch is the part of a Control message at which a set goes live by a backfill:
// there the live state and the second one become one, user by user, as of the
// message's log time. The definitions that it lists come from the second state, with
// what is pending of them; all else comes from the live one.
//
// It names a stored second state, so that all readers of the log join the same one:
// that which began at message From, brought from message Seq to the switch.
type Switch struct {
	From      uint64   `json:"from"`                // the last message in the state with which the second fold began; 0: the log's beginning
	Object    string   `json:"object"`              // the name of the stored second state
	Seq       uint64   `json:"seq"`                 // the last message in it
	Stored    int64    `json:"stored"`              // the stored time of that message
	LogTime   int64    `json:"log_time"`            // its log time
	Accepted  int64    `json:"accepted,omitempty"`  // Cursor.Accepted in it
	Features  []string `json:"features,omitempty"`  // of the set, that come from the second state
	Campaigns []string `json:"campaigns,omitempty"` // likewise
	Overdue   Overdue  `json:"overdue"`             // what becomes of what is overdue in the second state

	Set string `json:"-"` // the set that goes live
}

// An Overdue says what becomes of evaluations that are overdue at a switch: they are
// dropped, or they continue at the switch or, so that not all go out at once, spread
// over some time by a hash of the user.
type Overdue struct {
	Drop bool
	Over time.Duration
}

// ParseOverdue reads "drop", "now" or a duration.
func ParseOverdue(text string) (o Overdue, err error) {
	switch text {
	case "drop":
		return Overdue{Drop: true}, nil
	case "now":
		return Overdue{}, nil
	}
	if o.Over, err = time.ParseDuration(text); err != nil || o.Over <= 0 || o.Over > mostOver {
		return Overdue{}, fmt.Errorf("what becomes of overdue evaluations is drop, now, or a duration up to %s in which they are spread, as 6h; this is %q", mostOver, text)
	}
	return o, nil
}

// mostOver bounds the time over which overdue evaluations are spread.
const mostOver = 30 * 24 * time.Hour

func (o Overdue) String() string {
	switch {
	case o.Drop:
		return "drop"
	case o.Over == 0:
		return "now"
	}
	return o.Over.String()
}

// MarshalJSON implements json.Marshaler.
func (o Overdue) MarshalJSON() ([]byte, error) { return json.Marshal(o.String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (o *Overdue) UnmarshalJSON(b []byte) error {
	var text string
	err := json.Unmarshal(b, &text)
	if err == nil {
		*o, err = ParseOverdue(text)
	}
	return err
}

// check returns an error if the switch to a set cannot be meant.
func (sw *Switch) check(set *Set) error {
	for _, name := range sw.Features {
		if _, ok := set.featureIndex[name]; !ok {
			return fmt.Errorf("it lists feature %q, which the set does not have", name)
		}
	}
	return nil
}

// due is when what is overdue at log time now continues.
func (o Overdue) due(now int64, key string) int64 {
	if o.Over == 0 {
		return now
	}
	return value.Plus(now, int64(xxhash.Sum64String(key)%uint64(o.Over)))
}

// staleAfter is how far, in log time, a stored second state may be behind its switch:
// whoever has to bring it there needs the log since then.
const staleAfter = time.Hour

// switches reports whether the message is a switch that counts, at which the fold
// stands until Switched. One that does not count changes nothing: its revision is not
// above the last one, its engine is below that in force, or its second state is too
// far, or an Accept message, behind it, or not before it: then the state is of
// messages that the log has lost since.
func (f *Fold) switches() bool {
	c := f.control
	if c == nil || c.Switch == nil || c.set == nil {
		return false
	}
	if f.next != nil {
		return true
	}
	sw, live := c.Switch, f.step.live
	if c.set.def.Engine < live.def.Engine || c.set.def.Clock != live.def.Clock && f.cur.Set != "" ||
		value.Minus(f.target, sw.LogTime) > int64(staleAfter) || sw.Seq >= f.msg.Seq || f.cur.Accepted != sw.Accepted {
		return false
	}
	sw.Set = c.set.hash
	f.next = f.after(sw, c.set)
	return true
}

// after is what the fold is after the switch, but for its entities.
func (f *Fold) after(sw *Switch, set *Set) *Fold {
	g := &Fold{cur: f.cur.clone(), sets: f.sets, newest: f.newest, coupons: f.coupons, retired: f.retired}
	g.step.live = f.step.live
	g.retire(set)
	g.cur.Set = set.hash
	g.cur.Epoch += 2 // what is listed begins in the first of them, as it is fed since another time than all else that is new
	known := maps.Clone(g.cur.Since)
	if known == nil {
		known = map[string]uint32{}
	}
	listed := func(kind byte, id uint64) { known[string(appendEpochKey(nil, kind, id))] = g.cur.Epoch - 1 }
	for _, name := range sw.Features {
		if i, ok := set.featureIndex[name]; ok {
			listed('f', set.features[i].id)
		}
	}
	campaigns := nameSet(sw.Campaigns)
	for i := range set.units {
		if u := &set.units[i]; campaigns[u.def.ID] {
			listed('c', u.triggerID)
			listed('r', u.trigger)
		}
	}
	g.cur.Since = known
	g.cur.Switched = &Switched{set.hash, f.control.Revision, g.cur.Epoch - 1}
	g.enforce(set)
	return g
}

func nameSet(names []string) map[string]bool {
	all := make(map[string]bool, len(names))
	for _, name := range names {
		all[name] = true
	}
	return all
}

// Switching returns the switch at which the fold stands, after Next has returned
// false; nil if it stands at none. The message is not done then. The caller joins all
// users whose key is above from, in the order of their keys (NewJoin), and calls
// Switched. The second state has the messages up to the one before.
func (f *Fold) Switching() (sw *Switch, from string) {
	if f.next == nil {
		return nil, ""
	}
	if f.cur.Joined != nil {
		from = *f.cur.Joined
	}
	return f.control.Switch, from
}

// JoinedTo says that all users up to a key are joined, for a checkpoint: a fold that
// goes on from there stands at the switch again.
func (f *Fold) JoinedTo(key string) { f.cur.Joined = &key }

// Switched ends the message of a switch. second is the cursor of the second state.
func (f *Fold) Switched(second Cursor, joins ...*Join) {
	g, c := f.next, f.control
	listed := g.cur.Epoch - 1
	for part, since := range g.cur.Since {
		began, ok := second.Since[part]
		if at, told := second.Began[began]; ok && told && since == listed {
			if g.cur.Began == nil {
				g.cur.Began = map[uint32]int64{}
			}
			if known, any := g.cur.Began[listed]; !any || at > known { // the youngest counts
				g.cur.Began[listed] = at
			}
		}
	}
	f.cur.Set, f.cur.Epoch, f.cur.Since, f.cur.Began, f.cur.Retired = g.cur.Set, g.cur.Epoch, g.cur.Since, g.cur.Began, g.cur.Retired
	f.cur.Switched = g.cur.Switched
	f.cur.Revision, f.cur.Joined = max(f.cur.Revision, c.Revision), nil
	f.step.live, f.retired, f.next = g.step.live, g.retired, nil
	f.setBrakes()
	for _, j := range joins {
		f.step.live.tally.add(j.step.live.tally)
	}
	for _, j := range joins {
		for _, t := range j.traces {
			f.step.tracing(t)
		}
	}
	f.finish()
}

// JoinMemory joins two states in memory, and ends the switch.
func (f *Fold) JoinMemory(second Cursor, live, seconds Memory) error {
	j, err := f.NewJoin(second, func(key string) (*Entity, error) { return live.Look(key) })
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(live)) {
		j.User(live[key], seconds[key])
	}
	f.Switched(second, j)
	for _, e := range live {
		e.scheduled = NoDue
		f.reschedule(e)
	}
	return nil
}

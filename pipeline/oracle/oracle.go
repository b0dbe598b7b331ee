// Package oracle computes what campaigns send, by brute force: it goes
// through the list of a user's events again whenever something is asked. It
// shares no code with package pipeline, so that where both agree both are
// right, and is imported by tests only. Rules are those of the campaign
// language's reference; the clock is that of a backtest.
//
// Reading order: event (one line of the input), feature and window (state per
// user, folded from the user's events), session, expression (CEL), user (one
// user's steps), timer (absence and dwell), choice (what goes out), template.
package oracle

import (
	"bytes"
	"encoding/json"
	"slices"
	"sort"
	"strings"
)

// An Offer is one that went out. Its JSON is that of a backtest's output.
type Offer struct {
	ID       string          `json:"id"`
	Campaign string          `json:"campaign"`
	Channel  string          `json:"channel"`
	Kind     string          `json:"kind"`
	User     string          `json:"user"`
	Anon     bool            `json:"anonymous,omitempty"`
	Event    string          `json:"event"`
	Key      string          `json:"key,omitempty"`
	Time     string          `json:"time"`
	Expires  string          `json:"expires,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
}

// A Result is what a campaign set makes of events.
type Result struct {
	// Offers stand in the order of a backtest: those of timers before the
	// event that brings log time to or past their due time, ordered by due
	// time and entity key; then that event's.
	Offers     []Offer
	Counts     map[string]map[string]int // campaign -> outcome -> evaluations
	Rejected   int                       // lines that the gateway would refuse
	Duplicates int                       // events whose messageId was known
	Pending    int                       // timers due after the end
}

// outcome gathers a result user by user.
type outcome struct {
	Result
	offers []placed
}

// A placed offer knows where it belongs in the result.
type placed struct {
	Offer
	now   int64
	timer bool
	key   string
	pos   int // of an event
}

func (o *outcome) count(c *campaign, what string) {
	if o.Counts[c.ID] == nil {
		o.Counts[c.ID] = map[string]int{}
	}
	o.Counts[c.ID][what]++
}

// Run applies a campaign set, in the canonical JSON of a campaign.Definition,
// to the lines of an input, as a backtest does.
func Run(setJSON []byte, events [][]byte) (Result, error) {
	set, l, err := load(setJSON)
	if err != nil {
		return Result{}, err
	}
	out := &outcome{Result: Result{Counts: map[string]map[string]int{}}}

	// Log time is the running maximum of the events' own times, over all users.
	var times []int64 // log time by position
	byUser := map[string][]*event{}
	var keys []string
	for _, raw := range events {
		if raw = bytes.TrimSpace(raw); len(raw) == 0 {
			continue // an empty line is no event
		}
		ev, err := admit(raw)
		if err != nil || !ev.hasOwn && len(times) == 0 {
			out.Rejected++
			continue
		}
		if n := len(times); n > 0 {
			ev.now = times[n-1]
			if ev.hasOwn {
				ev.now = max(ev.now, ev.own)
			}
		} else {
			ev.now = ev.own
		}
		if !ev.hasOwn {
			ev.own = ev.now
		}
		ev.time = max(ev.own, ev.now-set.Lateness)
		ev.pos = len(times)
		times = append(times, ev.now)
		if ev.typ == "clock" {
			continue
		}
		if byUser[ev.key] == nil {
			keys = append(keys, ev.key)
		}
		byUser[ev.key] = append(byUser[ev.key], ev)
	}

	for _, key := range keys {
		u := &user{set: set, language: l, out: out, states: map[*feature]*state{}}
		u.run(byUser[key], times[len(times)-1])
	}

	// A timer fires before the first event at or past its due time.
	for i := range out.offers {
		if p := &out.offers[i]; p.timer {
			p.pos = sort.Search(len(times), func(i int) bool { return times[i] >= p.now })
		}
	}
	slices.SortStableFunc(out.offers, placed.order)
	for _, p := range out.offers {
		out.Offers = append(out.Offers, p.Offer)
	}
	return out.Result, nil
}

func (p placed) order(o placed) int {
	switch {
	case p.pos != o.pos:
		return sign(p.pos < o.pos)
	case p.timer != o.timer:
		return sign(p.timer)
	case p.now != o.now:
		return sign(p.now < o.now)
	}
	return strings.Compare(p.key, o.key)
}

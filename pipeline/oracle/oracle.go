// Package oracle is a second implementation of the campaign language, only for
// tests. It works by brute force: whenever it needs a value, it goes through
// all of a user's events again. It shares no code with package pipeline, so
// that a mistake is unlikely to be in both. It follows the rules of LANGUAGE.md,
// with the clock of a backtest.
//
// Reading order: event (one line of the input), feature and window (state per
// user, folded from the user's events), session, number (integers of JSON),
// expression (CEL) and function (what takes the place of CEL's functions), user
// (one user's steps), timer (absence and dwell), choice (which offers go out),
// template. The files generate*.go make random sets and events.
package oracle

import (
	"bytes"
	"encoding/json"
	"slices"
	"sort"
	"strings"
)

// An Offer is an offer that went out, with the JSON of a backtest's output.
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

// A Result is the result of applying a campaign set to events.
type Result struct {
	// Offers are in the order of a backtest: those of timers before the event
	// that advances log time to or past their due time, ordered by due time and
	// entity key; then those of that event.
	Offers     []Offer
	Counts     map[string]map[string]int // campaign -> outcome -> evaluations
	Rejected   int                       // lines that the gateway would refuse
	Duplicates int                       // events whose id was known already
	Pending    int                       // timers that are due after the end
}

// outcome gathers a result user by user.
type outcome struct {
	Result
	offers []placed
}

// A placed is an offer with its place in the result.
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

	times, users := out.timeline(events, set.Lateness)
	for _, events := range users {
		u := &user{set: set, language: l, out: out, states: map[*feature]*state{}}
		u.run(events, times[len(times)-1])
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

// timeline reads the events and sets their times. It returns log time by
// position, and the events of each user, in the order of the users' first
// events.
func (o *outcome) timeline(events [][]byte, lateness int64) (times []int64, users [][]*event) {
	index := map[string]int{} // in users, by key
	for _, raw := range events {
		if raw = bytes.TrimSpace(raw); len(raw) == 0 {
			continue // an empty line is not an event
		}
		ev, err := admit(raw)
		if err != nil || !ev.hasOwn && len(times) == 0 {
			o.Rejected++
			continue
		}
		// Log time is the running maximum of the own times, over all users.
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
		ev.time = max(ev.own, minus(ev.now, lateness))
		ev.pos = len(times)
		times = append(times, ev.now)
		if ev.typ == "clock" {
			continue
		}
		i, known := index[ev.key]
		if !known {
			i = len(users)
			index[ev.key], users = i, append(users, nil)
		}
		users[i] = append(users[i], ev)
	}
	return times, users
}

// order sorts offers by their place in the result.
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

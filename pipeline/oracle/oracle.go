// Package oracle is a second implementation of the campaign language, only for
// tests. It works by brute force: whenever it needs a value, it goes through
// all of a user's events again. It shares no code with package pipeline, so
// that a mistake is unlikely to be in both. It follows the rules of LANGUAGE.md,
// with the clock of a backtest.
//
// Reading order: event (one line of the input), feature and window (state per
// user, folded from the user's events), top, histogram, quantiles, session, fact,
// zone, number (integers of JSON), expression (CEL), scope (what names stand for),
// function (what takes the place of CEL's functions) and addition (what CEL does
// not have), user (one user's steps), sequence, evaluation (from a trigger to a
// candidate), timer, dwell, best (hour), choice (which offers go out), consent,
// quiet, coupon, template, kept and size (what is bounded). The files generate*.go
// make random sets and events.
//
// What is more than one user: world (all that there is, and the queue of messages),
// feed (what items are told), item and users (state of items), reads and ask (campaigns
// that read items, and those with `to`), budget, merge, absorb and listing (a visitor
// who becomes a user), page (what gateways are told of that).
//
// It speaks the whole language but the codes of coupons, which read COUPON: pools of
// codes never end.
package oracle

import (
	"bytes"
	"encoding/json"
)

// An Offer is an offer that went out, or that was withheld, with the JSON of a
// backtest's output.
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
	Coupon   *coupon         `json:"coupon,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
	Withheld bool            `json:"withheld,omitempty"`
}

// A Result is the result of applying a campaign set to events.
type Result struct {
	// Offers are in the order of a backtest: those of timers before the event
	// that advances log time to or past their due time, ordered by due time and
	// entity key; then those of that event.
	Offers      []Offer
	Pages       []Page                    // in the order of the steps
	Counts      map[string]map[string]int // campaign, with its row -> outcome -> evaluations
	Evaluations map[string]int            // campaign, with its row -> evaluations that began
	Rejected    int                       // lines that the gateway would refuse
	Duplicates  int                       // events whose id was known already
	Pending     int                       // evaluations that have no outcome yet
	Met         map[string]int            // how often something happened of which no outcome tells
}

// A Control pauses campaigns: from before the line with the index At on, these and
// no others. The name of a campaign with rows pauses all of them, that of a row,
// NAME/row.id, only this one.
//
// It also replaces the channels whose advertising is paused. With Pauses, a revision,
// which must be above the last one, it ends the pauses of brakes: Resumed has the
// revisions at which "channel NAME" and "campaign NAME" were last resumed.
type Control struct {
	At       int               `json:"at"`
	Paused   []string          `json:"paused"`
	Pauses   uint64            `json:"pauses,omitempty"`
	Channels []string          `json:"channels,omitempty"`
	Resumed  map[string]uint64 `json:"resumed,omitempty"`
}

// A pausing is a Control with its place among the accepted events.
type pausing struct {
	pos, number int
	Control
}

// outcome gathers a result.
type outcome struct {
	Result
	offers []placed
}

// A placed is an offer with its place in the result.
type placed struct {
	Offer
	now  int64
	pos  int // in the log
	step int // which of all steps
}

func (o *outcome) count(c *campaign, what string) {
	if o.Counts[c.ID] == nil {
		o.Counts[c.ID] = map[string]int{}
	}
	o.Counts[c.ID][what]++
}

// meet counts that something happened of which no outcome tells.
func (o *outcome) meet(what string) { o.Met[what]++ }

// begin counts evaluations that begin.
func (o *outcome) begin(c *campaign, n int) { o.Evaluations[c.ID] += n }

// Run applies a campaign set, in the canonical JSON of a campaign.Definition,
// to the lines of an input, as a backtest does.
func Run(setJSON []byte, events [][]byte, controls ...Control) (Result, error) {
	return RunPartition(0, setJSON, events, controls...)
}

// RunPartition is Run for the events of one of several partitions, in which the set's
// brakes are in effect. Without partitions they are not.
func RunPartition(partitions int, setJSON []byte, events [][]byte, controls ...Control) (Result, error) {
	set, l, err := load(setJSON)
	if err != nil {
		return Result{}, err
	}
	for trips := []trip{}; ; {
		out, in := runOnce(set, l, events, controls, trips)
		if partitions > 0 && set.Engine >= 4 {
			if next, ok := in.nextTrip(set, out.offers, partitions, trips); ok {
				trips = append(trips, next)
				continue
			}
		}
		for _, t := range trips {
			out.meet("brake trips")
			if t.brake.PerCampaign {
				out.meet("brake trips for one campaign")
			}
		}
		return out.Result, nil
	}
}

// runOnce applies all events, with these trips of brakes.
func runOnce(set *definition, l *language, events [][]byte, controls []Control, trips []trip) (*outcome, *input) {
	out := &outcome{Result: Result{Counts: map[string]map[string]int{}, Evaluations: map[string]int{}, Met: map[string]int{}}}
	in := out.timeline(events, controls, set)
	newWorld(set, l, out, in, trips).run()
	for _, p := range out.offers {
		out.Offers = append(out.Offers, p.Offer)
	}
	return out, in
}

// An input is what was read of the lines.
type input struct {
	times     []int64 // log time by position
	events    []*event
	facts     facts
	pauseList []pausing
}

// timeline reads the events and sets their times.
func (o *outcome) timeline(events [][]byte, controls []Control, set *definition) *input {
	in := &input{facts: facts{declared: set.Facts}}
	for line, raw := range events {
		for _, c := range controls {
			if c.At == line {
				in.pauseList = append(in.pauseList, pausing{len(in.times), len(in.pauseList), c})
			}
		}
		if raw = bytes.TrimSpace(raw); len(raw) == 0 {
			continue // an empty line is not an event
		}
		ev, err := admit(raw)
		if err != nil || !ev.hasOwn && len(in.times) == 0 {
			o.Rejected++
			continue
		}
		// Log time is the running maximum of the own times, over all users.
		if n := len(in.times); n > 0 {
			ev.now = in.times[n-1]
			if ev.hasOwn {
				ev.now = max(ev.now, ev.own)
			}
		} else {
			ev.now = ev.own
		}
		if !ev.hasOwn {
			ev.own = ev.now
		}
		ev.time = max(ev.own, minus(ev.now, set.Lateness))
		ev.pos = len(in.times)
		in.times = append(in.times, ev.now)
		in.events = append(in.events, ev)
		switch ev.typ {
		case "fact":
			in.facts.add(ev)
		case "item":
			if k := set.kind(ev.itemKind); k != nil {
				ev.itemKey = k.Key
			}
		}
	}
	return in
}

// order compares the steps of two offers.
func (p placed) order(o placed) int { return p.step - o.step }

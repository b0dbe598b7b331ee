package oracle

import (
	"slices"
	"strings"
)

// A world is all that there is while an input is applied: every user, every item
// and every budget, in one place. There is one clock, and one queue of what steps
// send.
type world struct {
	set      *definition
	language *language
	out      *outcome
	in       *input
	trips    []trip

	pos   int   // the place in the log of the event that is applied, or that has brought a timer's time
	now   int64 // log time of the step
	steps int   // how many steps there were

	users   map[string]*user
	items   map[string]*item
	ledgers map[string]*ledger
	queue   []func()
}

func newWorld(set *definition, l *language, out *outcome, in *input, trips []trip) *world {
	return &world{set: set, language: l, out: out, in: in, trips: trips, users: map[string]*user{}, items: map[string]*item{}, ledgers: map[string]*ledger{}}
}

// run applies all events. Before each, all timers fire that are due.
func (w *world) run() {
	for _, ev := range w.in.events {
		w.fire(ev.now, ev.pos)
		w.pos, w.now = ev.pos, ev.now
		switch ev.typ {
		case "clock", "fact":
			continue
		case "item":
			w.itemEvent(ev)
		default:
			w.userEvent(ev)
		}
		w.settle()
	}
	if n := len(w.in.times); n > 0 {
		w.fire(w.in.times[n-1], n-1)
	}
	for _, u := range w.users {
		for _, p := range u.pending {
			w.out.count(p.campaign, "pending")
			w.out.Pending++
		}
	}
}

// fire fires the timers of all users that are due at or before now, in the order of
// due time and entity key.
func (w *world) fire(now int64, pos int) {
	for {
		var next *user
		var first int64
		for _, u := range w.users {
			due, any := u.due()
			if any && due <= now && (next == nil || due < first || due == first && u.key < next.key) {
				next, first = u, due
			}
		}
		if next == nil {
			return
		}
		w.pos, w.now = pos, first
		next.fireStep(first)
		w.settle()
	}
}

// send puts what one step sends to one entity at the queue's end.
func (w *world) send(apply func()) { w.queue = append(w.queue, apply) }

// settle applies all messages, those that they bring forth too.
func (w *world) settle() {
	for len(w.queue) > 0 {
		next := w.queue[0]
		w.queue = w.queue[1:]
		next()
	}
}

// user returns a user, who may be new.
func (w *world) user(key string) *user {
	u := w.users[key]
	if u == nil {
		u = &user{set: w.set, language: w.language, out: w.out, w: w, key: key, born: w.now}
		w.users[key] = u
	}
	if u.forgotten(w.now) {
		w.out.meet("forgotten")
		*u = user{set: w.set, language: w.language, out: w.out, w: w, key: key, born: w.now, ended: u.ended}
	}
	if len(u.log) == 0 && len(u.sent) == 0 && len(u.pending) == 0 && u.owner == "" {
		u.born = w.now // what has left nothing was no beginning
	}
	return u
}

// deliver sends a message to a user, or to the user to whom a visitor belongs.
func (w *world) deliver(key string, apply func(*user)) {
	w.send(func() {
		u := w.user(key)
		if u.owner != "" {
			w.out.meet("message forwarded")
			w.deliver(u.owner, apply)
			return
		}
		w.steps++
		apply(u)
		u.sendPosts()
	})
}

// userEvent applies an event of a user. That of a visitor who belongs to a user is
// sent on: it is the user's.
func (w *world) userEvent(ev *event) {
	u := w.user(ev.key)
	if u.owner == "" {
		w.steps++
		u.receive(ev)
		return
	}
	if ev.typ != "system" {
		u.last = ev.now
	}
	w.out.meet("event forwarded")
	w.deliver(u.owner, func(owner *user) {
		own := *ev
		own.key, own.forwarded, own.entries, own.takes = owner.key, true, map[*feature][]entry{}, map[*campaign][]bool{}
		owner.receive(&own)
	})
}

// isPaused reports whether an operator or a brake has paused the campaign.
func (w *world) isPaused(c *campaign) bool {
	var names, channels []string
	for _, p := range w.in.pauseList {
		if p.pos > w.pos || !w.in.inForce(p) {
			continue
		}
		names, channels = p.Paused, p.Channels
	}
	if slices.Contains(names, c.ID) || slices.Contains(names, c.base) {
		return true
	}
	if c.Offer.Kind != "service" && slices.Contains(channels, c.Offer.Channel) {
		w.out.meet("channel paused by an operator")
		return true
	}
	return w.isBraked(c)
}

// entityOf returns the key of an item as an entity.
func entityOf(kind, key string) string { return strings.Join([]string{"i", kind, key}, ":") }

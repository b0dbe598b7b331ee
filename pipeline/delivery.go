package pipeline

import (
	"encoding/json"
	"slices"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
	"offerstream/pipeline/zone"
)

// A DeliveryQuery asks whether an offer that is stored may go out now. Times are
// nanoseconds since 1970.
type DeliveryQuery struct {
	Campaign string   `json:"campaign"` // with its row, as in the offer
	Channel  string   `json:"channel"`
	Kind     string   `json:"kind"`
	Time     int64    `json:"time"`              // of the offer
	Expires  int64    `json:"expires,omitempty"` // 0: never
	S        uint64   `json:"s"`                 // the offer's Position.S and T
	T        int64    `json:"t"`
	Traits   []string `json:"traits,omitempty"` // names of traits that the answer is to have
	Now      int64    `json:"-"`                // if log time is before it
}

// What stops a delivery besides outcomes of evaluations (Paused, NoConsent, Quiet,
// Age).
const (
	DeliveryExpired = "expired" // the offer has expired
	DeliveryRemoved = "removed" // the set in force has no such campaign, or not that row
)

// A Delivery says whether an offer may go out now.
type Delivery struct {
	Stops  string                     `json:"stops,omitempty"`  // what stops it, "": it may go out
	Until  int64                      `json:"until,omitempty"`  // of quiet hours: when they are over, and it may be asked again; 0: it never goes out
	Behind bool                       `json:"behind,omitempty"` // the state is from before the offer, so nothing is known: ask again
	Owner  string                     `json:"owner,omitempty"`  // of a visitor: the key of the user that it has become, of whom to ask instead
	Traits map[string]json.RawMessage `json:"traits,omitempty"`
}

// Delivery judges whether an offer to the user with an entity key may go out now: by
// its expiry, by what is paused, and, as far as it is advertising, by consent and quiet
// hours, as they are now. Limits, caps and pauses between offers were judged when the
// offer was made, which they have counted. It changes nothing.
func (f *Fold) Delivery(key string, q DeliveryQuery) (*Delivery, error) {
	if q.S > f.cur.Seq && q.T > f.cur.Accepted { // an acceptance may have cut the log back behind the offer
		return &Delivery{Behind: true}, nil
	}
	e, err := f.copyOf(key)
	if err != nil {
		return nil, err
	}
	if e.owner != "" {
		return &Delivery{Owner: e.owner}, nil
	}
	live := *f.step.live
	live.tally = newTally()
	e.bind(&live)
	now := max(f.cur.LogTime, q.Now)
	if e.forgotten(now, false) {
		e.forget()
	}
	d := &Delivery{}
	d.Stops, d.Until = e.undeliverable(&live, q, now)
	if d.Stops == NoConsent.String() && len(e.claims) > 0 { // what visitors have consented to is on its way
		return &Delivery{Behind: true}, nil
	}
	for _, name := range q.Traits {
		if i, found := e.trait(name); found && d.Stops == "" {
			if d.Traits == nil {
				d.Traits = map[string]json.RawMessage{}
			}
			d.Traits[name] = shown(e.traits[i].value.CEL())
		}
	}
	return d, nil
}

// undeliverable returns what stops the delivery of an offer at now, if anything does.
func (e *Entity) undeliverable(l *liveSet, q DeliveryQuery, now int64) (stops string, until int64) {
	i, ok := l.unitIndex[q.Campaign]
	switch {
	case q.Expires != 0 && now >= q.Expires:
		return DeliveryExpired, 0
	case !ok:
		return DeliveryRemoved, 0
	case l.campaigns[i].paused != notPaused:
		return Paused.String(), 0
	case q.Kind != campaign.Advertising:
		return "", 0
	}
	if c := l.def.Consent; c != nil && slices.Contains(c.Required, q.Channel) && !e.consented(q.Channel, now) {
		return NoConsent.String(), 0
	}
	h := l.def.Quiet
	if h == nil || !slices.Contains(h.Channels, q.Channel) || !e.quiet(h, now) {
		return "", 0
	}
	until = zone.Loud(now, e.location(), h.From, h.To)
	switch {
	case h.Drop, q.Expires != 0 && until >= q.Expires:
		return Quiet.String(), 0
	case h.AtMost != 0 && value.Minus(until, q.Time) > int64(h.AtMost):
		return Age.String(), 0
	}
	return Quiet.String(), until
}

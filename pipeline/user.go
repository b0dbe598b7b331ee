package pipeline

import (
	"cmp"
	"encoding/json"
	"slices"

	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// A User is what is stored about one user, as expressions would read it at log
// time Now. Times are RFC 3339 in UTC.
type User struct {
	Key      string                     `json:"key"`
	Known    bool                       `json:"known"`                // false: the user has no events, or is forgotten
	Now      string                     `json:"now,omitempty"`        // log time
	Last     string                     `json:"last_event,omitempty"` // log time of the last event
	Events   uint64                     `json:"events"`               // events applied, without duplicates
	Size     UserSize                   `json:"size"`
	Traits   map[string]json.RawMessage `json:"traits"`
	Session  *UserSession               `json:"session"`  // null: no session is open
	Consent  []UserConsent              `json:"consent"`  // by channel
	Features map[string]json.RawMessage `json:"features"` // as expressions read them; a feature with `by` is an object by key
	Pending  []UserPending              `json:"pending"`  // by due time
	Sent     []UserSent                 `json:"sent"`     // by campaign
	Offers   []string                   `json:"offers"`   // remembered ids of offers, oldest first

	Coupons []UserCoupon `json:"coupons,omitempty"` // oldest first

	Owner  string     `json:"owner,omitempty"`  // of a visitor: the key of the user that it has become, who has all that was known of it
	Claims []string   `json:"claims,omitempty"` // the visitors whose records the user waits for
	Lists  []UserList `json:"lists,omitempty"`  // lists of items that hold the user, by item
}

// A UserSize is how much is held of a user, in the terms in which it is limited
// (LANGUAGE.md, rule 18).
type UserSize struct {
	Entries      int `json:"entries"`       // of features; at most bounds.user_entries
	EntryBytes   int `json:"entry_bytes"`   // at most bounds.user_bytes
	TraitBytes   int `json:"trait_bytes"`   // at most 65,536
	PendingBytes int `json:"pending_bytes"` // at most 65,536
}

// A UserSession is the open session.
type UserSession struct {
	Started      string   `json:"started"`
	Last         string   `json:"last"`
	Count        int64    `json:"count"`
	Events       []string `json:"events"`
	ReferrerHost string   `json:"referrer_host"`
	Source       string   `json:"source"`
	Keyword      string   `json:"keyword"`
}

// A UserPending is a pending evaluation.
type UserPending struct {
	Campaign string `json:"campaign"`
	Key      string `json:"key,omitempty"` // match key
	Kind     string `json:"kind"`          // dwell, absence, delay or hold; ask or grant: it waits for another entity
	Due      string `json:"due,omitempty"` // absent: it waits for another entity

	Asks    string      `json:"asks,omitempty"`  // the item, budget or pool whose answer it waits for
	Asked   string      `json:"asked,omitempty"` // log time at which it asked
	Granted []UserGrant `json:"granted,omitempty"`
}

// A UserGrant is what a budget or pool has granted to a pending evaluation.
type UserGrant struct {
	Of    string  `json:"of"`              // the entity's key
	Value float64 `json:"value,omitempty"` // of a budget
	Code  string  `json:"code,omitempty"`  // of a pool
	Time  string  `json:"time"`            // log time there
}

// A UserCoupon is a coupon with which an offer went out.
type UserCoupon struct {
	Offer    string   `json:"offer"`
	Campaign string   `json:"campaign"`
	Code     string   `json:"code,omitempty"`    // of a pool; that of others is not stored
	Visitor  string   `json:"visitor,omitempty"` // who got it, and has become the user
	Given    string   `json:"given"`             // log time at which the offer went out
	Expires  string   `json:"expires,omitempty"`
	OrderID  string   `json:"orderId,omitempty"`  // that has used it
	Redeemed string   `json:"redeemed,omitempty"` // log time of that
	Voided   []string `json:"voided,omitempty"`   // orders that had used it, and were cancelled
}

// A UserConsent is the newest that the user has said about a channel, or about
// `night`.
type UserConsent struct {
	Channel string `json:"channel"`
	Granted bool   `json:"granted"`
	Time    string `json:"time"`  // event time
	Holds   bool   `json:"holds"` // at log time Now
}

// A UserSent is what a campaign has sent: the number of offers ever, and the
// newest times.
type UserSent struct {
	Campaign string   `json:"campaign"`
	Ever     uint64   `json:"ever"`
	Times    []string `json:"times"`
}

// User shows the user with an entity key. It works on a copy and changes
// nothing: the effects of a change of sets, or of a long absence, which would
// be applied at the user's next event, are applied to the copy.
func (f *Fold) User(key string) (*User, error) {
	e, err := f.copyOf(key)
	if err != nil {
		return nil, err
	}
	live := *f.step.live
	live.tally = newTally()
	e.bind(&live)
	now := f.cur.LogTime
	if e.forgotten(now, f.cur.Second) {
		e.forget()
	}
	v := &User{
		Key: key, Known: !e.Empty(), Events: e.seq, Traits: map[string]json.RawMessage{}, Features: map[string]json.RawMessage{},
		Consent: []UserConsent{}, Pending: []UserPending{}, Sent: []UserSent{}, Offers: []string{},
	}
	if now != 0 {
		v.Now = value.FormatTime(now)
	}
	if v.Known {
		v.Last = value.FormatTime(e.last)
	}
	e.drop(now)
	v.Size = UserSize{e.size.Entries, e.size.Bytes, e.traitBytes(), e.keeps}
	for _, t := range e.traits {
		v.Traits[t.name] = shown(t.value.CEL())
	}
	for _, c := range e.consent {
		v.Consent = append(v.Consent, UserConsent{c.channel, c.granted, value.FormatTime(c.time), e.consented(c.channel, now)})
	}
	for i, ft := range live.features {
		if ft.per == 0 {
			v.Features[ft.def.Name] = shown(ft.read(e.feature(i), now))
		}
	}
	if s := e.sessionAt(now); s.count > 0 {
		v.Session = &UserSession{value.FormatTime(s.started), value.FormatTime(s.last), s.count, s.names(), s.referrerHost, s.source, s.keyword()}
	}
	for _, o := range e.offers {
		v.Offers = append(v.Offers, o.id)
	}
	v.holds(e, now)
	v.Owner = e.owner
	for _, c := range e.claims {
		v.Claims = append(v.Claims, c.visitor)
	}
	v.Lists = e.heldBy()
	v.waiting(e)
	return v, nil
}

// holds fills in the coupons.
func (v *User) holds(e *Entity, now int64) {
	for _, c := range e.coupons {
		if c.gone(now) {
			continue
		}
		is := UserCoupon{Offer: c.offer, Campaign: c.campaign, Code: c.code, Given: value.FormatTime(c.at), OrderID: c.order, Voided: c.voided}
		if c.to != e.Key {
			is.Visitor = c.to
		}
		if c.expires != NoDue {
			is.Expires = value.FormatTime(c.expires)
		}
		if c.order != "" {
			is.Redeemed = value.FormatTime(c.used)
		}
		v.Coupons = append(v.Coupons, is)
	}
}

// User is Fold.User.
func (b *Backtest) User(key string) (*User, error) { return b.fold.User(key) }

// copyOf is a copy of the entity with a key, not bound to a set.
func (f *Fold) copyOf(key string) (*Entity, error) {
	stored, err := f.ents.Look(key)
	if err != nil {
		return nil, err
	}
	return DecodeEntity(key, stored.AppendBinary(nil))
}

// waiting fills in what is pending and what was sent.
func (v *User) waiting(e *Entity) {
	slices.SortFunc(e.waiting, func(a, b pending) int {
		return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.stage, b.stage), cmp.Compare(a.campaign, b.campaign), cmp.Compare(a.key, b.key))
	})
	for i := range e.waiting {
		v.Pending = append(v.Pending, e.waiting[i].shown())
	}
	slices.SortFunc(e.sent, func(a, b sent) int { return cmp.Compare(a.campaign, b.campaign) })
	for _, s := range e.sent {
		sv := UserSent{Campaign: s.campaign, Ever: s.ever, Times: []string{}}
		for _, t := range s.times {
			sv.Times = append(sv.Times, value.FormatTime(t))
		}
		v.Sent = append(v.Sent, sv)
	}
}

// shown is the evaluation for people.
func (e *pending) shown() UserPending {
	p := UserPending{Campaign: e.campaign, Key: e.key, Kind: e.stage.String()}
	if stages[e.stage].mail {
		p.Asks, p.Asked = e.ask.of, value.FormatTime(e.due)
	} else {
		p.Due = value.FormatTime(e.due)
	}
	if e.ask == nil {
		return p
	}
	for _, g := range e.ask.got {
		is := UserGrant{Of: g.of, Code: g.code, Time: value.FormatTime(g.at)}
		if g.code == "" {
			is.Value = float64(g.value) / million
		}
		p.Granted = append(p.Granted, is)
	}
	return p
}

// shown is a value as JSON. If it cannot be written as JSON, the reason is
// shown as a text.
func shown(v ref.Val) json.RawMessage {
	b, err := value.AppendJSON(nil, v)
	if err != nil {
		return value.AppendJSONString(nil, err.Error())
	}
	return b
}

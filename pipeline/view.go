package pipeline

import (
	"cmp"
	"encoding/json"
	"slices"

	"cel.dev/cel-go/common/types/ref"
)

// A UserView is what is stored about one user, as it reads at log time Now.
// Times are RFC 3339 in UTC.
type UserView struct {
	Key      string                     `json:"key"`
	Known    bool                       `json:"known"`                // false: no event yet, or forgotten
	Now      string                     `json:"now,omitempty"`        // log time
	Last     string                     `json:"last_event,omitempty"` // log time of the last event
	Events   uint64                     `json:"events"`               // that were applied, without duplicates
	Traits   map[string]json.RawMessage `json:"traits"`
	Session  *SessionView               `json:"session"`  // null: none is on
	Features map[string]json.RawMessage `json:"features"` // as expressions read them; with `by` an object by key
	Pending  []PendingView              `json:"pending"`  // by due time
	Sent     []SentView                 `json:"sent"`     // by campaign
	Offers   []string                   `json:"offers"`   // ids that are remembered, oldest first
}

// A SessionView is the visit that is on.
type SessionView struct {
	Started      string   `json:"started"`
	Last         string   `json:"last"`
	Count        int64    `json:"count"`
	Events       []string `json:"events"`
	ReferrerHost string   `json:"referrer_host"`
	Source       string   `json:"source"`
	Keyword      string   `json:"keyword"`
}

// A PendingView is an offer that waits for its moment.
type PendingView struct {
	Campaign string `json:"campaign"`
	Key      string `json:"key,omitempty"` // match key
	Kind     string `json:"kind"`          // dwell or absence
	Due      string `json:"due"`
}

// A SentView is what a campaign has sent: how often ever, and the newest times.
type SentView struct {
	Campaign string   `json:"campaign"`
	Ever     uint64   `json:"ever"`
	Times    []string `json:"times"`
}

var kindNames = map[timerKind]string{timerDwell: "dwell", timerAbsence: "absence"}

// View shows the user under an entity key. It changes nothing: what a change
// of sets or the time away will take from the user at the next event is taken
// from a copy.
func (f *Fold) View(key string) (*UserView, error) {
	stored, err := f.ents.Entity(key)
	if err != nil {
		return nil, err
	}
	e, err := DecodeEntity(key, stored.AppendBinary(nil))
	if err != nil {
		return nil, err
	}
	live := *f.s.live
	live.tally = newTally()
	e.bind(&live)
	now := f.cur.LogTime
	if e.forgotten(now) {
		e.forget()
	}
	v := &UserView{
		Key: key, Known: !e.Empty(), Events: e.seq, Traits: map[string]json.RawMessage{}, Features: map[string]json.RawMessage{},
		Pending: []PendingView{}, Sent: []SentView{}, Offers: append([]string{}, e.offers...),
	}
	if now != 0 {
		v.Now = FormatTime(now)
	}
	if v.Known {
		v.Last = FormatTime(e.last)
	}
	for _, t := range e.traits {
		v.Traits[t.name] = shown(t.value.cel())
	}
	for i, ft := range live.features {
		v.Features[ft.def.Name] = shown(ft.read(e.feature(i), now))
	}
	if s := e.sessionAt(now); s.count > 0 {
		v.Session = &SessionView{FormatTime(s.started), FormatTime(s.last), s.count, s.names(), s.referrerHost, s.source, s.keyword()}
	}
	v.waiting(e)
	return v, nil
}

// waiting fills in what is pending and what went out.
func (v *UserView) waiting(e *Entity) {
	slices.SortFunc(e.pending, func(a, b pending) int {
		return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.kind, b.kind), cmp.Compare(a.campaign, b.campaign), cmp.Compare(a.key, b.key))
	})
	for _, p := range e.pending {
		v.Pending = append(v.Pending, PendingView{p.campaign, p.key, kindNames[p.kind], FormatTime(p.due)})
	}
	slices.SortFunc(e.sent, func(a, b sent) int { return cmp.Compare(a.campaign, b.campaign) })
	for _, s := range e.sent {
		sv := SentView{Campaign: s.campaign, Ever: s.ever, Times: []string{}}
		for _, t := range s.times {
			sv.Times = append(sv.Times, FormatTime(t))
		}
		v.Sent = append(v.Sent, sv)
	}
}

// shown is a value as JSON; in place of one that has none the reason, as text.
func shown(v ref.Val) json.RawMessage {
	b, err := appendJSON(nil, v)
	if err != nil {
		return appendJSONString(nil, err.Error())
	}
	return b
}

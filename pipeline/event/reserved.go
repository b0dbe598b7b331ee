package event

import (
	"fmt"
	"strings"
)

// Roles say what a key may send: a set of roles.
type Roles uint8

// The roles. A key may have several.
const (
	Browser  Roles = 1 << iota // a shop's pages and apps: everybody can read such a key
	Server                     // a shop's servers: they know whom an event is about
	Feeder                     // what brings items and facts
	Operator                   // who runs the deployment; it sends no events
)

// roleNames are the names in settings and messages, in the order of the bits.
var roleNames = [...]string{"browser", "server", "feeder", "operator"}

// RoleNamed is the role with a name; ok is false if there is none.
func RoleNamed(name string) (r Roles, ok bool) {
	for i, n := range roleNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// Has reports whether any of the given roles is in the set.
func (r Roles) Has(any Roles) bool { return r&any != 0 }

func (r Roles) String() string {
	var names []string
	for i, n := range roleNames {
		if r.Has(1 << i) {
			names = append(names, n)
		}
	}
	return strings.Join(names, " or ")
}

// A Reservation says who may send an event over HTTP.
type Reservation struct {
	Type string // events of this type; empty: track and system alike, by their name
	Name string // events of this name; empty: all of the type that no other row names
	By   Roles  // a key with any of these roles may; none: nobody
	Self bool   // so may a user who has proved who he is, about himself
}

// Reserved lists the events that not every key may send. A name is compared byte
// by byte, as campaigns compare it. control is no type of events: it is listed so that
// a refused one is refused for this reason.
var Reserved = [...]Reservation{
	{Name: "Consent Granted", By: Server, Self: true},
	{Name: "Consent Revoked", By: Server, Self: true},
	{Name: "Coupon Redeemed", By: Server},
	{Name: "Coupon Voided", By: Server},
	{Name: "Offer Delivered", By: Server},
	{Name: "Offer Failed", By: Server},
	{Name: "Offer Shown", By: Browser | Server},
	{Name: "Offer Clicked", By: Browser | Server},
	{Name: "Offer Dismissed", By: Browser | Server},
	{Type: "system", By: Server},
	{Type: "item", By: Server | Feeder},
	{Type: "fact", By: Feeder},
	{Type: "clock", By: Server},
	{Type: "codes"},
	{Type: "control"},
}

// all others may be sent by browsers and servers.
var unreserved = Reservation{By: Browser | Server}

// A Denied is an error that tells why a key may not send an event that is valid
// otherwise. Unlike an event that is refused with a Reject, such an event does not
// become a dead letter: who sends dead letters again may have another key.
type Denied struct {
	Reason string // role, proof, or unproved
	Detail string
}

// Reasons of a Denied.
const (
	DeniedRole     = "role"     // the key lacks the role
	DeniedProof    = "proof"    // the user himself may send it, but has not proved who he is
	DeniedUnproved = "unproved" // a key with identity: verified, and a userId without proof and without an anonymousId
)

func (d *Denied) Error() string { return d.Reason + ": " + d.Detail }

// Judge returns why a key with the given roles may not send the event, nil if it
// may. proved means that the user whom the event is about has proved who he is.
func Judge(ev *Event, roles Roles, proved bool) *Denied {
	typ, name := ev.Type.String(), ""
	if ev.Type == Track || ev.Type == System {
		name = ev.Name
	}
	r := reservation(typ, name)
	switch {
	case roles.Has(r.By) || r.Self && roles.Has(Browser) && proved:
		return nil
	case r.Self && roles.Has(Browser):
		return &Denied{DeniedProof, fmt.Sprintf("%s needs a key of role %s, or proof of the user whom it is about: his user token", r.what(ev.Type, name), r.By)}
	}
	return r.denied(r.what(ev.Type, name), roles)
}

// JudgeType is Judge for an event of a type that the decoder does not know. It
// returns nil if a key with these roles may send such events where they are known,
// and for a type that is not reserved.
func JudgeType(typ string, roles Roles) *Denied {
	r := reservation(typ, "")
	if r.Type == "" || roles.Has(r.By) {
		return nil
	}
	return r.denied("an event of type "+typ, roles)
}

// reservation finds the row of an event. name is that of a track or system event.
func reservation(typ, name string) *Reservation {
	for i := range Reserved {
		if r := &Reserved[i]; name != "" && r.Type == "" && r.Name == name || r.Type == typ && r.Name == "" {
			return r
		}
	}
	return &unreserved
}

func (r *Reservation) what(t Type, name string) string {
	if r.Name != "" {
		return name
	}
	return "an event of type " + t.String()
}

func (r *Reservation) denied(what string, roles Roles) *Denied {
	has := "has no role"
	if roles != 0 {
		has = "has the role " + strings.ReplaceAll(roles.String(), " or ", " and ")
	}
	if r.By == 0 {
		return &Denied{DeniedRole, what + " cannot be sent over HTTP"}
	}
	return &Denied{DeniedRole, fmt.Sprintf("%s needs a key of role %s; this key %s", what, r.By, has)}
}

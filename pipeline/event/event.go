package event

import (
	"fmt"

	"github.com/valyala/fastjson"
)

// Limits of what may enter the log.
const (
	MaxEventBytes = 32 << 10 // one event, as JSON
	MaxUserBytes  = 512      // userId or anonymousId
)

// Type is an event's Segment-spec type: a row of Types.
type Type uint8

// The types.
const (
	Track Type = iota + 1
	Page
	Screen
	Identify
	Group
	Alias
	Clock // the end of an input under clock: event; moves log time, nothing else
)

// Types says of each type what the gateway, the campaign files and the core
// have to know of it.
var Types = [...]struct {
	Name      string // in "type", and in the gateway's path
	NameField string // the member that holds the event's own name; empty: it has none
	View      bool   // the visitor moves on: it extends the session and ends a stay
	Selector  string // what `on` calls all events of the type; empty: `on` names each
}{
	Track:    {Name: "track", NameField: "event", View: true},
	Page:     {Name: "page", NameField: "name", View: true, Selector: "page"},
	Screen:   {Name: "screen", NameField: "name", View: true, Selector: "screen"},
	Identify: {Name: "identify", Selector: "identify"},
	Group:    {Name: "group"},
	Alias:    {Name: "alias"},
	Clock:    {Name: "clock"},
}

func (t Type) String() string {
	if int(t) < len(Types) && t > 0 {
		return Types[t].Name
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// View says that the visitor moves on with the event.
func (t Type) View() bool { return Types[t].View }

// Selected is the type that `on` names by a selector, 0 where name is an
// event's own.
func Selected(name string) Type {
	for t := Track; int(t) < len(Types); t++ {
		if name != "" && Types[t].Selector == name {
			return t
		}
	}
	return 0
}

// An Event is one fact from outside, read from Segment-spec JSON. It is valid
// until the Decoder that read it is used again.
//
// Beside Segment's own fields the log's JSON has receivedAt (RFC 3339, the
// gateway's clock) and, under clock: event, logTime (RFC 3339, put there by
// whoever replays).
type Event struct {
	Type Type
	Name string // track: event; page and screen: name, may be empty
	ID   string // messageId, else the hex xxhash64 of the bytes as received; valid as long as the event
	Key  string // the entity: "u:" + userId or "a:" + anonymousId; valid as long as the event

	// Times in nanoseconds since 1970; meaningful where the Has flag is set.
	Timestamp    int64 // timestamp, else originalTimestamp
	SentAt       int64
	ReceivedAt   int64
	LogTime      int64
	HasTimestamp bool
	HasSentAt    bool
	HasReceived  bool
	HasLogTime   bool

	Time int64 // the event time (LANGUAGE.md, rule 1); set when it is applied

	Raw  []byte             // its bytes
	Root *fastjson.Value    // the whole object; nil where it was scanned (scan.go)
	dec  *Decoder           // then it has the sections
	sole [1]*fastjson.Value // Items where there are no products
}

// User is the bare userId or anonymousId.
func (e *Event) User() string { return e.Key[2:] }

// A Reject says why an event cannot enter the log.
type Reject struct {
	Reason string // json, size, type, name, identity, user, timestamp, fields
	Detail string
}

func (r *Reject) Error() string { return r.Reason + ": " + r.Detail }

// Rejectf makes a Reject.
func Rejectf(reason, format string, args ...any) error {
	return &Reject{reason, fmt.Sprintf(format, args...)}
}

package event

import (
	"fmt"

	"github.com/valyala/fastjson"
)

// Limits of an event that may enter the log.
const (
	MaxEventBytes = 32 << 10 // of one event, as JSON
	MaxUserBytes  = 512      // of a userId or anonymousId
	MaxIDBytes    = 512      // of a messageId; a longer one counts as none
	MaxKindBytes  = 64       // of the kind of an item
	MaxItemBytes  = 1 << 10  // of the id of an item, as of any key (LANGUAGE.md, rule 18)
	MaxName       = 256      // of an event's name where it is only remembered; a longer one is cut
)

// A Type is an event's Segment-spec type: an index into Types.
type Type uint8

// The types.
const (
	Track Type = iota + 1
	Page
	Screen
	Identify
	Group
	Alias
	Clock  // ends an input under clock: event; moves log time and does nothing else
	System // a message about an offer or a coupon: Offer Delivered
	Fact   // data from outside, of no user (LANGUAGE.md, rule 26)
	Item   // an event about an item, of no user (LANGUAGE.md, rule 21)
	Codes  // brings codes for a pool, of no user (LANGUAGE.md, rule 25); not over HTTP
)

// Types describes each type for the gateway, the campaign files and the core.
var Types = [...]struct {
	Name      string // the JSON's type, and the last part of the gateway's path
	NameField string // the JSON member that holds the event's name; empty: events of the type have no name
	View      bool   // a view: it extends the session and ends a stay
	Star      bool   // `*` selects it
	Selector  string // the word by which `on` selects all events of the type; empty: `on` selects events by their names
}{
	Track:    {Name: "track", NameField: "event", View: true, Star: true},
	Page:     {Name: "page", NameField: "name", View: true, Star: true, Selector: "page"},
	Screen:   {Name: "screen", NameField: "name", View: true, Star: true, Selector: "screen"},
	Identify: {Name: "identify", Star: true, Selector: "identify"},
	Group:    {Name: "group"},
	Alias:    {Name: "alias"},
	Clock:    {Name: "clock"},
	System:   {Name: "system", NameField: "event"},
	Fact:     {Name: "fact", NameField: "fact"},
	Item:     {Name: "item", NameField: "event"},
	Codes:    {Name: "codes"},
}

func (t Type) String() string {
	if int(t) < len(Types) && t > 0 {
		return Types[t].Name
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// View reports whether events of the type are views (track, page, screen): the
// visitor has moved on to something else.
func (t Type) View() bool { return Types[t].View }

// Selected is the type that a name in `on` selects, 0 if it is the name of
// single events.
func Selected(name string) Type {
	for t := Track; int(t) < len(Types); t++ {
		if name != "" && Types[t].Selector == name {
			return t
		}
	}
	return 0
}

// An Event is one fact from outside, decoded from Segment-spec JSON. It is
// valid until its Decoder is used again.
//
// Besides Segment's own fields, the JSON in the log has receivedAt (RFC 3339,
// the gateway's clock) and, under clock: event, logTime (RFC 3339, written by
// the program that replays).
type Event struct {
	Type Type
	Name string // of a track, system or item event the member event; of a page or screen the member name, which may be empty; of a fact the member fact
	ID   string // messageId, a text or a number of at most MaxIDBytes, else ContentID; valid as long as the event
	Key  string // the entity's key: "u:" + userId or "a:" + anonymousId, of a fact "f:" + fact + ":" + key, of an item "i:" + kind + ":" + id; valid as long as the event

	// Of an event about an item (type Item), empty for all others; valid as long as
	// the event.
	Kind   string
	ItemID string

	// Times in nanoseconds since 1970; meaningful if the Has flag is set.
	Timestamp    int64 // the own time: timestamp, else originalTimestamp
	SentAt       int64
	ReceivedAt   int64
	LogTime      int64
	HasTimestamp bool
	HasSentAt    bool
	HasReceived  bool
	HasLogTime   bool

	TimestampErr   error // why the own time cannot be read; nil if it can, or if the event has none
	SentAtOriginal bool  // SentAt equals originalTimestamp, and so tells nothing about the client's clock
	HasID          bool  // ID is the messageId
	NoProof        bool  // the gateway wrote "proof": "none" into it: a browser sent it, and its user did not prove who he is

	Time int64 // the event time (LANGUAGE.md, rule 1); set when the event is applied
	Bare bool  // event.user is the id without the prefix of Key, as it was before engine 5; set when the event is applied

	Raw   []byte             // the event's bytes
	Root  *fastjson.Value    // the parsed object; nil if the event was scanned (scan.go)
	dec   *Decoder           // holds the objects of a scanned event
	items []*fastjson.Value  // the result of Items; nil: it was not called yet
	sole  [1]*fastjson.Value // memory for items of an event without products
}

// OfUser reports whether the event is of a user: of a userId or an anonymousId.
func (e *Event) OfUser() bool { return e.Type != Clock && e.Type != Fact && e.Type != Item }

// User is the userId or anonymousId, without the prefix of Key.
func (e *Event) User() string { return e.Key[2:] }

// UserKey is the entity key of a user: of a userId, or of an anonymousId.
func UserKey(user string, anonymous bool) string {
	if anonymous {
		return "a:" + user
	}
	return "u:" + user
}

// A Reject is an error that tells why an event cannot enter the log.
type Reject struct {
	Reason string // json, size, type, name, identity, user, timestamp, fields
	Detail string
	Type   string // for reason type: the type that is unknown, "" if it is no text
}

func (r *Reject) Error() string { return r.Reason + ": " + r.Detail }

// Rejectf makes a Reject.
func Rejectf(reason, format string, args ...any) error {
	return &Reject{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

package pipeline

import (
	"fmt"
	"time"

	"github.com/valyala/fastjson"
)

// Limits of what may enter the log.
const (
	MaxEventBytes = 32 << 10 // one event, as JSON
	MaxUserBytes  = 512      // userId or anonymousId
)

// Type is an event's Segment-spec type.
type Type uint8

const (
	Track Type = iota + 1
	Page
	Screen
	Identify
	Group
	Alias
	Clock // the end of an input under clock: event; moves log time, nothing else
)

var typeNames = [...]string{Track: "track", Page: "page", Screen: "screen", Identify: "identify", Group: "group", Alias: "alias", Clock: "clock"}

func (t Type) String() string {
	if int(t) < len(typeNames) && t > 0 {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
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

	Root *fastjson.Value    // the whole object; nil where it was scanned (scan.go)
	dec  *Decoder           // then it has the sections
	sole [1]*fastjson.Value // items where there are no products
	Raw  []byte             // its bytes
}

// User is the bare userId or anonymousId.
func (e *Event) User() string { return e.Key[2:] }

// A Reject says why an event cannot enter the log.
type Reject struct {
	Reason string // json, size, type, name, identity, user, timestamp, fields
	Detail string
}

func (r *Reject) Error() string { return r.Reason + ": " + r.Detail }

func reject(reason, format string, args ...any) error {
	return &Reject{reason, fmt.Sprintf(format, args...)}
}

// ParseTime reads an RFC 3339 time with a zone, to the nanosecond.
func ParseTime(s string) (int64, error) {
	if ns, ok := plainTime(s); ok {
		return ns, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("%q is not an RFC 3339 time with a zone", s)
	}
	if y := t.Year(); y < 1678 || y > 2261 {
		return 0, fmt.Errorf("%q lies outside the years 1678 to 2261", s)
	}
	return t.UnixNano(), nil
}

var daysIn = [...]int{1: 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// plainTime reads the times that most events have, in UTC: 2026-01-02T15:04:05Z
// with up to nine digits of a second's fraction. False for all others.
func plainTime(s string) (ns int64, ok bool) {
	if len(s) < 20 || len(s) > 30 || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[len(s)-1] != 'Z' {
		return 0, false
	}
	num := func(from, to int) int {
		n := 0
		for _, c := range []byte(s[from:to]) {
			ok = ok && c >= '0' && c <= '9'
			n = 10*n + int(c-'0')
		}
		return n
	}
	ok = true
	y, m, d := num(0, 4), num(5, 7), num(8, 10)
	h, min, sec := num(11, 13), num(14, 16), num(17, 19)
	if len(s) > 20 {
		ok = ok && s[19] == '.' && len(s) > 21
		ns = int64(num(20, len(s)-1))
		for range 30 - len(s) {
			ns *= 10
		}
	}
	if !ok || y < 1970 || y > 2200 || m < 1 || m > 12 || d < 1 || d > daysIn[m] || h > 23 || min > 59 || sec > 59 {
		return 0, false // also 29 February: whether there is one is not told here
	}
	if m <= 2 { // years that begin in March have their leap day at the end
		y, m = y-1, m+12
	}
	days := 365*y + y/4 - y/100 + y/400 + (153*m-457)/5 + d - 719469
	return (int64(days)*86400+int64(h*3600+min*60+sec))*int64(time.Second) + ns, true
}

// FormatTime writes a time as RFC 3339 in UTC, fractions of a second only
// where there are any.
func FormatTime(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

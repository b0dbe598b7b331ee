package oracle

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// An event is one accepted line of the input.
type event struct {
	typ  string
	name string // track: event; page and screen: name
	id   string // messageId, else the hash of the bytes
	key  string // "u:" + userId or "a:" + anonymousId
	root *object

	own    int64 // its own time
	hasOwn bool
	now    int64 // log time
	time   int64 // event time
	pos    int   // position among the accepted events

	full    bool                 // the user had reached the bound on entries
	entries map[*feature][]entry // the entries that it adds to each feature
	evicted map[*feature]int     // how many entries of each feature leave because of the bound on bytes
}

// admit reads a line, or returns the reason why the gateway would refuse it.
func admit(raw []byte) (*event, error) {
	if len(raw) > 32<<10 {
		return nil, errors.New("size")
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("json: not valid UTF-8")
	}
	v, err := parseJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	root, ok := v.(*object)
	if !ok {
		return nil, errors.New("json: not an object")
	}
	ev := &event{root: root, entries: map[*feature][]entry{}}
	ev.typ = root.text("type")
	if !slices.Contains([]string{"track", "page", "screen", "identify", "group", "alias", "clock"}, ev.typ) {
		return nil, errors.New("type")
	}
	if err := ev.readTimes(); err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	if ev.typ == "clock" {
		return ev, nil
	}
	switch ev.typ {
	case "track":
		if ev.name = root.text("event"); ev.name == "" {
			return nil, errors.New("name")
		}
	case "page", "screen":
		ev.name = root.text("name")
	}
	for _, field := range []string{"properties", "traits", "context"} {
		switch root.get(field).(type) {
		case nil, *object:
		default:
			return nil, fmt.Errorf("fields: %s is not an object", field)
		}
	}
	if ev.key, err = entity(root); err != nil {
		return nil, err
	}
	if ev.id = root.text("messageId"); ev.id == "" {
		sum := xxhash.Sum64(raw)
		ev.id = hex.EncodeToString([]byte{byte(sum >> 56), byte(sum >> 48), byte(sum >> 40), byte(sum >> 32), byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	}
	return ev, nil
}

// readTimes reads the event's own time. A clock event must have one.
func (ev *event) readTimes() (err error) {
	own := ev.root.get("timestamp")
	if own == nil {
		own = ev.root.get("originalTimestamp")
	}
	if ev.own, ev.hasOwn, err = readTime(own); err != nil {
		return err
	}
	stamped, hasStamp, err := readTime(ev.root.get("logTime"))
	if err != nil || ev.typ != "clock" {
		return err
	}
	if !ev.hasOwn {
		ev.own, ev.hasOwn = stamped, hasStamp
	}
	if !ev.hasOwn {
		return errors.New("a clock event without a time")
	}
	return nil
}

// readTime reads an RFC 3339 time with a zone, in the years that nanoseconds
// since 1970 can represent.
func readTime(v any) (ns int64, there bool, err error) {
	if v == nil {
		return 0, false, nil
	}
	s, ok := v.(string)
	if !ok {
		return 0, false, errors.New("a time is a string")
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, false, err
	}
	if t.Year() < 1678 || t.Year() > 2261 {
		return 0, false, errors.New("a time in the years 1678 to 2261")
	}
	return t.UnixNano(), true, nil
}

// entity returns the user's key: the first of userId and anonymousId that is a
// non-empty string or a number.
func entity(root *object) (string, error) {
	for _, id := range []struct{ field, space string }{{"userId", "u:"}, {"anonymousId", "a:"}} {
		s := ""
		switch v := root.get(id.field).(type) {
		case string:
			s = v
		case json.Number:
			s = v.String()
			if strings.ContainsAny(s, ".eE") {
				f, _ := strconv.ParseFloat(s, 64)
				s = plain(f)
			}
		}
		if s == "" {
			continue
		}
		if len(s) > 512 || strings.ContainsFunc(s, unicode.IsControl) {
			return "", errors.New("user")
		}
		return id.space + s, nil
	}
	return "", errors.New("identity")
}

// bare returns the userId or anonymousId without its name space.
func (ev *event) bare() string { return ev.key[2:] }

// matches reports whether `on` names the event.
func (ev *event) matches(on []string) bool {
	for _, name := range on {
		switch name {
		case "*":
			return true
		case "page", "screen", "identify":
			if ev.typ == name {
				return true
			}
		default:
			if ev.typ == "track" && ev.name == name {
				return true
			}
		}
	}
	return false
}

// active reports whether the event extends a session, closes dwell intervals
// and cancels dwell timers.
func (ev *event) active() bool { return ev.typ == "track" || ev.typ == "page" || ev.typ == "screen" }

// items returns the products of the event, else its properties as the only
// item.
func (ev *event) items() []any {
	if products, ok := ev.root.get("properties", "products").([]any); ok && len(products) > 0 {
		return products
	}
	return []any{ev.root.object("properties")}
}

package oracle

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
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
	name string // track and system: event; page and screen: name; fact: fact
	id   string // messageId, else the hash of the bytes
	key  string // "u:" + userId or "a:" + anonymousId
	root *object

	own    int64 // its own time
	hasOwn bool
	now    int64 // log time
	time   int64 // event time
	pos    int   // position among the accepted events

	// Of an event about an item:
	itemKind, itemID string
	itemKey          string // the property that names items of the kind

	forwarded bool // it came for a visitor who belongs to the user

	// Of a merge, which is not an event but stands in the log of a user as one:
	absorbed *user // the visitor, as they were
	closes   *user // whose intervals of dwell end, of the two
	closedAt int64 // and when

	// Set when the event is applied:
	earlier *user                // the user just before this event
	takes   map[*campaign][]bool // which steps of sequences it fits
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
	ev := &event{root: root, entries: map[*feature][]entry{}, takes: map[*campaign][]bool{}}
	ev.typ = root.text("type")
	if !slices.Contains([]string{"track", "page", "screen", "identify", "group", "alias", "clock", "system", "fact", "item"}, ev.typ) {
		return nil, errors.New("type")
	}
	if err := ev.readTimes(); err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	if ev.typ == "clock" {
		return ev, nil
	}
	switch ev.typ {
	case "track", "system", "item":
		if ev.name = root.text("event"); ev.name == "" {
			return nil, errors.New("name")
		}
	case "page", "screen":
		ev.name = root.text("name")
	}
	for _, field := range []string{"properties", "traits", "context"} {
		switch v := root.get(field).(type) {
		case nil, *object:
		default:
			if list, ok := v.([]any); !ok || len(list) > 0 { // [] is an empty map
				return nil, fmt.Errorf("fields: %s is not an object", field)
			}
		}
	}
	if ev.typ == "fact" {
		return ev, ev.readFact()
	}
	if ev.typ == "item" {
		err = ev.readItem()
	} else if ev.key, err = entity(root); err == nil && ev.typ == "alias" {
		if was, _ := id(root.get("previousId")); was != "" && ev.key == "u:"+was {
			err = errors.New("identity: an alias of oneself")
		}
	}
	if err != nil {
		return nil, err
	}
	if ev.id, _ = id(root.get("messageId")); ev.id == "" || len(ev.id) > 512 {
		sum := xxhash.Sum64(raw)
		ev.id = hex.EncodeToString([]byte{byte(sum >> 56), byte(sum >> 48), byte(sum >> 40), byte(sum >> 32), byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	}
	return ev, nil
}

// readItem reads which item an event is about.
func (ev *event) readItem() error {
	key, ok := id(ev.root.get("id"))
	ev.itemKind, ev.itemID = ev.root.text("kind"), key
	bad := func(s string) bool { return s == "" || strings.ContainsFunc(s, unicode.IsControl) }
	if !ok || bad(ev.itemKind) || len(ev.itemKind) > 64 || strings.Contains(ev.itemKind, ":") || bad(key) || len(key) > maxKey {
		return errors.New("item: no kind or no id")
	}
	return nil
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

var timeForm = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(\.\d+)?(?:(:)?[Zz]|([+-]\d\d)(?::?(\d\d))?)$`)

// readTime reads an RFC 3339 time with a zone, or one of the other forms of rule
// 1. A time beyond those that nanoseconds since 1970 can represent is the nearest
// of them.
func readTime(v any) (ns int64, there bool, err error) {
	if v == nil {
		return 0, false, nil
	}
	s, ok := v.(string)
	if !ok {
		return 0, false, errors.New("a time is a string")
	}
	m := timeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, false, errors.New("not a time")
	}
	date, minute, sec, fraction, colon, hours, minutes := m[1], m[2], m[3], m[4], m[5], m[6], m[7]
	if colon != "" && fraction == "" || hours != "" && hours[1:] > "23" || minutes > "59" || sec > "60" {
		return 0, false, errors.New("not a time")
	}
	t, err := time.Parse("2006-01-02 15:04", date+" "+minute)
	if err != nil {
		return 0, false, err
	}
	at := big.NewInt(t.Unix())
	at.Add(at, big.NewInt(atoi(sec)-3600*atoi(hours)))
	if strings.HasPrefix(hours, "-") {
		at.Add(at, big.NewInt(60*atoi(minutes)))
	} else {
		at.Sub(at, big.NewInt(60*atoi(minutes)))
	}
	at.Mul(at, big.NewInt(1e9))
	at.Add(at, big.NewInt(atoi((strings.TrimPrefix(fraction, ".") + "000000000")[:9])))
	return max(clamped(at), -math.MaxInt64), true, nil
}

// atoi reads a number with or without a sign, and nothing as 0.
func atoi(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// plus and minus give the nearest time that an int64 can hold.
func plus(a, b int64) int64 {
	if small(a) && small(b) {
		return a + b
	}
	return clamped(new(big.Int).Add(big.NewInt(a), big.NewInt(b)))
}

func minus(a, b int64) int64 {
	if small(a) && small(b) {
		return a - b
	}
	return clamped(new(big.Int).Sub(big.NewInt(a), big.NewInt(b)))
}

func small(n int64) bool { return -1<<62 < n && n < 1<<62 }

func clamped(n *big.Int) int64 {
	switch {
	case n.IsInt64():
		return n.Int64()
	case n.Sign() < 0:
		return math.MinInt64
	}
	return math.MaxInt64
}

// entity returns the user's key: the first of userId and anonymousId that is a
// non-empty string or a number.
func entity(root *object) (string, error) {
	for _, of := range []struct{ field, space string }{{"userId", "u:"}, {"anonymousId", "a:"}} {
		s, ok := id(root.get(of.field))
		if s == "" && ok {
			continue
		}
		if !ok || len(s) > 512 || strings.ContainsFunc(s, unicode.IsControl) {
			return "", errors.New("user")
		}
		return of.space + s, nil
	}
	return "", errors.New("identity")
}

// id returns an id as text, "" if it is neither a string nor a number. It returns
// false for a number that is infinite as a double.
func id(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		if n, ok := new(big.Int).SetString(v.String(), 10); ok {
			return n.String(), true
		}
		f, _ := strconv.ParseFloat(v.String(), 64)
		switch {
		case f == 0:
			return "0", true
		case math.IsInf(f, 0):
			return "", false
		}
		return plain(f), true
	}
	return "", true
}

// bare returns the userId or anonymousId without its name space.
func (ev *event) bare() string { return ev.key[2:] }

// matches reports whether `on` names the event.
func (ev *event) matches(on []string) bool {
	for _, name := range on {
		switch name {
		case "*":
			if ev.active() || ev.typ == "identify" {
				return true
			}
		case "page", "screen", "identify":
			if ev.typ == name {
				return true
			}
		default:
			if (ev.typ == "track" || ev.typ == "system" || ev.typ == "item") && ev.name == name {
				return true
			}
		}
	}
	return false
}

// active reports whether the event extends a session, closes dwell intervals
// and cancels dwell timers. Events of the type system do not.
func (ev *event) active() bool { return ev.typ == "track" || ev.typ == "page" || ev.typ == "screen" }

// items returns the products of the event, else its properties as the only
// item. An event about an item has that item, with its key.
func (ev *event) items() []any {
	if ev.typ == "item" {
		props := ev.root.object("properties")
		own := &object{keys: append(slices.Clone(props.keys), ev.itemKey), vals: map[string]any{}}
		for name, v := range props.vals {
			own.vals[name] = v
		}
		if _, there := own.vals[ev.itemKey]; there {
			own.keys = props.keys
		}
		own.vals[ev.itemKey] = ev.itemID
		return []any{own}
	}
	var items []any
	switch products := ev.root.get("properties", "products").(type) {
	case []any:
		for _, p := range products {
			if _, ok := p.(*object); ok {
				items = append(items, p)
			}
		}
	case *object:
		for _, key := range inOrder(products.keys) {
			p, ok := products.vals[key].(*object)
			if !ok {
				return []any{products}
			}
			items = append(items, p)
		}
	}
	if len(items) == 0 {
		return []any{ev.root.object("properties")}
	}
	return items
}

var integerForm = regexp.MustCompile(`^-?[0-9]+$`)

// inOrder returns keys in the order of event.items: integers by value, then the
// others by bytes.
func inOrder(keys []string) []string {
	var integers, others []string
	for _, key := range keys {
		if integerForm.MatchString(key) {
			integers = append(integers, key)
		} else {
			others = append(others, key)
		}
	}
	slices.Sort(others)
	slices.Sort(integers) // integers of the same value are in the order of their bytes
	slices.SortStableFunc(integers, func(a, b string) int {
		x, _ := new(big.Int).SetString(a, 10)
		y, _ := new(big.Int).SetString(b, 10)
		return x.Cmp(y)
	})
	return append(integers, others...)
}

package oracle

import (
	"encoding/json"
	"fmt"
	"regexp"
)

// A definition is a campaign set as in its canonical JSON, with durations in
// nanoseconds.
type definition struct {
	Engine    int          `json:"engine"`
	Zone      string       `json:"zone,omitempty"`
	Clock     string       `json:"clock"`
	Lateness  int64        `json:"lateness"`
	Forget    forget       `json:"forget"`
	Bounds    bounds       `json:"bounds"`
	Features  []*feature   `json:"features,omitempty"`
	Caps      []channelCap `json:"caps,omitempty"`
	Pause     *pause       `json:"pause,omitempty"`
	Campaigns []*campaign  `json:"campaigns,omitempty"`
}

type forget struct {
	Anonymous int64 `json:"anonymous"`
	Known     int64 `json:"known"`
}

type bounds struct {
	Entries     int `json:"entries"`
	Keys        int `json:"keys"`
	UserEntries int `json:"user_entries"`
	UserBytes   int `json:"user_bytes"`
	Absences    int `json:"absences"`
}

type feature struct {
	Name     string   `json:"name"`
	On       []string `json:"on"`
	Where    string   `json:"where,omitempty"`
	By       string   `json:"by,omitempty"`
	Agg      string   `json:"agg"`
	Of       string   `json:"of,omitempty"`
	Within   int64    `json:"within,omitempty"`
	Key      string   `json:"key,omitempty"`
	Fields   []string `json:"fields,omitempty"`
	Keep     int      `json:"keep,omitempty"`
	RemoveOn []string `json:"remove_on,omitempty"`

	bounds        bounds
	where, by, of *expression
}

type channelCap struct {
	Channels []string `json:"channels"`
	Max      int      `json:"max"`
	Within   int64    `json:"within"`
}

type pause struct {
	Channels []string `json:"channels"`
	AfterAny int64    `json:"after_any"`
}

type campaign struct {
	ID       string    `json:"id"`
	From     int64     `json:"from,omitempty"`
	To       int64     `json:"to,omitempty"`
	On       []string  `json:"on"`
	Where    string    `json:"where,omitempty"`
	Fresh    int64     `json:"fresh,omitempty"`
	If       []string  `json:"if,omitempty"`
	Unless   *unless   `json:"unless,omitempty"`
	WhenDue  string    `json:"when_due,omitempty"`
	Priority float64   `json:"priority,omitempty"`
	Offer    offerSpec `json:"offer"`
	Limits   []limit   `json:"limits,omitempty"`

	where, unlessWhere, match *expression
	whenDue                   *expression
	conditions                []*condition
	data                      any // the parsed data, with templates instead of strings
}

type unless struct {
	On        []string `json:"on"`
	Where     string   `json:"where,omitempty"`
	Match     string   `json:"match,omitempty"`
	Within    int64    `json:"within"`
	NoRestart bool     `json:"no_restart,omitempty"`
}

type offerSpec struct {
	Channel string          `json:"channel"`
	Kind    string          `json:"kind"`
	Expires int64           `json:"expires,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
}

type limit struct {
	Max        int   `json:"max"`
	Within     int64 `json:"within,omitempty"`
	PerSession bool  `json:"per_session,omitempty"`
}

var bareName = regexp.MustCompile(`^[A-Za-z0-9_$@#\x{80}-\x{10FFFF}][A-Za-z0-9_$@#:\-\x{80}-\x{10FFFF}]*( [A-Za-z0-9_$@#\x{80}-\x{10FFFF}][A-Za-z0-9_$@#:\-\x{80}-\x{10FFFF}]*)*$`)

// isBare reports whether a `by` or `match` is a bare name: a property of each
// item. No expression about an event looks like one.
func isBare(s string) bool { return bareName.MatchString(s) }

// load reads a set and compiles its expressions.
func load(setJSON []byte) (*definition, *language, error) {
	set := new(definition)
	if err := json.Unmarshal(setJSON, set); err != nil {
		return nil, nil, fmt.Errorf("campaign set: %w", err)
	}
	l, err := newLanguage(set)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range set.Features {
		f.bounds = set.Bounds
		f.where = l.compile(f.Where, f.Name, "where")
		f.of = l.compile(f.Of, f.Name, "of")
		if !isBare(f.By) {
			f.by = l.compile(f.By, f.Name, "by")
		}
	}
	for _, c := range set.Campaigns {
		c.where = l.compile(c.Where, c.ID, "where")
		c.whenDue = l.compile(c.WhenDue, c.ID, "when_due")
		for _, src := range c.If {
			c.conditions = append(c.conditions, l.conditions(src, c.ID)...)
		}
		if c.Unless != nil {
			c.unlessWhere = l.compile(c.Unless.Where, c.ID, "unless.where")
			if !isBare(c.Unless.Match) {
				c.match = l.compile(c.Unless.Match, c.ID, "unless.match")
			}
		}
		if len(c.Offer.Data) > 0 {
			tree, err := parseJSON(c.Offer.Data)
			if err != nil {
				return nil, nil, fmt.Errorf("campaign %s: data: %w", c.ID, err)
			}
			c.data = l.templates(tree, c.ID)
		}
	}
	return set, l, l.err
}

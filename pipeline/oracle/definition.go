package oracle

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
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
	Items     []*itemKind  `json:"items,omitempty"`
	Features  []*feature   `json:"features,omitempty"`
	Facts     []*fact      `json:"facts,omitempty"`
	Caps      []channelCap `json:"caps,omitempty"`
	Brakes    []brake      `json:"brakes,omitempty"`
	Pause     *pause       `json:"pause,omitempty"`
	Quiet     *quiet       `json:"quiet_hours,omitempty"`
	Consent   *consent     `json:"consent,omitempty"`
	Holdout   int          `json:"holdout,omitempty"`
	Coupons   *coupons     `json:"coupons,omitempty"`
	Campaigns []*campaign  `json:"campaigns,omitempty"`

	running []*campaign // the campaigns, and the rows of those that have rows
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
	ItemBytes   int `json:"item_bytes,omitempty"`
}

// An itemKind is a kind of items.
type itemKind struct {
	Kind   string `json:"kind"`
	Key    string `json:"key"`
	Forget int64  `json:"forget,omitempty"`
}

type feature struct {
	Name     string   `json:"name"`
	Per      string   `json:"per,omitempty"`
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
	HalfLife int64    `json:"half_life,omitempty"`

	bounds        bounds
	where, by, of *expression
}

type fact struct {
	Name   string      `json:"name"`
	Fields []factField `json:"fields"`
	MaxAge int64       `json:"max_age,omitempty"`
}

type factField struct {
	Name string `json:"name"`
	Type string `json:"type"`
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

type quiet struct {
	Channels      []string `json:"channels"`
	From          int      `json:"from"`
	To            int      `json:"to"`
	ExceptConsent string   `json:"except_consent,omitempty"`
	Drop          bool     `json:"drop,omitempty"`
	AtMost        int64    `json:"at_most,omitempty"`
}

type consent struct {
	Required []string `json:"required,omitempty"`
	ValidFor int64    `json:"valid_for,omitempty"`
}

type coupons struct {
	Key string `json:"key,omitempty"`
	URL string `json:"url,omitempty"`
}

type campaign struct {
	ID       string     `json:"id"`
	Rows     []row      `json:"rows,omitempty"`
	From     int64      `json:"from,omitempty"`
	To       int64      `json:"to,omitempty"`
	On       []string   `json:"on,omitempty"`
	Where    string     `json:"where,omitempty"`
	Any      []*trigger `json:"any,omitempty"`
	Sequence *sequence  `json:"sequence,omitempty"`
	Fresh    int64      `json:"fresh,omitempty"`
	Let      []let      `json:"let,omitempty"`
	If       []string   `json:"if,omitempty"`
	Unless   *unless    `json:"unless,omitempty"`
	Users    string     `json:"users,omitempty"`
	At       *atSpec    `json:"at,omitempty"`
	WhenDue  string     `json:"when_due,omitempty"`
	Choose   string     `json:"choose,omitempty"`
	Priority float64    `json:"priority,omitempty"`
	Score    string     `json:"score,omitempty"`
	Offer    offerSpec  `json:"offer"`
	Limits   []limit    `json:"limits,omitempty"`
	Budget   *budget    `json:"budget,omitempty"`
	Holdout  int        `json:"holdout,omitempty"`

	base       string                 // the id without the row
	row        *object                // the row's values, nil without rows
	entries    []*trigger             // Any, or the one that On, Where and Unless make
	lets       map[string]*expression // by name
	whenDue    *expression
	choose     *expression
	score      *expression
	conditions []*condition
	data       any       // the parsed data, with templates instead of strings
	about      *itemKind // the items that it reads or whose users it goes to; nil: none
	reads      reads     // what it reads of them
}

// asks reports whether the campaign asks items before it goes on.
func (c *campaign) asks() bool { return c.about != nil && c.Users == "" }

type budget struct {
	Offers int     `json:"offers,omitempty"`
	Value  float64 `json:"value,omitempty"`
	Of     string  `json:"of,omitempty"`
	Within int64   `json:"within,omitempty"`
	PerDay bool    `json:"per_day,omitempty"`

	of *expression
}

type row struct {
	ID     string          `json:"id"`
	Values json.RawMessage `json:"values"`
}

// A trigger is one way in which a campaign begins.
type trigger struct {
	On     []string `json:"on"`
	Where  string   `json:"where,omitempty"`
	Unless *unless  `json:"unless,omitempty"`

	where *expression
}

type sequence struct {
	Steps  []*trigger `json:"steps"`
	Within int64      `json:"within"`
}

type let struct {
	Name string `json:"name"`
	Is   string `json:"is"`
}

type atSpec struct {
	BestHour string `json:"best_hour"`
	Ahead    int64  `json:"ahead"`

	hours *expression
}

type unless struct {
	On        []string `json:"on"`
	Where     string   `json:"where,omitempty"`
	Match     string   `json:"match,omitempty"`
	Within    int64    `json:"within"`
	NoRestart bool     `json:"no_restart,omitempty"`
	WithinIs  string   `json:"within_is,omitempty"`
	AtMost    int64    `json:"at_most,omitempty"`

	where, match, within *expression
}

type offerSpec struct {
	Channel string          `json:"channel"`
	Kind    string          `json:"kind"`
	Expires int64           `json:"expires,omitempty"`
	Coupon  *couponSpec     `json:"coupon,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`

	ExpiresIs string `json:"expires_is,omitempty"`
	AtMost    int64  `json:"at_most,omitempty"`

	expires *expression
}

type couponSpec struct {
	Discount  string `json:"discount,omitempty"`
	SingleUse bool   `json:"single_use,omitempty"`
	Claim     string `json:"claim,omitempty"`
	Expires   int64  `json:"expires,omitempty"`
	Pool      string `json:"pool,omitempty"`
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
		if err := c.compile(l); err != nil {
			return nil, nil, err
		}
		if err := c.findItems(set, l); err != nil {
			return nil, nil, err
		}
		rows, err := c.expand()
		if err != nil {
			return nil, nil, err
		}
		set.running = append(set.running, rows...)
	}
	return set, l, l.err
}

// compile compiles what rows share.
func (c *campaign) compile(l *language) error {
	c.base, c.lets = c.ID, map[string]*expression{}
	for _, let := range c.Let {
		c.lets[let.Name] = l.compile(let.Is, c.ID, let.Name)
	}
	switch {
	case len(c.Any) > 0:
		c.entries = c.Any
	case c.Sequence != nil: // its unless is that of the only entry, which no event matches by itself
		c.entries = []*trigger{{Unless: c.Unless}}
		for _, step := range c.Sequence.Steps {
			step.compile(l, c.ID)
		}
	default:
		c.entries = []*trigger{{On: c.On, Where: c.Where, Unless: c.Unless}}
	}
	for _, e := range c.entries {
		e.compile(l, c.ID)
	}
	for _, src := range c.If {
		c.conditions = append(c.conditions, l.conditions(src, c.ID)...)
	}
	c.whenDue = l.compile(c.WhenDue, c.ID, "when_due")
	c.choose = l.compile(c.Choose, c.ID, "choose")
	c.score = l.compile(c.Score, c.ID, "score")
	c.Offer.expires = l.compile(c.Offer.ExpiresIs, c.ID, "offer.expires")
	if c.Budget != nil {
		c.Budget.of = l.compile(c.Budget.Of, c.ID, "budget.of")
	}
	if c.At != nil {
		c.At.hours = l.compile(c.At.BestHour, c.ID, "at.best_hour")
	}
	if len(c.Offer.Data) > 0 {
		tree, err := parseJSON(c.Offer.Data)
		if err != nil {
			return fmt.Errorf("campaign %s: data: %w", c.ID, err)
		}
		c.data = l.templates(tree, c.ID)
	}
	return nil
}

func (t *trigger) compile(l *language, owner string) {
	t.where = l.compile(t.Where, owner, "where")
	if t.Unless != nil {
		t.Unless.where = l.compile(t.Unless.Where, owner, "unless.where")
		t.Unless.within = l.compile(t.Unless.WithinIs, owner, "unless.within")
		if !isBare(t.Unless.Match) {
			t.Unless.match = l.compile(t.Unless.Match, owner, "unless.match")
		}
	}
}

// own returns the features that are of users.
func (set *definition) own() []*feature {
	return slices.DeleteFunc(slices.Clone(set.Features), func(f *feature) bool { return f.Per != "" })
}

// kind returns a kind of items, nil if there is none of that name.
func (set *definition) kind(name string) *itemKind {
	for _, k := range set.Items {
		if k.Kind == name {
			return k
		}
	}
	return nil
}

// expand returns the campaigns of the rows, or the campaign itself.
func (c *campaign) expand() ([]*campaign, error) {
	if len(c.Rows) == 0 {
		return []*campaign{c}, nil
	}
	var out []*campaign
	for _, r := range c.Rows {
		v, err := parseJSON(r.Values)
		values, ok := v.(*object)
		if err != nil || !ok {
			return nil, fmt.Errorf("campaign %s: row %s is no object", c.ID, r.ID)
		}
		of := *c
		of.ID, of.row = c.ID+"/"+r.ID, values
		out = append(out, &of)
	}
	return out, nil
}

// atSessionEnd reports whether the campaign is for the ends of sessions.
func (c *campaign) atSessionEnd() bool { return slices.Contains(c.On, "session_end") }

package campaign

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Clocks that a campaign set may name.
const (
	ClockBroker = "broker" // log time follows the broker's stored timestamps
	ClockEvent  = "event"  // log time stands in the events
)

// Kinds of offer.
const (
	Advertising = "advertising"
	Service     = "service" // stopped by no cap and no pause, and counts in none
)

// A Definition is a campaign set in its normal form: defaults filled in,
// features and campaigns sorted by name, expressions as written. It covers
// everything that Step reads, so its Hash names the behaviour. Durations are
// nanoseconds; 0 means absent (no bound) unless said otherwise.
//
// Package config makes one from YAML; pipeline.Compile makes it runnable.
//
// A Definition is stored under its Hash, and parts of it are known by hashes of
// their JSON (Identity): so each key that is added here must be omitted from
// the JSON where it is not set (omitempty, or omitzero), and a key's name never
// changes.
type Definition struct {
	Engine    int           `json:"engine"`
	Zone      string        `json:"zone,omitempty"`
	Clock     string        `json:"clock"`    // ClockBroker or ClockEvent
	Lateness  time.Duration `json:"lateness"` // how far an event's time may lie behind log time
	Forget    Forget        `json:"forget"`
	Bounds    Bounds        `json:"bounds"`
	Features  []Feature     `json:"features,omitempty"`
	Caps      []Cap         `json:"caps,omitempty"`
	Pause     *Pause        `json:"pause,omitempty"`
	Campaigns []Campaign    `json:"campaigns,omitempty"`
}

// Forget says after how long without an event a user reads as new.
type Forget struct {
	Anonymous time.Duration `json:"anonymous"`
	Known     time.Duration `json:"known"`
}

// Bounds are the limits of what one user may hold. Reaching one is counted.
type Bounds struct {
	Entries     int `json:"entries"`      // exact entries per aggregate and key; the oldest beyond folds or leaves
	Keys        int `json:"keys"`         // keys of a feature with `by`
	UserEntries int `json:"user_entries"` // entries of a user in all
	Absences    int `json:"absences"`     // pending absences of a campaign
	Traits      int `json:"traits"`       // traits of a profile
}

// DefaultBounds are what a set has that names none.
var DefaultBounds = Bounds{Entries: 256, Keys: 64, UserEntries: 65536, Absences: 64, Traits: 256}

// Defaults of a set's other keys.
const (
	DefaultLateness        = time.Hour
	DefaultForgetAnonymous = 90 * 24 * time.Hour
	DefaultForgetKnown     = 1095 * 24 * time.Hour
	DefaultKeep            = 256 // of a list
)

// A Feature is state per user: one aggregate, or with By one per key.
type Feature struct {
	Name     string        `json:"name"`
	On       []string      `json:"on"` // event names, "*", "page", "screen" or "identify"
	Where    string        `json:"where,omitempty"`
	By       string        `json:"by,omitempty"` // a bare name (a property of each of event.items) or CEL
	Agg      string        `json:"agg"`          // the name of one of window.Aggregates
	Of       string        `json:"of,omitempty"`
	Within   time.Duration `json:"within,omitempty"` // 0: for ever
	Key      string        `json:"key,omitempty"`    // list: a bare name
	Fields   []string      `json:"fields,omitempty"` // list
	Keep     int           `json:"keep,omitempty"`   // list
	RemoveOn []string      `json:"remove_on,omitempty"`
}

// A Cap bounds what goes out on some channels together.
type Cap struct {
	Channels []string      `json:"channels"`
	Max      int           `json:"max"`
	Within   time.Duration `json:"within"`
}

// Pause keeps channels silent for a while after any offer on one of them.
type Pause struct {
	Channels []string      `json:"channels"`
	AfterAny time.Duration `json:"after_any"`
}

// A Campaign says when which offer goes to a user.
type Campaign struct {
	ID       string        `json:"id"`
	From     int64         `json:"from,omitempty"` // period, nanoseconds since 1970; 0: open
	To       int64         `json:"to,omitempty"`
	On       []string      `json:"on"`
	Where    string        `json:"where,omitempty"`
	Fresh    time.Duration `json:"fresh,omitempty"`
	If       []string      `json:"if,omitempty"`
	Unless   *Unless       `json:"unless,omitempty"`
	WhenDue  string        `json:"when_due,omitempty"` // judged after every wait
	Priority float64       `json:"priority,omitempty"`
	Offer    OfferSpec     `json:"offer"`
	Limits   []Limit       `json:"limits,omitempty"`
}

// Runs says whether now lies in the campaign's period.
func (c *Campaign) Runs(now int64) bool {
	return (c.From == 0 || now >= c.From) && (c.To == 0 || now < c.To)
}

// Unless turns a campaign into an absence: it fires Within after its trigger,
// unless one of these events came before.
type Unless struct {
	On        []string      `json:"on"`
	Where     string        `json:"where,omitempty"`
	Match     string        `json:"match,omitempty"` // a bare name or CEL, as Feature.By
	Within    time.Duration `json:"within"`
	NoRestart bool          `json:"no_restart,omitempty"` // restart: false
}

// An OfferSpec is what a campaign sends. Data is any JSON; its strings are
// templates: text with {{ CEL }}.
type OfferSpec struct {
	Channel string          `json:"channel"`
	Kind    string          `json:"kind"`
	Expires time.Duration   `json:"expires,omitempty"` // from going out
	Data    json.RawMessage `json:"data,omitempty"`
}

// A Limit bounds what a campaign sends to one user: per session, within a
// time, or (neither) ever.
type Limit struct {
	Max        int           `json:"max"`
	Within     time.Duration `json:"within,omitempty"`
	PerSession bool          `json:"per_session,omitempty"`
}

// JSON is the Definition's canonical form, from which ParseDefinition makes
// an equal one.
func (d *Definition) JSON() []byte {
	b, err := json.Marshal(d)
	if err != nil { // only Offer.Data can fail, and Compile has looked at it
		panic("campaign: definition does not marshal: " + err.Error())
	}
	return b
}

// Hash names the set by its content: hex of 16 bytes of SHA-256.
func (d *Definition) Hash() string {
	sum := sha256.Sum256(d.JSON())
	return hex.EncodeToString(sum[:16])
}

// ParseDefinition reads what JSON wrote.
func ParseDefinition(b []byte) (*Definition, error) {
	d := new(Definition)
	if err := json.Unmarshal(b, d); err != nil {
		return nil, fmt.Errorf("campaign set: %w", err)
	}
	return d, nil
}

// Identity is a number for a part of a definition: a hash of what is set in it,
// by which a change is told.
func Identity(part any) uint64 {
	b, err := json.Marshal(part)
	if err != nil {
		panic("campaign: " + err.Error())
	}
	return xxhash.Sum64(b)
}

// FeatureID is the Identity of a feature: one with another is another feature,
// with a state of its own.
func (f *Feature) FeatureID() uint64 { return Identity(f) }

// TriggerID is the Identity of all that sets a campaign's evaluations pending:
// a change of it cancels what is pending (LANGUAGE.md, rule 14).
func (c *Campaign) TriggerID() uint64 {
	return Identity(struct {
		ID     string   `json:"id"`
		On     []string `json:"on,omitempty"`
		Where  string   `json:"where,omitempty"`
		Unless *Unless  `json:"unless,omitempty"`
	}{c.ID, c.On, c.Where, c.Unless})
}

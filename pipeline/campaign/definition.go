package campaign

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// The clocks of a campaign set: how log time moves.
const (
	ClockBroker = "broker" // log time follows the times at which the broker stored the messages
	ClockEvent  = "event"  // log time is taken from the events
)

// The kinds of offer.
const (
	Advertising = "advertising"
	Service     = "service" // no cap and no pause stops it, and none counts it
)

// A Definition is a campaign set in its normal form: defaults are filled in,
// features and campaigns are sorted by name, expressions are kept as written.
// It contains all that decides what a set does, so its Hash identifies the
// set's behaviour. Durations are nanoseconds; 0 means absent (no bound) unless
// stated otherwise.
//
// Package config makes a Definition from YAML; pipeline.Compile makes it
// runnable.
//
// A Definition is stored under its Hash, and parts of it are identified by
// hashes of their JSON (Identity). Therefore a new key must be omitted from the
// JSON when it is not set (omitempty or omitzero), and the name of a key never
// changes.
type Definition struct {
	Engine    int           `json:"engine"`
	Zone      string        `json:"zone,omitempty"`
	Clock     string        `json:"clock"`    // ClockBroker or ClockEvent
	Lateness  time.Duration `json:"lateness"` // an event's time is not taken as further behind log time than this
	Forget    Forget        `json:"forget"`
	Bounds    Bounds        `json:"bounds"`
	Items     []Item        `json:"items,omitempty"` // in the order of the file
	Features  []Feature     `json:"features,omitempty"`
	Facts     []Fact        `json:"facts,omitempty"`
	Caps      []Cap         `json:"caps,omitempty"`
	Brakes    []Brake       `json:"brakes,omitempty"` // by channel, one per campaign last
	Pause     *Pause        `json:"pause,omitempty"`
	Quiet     *QuietHours   `json:"quiet_hours,omitempty"`
	Consent   *Consent      `json:"consent,omitempty"`
	Holdout   int           `json:"holdout,omitempty"` // share of users who get no advertising at all, in 1/10,000
	Coupons   *Coupons      `json:"coupons,omitempty"`
	Campaigns []Campaign    `json:"campaigns,omitempty"`
}

// Forget holds the times without any event after which a user is forgotten.
type Forget struct {
	Anonymous time.Duration `json:"anonymous"`
	Known     time.Duration `json:"known"`
}

// Bounds limit what one user may hold. Each time that a bound is reached is
// counted.
type Bounds struct {
	Entries     int `json:"entries"`      // exact entries per aggregate and key; beyond it the oldest is folded into a bucket or removed
	Keys        int `json:"keys"`         // keys of a feature with `by`
	UserEntries int `json:"user_entries"` // entries of a user in all features
	UserBytes   int `json:"user_bytes"`   // bytes of these entries (LANGUAGE.md, rule 18)
	Absences    int `json:"absences"`     // pending absences of a campaign

	ItemBytes int `json:"item_bytes,omitempty"` // bytes of the entries of an item; 0: DefaultItemBytes
}

// DefaultBounds are the bounds of a set that names none.
var DefaultBounds = Bounds{Entries: 256, Keys: 64, UserEntries: 65536, UserBytes: 256 << 10, Absences: 64}

// Defaults of other keys of a set.
const (
	DefaultLateness        = time.Hour
	DefaultForgetAnonymous = 90 * 24 * time.Hour
	DefaultForgetKnown     = 1095 * 24 * time.Hour
	DefaultKeep            = 256 // rows of a list

	DefaultForgetItem = 1095 * 24 * time.Hour
	DefaultItemBytes  = 4 << 20
	DefaultKeepUsers  = 10_000  // users of a feature with agg: users
	MostKeepUsers     = 100_000 // likewise, at most
)

// An Item is a kind of items: what events are about, such as products. An event
// names items of the kind by the property Key of each of event.items (LANGUAGE.md,
// rule 21).
type Item struct {
	Kind   string        `json:"kind"`
	Key    string        `json:"key"`
	Forget time.Duration `json:"forget,omitempty"` // without an update for so long, an item is forgotten; 0: DefaultForgetItem
}

// A Feature is state that is kept for each user, or with Per for each item of a
// kind: one aggregate, or with By one aggregate per key.
type Feature struct {
	Name     string        `json:"name"`
	Per      string        `json:"per,omitempty"` // a kind of items; "": the feature is of users
	On       []string      `json:"on"`            // event names, "*", "page", "screen" or "identify"
	Where    string        `json:"where,omitempty"`
	By       string        `json:"by,omitempty"` // a bare name (a property of each of event.items) or CEL
	Agg      string        `json:"agg"`          // the name of an aggregate in window.Aggregates
	Of       string        `json:"of,omitempty"`
	Within   time.Duration `json:"within,omitempty"` // 0: without limit
	Key      string        `json:"key,omitempty"`    // of a list: a bare name
	Fields   []string      `json:"fields,omitempty"` // of a list
	Keep     int           `json:"keep,omitempty"`   // of a list or of users: filled in; of distinct and histogram: 0 for Bounds.Entries
	RemoveOn []string      `json:"remove_on,omitempty"`
	HalfLife time.Duration `json:"half_life,omitempty"` // of a top or together
}

// A Fact is what the set knows of data that come from outside, by key: those
// given at or before now - MaxAge count as missing (LANGUAGE.md, rule 26).
type Fact struct {
	Name   string        `json:"name"`
	Fields []FactField   `json:"fields"` // by name
	MaxAge time.Duration `json:"max_age,omitempty"`

	// Rows are those of the fact's table, if it has one; Row.ID is the key. They are
	// no part of the set: they are neither stored nor hashed with it, because facts
	// come through the log. `offerctl apply` puts them there; a backtest takes them
	// before its first event.
	Rows []Row `json:"-"`
}

// The types of a fact's fields.
const (
	FactText   = "string"
	FactNumber = "number"
	FactBool   = "bool"
)

// A FactField is one field of a fact.
type FactField struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// A Cap limits how many offers go out on some channels taken together.
type Cap struct {
	Channels []string      `json:"channels"`
	Max      int           `json:"max"`
	Within   time.Duration `json:"within"`
}

// A Brake pauses a channel, or one campaign, when all users together are sent more
// advertising on the channel than it allows (LANGUAGE.md, rule 9).
type Brake struct {
	Channel     string        `json:"channel"`
	Max         int           `json:"max"` // in all partitions together
	Within      time.Duration `json:"within"`
	PerCampaign bool          `json:"per_campaign,omitempty"` // each campaign is counted and paused by itself
}

// A Pause keeps channels silent for a while after an offer on any of them.
type Pause struct {
	Channels []string      `json:"channels"`
	AfterAny time.Duration `json:"after_any"`
}

// QuietHours are the time of day, by the wall clock of the user's zone, in which
// advertising on some channels is held or dropped.
type QuietHours struct {
	Channels      []string      `json:"channels"`
	From          int           `json:"from"`                     // minutes after midnight
	To            int           `json:"to"`                       // minutes after midnight, exclusive; before From: on the next day
	ExceptConsent string        `json:"except_consent,omitempty"` // a consent that lifts them
	Drop          bool          `json:"drop,omitempty"`           // then: drop; else: hold
	AtMost        time.Duration `json:"at_most,omitempty"`        // the longest hold after which an offer still goes out; 0: any
}

// Consent says on which channels advertising needs the user's consent.
type Consent struct {
	Required []string      `json:"required,omitempty"` // channels, sorted
	ValidFor time.Duration `json:"valid_for,omitempty"`
}

// Coupons says how codes of coupons are made.
type Coupons struct {
	Key string `json:"key,omitempty"` // the id of the secret
	URL string `json:"url,omitempty"` // the address that coupon.url begins with
}

// A Campaign describes when which offer goes to a user. Its trigger is one of
// On with Where and Unless, Any, and Sequence.
type Campaign struct {
	ID       string        `json:"id"`
	Rows     []Row         `json:"rows,omitempty"` // for_each: each row is a campaign of its own, with the id ID/row.id
	From     int64         `json:"from,omitempty"` // start of the period, nanoseconds since 1970; 0: open
	To       int64         `json:"to,omitempty"`   // end of the period, exclusive; 0: open
	On       []string      `json:"on,omitempty"`   // names as in Feature.On; or SessionEnd alone
	Where    string        `json:"where,omitempty"`
	Any      []Trigger     `json:"any,omitempty"` // the first that matches is the trigger
	Sequence *Sequence     `json:"sequence,omitempty"`
	Fresh    time.Duration `json:"fresh,omitempty"`
	Let      []Let         `json:"let,omitempty"` // in the order of the file
	If       []string      `json:"if,omitempty"`
	Unless   *Unless       `json:"unless,omitempty"`
	Users    string        `json:"users,omitempty"` // `to`: a feature with agg: users, whose users the offer goes to (LANGUAGE.md, rule 24)
	At       *At           `json:"at,omitempty"`
	WhenDue  string        `json:"when_due,omitempty"` // a condition that is judged after every wait
	Choose   string        `json:"choose,omitempty"`
	Priority float64       `json:"priority,omitempty"`
	Score    string        `json:"score,omitempty"` // instead of Priority
	Offer    OfferSpec     `json:"offer"`
	Limits   []Limit       `json:"limits,omitempty"`
	Budget   *Budget       `json:"budget,omitempty"`
	Holdout  int           `json:"holdout,omitempty"` // in 1/10,000
}

// SessionEnd in Campaign.On triggers at the end of each session.
const SessionEnd = "session_end"

// NameOf is the id of the campaign of a unit: of ID/row.id, or of ID alone.
func NameOf(unit string) string {
	id, _, _ := strings.Cut(unit, "/")
	return id
}

// A Row holds the values of one row of for_each, or of a fact's table.
type Row struct {
	ID     string          `json:"id"`
	Values json.RawMessage `json:"values"` // a compact JSON object with sorted keys, of for_each the id among them; values are texts, numbers and bools
}

// A Trigger is one entry of Campaign.Any.
type Trigger struct {
	On     []string `json:"on"`
	Where  string   `json:"where,omitempty"`
	Unless *Unless  `json:"unless,omitempty"`
}

// A Sequence triggers when its steps have come in this order, within a time.
type Sequence struct {
	Steps  []SequenceStep `json:"steps"`
	Within time.Duration  `json:"within"`
}

// A SequenceStep is an event of a sequence.
type SequenceStep struct {
	On    []string `json:"on"`
	Where string   `json:"where,omitempty"`
}

// A Let names an expression.
type Let struct {
	Name string `json:"name"`
	Is   string `json:"is"`
}

// At delays an offer to the hour, within a time, in which the user is the most
// active.
type At struct {
	BestHour string        `json:"best_hour"` // an expression whose value is a histogram
	Ahead    time.Duration `json:"ahead"`
}

// A Coupon describes the coupon of an offer. All but Expires and Pool is passed on
// as it is.
type Coupon struct {
	Discount  string        `json:"discount,omitempty"`
	SingleUse bool          `json:"single_use,omitempty"`
	Claim     string        `json:"claim,omitempty"`
	Expires   time.Duration `json:"expires,omitempty"` // counted from when the offer goes out; 0: as the offer
	Pool      string        `json:"pool,omitempty"`    // the pool that the code is taken from; "": the code is made (LANGUAGE.md, rule 25)
}

// Runs reports whether now lies in the campaign's period.
func (c *Campaign) Runs(now int64) bool {
	return (c.From == 0 || now >= c.From) && (c.To == 0 || now < c.To)
}

// Unless makes the campaign wait for an absence: it fires at Within after its
// trigger, unless one of these events comes before that.
type Unless struct {
	On        []string      `json:"on"`
	Where     string        `json:"where,omitempty"`
	Match     string        `json:"match,omitempty"` // a bare name or CEL, like Feature.By
	Within    time.Duration `json:"within"`
	NoRestart bool          `json:"no_restart,omitempty"` // restart: false

	WithinIs string        `json:"within_is,omitempty"` // CEL, instead of Within: at most AtMost
	AtMost   time.Duration `json:"at_most,omitempty"`
}

// A Budget bounds what all users together get of a campaign, or of each row of one
// (LANGUAGE.md, rule 25): a number of offers, or a sum of values.
type Budget struct {
	Offers int           `json:"offers,omitempty"` // 0: Value is set
	Value  float64       `json:"value,omitempty"`
	Of     string        `json:"of,omitempty"`     // CEL: the value of an offer; only with Value
	Within time.Duration `json:"within,omitempty"` // 0: ever, or per day
	PerDay bool          `json:"per_day,omitempty"`
}

// An OfferSpec describes the offer of a campaign. Data is any JSON; its strings
// are templates, that is, text with {{ CEL }}.
type OfferSpec struct {
	Channel string          `json:"channel"`
	Kind    string          `json:"kind"`
	Expires time.Duration   `json:"expires,omitempty"` // counted from when the offer goes out
	Coupon  *Coupon         `json:"coupon,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`

	ExpiresIs string        `json:"expires_is,omitempty"` // CEL, instead of Expires: at most AtMost
	AtMost    time.Duration `json:"at_most,omitempty"`
}

// Most is what the budget allows, in millionths; a number of offers counts each as one.
func (b *Budget) Most() int64 {
	if b.Offers > 0 {
		return int64(b.Offers) * 1_000_000
	}
	return int64(math.RoundToEven(float64(b.Value * 1e6)))
}

// ForgetAfter is the time without an update after which an item is forgotten.
func (i *Item) ForgetAfter() time.Duration {
	if i.Forget > 0 {
		return i.Forget
	}
	return DefaultForgetItem
}

// A Limit limits what a campaign sends to one user: per session, within a time,
// or (with neither) ever.
type Limit struct {
	Max        int           `json:"max"`
	Within     time.Duration `json:"within,omitempty"`
	PerSession bool          `json:"per_session,omitempty"`
}

// JSON is the canonical form of the Definition. ParseDefinition reads it.
func (d *Definition) JSON() []byte {
	b, err := json.Marshal(d)
	if err != nil { // only Offer.Data could fail, and Compile has checked it
		panic("campaign: definition does not marshal: " + err.Error())
	}
	return b
}

// Hash identifies the set by its content: hex of the first 16 bytes of the
// SHA-256 of its JSON.
func (d *Definition) Hash() string {
	sum := sha256.Sum256(d.JSON())
	return hex.EncodeToString(sum[:16])
}

// ParseDefinition reads the output of JSON.
func ParseDefinition(b []byte) (*Definition, error) {
	d := new(Definition)
	if err := json.Unmarshal(b, d); err != nil {
		return nil, fmt.Errorf("campaign set: %w", err)
	}
	return d, nil
}

// Identity is a hash of the keys that are set in a part of a definition. A
// different hash means that the part has changed.
func Identity(part any) uint64 {
	b, err := json.Marshal(part)
	if err != nil {
		panic("campaign: " + err.Error())
	}
	return xxhash.Sum64(b)
}

// FeatureID is the Identity of a feature. A feature whose identity changes is a
// new feature, and begins with empty state.
func (f *Feature) FeatureID() uint64 { return Identity(f) }

// TriggerID is the Identity of those keys of a campaign that make its
// evaluations pending. When it changes, pending evaluations are cancelled
// (LANGUAGE.md, rule 14).
func (c *Campaign) TriggerID() uint64 {
	return Identity(struct {
		ID     string   `json:"id"`
		On     []string `json:"on,omitempty"`
		Where  string   `json:"where,omitempty"`
		Unless *Unless  `json:"unless,omitempty"`

		Any      []Trigger `json:"any,omitempty"`
		Sequence *Sequence `json:"sequence,omitempty"`
		At       *At       `json:"at,omitempty"`
		Users    string    `json:"users,omitempty"`
	}{c.ID, c.On, c.Where, c.Unless, c.Any, c.Sequence, c.At, c.Users})
}

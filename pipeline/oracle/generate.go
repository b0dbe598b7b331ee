package oracle

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
	day    = 24 * hour
)

// A Case is a random campaign set, in the canonical JSON of a
// campaign.Definition, with random events and controls for it.
type Case struct {
	Set      []byte
	Events   [][]byte
	Controls []Control

	Partitions int // the events are those of one of so many; 0: brakes are not in effect

	Items, Budgets, Merges bool // what RandomMixed has put in
}

// Random makes a case. The same seed always gives the same. Values are taken from
// small ranges, so that conditions often hold, and bounds are often small, so that
// windows fold and keys are evicted.
func Random(seed uint64) Case {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 3))}
	set := g.definition()
	setJSON, err := json.Marshal(set)
	if err != nil {
		panic(fmt.Sprintf("oracle: a generated set does not marshal: %v", err))
	}
	c := Case{Set: setJSON, Events: g.stream(set)}
	c.Controls = g.controls(set, len(c.Events))
	(&generator{Rand: rand.New(rand.NewPCG(seed, 4))}).brakes(&c) // by itself, so that cases without brakes stay what they are
	return c.withCoupons(seed)
}

// Generate makes the set and the events of Random.
func Generate(seed uint64) (setJSON []byte, events [][]byte) {
	c := Random(seed)
	return c.Set, c.Events
}

type generator struct {
	*rand.Rand
	start    int64 // the time of the first event
	set      *definition
	features []*feature
	long     bool  // some texts are too long to be kept
	alone    bool  // one user sends nearly all events, so that old event ids are forgotten
	whole    int64 // if set, times are multiples of it, so that they meet the ends of windows
	travels  bool  // zones of users change often
	mix      *mix  // nil: each user is alone
	visits   int   // visitors that may have become users
	names          // what expressions may use besides features
}

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// chance is true in percent of 100 cases.
func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

var (
	eventNames = []string{"Product Viewed", "Product Added", "Product Removed", "Order Completed", "Products Searched"}
	channels   = []string{"web", "push", "sms", "email"}
	categories = []string{"bag", "dress", "shoes"}
	cities     = []string{"seoul", "busan", "wien"}
	zoneNames  = []string{"Asia/Seoul", "Asia/Kathmandu", "Europe/Vienna", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Monrovia", "UTC"}
)

// starts are times of the first event: one is an ordinary day, the others come
// before nights in which clocks change.
var starts = []time.Time{
	time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC),
	time.Date(2026, 3, 8, 1, 0, 0, 0, time.UTC), time.Date(2026, 11, 1, 1, 0, 0, 0, time.UTC), // New York, St. John's
	time.Date(2026, 3, 28, 20, 0, 0, 0, time.UTC), time.Date(2026, 10, 24, 20, 0, 0, 0, time.UTC), // Vienna
	time.Date(2026, 4, 4, 10, 0, 0, 0, time.UTC), time.Date(2026, 10, 3, 10, 0, 0, 0, time.UTC), // Lord Howe
}

func (g *generator) definition() *definition {
	set := &definition{
		Engine: 5, Clock: "event", Lateness: pick(g, hour, hour, 10*minute, 2*minute),
		Forget: forget{90 * day, 1095 * day},
		Bounds: bounds{Entries: 256, Keys: 64, UserEntries: 65536, UserBytes: 256 << 10, Absences: 64},
	}
	g.set, g.start, g.whole = set, starts[0].UnixNano(), pick(g, 0, 0, 0, minute, 10*minute, 30*minute)
	if g.chance(40) {
		g.start = pick(g, starts...).UnixNano()
	}
	if g.chance(25) {
		set.Forget = forget{pick(g, hour, 2*hour, 10*minute), pick(g, hour, 6*hour, 10*minute)}
	}
	if g.chance(60) {
		set.Bounds = bounds{Entries: 2 + g.IntN(5), Keys: 1 + g.IntN(4), UserEntries: 65536, UserBytes: 256 << 10, Absences: 1 + g.IntN(3)}
	}
	if g.chance(10) {
		set.Bounds.UserEntries = 3 + g.IntN(20)
	}
	g.long = g.chance(13)
	if g.chance(20) {
		set.Bounds.UserBytes = 50 + g.IntN(1500)
	}
	if g.chance(40) {
		set.Zone = pick(g, zoneNames...)
	}
	for i := range 2 + g.IntN(7) {
		set.Features = append(set.Features, g.feature(i))
	}
	g.features = set.Features
	g.facts()
	g.policies()
	for i := range 2 + g.IntN(7) {
		set.Campaigns = append(set.Campaigns, g.campaign(i))
	}
	slices.SortFunc(set.Campaigns, func(a, b *campaign) int { return strings.Compare(a.ID, b.ID) })
	return set
}

func (g *generator) facts() {
	if g.chance(40) {
		g.set.Facts = []*fact{{Name: "weather", Fields: []factField{{"dust", "number"}, {"sky", "string"}, {"warning", "bool"}}, MaxAge: pick(g, 0, 10*minute, hour)}}
	}
}

// policies makes what stands between all candidates and their channels.
func (g *generator) policies() {
	set := g.set
	if g.chance(40) {
		for range 1 + g.IntN(2) {
			set.Caps = append(set.Caps, channelCap{g.some(channels), 1 + g.IntN(4), pick(g, 10*minute, hour, day)})
		}
	}
	if g.chance(30) {
		set.Pause = &pause{g.some(channels), pick(g, minute, 15*minute, 2*hour)}
	}
	if g.chance(40) {
		q := &quiet{Channels: g.some(channels), From: g.IntN(24 * 60)}
		if g.chance(60) { // soon
			zone := loadZone(set.Zone)
			if zone == nil {
				zone = time.UTC
			}
			soon := time.Unix(0, g.start+g.Int64N(4*hour)).In(zone)
			q.From = soon.Hour()*60 + soon.Minute()
		}
		q.To = (q.From + 1 + g.IntN(pick(g, 60, 3*60, 10*60, 23*60))) % (24 * 60)
		if g.whole > minute {
			q.From, q.To = q.From/30*30, q.To/30*30
			if q.From == q.To {
				q.To = (q.To + 30) % (24 * 60)
			}
		}
		if q.Drop = g.chance(25); !q.Drop {
			q.AtMost = pick(g, 0, 0, 30*minute, hour, 3*hour, 12*hour)
		}
		q.ExceptConsent = pick(g, "", "", "night", "sms")
		set.Quiet = q
	}
	if g.chance(35) {
		set.Consent = &consent{Required: g.some(channels), ValidFor: pick(g, 0, 30*minute, 6*hour)}
		slices.Sort(set.Consent.Required)
	}
	if g.chance(15) {
		set.Holdout = pick(g, 1, 1000, 3000, 6000)
	}
	if g.chance(50) {
		set.Coupons = &coupons{URL: "https://shop.example/c/"}
	}
}

// some returns one to three different elements of a list.
func (g *generator) some(from []string) []string {
	out := slices.Clone(from)
	g.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:1+g.IntN(min(3, len(out)))]
}

// on returns event names, frequent events more often than rare ones.
func (g *generator) on() []string {
	switch g.IntN(13) {
	case 0:
		return []string{"*"}
	case 1:
		return []string{pick(g, "page", "screen", "identify")}
	case 2:
		return append(g.some(eventNames), pick(g, "page", "screen", "identify"))
	case 3, 4:
		return g.some(eventNames)
	case 5, 6:
		return []string{"Product Added"}
	case 7:
		return []string{"Product Viewed", "Offer Shown"}[g.IntN(2):]
	}
	return []string{"Product Viewed"}
}

// controls pauses campaigns, and lets them go on.
func (g *generator) controls(set *definition, lines int) []Control {
	var out []Control
	for range pick(g, 0, 0, 0, 0, 0, 1, 2, 3) {
		c := Control{At: g.IntN(lines)}
		for range g.IntN(3) {
			of := pick(g, set.Campaigns...)
			c.Paused = append(c.Paused, of.ID)
			if len(of.Rows) > 0 && g.chance(50) {
				c.Paused[len(c.Paused)-1] += "/" + of.Rows[0].ID
			}
		}
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b Control) int { return a.At - b.At })
	return out
}

// brakes gives every third case brakes, and controls that resume what they pause.
func (g *generator) brakes(c *Case) {
	if !g.chance(35) {
		return
	}
	set := c.definition()
	set.Engine, c.Partitions = 4, pick(g, 1, 3, 8)
	channel := func() string { return pick(g, set.Campaigns...).Offer.Channel }
	for _, b := range []brake{{Channel: channel()}, {Channel: channel(), PerCampaign: true}, {Channel: channel()}} {
		b.Max, b.Within = 1+g.IntN(pick(g, 1, 4)), pick(g, 10*minute, hour, 6*hour, day, day) // five pass at least
		if g.chance(80) && !slices.ContainsFunc(set.Brakes, func(o brake) bool { return o.Channel == b.Channel && o.PerCampaign == b.PerCampaign }) {
			set.Brakes = append(set.Brakes, b)
		}
	}
	resumed := map[string]uint64{}
	for range pick(g, 0, 1, 2, 4) {
		revision := uint64(1 + g.IntN(6)) // often not above the one before
		for range g.IntN(3) {
			name := "channel " + channel()
			if g.chance(40) {
				name = "campaign " + pick(g, set.Campaigns...).ID
			}
			resumed[name] = revision
		}
		of := Control{At: g.IntN(len(c.Events)), Pauses: revision, Resumed: maps.Clone(resumed)}
		if g.chance(10) {
			of.Channels = []string{channel()}
		}
		if g.chance(10) {
			of.Paused = []string{pick(g, set.Campaigns...).ID}
		}
		c.Controls = append(c.Controls, of)
	}
	slices.SortStableFunc(c.Controls, func(a, b Control) int { return a.At - b.At })
	c.Set = encode(set)
}

// Run applies the set to the events.
func (c Case) Run() (Result, error) {
	return RunPartition(c.Partitions, c.Set, c.Events, c.Controls...)
}

// Required lists what has to be met (Result.Met), or to be an outcome, in some hundreds
// of cases.
func Required() []string {
	out := []string{"rejected", "duplicates"}
	for _, outcome := range strings.Split("fired,withheld,condition,period,age,consent,limit,cap,pause,quiet hours,when_due,paused,no choice,outranked,duplicate,error,cancelled,superseded,pending", ",") {
		out = append(out, "outcome "+outcome)
	}
	for _, kind := range kinds {
		out = append(out, kind+" begins", kind+" superseded", kind+" cancelled")
	}
	for _, what := range strings.Split("rows,sequence,session_end,let,at,when_due after a wait,choose,score,coupon,held,any the first,any a later one,sequence with unless,session_end with unless,an event of type system,withheld by the set,withheld by the campaign,in a zone of its own", ",") {
		out = append(out, "out: "+what)
	}
	for _, what := range []string{"redeemed", "asked again", "used already", "expired", "not the user's", "voided", "voided for an order that has not used it", "of an order that was cancelled", "redeemed, after it was voided", "redeemed, by a duplicate"} {
		out = append(out, "coupon: "+what)
	}
	return append(out, "absence that is over at once", "bound on absences", "best hour is now", "bound on bytes of what waits", "session ends", "held again", "quiet hours lifted by a consent",
		"brake trips", "brake trips for one campaign", "channel paused by an operator", "a fact", "a fact that is too old", "bound on bytes: top", "bound on bytes: histogram", "bound on entries of a user", "forgotten", "before", "before, read later", "keys of a top", "entries of a histogram")
}

package pipeline

import (
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// brakePrefix begins the keys of entities that count for a brake: "b:sms", or
// "b:sms/<campaign>" of one per campaign. Such an entity holds the times of the
// offers within the brake's window, in order, and nothing else.
const brakePrefix = "b:"

// Name is what a resume calls it: "channel sms", or "campaign " and its id.
func (b *Braked) Name() string {
	if b.Campaign != "" {
		return campaignNamed(b.Campaign)
	}
	return channelNamed(b.Channel)
}

func channelNamed(channel string) string { return "channel " + channel }

func campaignNamed(id string) string { return "campaign " + id }

// A brake counts the advertising of a channel in one of several partitions, all of
// which get their part of it but for what chance does: so a partition lets its part
// and four times the root of that pass.
type brake struct {
	*campaign.Brake
	most int // offers that may go out within the window; one more trips the brake
}

// brakeMost is how many of a brake's offers may go out in one of so many partitions:
// ceil(m) + 4 * isqrt(ceil(m)), with m = offers / partitions.
func brakeMost(offers, partitions int) int {
	part := (offers + partitions - 1) / partitions
	return part + 4*isqrt(part)
}

// isqrt is the greatest integer whose square is no greater than n.
func isqrt(n int) int {
	root := 0
	for (root+1)*(root+1) <= n {
		root++
	}
	return root
}

// setBrakes takes over the brakes of the set in force.
func (f *Fold) setBrakes() {
	f.brakes = nil
	def := f.step.live.def
	if f.partitions <= 0 || f.only != nil || f.wanted != nil { // some of the users do not tell how much goes out
		return
	}
	for i := range def.Brakes {
		f.brakes = append(f.brakes, brake{&def.Brakes[i], brakeMost(def.Brakes[i].Max, f.partitions)})
	}
}

// Braked are the channels and campaigns that brakes have paused. The caller must not
// change them.
func (f *Fold) Braked() []Braked { return f.cur.Braked }

// brake counts what went out in the step that has just been made. It does so after
// the step, because a step that panics counts nothing; what a brake pauses is paused
// from the next step on.
func (f *Fold) brake() {
	tripped := false
	for _, effect := range f.effects {
		o := effect.Offer
		if o == nil || o.Withheld || o.Kind != campaign.Advertising {
			continue
		}
		for i := range f.brakes {
			if b := &f.brakes[i]; b.Channel == o.Channel && f.err == nil {
				tripped = f.trips(b, o) || tripped
			}
		}
	}
	if tripped {
		f.pauseUnits()
	}
}

// trips counts an offer for a brake, and reports whether it is one too many. The
// count ends with that: it begins anew when the brake is released.
func (f *Fold) trips(b *brake, o *Offer) bool {
	of := ""
	if b.PerCampaign {
		of = campaign.NameOf(o.Campaign)
	}
	e, err := f.ents.Entity(brakeKey(b.Channel, of))
	if err != nil {
		f.err = err
		return false
	}
	sent := e.brakes(b, f.cur.LogTime)
	if sent <= b.most {
		return false
	}
	e.uncount()
	is := Braked{Campaign: of, Seq: f.msg.Seq, Pauses: f.cur.Pauses, At: f.cur.LogTime, Sent: sent, Within: b.Within}
	if of == "" || len(f.cur.Braked) >= mostPaused { // the list is bounded, and what runs away must not go on
		is.Channel, is.Campaign = b.Channel, ""
	}
	f.cur.Braked = append(slices.Clip(f.cur.Braked), is) // a caller of Braked may have it
	return true
}

func brakeKey(channel, campaign string) string {
	if campaign == "" {
		return brakePrefix + channel
	}
	return brakePrefix + channel + "/" + campaign
}

// brakes adds an offer to the times that the entity holds for a brake, and returns
// how many went out within the window. Those that have left it are dropped.
func (e *Entity) brakes(b *brake, now int64) int {
	if len(e.channels) == 0 {
		e.channels = []channelSent{{channel: b.Channel}}
	}
	of := &e.channels[0]
	left, _ := slices.BinarySearch(of.times, value.Plus(value.Minus(now, int64(b.Within)), 1))
	of.times = append(of.times[left:], now)
	e.seq++
	e.last = now
	return len(of.times)
}

// uncount makes the entity of a brake empty.
func (e *Entity) uncount() {
	*e = Entity{Key: e.Key, scheduled: e.scheduled, loaded: e.loaded}
}

// release ends what brakes have paused and an operator has resumed since. resumed
// has, by what Braked.Name gives, the revision of the pauses at which each was resumed
// last; known is the revision before this one. The counts of all that is resumed now
// begin anew, also where another partition's brake has paused it.
func (f *Fold) release(resumed map[string]uint64, known uint64) {
	f.cur.Braked = slices.DeleteFunc(slices.Clone(f.cur.Braked), func(b Braked) bool { return resumed[b.Name()] > b.Pauses })
	for name, revision := range resumed {
		if revision <= known {
			continue
		}
		if channel, ok := strings.CutPrefix(name, channelNamed("")); ok {
			f.countAnew(brakeKey(channel, ""))
		} else if c := f.step.live.campaignNamed(strings.TrimPrefix(name, campaignNamed(""))); c != nil {
			f.countAnew(brakeKey(c.Offer.Channel, c.ID))
		}
	}
}

// campaignNamed is the campaign of the set in force with an id, nil if it has none.
func (l *liveSet) campaignNamed(id string) *campaign.Campaign {
	for i := range l.def.Campaigns {
		if c := &l.def.Campaigns[i]; c.ID == id {
			return c
		}
	}
	return nil
}

// countAnew makes the entity of a brake empty, if it has counted anything.
func (f *Fold) countAnew(key string) {
	if f.err != nil {
		return
	}
	e, err := f.ents.Look(key)
	if err == nil && !e.Empty() {
		if e, err = f.ents.Entity(key); err == nil {
			e.uncount()
		}
	}
	if err != nil {
		f.err = err
	}
}

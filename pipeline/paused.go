package pipeline

import "offerstream/pipeline/campaign"

// A pausing is what has paused a unit, if anything has.
type pausing uint8

const (
	notPaused      pausing = iota
	pausedCampaign         // an operator has paused it, or its campaign
	pausedChannel          // an operator has paused its channel
	brakedCampaign         // a brake has paused its campaign in this partition
	brakedChannel          // a brake has paused its channel in this partition
)

// pausers are what is paused, by name.
type pausers struct{ campaigns, channels, brakedCampaigns, brakedChannels map[string]bool }

func (f *Fold) pausers() (p pausers) {
	set := func(m *map[string]bool, names ...string) {
		for _, name := range names {
			if *m == nil {
				*m = map[string]bool{}
			}
			(*m)[name] = true
		}
	}
	set(&p.campaigns, f.cur.Paused...)
	set(&p.channels, f.cur.Channels...)
	for _, b := range f.cur.Braked {
		if b.Campaign != "" {
			set(&p.brakedCampaigns, b.Campaign)
		} else {
			set(&p.brakedChannels, b.Channel)
		}
	}
	return p
}

// of is what has paused a unit. A brake of this partition comes first, because its
// owner makes an operator's pause of it. Pauses of a channel, and brakes, stop
// advertising only.
func (p *pausers) of(u *unit) pausing {
	base, channel, advertising := u.def.ID, u.def.Offer.Channel, u.def.Offer.Kind == campaign.Advertising
	switch {
	case advertising && p.brakedChannels[channel]:
		return brakedChannel
	case advertising && p.brakedCampaigns[base]:
		return brakedCampaign
	case p.campaigns[u.id] || p.campaigns[base]:
		return pausedCampaign
	case advertising && p.channels[channel]:
		return pausedChannel
	}
	return notPaused
}

// pause replaces what operators have paused, and releases brakes. Messages of engine 3
// have no revision.
func (f *Fold) pause(c *control) {
	if c.Pauses != 0 {
		f.release(c.Resumed, f.cur.Pauses)
		f.cur.Pauses = c.Pauses
	}
	f.cur.Paused, f.cur.Channels = *c.Paused, c.Channels
	f.pauseUnits()
}

// pauseUnits finds anew which units are paused.
func (f *Fold) pauseUnits() {
	p := f.pausers()
	for i := range f.step.live.campaigns {
		c := &f.step.live.campaigns[i]
		c.paused = p.of(c.unit)
	}
}

// Paused are the campaigns and channels that operators have paused. The caller must
// not change them.
func (f *Fold) Paused() (campaigns, channels []string) { return f.cur.Paused, f.cur.Channels }

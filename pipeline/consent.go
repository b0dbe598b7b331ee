package pipeline

import (
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// The events that give and take back consent, as tracks and as system events.
const (
	consentGranted = "Consent Granted"
	consentRevoked = "Consent Revoked"
)

// mostConsents bounds the channels of which a user's consent is remembered.
const mostConsents = 64

// A consent is the newest that a user has said about a channel, or about `night`.
type consent struct {
	channel string
	time    int64 // event time
	granted bool

	unproved bool // a browser sent it, whose user did not prove who he is
}

// consents takes over an event about consent.
func (e *Entity) consents(ev *event.Event, counts *Counts) {
	granted := ev.Name == consentGranted
	if !granted && ev.Name != consentRevoked {
		return
	}
	channel := ev.AliasText(event.InProperties, "channel")
	if !campaign.Channel(channel) {
		return
	}
	unproved := ev.NoProof && e.live.def.Engine >= mergeEngine
	i, found := slices.BinarySearchFunc(e.consent, channel, func(c consent, name string) int { return strings.Compare(c.channel, name) })
	switch {
	case found && ev.Time < e.consent[i].time: // of two with one event time, the later in the log is newer
	case found:
		e.consent[i].time, e.consent[i].granted, e.consent[i].unproved = ev.Time, granted, unproved
	case len(e.consent) >= mostConsents:
		counts.Bounds++
	default:
		e.consent = slices.Insert(e.consent, i, consent{strings.Clone(channel), ev.Time, granted, unproved})
	}
}

// consented reports whether the user's consent to a channel holds at now.
func (e *Entity) consented(channel string, now int64) bool {
	i := slices.IndexFunc(e.consent, func(c consent) bool { return c.channel == channel })
	if i < 0 || !e.consent[i].granted {
		return false
	}
	p := e.live.def.Consent
	return p == nil || p.ValidFor == 0 || e.consent[i].time > value.Minus(now, int64(p.ValidFor))
}

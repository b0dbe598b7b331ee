package oracle

import "regexp"

var channelForm = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// consents reports whether the user's newest word about a channel, or about
// `night`, is a consent that is still valid.
func (u *user) consents(channel string, now int64) bool {
	newest := u.wordOn(channel)
	if newest == nil || newest.name != "Consent Granted" {
		return false
	}
	valid := int64(0)
	if u.set.Consent != nil {
		valid = u.set.Consent.ValidFor
	}
	return valid == 0 || newest.time > minus(now, valid)
}

// wordOn returns the newest event about a channel. What a visitor said counts for the
// user only where no browser sent it; of two of one time, a revocation.
func (u *user) wordOn(channel string) *event {
	var newest *event
	for _, ev := range u.log {
		switch {
		case ev.absorbed != nil:
			theirs := ev.absorbed.wordOn(channel)
			if theirs == nil || theirs.root.text("proof") == "none" {
				continue
			}
			if newest == nil || theirs.time > newest.time || theirs.time == newest.time && theirs.name == "Consent Revoked" {
				newest = theirs
			}
		case ev.forwarded && ev.root.text("proof") == "none":
		case ev.consentFor() == channel && (newest == nil || ev.time >= newest.time):
			newest = ev
		}
	}
	return newest
}

// consentFor returns the channel, or `night`, about which an event grants or
// revokes consent, or "".
func (ev *event) consentFor() string {
	if ev.typ != "track" && ev.typ != "system" || ev.name != "Consent Granted" && ev.name != "Consent Revoked" {
		return ""
	}
	channel := ev.root.text("properties", "channel")
	if !channelForm.MatchString(channel) {
		return ""
	}
	return channel
}

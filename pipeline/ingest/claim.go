package ingest

import (
	"fmt"

	"offerstream/pipeline/event"
)

// claimedUserID is the property that keeps a userId without proof under identity:
// verified. Nothing in the core reads it.
const claimedUserID = "claimed_user_id"

// disown makes an event that names a user without proof an event of its anonymousId.
// It returns the event's new text, which is valid until the next call.
func (a *admission) disown(raw []byte, ev *event.Event) ([]byte, *event.Event, error) {
	user, id, has := ev.Key, ev.ID, ev.HasID
	a.changed = appendDisowned(a.changed[:0], raw)
	ev, err := a.decoder.DecodeAs(a.changed, ev.Type)
	if err != nil {
		rej, ok := err.(*event.Reject)
		if ok && rej.Reason == "identity" {
			err = &event.Denied{Reason: event.DeniedUnproved, Detail: "this key takes a userId only with the user's token, or beside an anonymousId"}
		}
		return nil, nil, err
	}
	if ev.Key == user || ev.Key[0] != 'a' {
		return nil, nil, fmt.Errorf("ingest: an event without its userId has the key %q", ev.Key)
	}
	if !has {
		ev.ID = id // the hash of the bytes that came
	}
	return a.changed, ev, nil
}

// appendDisowned appends an event without userId, which it keeps as a property. Of
// equal members the first counts: so the first userId is kept, first in the first
// properties.
func appendDisowned(dst, raw []byte) []byte {
	var claimed span
	for m := (members{b: raw}); !claimed.present(); {
		key, val, ok := m.next()
		if !ok {
			break
		}
		if name(key.of(raw)) == "userId" {
			claimed = val.span
		}
	}
	property := func() {
		dst = append(append(append(dst, `{"`+claimedUserID+`":`...), claimed.of(raw)...), '}')
	}
	dst = append(dst, '{')
	start, done := len(dst), false
	for m := (members{b: raw}); ; {
		key, val, ok := m.next()
		if !ok {
			break
		}
		n := name(key.of(raw))
		if n == "userId" || n == "properties" && done {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(dst, raw[key.from-1:key.to+1]...), ':')
		if n != "properties" {
			dst = append(dst, val.of(raw)...)
			continue
		}
		done = true
		property()
		if in := val.of(raw); in[0] == '{' { // else it is null or []
			if rest := in[skipSpace(in, 1):]; rest[0] != '}' {
				dst = append(append(dst[:len(dst)-1], ','), rest...)
			}
		}
	}
	if !done {
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, `"properties":`...)
		property()
	}
	return append(dst, '}')
}

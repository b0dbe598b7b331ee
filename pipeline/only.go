package pipeline

import (
	"bytes"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// Only makes the fold apply facts and the events of these entities alone; without
// keys, of no entity. Events of others move log time and do nothing else.
func (f *Fold) Only(keys ...string) {
	f.only = map[string]bool{}
	for _, k := range keys {
		f.only[k] = true
	}
	f.setBrakes()
}

// passesOver reports whether the event is of no entity of Only and concerns none. In a
// fold without partitions the whole input is there: items are fed by all users, what a
// visitor has done counts for the user that it becomes, and who claims a visitor first
// gets it.
func (f *Fold) passesOver(ev *event.Event) bool {
	if f.only[ev.Key] {
		return false
	}
	if !f.local() {
		return true
	}
	if len(f.step.live.kinds) > 0 || f.step.live.spends {
		return false
	}
	_, claims := ev.Claims()
	return !claims && (len(f.only) == 0 || ev.Key[0] != 'a' || f.bare())
}

// bare reports whether visitors stay what they are, as before engine 5.
func (f *Fold) bare() bool { return f.step.live.bareUser() }

// OnlyIf makes the fold apply the events of those entities alone whose key is wanted,
// and facts; nil: of all.
func (f *Fold) OnlyIf(wanted func(key string) bool) {
	f.wanted = wanted
	f.setBrakes()
}

// skippable reports whether the events of a pack do no more than move log time to
// the message's, as none is a fact or of one of the entities of Only. It does not
// decode them: so it may say no where it need not.
func (f *Fold) skippable(pack []byte) bool {
	if f.only == nil || f.Clock() == campaign.ClockEvent || bytes.IndexByte(pack, '\\') >= 0 || bytes.Contains(pack, []byte(`"fact"`)) {
		return false
	}
	for key := range f.only {
		id := key[len("u:"):]
		if IsItem(key) {
			_, id = splitItemKey(key)
		}
		if bytes.Contains(pack, []byte(id)) || id != "" && (id[0] == '-' || id[0] >= '0' && id[0] <= '9') && hasFraction(pack) {
			return false
		}
	}
	return true
}

// hasFraction reports whether the value of a member whose name ends with d, such as
// userId or the id of an item, is a number that may have another text than the one that
// stands there.
func hasFraction(pack []byte) bool {
	for {
		var found bool
		if _, pack, found = bytes.Cut(pack, []byte(`d"`)); !found {
			return false
		}
		number := bytes.TrimLeft(pack, " \t\r\n:")
		end := bytes.IndexAny(number, ",}] \t\r\n")
		if end < 0 {
			end = len(number)
		}
		if number = number[:end]; len(number) > 0 && number[0] != '"' && bytes.ContainsAny(number, ".eE") {
			return true
		}
	}
}

package event

import (
	"strings"

	"github.com/valyala/fastjson"
)

// junk lists the ids that mean nobody: what programs send where they have none.
var junk = map[string]bool{
	"": true, "undefined": true, "null": true, "NaN": true, "None": true, "0": true, "[object Object]": true, "anonymousId": true,
	"00000000-0000-0000-0000-000000000000": true,
}

// Claims is the visitor whom the event says to be its user (LANGUAGE.md, rule 17):
// the anonymousId of an identify with a userId, the previousId of an alias with one.
// ok is false if it says so of nobody: ids that mean nobody or that cannot be ids, or
// an event without proof. It reads the event's own userId, so that an event of a
// visitor claims nothing when it is applied for a user. The id is valid as long as
// the event.
func (e *Event) Claims() (anonymousID string, ok bool) {
	if e.NoProof || e.Type != Identify && e.Type != Alias {
		return "", false
	}
	user, visitor := e.claim()
	if junk[user] || junk[visitor] || CheckUser(user) != nil || CheckUser(visitor) != nil {
		return "", false
	}
	return visitor, true
}

// claim is the event's userId and the visitor's id that it names, "" for what it lacks.
func (e *Event) claim() (user, visitor string) {
	if e.Root == nil { // scan takes neither an alias nor ids that are not plain
		return aliasPlainText(e.dec.member(inUserID)), aliasPlainText(e.dec.member(inAnonymousID))
	}
	user, _ = idText(e.Root.Get("userId"))
	field := "anonymousId"
	if e.Type == Alias {
		field = "previousId"
	}
	visitor, _ = idText(e.Root.Get(field))
	return user, visitor
}

// checkAlias refuses an alias that names one id twice: there is nothing that it could
// join, and the sender means something else.
func checkAlias(root *fastjson.Value) error {
	user, _ := idText(root.Get("userId"))
	if previous, _ := idText(root.Get("previousId")); user != "" && user == previous {
		return Rejectf("identity", "previousId and userId of the alias are both %.80q; previousId is the anonymousId that the user had before", user)
	}
	return nil
}

// As makes the event one of the entity with the given key: what a visitor does after
// a merge is the user's. All else stays, Claims too.
func (e *Event) As(key string) { e.Key = strings.Clone(key) }

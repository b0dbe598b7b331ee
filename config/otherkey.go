package config

import (
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
)

// otherKeys are the names that other systems have for keys of this language. The
// first one counts that the map can have.
var otherKeys = map[string][]string{
	"trigger": {"on"}, "triggers": {"any", "on"}, "event": {"on"}, "events": {"on"}, "event_name": {"on"},
	"when": {"if", "where"}, "condition": {"if", "where"}, "conditions": {"if", "where"}, "filter": {"where"}, "filters": {"where"}, "rule": {"if"}, "rules": {"if"}, "segment": {"if"}, "audience": {"if"},
	"window": {"within"}, "timeframe": {"within"}, "timespan": {"within"}, "last": {"within"}, "after": {"within", "unless"}, "wait": {"within", "unless"}, "delay": {"within", "unless"},
	"group_by": {"by"}, "groupby": {"by"}, "aggregate": {"agg"}, "aggregation": {"agg"}, "function": {"agg"}, "type": {"agg"}, "field": {"of", "fields"}, "property": {"of", "key"}, "sum": {"agg"}, "count": {"agg"},
	"title": {"data"}, "message": {"data"}, "text": {"data"}, "body": {"data"}, "content": {"data"}, "template": {"data"}, "subject": {"data"}, "payload": {"data"}, "image": {"data"}, "url": {"data"}, "link": {"data"},
	"ttl": {"expires", "forget"}, "expiry": {"expires"}, "valid_for": {"expires"}, "frequency": {"limits"}, "frequency_cap": {"limits"}, "cooldown": {"limits"}, "throttle": {"limits"}, "cap": {"limits"},
	"control": {"holdout"}, "control_group": {"holdout"}, "experiment": {"holdout"}, "start": {"period"}, "end": {"period"}, "dates": {"period"}, "schedule": {"period"}, "rank": {"priority"}, "weight": {"priority"},
	"action": {"offer"}, "actions": {"offer"}, "then": {"offer"}, "send": {"offer"}, "do": {"offer"}, "limit": {"max", "limits"}, "times": {"max"},
	"id": {"key"}, "retention": {"forget"}, "kind_of": {"per"}, "entity": {"per"}, "each": {"per"}, "recipients": {"to"}, "send_to": {"to"}, "users": {"to"}, "quota": {"budget"}, "spend": {"budget"}, "total": {"value", "budget"}, "amount": {"value"}, "codes": {"pool"}, "max_wait": {"at_most"},
}

// meantKey is the key that was probably meant by one that is unknown; "" if none.
func meantKey(key string, known []string) string {
	for _, name := range otherKeys[strings.ToLower(key)] {
		if slices.Contains(known, name) {
			return name
		}
	}
	return campaign.Nearest(key, known)
}

// keyHint tells what to write in place of an unknown key of a map.
func keyHint(what, key string, known []string) string {
	switch meant := meantKey(key, known); {
	case meant == "data":
		return fmt.Sprintf("write data: {%s: ...}; the names in it are free", key)
	case meant == "unless" && slices.Contains(otherKeys[strings.ToLower(key)], meant):
		return "a campaign that waits has unless: {on: Order Completed, within: 1h}: it fires if that event does not come in time"
	case meant != "":
		return fmt.Sprintf("did you mean %q?", meant)
	case what != aSet && tablesByName()[aSet].row(key) != nil:
		return fmt.Sprintf("%s is a key of the set: write it beside campaigns", key)
	}
	return didYouMean(key, known)
}

// keysOf tells what to write in place of a map that is none.
func (v value) keysOf(what string) string {
	switch {
	case what == aTrigger && v.is() == "text":
		return fmt.Sprintf("write {on: %s}", v.n.Value)
	case v.null():
		return fmt.Sprintf("write the keys of %s below it, indented further", what)
	}
	return "write the keys of " + what
}

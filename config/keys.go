package config

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"offerstream/pipeline/campaign"
)

// The maps of the format, by their names in messages.
const (
	aSet      = "a campaign set"
	forget    = "forget"
	bounds    = "bounds"
	anItem    = "a kind of items"
	aFeature  = "a feature"
	aFact     = "a fact"
	policies  = "policies"
	aCap      = "a cap"
	aBrake    = "a brake"
	aPause    = "pause"
	quiet     = "quiet hours"
	coupons   = "coupons"
	aCampaign = "a campaign"
	forEach   = "for_each"
	aPeriod   = "a period"
	aTrigger  = "an entry of any"
	aSequence = "a sequence"
	aStep     = "a step of a sequence"
	anUnless  = "unless"
	anAt      = "at"
	anOffer   = "an offer"
	aCoupon   = "a coupon"
	aLimit    = "a limit"
	aBudget   = "a budget"
)

// tables are the maps of the language, in the order of the reference.
var tables = sync.OnceValue(func() []*keyTable {
	return slices.Concat(setTables(), policyTables(), campaignTables(), offerTables())
})

var tablesByName = sync.OnceValue(func() map[string]*keyTable {
	m := map[string]*keyTable{}
	for _, t := range tables() {
		m[t.name] = t
	}
	return m
})

// Shapes that several tables use.
var (
	aText      = shape{says: "text", schema: map[string]any{"type": "string", "minLength": 1}}
	truth      = shape{says: "true or false", schema: map[string]any{"type": "boolean"}}
	aNumber    = shape{says: "number", schema: map[string]any{"type": "number"}}
	someEvents = matching("event names", "events")
	aCondition = matching("CEL, bool", "expression")
	anExpr     = matching("CEL", "expression")
	aKey       = matching("key expression", "key_expression")
	aProperty  = matching("property", "property")
	aChannel   = matching("channel", "channel")
	someRoutes = shape{says: "list of channels", schema: map[string]any{"type": "array", "items": ref("channel"), "minItems": 1, "uniqueItems": true}}
	aShare     = shape{says: "percentage", limits: "`0.01%` to `100%`, two decimals", schema: ref("share")}
	aMoment    = matching("time", "time")
	aClockTime = matching("time of day", "time_of_day")
	aComputed  = shape{says: "duration or CEL", limits: "see `at_most`", schema: map[string]any{"type": "string", "minLength": 1}}
)

func setTables() []*keyTable {
	return []*keyTable{
		{name: aSet, rows: []keyRow{
			{"version", shape{says: "number", limits: "only 1", schema: map[string]any{"const": 1}}, "1", "", "the version of the file format", "version: 1"},
			{"zone", aText, "UTC", "a name in the IANA time zone database", "the time zone of users whose profile names none (rule 8)", "zone: Asia/Seoul"},
			{"clock", words(campaign.ClockBroker, campaign.ClockEvent), campaign.ClockBroker, "", "where log time comes from (rule 1)", "clock: event"},
			{"lateness", span(0), campaign.FormatDuration(campaign.DefaultLateness), "", "how far an event time may lie behind log time (rule 1)", "lateness: 1h"},
			{"forget", aMap(forget), "", "", "how long without an event until a user counts as new (rule 18)", "forget: {anonymous: 90d}"},
			{"bounds", aMap(bounds), "", "", "upper bounds on what is kept for one user or item", "bounds: {keys: 64}"},
			{"coupons", aMap(coupons), "", "", "how the codes of coupons are made (rule 12)", "coupons: {key: k5f2c9a01, url: https://shop.example/c/}"},
			{"items", byName("identifier", ref(slug(anItem))), "", "at most " + fmt.Sprint(mostKinds) + " kinds; their order counts (rule 20)", "what events are about and what has state of its own, such as products, by kind (rule 21)", "items: {product: {key: product_id}}"},
			{"features", byName("identifier", ref(slug(aFeature))), "", "", "state that is kept for each user, or with `per` for each item, by name", "features: {orders: {on: Order Completed, agg: count}}"},
			{"facts", byName("identifier", ref(slug(aFact))), "", "", "what is known about the world, by name (rule 26)", "facts: {weather: {fields: {dust: number}, max_age: 3h}}"},
			{"policies", aMap(policies), "", "", "what applies to all campaigns (rule 9)", "policies: {consent: none, quiet_hours: none}"},
			{"campaigns", byName("name", ref(slug(aCampaign))), "", "", "the campaigns, by name", "campaigns: {thanks: {on: Order Completed, offer: {channel: web}}}"},
		}},
		{name: forget, about: "No time is shorter than the log keeps events, which is 7 days by default and at most 30 (rule 17).", rows: []keyRow{
			{"anonymous", span(time.Second), campaign.FormatDuration(campaign.DefaultForgetAnonymous), "", "for users without a `userId`", "anonymous: 90d"},
			{"known", span(time.Second), campaign.FormatDuration(campaign.DefaultForgetKnown), "", "for users with a `userId`", "known: 1095d"},
		}},
		{name: bounds, about: "Each time that a bound is reached is counted.", rows: []keyRow{
			{"entries", wholeNumber(1, mostEntries), grouped(int64(campaign.DefaultBounds.Entries)), "", "exact entries of an aggregate, under each key (rule 2)", "entries: 256"},
			{"keys", wholeNumber(1, mostKeys), grouped(int64(campaign.DefaultBounds.Keys)), "", "keys of a feature with `by`, or of a `top` (rule 2)", "keys: 64"},
			{"user_entries", wholeNumber(1, mostUser), grouped(int64(campaign.DefaultBounds.UserEntries)), "", "entries of all features of a user (rule 18)", "user_entries: 65536"},
			{"user_bytes", wholeNumber(1, mostBytes), grouped(int64(campaign.DefaultBounds.UserBytes)), "", "bytes of these entries (rule 18)", "user_bytes: 262144"},
			{"item_bytes", wholeNumber(1, mostItemBytes), grouped(campaign.DefaultItemBytes), "", "bytes of the entries of an item (rule 21)", "item_bytes: 4194304"},
			{"absences", wholeNumber(1, mostAbsences), grouped(int64(campaign.DefaultBounds.Absences)), "", "pending absences of one campaign for one user (rule 4)", "absences: 64"},
		}},
		{name: coupons, about: "A coupon's code is a proof: who has the key can check it without a server (rule 12).", rows: []keyRow{
			{"key", aText, "no key: every code is `COUPON`", "at most 64 characters", "the id of the key that codes are made under, which the programs show; the key itself is a setting of theirs", "key: k5f2c9a01"},
			{"url", aText, "", "begins with `https://` or `http://`", "the address that `coupon.url` begins with; the code follows it; without an address `coupon.url` is the code alone", "url: https://shop.example/c/"},
		}},
		{name: anItem, about: "The kind's name has the form of a feature's. Two kinds may have the same key.", rows: []keyRow{
			{"key", aProperty, needed, "", "the property of each of `event.items` that names the item", "key: product_id"},
			{"forget", span(time.Second), campaign.FormatDuration(campaign.DefaultForgetItem), "", "how long without an update until an item counts as new (rule 21); no shorter than the log keeps events (rule 17)", "forget: 30d"},
		}},
		{name: aFeature, about: "A feature's name is an identifier of at most 64 characters: a letter or `_` (not `__`), then letters, digits and `_`. It must not be a reserved word of CEL or a name that already has a meaning in expressions.", rows: []keyRow{
			{"per", matching("a kind of `items`", "identifier"), "the feature is of users", "required with `users` and `together`; not with `dwell`", "keeps the feature for each item of that kind (rule 21)", "per: product"},
			{"on", someEvents, needed, "", "the events that the feature aggregates", "on: Product Viewed"},
			{"where", aCondition, "", "the event only; with `per` also `item` and the user's own features", "only events for which this is true", `where: event.properties.category == "bag"`},
			{"by", aKey, "", "as `where`; required with `top`; not with `users` and `together`", "keeps a separate aggregate for each key", "by: category"},
			{"agg", shape{says: "a word", schema: map[string]any{"enum": anys(aggregates)}}, needed, "see [Aggregates](#aggregates)", "the aggregate", "agg: count"},
			{"of", anExpr, "", "the event only; with a bare `by` also `item`; with `per` as `where`", "the value to aggregate", "of: event.properties.price"},
			{"within", span(time.Second), forEver, "not with `top` and `together`", "the length of the window", "within: 30m"},
			{"half_life", span(time.Second), "", "required with `top` and `together`, these only", "after this time a touch weighs half", "half_life: 7d"},
			{"key", aProperty, "", "`list` only", "an item replaces the stored item with the same key", "key: product_id"},
			{"fields", matching("property names, as a text or list", "texts"), "", "required with `list`, `list` only", "the properties of an item that are stored", "fields: [product_id, name]"},
			{"keep", keepShape, grouped(campaign.DefaultKeep) + ", with `users` " + grouped(campaign.DefaultKeepUsers), "`list`, `distinct` (not with `per`), `histogram` and `users` only", "how many entries are kept under each key: the newest", "keep: 20"},
			{"remove_on", someEvents, "", "only `list` with `key`, and `users`", "events whose items are removed from the list, or whose users are", "remove_on: [Product Removed, Order Completed]"},
		}, schema: map[string]any{"allOf": []any{
			map[string]any{"if": has("agg", "list"), "then": map[string]any{"required": []any{"fields"}}},
			map[string]any{"if": has("agg", "top"), "then": map[string]any{"required": []any{"by", "half_life"}}},
			map[string]any{"if": has("agg", aggUsers), "then": map[string]any{"required": []any{"per"}}},
			map[string]any{"if": has("agg", aggTogether), "then": map[string]any{"required": []any{"per", "half_life"}}},
			map[string]any{"if": map[string]any{"not": has("agg", aggUsers)}, "then": map[string]any{"properties": map[string]any{"keep": map[string]any{"maximum": mostEntries}}}},
		}}},
		{name: aFact, about: "A fact's name, and the names of its fields, are identifiers. `facts.weather[event.properties.city].dust` is a field of the fact under a key. A table has a column `key`, in which no cell appears twice; its other columns are fields. In a column of a number or bool, an empty cell means that the row lacks the field.", rows: []keyRow{
			{"fields", shape{says: "map from name to `string`, `number` or `bool`", schema: map[string]any{"type": "object", "minProperties": 1, "propertyNames": ref("identifier"),
				"additionalProperties": map[string]any{"enum": []any{campaign.FactText, campaign.FactNumber, campaign.FactBool}}}}, "", "required without `file`; with it, the columns by default, of the types that `for_each` finds", "the fields and their types", "fields: {sky: string, dust: number}"},
			{"file", aText, "", "at most " + grouped(mostRows) + " rows and 16 MB", "a CSV file beside the campaign file, which `offerctl apply` loads", "file: stores.csv"},
			{"max_age", span(time.Second), forEver, "", "an older fact counts as missing", "max_age: 3h"},
		}, schema: map[string]any{"anyOf": []any{required("fields"), required("file")}}},
	}
}

// has is the schema of a map in which a key has one value.
func has(key, value string) map[string]any {
	return map[string]any{"required": []any{key}, "properties": map[string]any{key: map[string]any{"const": value}}}
}

func policyTables() []*keyTable {
	return []*keyTable{
		{name: policies, rows: []keyRow{
			{"caps", listOf(aCap), "no cap", "", "how many advertising offers go out to a user on some channels together", "caps: [{channels: [push, email], max: 3, within: 24h}]"},
			{"pause", aMap(aPause), "no pause", "", "after an advertising offer on one of these channels, none on them for a while", "pause: {channels: [push, email], after_any: 2h}"},
			{"brake", listTo(aBrake, 1, mostBrakes), "no brake", "", "pauses a channel, or a campaign, when more advertising goes out to all users together (rule 9)", "brake: [{channel: sms, max: 5000, within: 10m}]"},
			{"quiet_hours", noneOr(aMap(quiet)), "", "see rule 9", "when advertising must not arrive; `none`: whoever delivers the offers takes care of it", `quiet_hours: {channels: [push], from: "20:50", to: "08:00"}`},
			{"consent", shape{says: "`none`, or a map from channel to `required` or `none`, and `valid_for`", schema: map[string]any{"anyOf": []any{
				map[string]any{"const": "none"},
				map[string]any{"type": "object", "properties": map[string]any{"valid_for": ref("duration")}, "propertyNames": ref("channel"),
					"additionalProperties": map[string]any{"enum": []any{"required", "none"}}},
			}}}, "", "see rule 9", "where advertising needs the user's consent, and for how long that holds; `none`: whoever delivers the offers asks for it", "consent: {push: required, web: none, valid_for: 730d}"},
			{"holdout", aShare, "nobody", "", "this share of users gets no advertising at all (rule 11)", "holdout: 1%"},
		}},
		{name: aCap, rows: []keyRow{
			{"channels", someRoutes, needed, "", "taken together", "channels: [push]"},
			{"max", wholeNumber(1, mostOffers), needed, "", "offers to one user", "max: 1"},
			{"within", span(time.Second), needed, "", "in this time", "within: 24h"},
		}},
		{name: aPause, rows: []keyRow{
			{"channels", someRoutes, needed, "", "taken together", "channels: [push]"},
			{"after_any", span(time.Second), needed, "", "for this time", "after_any: 2h"},
		}},
		{name: aBrake, rows: []keyRow{
			{"channel", aChannel, needed, "", "the channel whose advertising is counted", "channel: sms"},
			{"max", wholeNumber(1, mostBraked), needed, "", "offers to all users together", "max: 5000"},
			{"within", spanTo(time.Second, mostBrakeWithin), needed, "", "in this time", "within: 10m"},
			{"per", words("campaign"), "the channel as a whole", "", "each campaign is counted by itself, and is paused instead of the channel", "per: campaign"},
		}},
		{name: quiet, rows: []keyRow{
			{"channels", someRoutes, needed, "", "on which advertising waits", "channels: [sms, push]"},
			{"from", aClockTime, needed, "", "the first minute, by the wall clock of the user's zone", `from: "20:50"`},
			{"to", aClockTime, needed, "other than `from`; before it: on the next day", "the first minute that is not quiet any more", `to: "08:00"`},
			{"except_consent", aChannel, "", "", "users who have consented to this have no quiet hours", "except_consent: night"},
			{"then", words("hold", "drop"), "hold", "", "whether an offer waits for the end of the quiet hours, or is not sent", "then: hold"},
			{"at_most", span(time.Second), "any time", "not with `then: drop`", "an offer that has waited longer is not sent", "at_most: 12h"},
		}},
	}
}

func campaignTables() []*keyTable {
	return []*keyTable{
		{name: aCampaign, about: "A campaign's name is 1 to 64 letters, digits, `-`, `_` and `.`; it is the campaign's id. What triggers it is one of `on`, `any` and `sequence`.", rows: []keyRow{
			{"for_each", aMap(forEach), "", "", "a table: each row is a campaign of its own, with the id `NAME/row.id`", "for_each: {rows: [{id: coffee, least: 3}]}"},
			{"period", aMap(aPeriod), "always", "", "when the campaign runs: `from` <= now < `to`", `period: {from: "2026-04-01T00:00:00+09:00"}`},
			{"on", shape{says: "event names, or `session_end`", schema: ref("events")}, "", "", "the events that trigger it; or, alone, the end of each session (rule 6)", "on: Product Viewed"},
			{"where", aCondition, "", "the event only; not with `any`, `sequence`, `session_end`", "only events for which this is true", `where: event.properties.category == "bag"`},
			{"any", listTo(aTrigger, 1, mostTriggers), "", "", "several triggers; the first that matches is the one", "any: [{on: Signed Up}, {on: identify, where: event.traits.plan == \"free\"}]"},
			{"sequence", aMap(aSequence), "", "", "events that must come one after another (rule 5)", "sequence: {steps: [{on: Product Added}, {on: Checkout Started}], within: 1h}"},
			{"fresh", span(time.Millisecond), "any age", "not with `session_end`", "an older event triggers nothing (rule 9)", "fresh: 2m"},
			{"let", byName("identifier", ref("expression")), "", "", "names for expressions, in the order of the file: a later one may use an earlier one", "let: {cheap: event.properties.price < 10}"},
			{"if", shape{says: "CEL, bool, or a list of conditions that must all hold", schema: map[string]any{"anyOf": []any{
				ref("expression"), map[string]any{"type": "array", "items": ref("expression"), "minItems": 1}}}}, "", "", "the condition on the user's state; judged at the trigger", "if: [orders == 0]"},
			{"to", matching("a feature with `agg: users`", "identifier"), "the user of the event", "of the trigger's item; not with `session_end`", "the offer goes to every user in it (rule 24)", "to: watchers"},
			{"unless", aMap(anUnless), "", "not with `any`, whose entries have their own", "makes the campaign wait: an absence (rule 4)", "unless: {on: Order Completed, within: 1h}"},
			{"at", aMap(anAt), "at once", "", "makes the offer wait for the hour that suits this user best (rule 8)", "at: {best_hour: buying_hours, ahead: 24h}"},
			{"when_due", aCondition, "", "", "judged after every wait (`unless`, dwell, `at`, a hold); if it is false, the offer does not go out (rule 9)", "when_due: cart.size() > 0"},
			{"choose", anExpr, "", "", "gives the `item` of the offer; without a value there is no offer (rule 10)", "choose: cart.max_by(i, i.price)"},
			{"priority", aNumber, "0", "", "the highest goes first (rule 10)", "priority: 50"},
			{"score", anExpr, "", "not with `priority`", "a priority that is computed: a number", "score: spent / 100.0"},
			{"offer", aMap(anOffer), needed, "", "what goes out", "offer: {channel: web}"},
			{"limits", listOf(aLimit), "no limit", "", "how many offers of this campaign a user gets", "limits: [{max: 1, within: 24h}]"},
			{"budget", aMap(aBudget), "no budget", "each row of `for_each` has its own", "how much all users together get of this campaign (rule 25)", "budget: {offers: 1000, within: 1d}"},
			{"holdout", aShare, "nobody", "", "this share of users is a control group, which gets no offer of this campaign (rule 11)", "holdout: 10%"},
		}, schema: map[string]any{
			"oneOf": []any{required("on"), required("any"), required("sequence")},
			"not":   required("priority", "score"),
		}},
		{name: forEach, about: "A row has an `id`, of the same characters as a campaign's name, and any other columns; `row.x` is the value in column `x`. A value is a text, a number, true or false. In a CSV file the first line has the names of the columns. A column is numbers if every cell is a JSON number, bools if every cell is `true` or `false`, else texts. `id` is always text.", rows: []keyRow{
			{"rows", shape{says: "list of maps", limits: "1 to " + grouped(mostRows), schema: map[string]any{"type": "array", "minItems": 1, "maxItems": mostRows, "items": map[string]any{"type": "object", "required": []any{"id"},
				"additionalProperties": map[string]any{"type": []any{"string", "number", "boolean"}}}}}, "", "", "the rows", "rows: [{id: coffee, least: 3}, {id: lunch, least: 5}]"},
			{"file", aText, "", "not with `rows`; at most " + grouped(mostRows) + " rows and 16 MB", "a CSV file beside the campaign file", "file: patterns.csv"},
		}, schema: map[string]any{"oneOf": []any{required("rows"), required("file")}}},
		{name: aPeriod, rows: []keyRow{
			{"from", aMoment, "open", "", "the campaign's first moment", `from: "2026-04-01T00:00:00+09:00"`},
			{"to", aMoment, "open", "later than `from`", "the moment at which it is over", `to: "2026-05-01T00:00:00+09:00"`},
		}, schema: map[string]any{"minProperties": 1}},
		{name: aTrigger, rows: []keyRow{
			{"on", someEvents, needed, "", "the events", "on: Product Viewed"},
			{"where", aCondition, "", "the event only", "only events for which this is true", `where: event.properties.category == "bag"`},
			{"unless", aMap(anUnless), "", "", "makes the campaign wait after this trigger (rule 4)", "unless: {on: Order Completed, within: 1h}"},
		}},
		{name: aSequence, rows: []keyRow{
			{"steps", stepsOf(aStep), needed, "", "the events, in order; others may come between them", "steps: [{on: Product Added}, {on: Checkout Started}]"},
			{"within", span(time.Millisecond), needed, "", "the time from the first to the last, exclusive", "within: 1h"},
		}},
		{name: aStep, rows: []keyRow{
			{"on", someEvents, needed, "", "the events", "on: Product Added"},
			{"where", aCondition, "", "the event only", "only events for which this is true", "where: event.properties.price > 100"},
		}},
		{name: anUnless, rows: []keyRow{
			{"on", someEvents, needed, "", "the events that cancel the offer", "on: Order Completed"},
			{"where", aCondition, "", "the cancelling event only", "only events for which this is true cancel", "where: event.properties.total > 0"},
			{"match", aKey, "", "not with `session_end`", "only an event with the same key cancels", "match: product_id"},
			{"within", aComputed.from(time.Millisecond), needed, "", "how long the campaign waits; as CEL, a duration that is computed at the trigger (rule 23)", "within: 1h"},
			{"at_most", span(time.Millisecond), "", "required where `within` is CEL, and only there", "the longest wait", "at_most: 30d"},
			{"restart", truth, "true", "", "whether another trigger restarts the wait", "restart: false"},
		}, schema: boundedWhere("within")},
		{name: anAt, rows: []keyRow{
			{"best_hour", anExpr, needed, "", "a `histogram`, or one of its keys", "best_hour: buying_hours"},
			{"ahead", spanTo(time.Minute, mostAhead), needed, "", "the longest wait", "ahead: 24h"},
		}},
	}
}

func required(keys ...string) map[string]any { return map[string]any{"required": anys(keys)} }

func offerTables() []*keyTable {
	return []*keyTable{
		{name: anOffer, rows: []keyRow{
			{"channel", aChannel, needed, "", "the channel it goes out on: subject `offers.<channel>.<p>`", "channel: web"},
			{"kind", words(campaign.Advertising, campaign.Service), campaign.Advertising, "", "fewer gates apply to a service offer (rule 9)", "kind: service"},
			{"expires", aComputed.from(time.Second), "never", "", "counted from when the offer goes out; as CEL, a duration that is computed then (rule 23)", "expires: 24h"},
			{"at_most", span(time.Second), "", "required where `expires` is CEL, and only there", "the longest time", "at_most: 7d"},
			{"coupon", aMap(aCoupon), "", "", "a code of the user's own (rule 12): `coupon.code`, `coupon.url` and `coupon.expires` in templates", "coupon: {discount: 10%, single_use: true}"},
			{"data", shape{says: "any YAML that can be written as JSON", limits: "32 levels; 512 KB when filled in", schema: map[string]any{}}, "none", "", "the offer's content; its texts are templates", "data: {title: \"{{ item.name }} waits\"}"},
		}, schema: boundedWhere("expires")},
		{name: aCoupon, about: "What the offer says about its coupon. All but `expires` and `pool` is passed on as it is.", rows: []keyRow{
			{"discount", shape{says: "text or number", schema: map[string]any{"type": []any{"string", "number"}}}, "", "", "what it is worth", "discount: 10%"},
			{"single_use", truth, "false", "", "whether it is good for one order", "single_use: true"},
			{"claim", aText, "", "", "how it is claimed", "claim: login"},
			{"expires", span(time.Second), "as the offer", "", "counted from when the offer goes out", "expires: 7d"},
			{"pool", matching("a pool's name", "channel"), "the code is made", "", "the code is the next of this pool's, of `offerctl coupons import`; a pool may serve many campaigns (rule 25)", "pool: spring"},
		}},
		{name: aLimit, rows: []keyRow{
			{"max", wholeNumber(1, mostOffers), needed, "", "offers of this campaign to one user", "max: 1"},
			{"within", span(time.Second), forEver, "not with `per`", "in this time", "within: 24h"},
			{"per", words("session"), "", "not with `within`", "in the current session", "per: session"},
		}, schema: map[string]any{"not": required("within", "per")}},
		{name: aBudget, about: "It has either `offers` or `value`.", rows: []keyRow{
			{"offers", wholeNumber(1, mostBudget), "", "not with `value`", "how many offers", "offers: 1000"},
			{"value", valueShape, "", "not with `offers`", "the sum of what `of` gives", "value: 5000000"},
			{"of", anExpr, "", "required with `value`, `value` only", "the value of an offer: a number, 0 or more; evaluated when the offer asks the budget", "of: item.price * 0.1"},
			{"within", span(time.Second), forEver, "not with `per`", "in this time", "within: 1d"},
			{"per", words("day"), "", "not with `within`", "in the day, in the set's `zone`", "per: day"},
		}, schema: map[string]any{
			"oneOf": []any{required("offers"), required("value", "of")},
			"allOf": []any{map[string]any{"not": required("within", "per")}, map[string]any{"not": required("offers", "of")}},
		}},
	}
}

// boundedWhere is the schema of a map in which at_most must stand beside a key that
// is no duration.
func boundedWhere(key string) map[string]any {
	computed := map[string]any{"required": []any{key}, "properties": map[string]any{key: map[string]any{"not": ref("duration")}}}
	return map[string]any{"if": computed, "then": required("at_most")}
}

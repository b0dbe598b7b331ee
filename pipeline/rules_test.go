package pipeline

import (
	"fmt"
	"strings"
)

const (
	smallBounds = `{"entries":2,"keys":2,"user_entries":65536,"absences":2,"traits":2}`

	countViews = `{"name":"n","on":["View"],"agg":"count"}`
	looking    = `{"name":"looking","on":["View"],"agg":"dwell"}`
	looked     = `"on":["View"],"if":["looking >= duration(\"60s\")"]`
)

func many(n int, line func(i int) string) []string {
	var out []string
	for i := range n {
		out = append(out, line(i))
	}
	return out
}

func plus(lines []string, more ...string) []string { return append(lines, more...) }

func identify(clock, traits string) string {
	return fmt.Sprintf(`{"type":"identify","userId":"u","timestamp":"2026-01-01T%sZ","traits":{%s}}`, clock, traits)
}

func page(clock, context string) string {
	return fmt.Sprintf(`{"type":"page","name":"Home","userId":"u","timestamp":"2026-01-01T%sZ","context":{%s}}`, clock, context)
}

// products is an event's n items, all with the same property.
func products(n int, item string) string {
	return `"products":[` + strings.TrimSuffix(strings.Repeat("{"+item+"},", n), ",") + `]`
}

// The campaign language's rules where they are easily misread.
var scenes = []scene{
	{
		name:      "an absence whose if waits for dwell counts from its trigger",
		features:  []string{looking},
		campaigns: []string{sends("c", "now", looked+`,"unless":{"on":["Order"],"within":600000000000}`)},
		events:    []string{at("10:00:00", "View", ""), at("10:02:00", "x", ""), at("11:00:00", "x", "")},
		want:      []string{`10:10:00 c "2026-01-01T10:10:00Z"`},
		counts:    "c evaluated 1, c fired 1",
	},
	{
		name:      "it is cancelled before it starts, or after",
		features:  []string{looking},
		campaigns: []string{sends("c", "now", looked+`,"unless":{"on":["Order"],"within":600000000000}`)},
		events:    []string{at("10:00:00", "View", ""), at("10:00:59", "x", ""), at("11:00:00", "View", ""), at("11:05:00", "Order", ""), at("12:00:00", "x", "")},
		counts:    "c evaluated 2, c cancelled 2",
	},
	{
		name:      "it is over when enough time was stayed",
		features:  []string{looking},
		campaigns: []string{sends("c", "now", looked+`,"unless":{"on":["Order"],"match":"id","within":30000000000}`)},
		events:    []string{at("10:00:00", "View", products(1, `"id":1`)), at("10:30:00", "View", ""), at("10:40:00", "x", "")},
		want:      []string{`10:01:00 c "2026-01-01T10:01:00Z"`},
		counts:    "c evaluated 2, c fired 1, c condition 1",
	},
	{
		name:      "an open interval waits to be folded until it closes",
		features:  []string{`{"name":"d","on":["View"],"by":"k","agg":"dwell","within":6400000000000}`},
		campaigns: []string{sends("c", "d", `"on":["*"]`)},
		bounds:    smallBounds,
		events: []string{at("10:00:05", "View", products(4, `"k":1`)), identify("10:00:15", ""), at("10:00:35", "x", ""),
			at("11:47:00", "x", ""), at("11:48:20", "x", "")},
		want: []string{`10:00:05 c {"1":"0s"}`, `10:00:15 c {"1":"40s"}`, `10:00:35 c {"1":"120s"}`, `11:47:00 c {"1":"60s"}`, `11:48:20 c {}`},
	},
	{
		name:      "the 257th entry folds: it leaves later, and first stays first",
		features:  []string{countViews[:len(countViews)-1] + `,"within":3840000000000}`, `{"name":"f","on":["View"],"agg":"first","of":"event.properties.i","within":3840000000000}`, `{"name":"l","on":["View"],"agg":"last","of":"event.properties.i","within":3840000000000}`},
		campaigns: []string{sends("c", "[n, f, l]", `"on":["Look"]`)},
		events: plus(many(258, func(i int) string { return at(fmt.Sprintf("10:00:01.%03d", i), "View", fmt.Sprintf(`"i":%d`, i)) }),
			at("10:00:02", "Look", ""), at("11:04:01.257", "Look", ""), at("11:04:59.9", "Look", ""), at("11:05:00", "Look", "")),
		want: []string{`10:00:02 c [258,0,257]`, `11:04:01.257 c [2,0,1]`, `11:04:59.9 c [2,0,1]`, `11:05:00 c [0,null,null]`},
	},
	{
		name:      "64 keys, the least recently touched gives way",
		features:  []string{`{"name":"k","on":["View"],"by":"k","agg":"count","within":3600000000000}`},
		campaigns: []string{sends("c", `[k.size(), k["k0"], k["k1"], k["k2"]]`, `"on":["Look"]`)},
		events: plus(many(64, func(i int) string { return at(fmt.Sprintf("10:00:%02d.5", i%60), "View", fmt.Sprintf(`"k":"k%d"`, i)) }),
			at("10:01:10", "View", `"k":"k0"`), at("10:01:20", "View", `"k":"new"`), at("10:01:30", "Look", ""),
			at("11:00:01.5", "Look", "")),
		want: []string{`10:01:30 c [64,2,0,1]`, `11:00:01.5 c [62,1,0,1]`},
	},
	{
		name:      "an entry that has left the window before it comes touches nothing",
		features:  []string{`{"name":"k","on":["View"],"by":"k","agg":"count","within":60000000000}`},
		campaigns: []string{sends("c", "k", `"on":["Look"]`)},
		bounds:    smallBounds,
		events: []string{at("10:00:10", "View", `"k":"a"`), at("10:00:20", "View", `"k":"b"`), at("10:01:05", "x", ""),
			at("10:00:05", "View", `"k":"a"`), at("10:01:06", "View", `"k":"c"`), at("10:01:06", "Look", "")},
		want: []string{`10:01:06 c {"b":1,"c":1}`},
	},
	{
		name: "period stands before age, and where fails silently",
		campaigns: []string{sends("ended", "", `"on":["View"],"fresh":1000000000,"to":1`), sends("odd", "", `"on":["View"],"where":"event.properties.p > 1"`),
			sends("of", "", `"on":["View"],"if":["event.properties.p > 1"]`)},
		events: []string{at("10:00:00", "x", ""), at("09:59:00", "View", "")},
		counts: "ended period 1, ended evaluated 1, odd evaluated 0, odd missing 0, of condition 1, of missing 1",
	},
	{
		name:      "a file's own times count, not the log time that it was once given",
		campaigns: []string{sends("c", "now", `"on":["View"]`)},
		events:    []string{strings.Replace(at("10:00:00", "View", ""), `"properties"`, `"logTime":"2026-01-01T20:00:00Z","properties"`, 1), at("10:00:01", "View", "")},
		want:      []string{`10:00:00 c "2026-01-01T10:00:00Z"`, `10:00:01 c "2026-01-01T10:00:01Z"`},
	},
	{
		name:      "a double compared with an int",
		features:  []string{`{"name":"l","on":["View"],"agg":"last","of":"event.properties.p * 2.0"}`},
		campaigns: []string{sends("c", "l", `"on":["View"],"if":["l == 4"]`)},
		events:    []string{at("10:00:00", "View", `"p":1`), at("10:00:01", "View", `"p":2`)},
		want:      []string{`10:00:01 c 4`},
	},
	{
		name:      "B at exactly due is too late; both A and B cancels, then starts",
		campaigns: []string{sends("c", "event.properties.i", `"on":["Add"],"unless":{"on":["Order","Add"],"within":60000000000,"no_restart":true}`)},
		events:    []string{at("10:00:00", "Add", `"i":1`), at("10:01:00", "Order", ""), at("10:02:00", "Add", `"i":2`), at("10:02:59", "Add", `"i":3`), at("10:04:00", "x", "")},
		want:      []string{`10:01:00 c 1`, `10:03:59 c 3`},
		counts:    "c evaluated 3, c fired 2, c cancelled 1",
	},
	{
		name:      "restart: false lets the first stand",
		campaigns: []string{sends("c", "event.properties.i", `"on":["Add"],"unless":{"on":["Order"],"match":"id","within":60000000000,"no_restart":true}`)},
		events:    []string{at("10:00:00", "Add", `"i":1,"id":7`), at("10:00:30", "Add", `"i":2,"id":7.0`), at("10:00:40", "Add", `"i":3`), at("10:00:50", "Order", `"i":4`), at("10:01:00", "x", "")},
		want:      []string{`10:01:00 c 1`},
		counts:    "c evaluated 3, c fired 1, c condition 2",
	},
	{
		name:      "a session is over at exactly its last event plus the gap; per session counts on until the next starts",
		campaigns: []string{sends("c", "[session.count, session.events]", `"on":["*"],"limits":[{"max":1,"per_session":true}]`)},
		events:    []string{at("10:00:00", "View", ""), page("10:29:59", ""), identify("10:59:59", ""), at("10:59:59", "Add", "")},
		want:      []string{`10:00:00 c [1,["View"]]`, `10:59:59 c [1,["Add"]]`},
		counts:    "c fired 2, c limit 2",
	},
	{
		name:      "where the visitor came from",
		campaigns: []string{sends("c", "[session.referrer_host, session.source, session.keyword]", `"on":["page"]`)},
		events: []string{page("10:00:00", `"page":{"url":"https://shop.example/a","referrer":"https://shop.example/?q=own"}`),
			page("10:00:01", `"page":{"referrer":"https://Search.example:443/?query=bag"},"campaign":{"source":"mail"}`),
			page("10:00:02", `"page":{"referrer":"https://other.example/?q=hat"},"campaign":{"source":"x","term":"shoes"}`)},
		want: []string{`10:00:00 c ["","",""]`, `10:00:01 c ["search.example","mail","bag"]`, `10:00:02 c ["search.example","mail","shoes"]`},
	},
	{
		name:      "an event closes what is open, then opens; what is late counts nothing; dwell_ms closes at once",
		features:  []string{looking},
		campaigns: []string{sends("c", "looking", `"on":["*"]`)},
		events:    []string{at("10:00:00", "View", ""), at("10:00:10", "View", ""), at("09:59:00", "x", ""), at("10:00:20", "View", `"dwell_ms":1e9`), at("10:00:30", "x", "")},
		want:      []string{`10:00:00 c "0s"`, `10:00:10 c "10s"`, `10:00:10 c "10s"`, `10:00:20 c "310s"`, `10:00:30 c "310s"`},
	},
	{
		name:      "the dwell timer reckons with what leaves the window",
		features:  []string{`{"name":"looking","on":["View"],"agg":"dwell","within":60000000000}`},
		campaigns: []string{sends("c", "looking", `"on":["View"],"if":["looking >= duration(\"50s\")"]`)},
		events:    []string{at("10:00:00", "View", ""), at("10:00:30", "View", ""), at("10:05:00", "x", "")},
		want:      []string{`10:00:50 c "50s"`},
		counts:    "c cancelled 1, c fired 1",
	},
	{
		name:      "none within five minutes: no timer",
		features:  []string{looking},
		campaigns: []string{sends("c", "", `"on":["View"],"if":["looking >= duration(\"301s\")"]`), sends("most", "looking", `"on":["View"],"if":["looking >= duration(\"300s\")"]`)},
		events:    []string{at("10:00:00", "View", ""), at("11:00:00", "x", "")},
		want:      []string{`10:05:00 most "300s"`},
		counts:    "c condition 1",
	},
	{
		name:      "what is stopped outranks nobody, a template's error included",
		campaigns: []string{`{"id":"a","priority":9,"on":["View"],"offer":{"channel":"web","kind":"advertising","data":{"x":"{{ event.properties.none }}"}}}`, `{"id":"b","priority":5,"on":["View"],"offer":{"channel":"web","kind":"advertising"},"limits":[{"max":1}]}`, `{"id":"c","on":["View"],"offer":{"channel":"web","kind":"advertising"}}`},
		events:    []string{at("10:00:00", "View", ""), at("10:00:01", "View", "")},
		want:      []string{`10:00:00 b`, `10:00:01 c`},
		counts:    "a error 2, b limit 1, c outranked 1",
	},
	{
		name:      "an id leaves the ring after 64 events and 15 minutes",
		features:  []string{countViews},
		campaigns: []string{sends("c", "n", `"on":["Look"]`)},
		events: plus(many(65, func(i int) string { return at("10:00:00", "View", fmt.Sprintf(`"i":%d`, i)) }),
			at("10:14:59", "x", ""), at("10:00:00", "View", `"i":0`), at("10:14:59", "Look", ""), // young
			strings.Replace(at("10:15:00", "x", ""), `"u"`, `"other"`, 1),                                 // moves log time alone
			at("10:00:00", "View", `"i":5`), at("10:00:00", "View", `"i":1`), at("10:15:00", "Look", "")), // 5 is among the last 64
		want: []string{`10:14:59 c 65`, `10:15:00 c 66`},
	},
	{
		name:      "templates: numbers, times, null",
		campaigns: []string{sends("c", `[1.0, 1e7 * 3.0, 0.1 + 0.2, 1, "x", true, now, duration("90s"), {"b": [null], "a": 1e-7}]`, `"on":["View"]`), sends("n", "event.properties.n", `"on":["View"]`)},
		events:    []string{at("10:00:00.5", "View", `"n":null`)},
		want:      []string{`10:00:00.5 c [1,30000000,0.30000000000000004,1,"x",true,"2026-01-01T10:00:00.5Z","90s",{"a":0.0000001,"b":[null]}]`},
		counts:    "n error 1",
	},
	{
		name:     "data that no message takes is an error; what JSON escapes counts as it goes out",
		features: []string{`{"name":"l","on":["View"],"agg":"list","fields":["note"],"keep":256}`, countViews},
		campaigns: []string{`{"id":"long","on":["Look"],"offer":{"channel":"web","kind":"service","data":"{{ l }}"}}`,
			sends("n", "n", `"on":["Look"]`)},
		events: plus(plus(many(20, func(i int) string {
			return at("10:00:00", "View", fmt.Sprintf(`"i":%d,"note":"%s"`, i, strings.Repeat("x", 30_000)))
		}),
			at("10:00:01", "Look", ""), // 600,000 bytes
			strings.Replace(at("10:00:02", "View", `"note":"`+strings.Repeat("<", 30_000)+`"`), `"u"`, `"v"`, 1),
			strings.Replace(at("10:00:03", "View", `"note":"`+strings.Repeat("<", 30_000)+`"`), `"u"`, `"v"`, 1),
			strings.Replace(at("10:00:04", "View", `"note":"`+strings.Repeat("<", 30_000)+`"`), `"u"`, `"v"`, 1)),
			strings.Replace(at("10:00:05", "Look", ""), `"u"`, `"v"`, 1)), // 90,000, as JSON 540,000
		want:   []string{`10:00:01 n 20`, `10:00:05 n 3`},
		counts: "long error 2, long errors 2, long fired 0",
	},
	{
		name:      "timers due at the input's last log time fire, later ones are pending",
		campaigns: []string{sends("c", "", `"on":["Add"],"unless":{"on":["Order"],"within":60000000000}`), sends("later", "", `"on":["Add"],"unless":{"on":["Order"],"within":60000000001}`)},
		events:    []string{at("10:00:00", "Add", ""), strings.Replace(at("10:01:00", "x", ""), `"u"`, `"other"`, 1)},
		want:      []string{`10:01:00 c`},
		counts:    "c fired 1, later pending 1",
	},
}

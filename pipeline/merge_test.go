package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
)

// A pair is what a visitor v and a user u did before v became u. Lines begin with who,
// the time, and the event's name; after it are its properties.
type pair struct {
	features, campaigns []string
	lines               []string
	probe               string // an expression, evaluated for u after the merge
	want                string
}

func (c pair) run(t *testing.T) string {
	t.Helper()
	s := scene{c.features, append(c.campaigns, sends("probe", c.probe, `"on":["Probe"]`))}
	b, problems := NewBacktest(s.withItems(t, campaign.ClockEvent))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var got []string
	take := func(line string) {
		if err := b.Line([]byte(line), func(o *Offer) {
			got = append(got, fmt.Sprint(o.Campaign, " ", o.User, " ", o.Time[11:19], " ", string(o.Data)))
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i, l := range append(c.lines, "u 10:50:00 merge", "u 10:50:01 Probe") {
		part := strings.SplitN(l, " ", 4)
		who, clock, name, props := part[0], part[1], part[2], ""
		if len(part) > 3 {
			props = part[3]
		}
		id := fmt.Sprintf(`"messageId":"m%d","timestamp":"2026-01-01T%sZ"`, i, clock)
		of := map[string]string{"u": `"userId":"u"`, "v": `"anonymousId":"v"`}[who]
		switch name {
		case "merge":
			take(fmt.Sprintf(`{"type":"alias","userId":"u","previousId":"v",%s}`, id))
		case "identify":
			take(fmt.Sprintf(`{"type":"identify",%s,%s,"traits":{%s}}`, of, id, props))
		default:
			take(fmt.Sprintf(`{"type":"track",%s,"event":%q,%s,"properties":{%s}}`, of, name, id, props))
		}
	}
	if len(got) == 0 {
		return ""
	}
	return strings.Join(got, ", ")
}

// TestUnion: each sentence of rule 17 about what the two become.
func TestUnion(t *testing.T) {
	feature := func(name, agg string) []string {
		return []string{fmt.Sprintf(`{"name":%q,"on":["View"],%s}`, name, agg)}
	}
	probe := func(data string) string { return "probe u 10:50:01 " + data }
	for name, c := range map[string]pair{
		"sums add":                               {feature("s", `"agg":"sum","of":"event.properties.x"`), nil, []string{`v 10:00:00 View "x":1`, `u 10:01:00 View "x":2`}, "s", probe("3")},
		"ties of event time go to the visitor's": {feature("l", `"agg":"last","of":"event.properties.x"`), nil, []string{`v 10:00:00 View "x":1`, `u 10:00:00 View "x":2`}, "l", probe("1")},
		"the later is the last":                  {feature("l", `"agg":"last","of":"event.properties.x"`), nil, []string{`v 10:00:00 View "x":1`, `u 10:00:01 View "x":2`}, "l", probe("2")},
		"of two in a list with one key the later stays": {feature("l", `"agg":"list","key":"k","fields":["k","x"],"keep":5`), nil,
			[]string{`v 10:00:00 View "k":1,"x":1`, `u 10:00:01 View "k":1,"x":2`, `u 10:00:02 View "k":2,"x":3`, `v 10:00:02 View "k":2,"x":4`}, "l.map(i, i.x)", probe("[2,4]")},
		"the user's traits win":                   {nil, nil, []string{`v 10:00:00 identify "a":1,"b":2`, `u 10:00:00 identify "a":3`}, "[profile.a, profile.b]", probe("[3,2]")},
		"one session of two":                      {nil, nil, []string{`v 10:40:00 View`, `u 10:45:00 Put`, `v 10:45:00 Add`}, "[session.count, string(session.started), session.events]", probe(`[4,"2026-01-01T10:40:00Z",["View","Put","Add","Probe"]]`)},
		"a session that is over counts no more":   {nil, nil, []string{`v 10:00:00 View`, `u 10:45:00 Put`}, "[session.count, string(session.started)]", probe(`[2,"2026-01-01T10:45:00Z"]`)},
		"the visitor's session where it is alone": {nil, nil, []string{`v 10:40:00 View`}, "[session.count, string(session.started)]", probe(`[2,"2026-01-01T10:40:00Z"]`)},
		"the later start of a sequence": {nil, []string{sends("q", "", `"sequence":{"steps":[{"on":["View"]},{"on":["Probe"]}],"within":600000000000}`)},
			[]string{`u 10:30:00 View`, `v 10:45:00 View`}, "1", "probe u 10:50:01 1, q u 10:50:01 "},
		"the visitor's last view keeps its stay open": {feature("d", `"agg":"dwell"`), nil, []string{`u 10:47:00 View`, `v 10:48:30 View`}, "d", probe(`"181s"`)},
		"the user's last view keeps its stay open":    {feature("d", `"agg":"dwell"`), nil, []string{`v 10:47:00 View`, `u 10:48:30 View`}, "d", probe(`"181s"`)},
		"a stay that the other's view ends is over": {feature("d", `"agg":"dwell"`), []string{sends("long", "", `"on":["View"],"if":["d >= duration(\"8m\")"]`)},
			[]string{`v 10:43:00 View`, `u 10:45:00 Put`}, "d", probe(`"120s"`)},
		"weights add": {feature("r", `"agg":"top","by":"k","half_life":36000000000000`), nil, []string{`v 10:48:00 View "k":"a"`, `v 10:48:00 View "k":"b"`, `u 10:48:00 View "k":"b"`}, "r.map(x, [x.key, x.score])", probe(`[["b",2],["a",1]]`)},
		"event.user stays whose the event was": {nil, []string{sends("w", "event.user", `"on":["View"],"unless":{"on":["Order"],"within":91000000000}`)},
			[]string{`v 10:48:30 View`}, "1", `w u 10:50:01 "a:v", probe u 10:50:01 1`},
		"all of a user of whom nothing is known": {feature("n", `"agg":"count"`), nil, []string{`v 10:48:00 View`}, "n", probe("1")},
	} {
		if got := c.run(t); got != c.want {
			t.Errorf("%s: the offers are %s, want %s", name, got, c.want)
		}
	}
}

// TestUnionConsent: per channel the newest event counts, and a refusal where a grant and
// a revocation tie.
func TestUnionConsent(t *testing.T) {
	for lines, granted := range map[string]bool{
		"v 10:00:00 Consent Granted":                               true,
		"v 10:00:00 Consent Granted|u 10:00:01 Consent Revoked":    false,
		"u 10:00:00 Consent Revoked|v 10:00:01 Consent Granted":    true,
		"u 10:00:00 Consent Granted|v 10:00:00 Consent Revoked":    false,
		"v 10:00:00 Consent Granted|u 10:00:00 Consent Revoked":    false,
		"v 10:00:00 Consent Granted none":                          false,
		"u 10:00:00 Consent Granted|v 10:00:01 Consent Revoked no": true,
	} {
		def := scene{nil, []string{sends("sms", "", `"on":["Probe"]`)}}.withItems(t, campaign.ClockEvent)
		def.Consent = &campaign.Consent{Required: []string{"sms"}}
		b, problems := NewBacktest(def)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		var all []string
		for i, l := range strings.Split(lines, "|") {
			w := strings.Fields(l)
			of, proof := `"userId":"u"`, ""
			if w[0] == "v" {
				of = `"anonymousId":"v"`
			}
			if len(w) > 4 {
				proof = `"proof":"none",`
			}
			all = append(all, fmt.Sprintf(`{%s"type":"track",%s,"event":%q,"messageId":"m%d","timestamp":"2026-01-01T%sZ","properties":{"channel":"sms"}}`, proof, of, w[2]+" "+w[3], i, w[1]))
		}
		offers := 0
		for _, l := range append(all, `{"type":"alias","userId":"u","previousId":"v","messageId":"a","timestamp":"2026-01-01T10:50:00Z"}`, at("10:50:01", "Probe", "")) {
			if err := b.Line([]byte(l), func(*Offer) { offers++ }); err != nil {
				t.Fatal(err)
			}
		}
		if (offers > 0) != granted {
			t.Errorf("%s: %d offers, granted is %v", lines, offers, granted)
		}
	}
}

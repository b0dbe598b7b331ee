package pipeline

import (
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/oracle"
)

// FuzzFold checks that no message stops a fold: what cannot be applied becomes
// a dead letter. It also checks that all entities can be decoded from their
// records.
func FuzzFold(f *testing.F) {
	setJSON, events := oracle.Generate(7)
	def, err := campaign.ParseDefinition(setJSON)
	if err != nil {
		f.Fatal(err)
	}
	def.Clock = campaign.ClockBroker
	set, problems := Compile(def)
	if len(problems) > 0 {
		f.Fatal(problems)
	}
	for i, e := range events[:60] {
		f.Add(append(append(e, '\n'), events[i+1]...), int64(i)*1e12, i%3 == 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, stored int64, tick bool) {
		users := Memory{}
		fold, err := NewFold(Cursor{Set: set.hash}, func(string) (*Set, error) { return set, nil }, users)
		if err != nil {
			t.Fatal(err)
		}
		for seq, m := range []Message{{Kind: In, Data: data, Stored: stored}, {Kind: Tick, Data: data, Stored: stored / 2}, {Kind: In, Data: data, Stored: stored}} {
			if m.Kind == Tick && !tick {
				m.Kind = In
			}
			m.Seq = uint64(seq + 1)
			if err := fold.Begin(m); err != nil {
				t.Fatal(err)
			}
			for more := true; more; {
				if more, err = fold.Next(); err != nil {
					t.Fatal(err)
				}
				for _, e := range fold.Effects() {
					if kinds := truth(e.Offer != nil) + truth(e.Page != nil) + truth(e.Dead != nil); kinds != 1 {
						t.Fatalf("an effect is not either an offer, a page record or a dead letter: %+v", e)
					}
				}
			}
		}
		for key, e := range users {
			if _, err := DecodeEntity(key, e.AppendBinary(nil)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzLine checks that core and oracle accept and refuse the same lines, and
// read the same in them.
func FuzzLine(f *testing.F) {
	set := (&scene{
		features: []string{countViews, `{"name":"by","on":["*"],"by":"category","agg":"list","fields":["category","price","note"],"keep":9}`,
			`{"name":"low","on":["*"],"agg":"min","of":"event.properties.price"}`, `{"name":"stay","on":["*"],"agg":"dwell"}`},
		campaigns: []string{sends("all", "[event.type, event.name, event.id, event.user, event.properties, event.traits, event.context, event.time, now, by, low, stay, session.referrer_host, session.keyword, profile]", `"on":["*"]`)},
	}).set()
	for s := range uint64(3) {
		_, events := oracle.Generate(s)
		for _, e := range events[:40] {
			f.Add(e)
		}
	}
	for _, props := range []string{ // JSON that parsers read differently
		`"note":"\ud83d\ude00"`, `"note":"\u0000\/\b\f"`, `"category":"\u0062ag","note":"\u2028<>&"`,
		`"price":-0`, `"price":1E+2`, `"price":0.1e-400`, `"price":12345678901234567890`, `"price":9007199254740993`, `"price":4.35,"note":1e21`,
		`"pri\u0063e":7`, `"category":"a","category":"b"`, `"category":{"a":1,"a":2}`, `"products":[{"category":"x"},[],7,null,"s"]`, `"products":{"0":1}`,
		`"note":` + strings.Repeat("[", 90) + strings.Repeat("]", 90), `"note":01`, `"note":"` + "\x01" + `"`, `"note":+1`, `"note":.5`, `"note":1.`, `"note":NaN`, `"note":"\x"`, `"note":[1,]`,
	} {
		f.Add([]byte(at("09:59:00", "View", props)))
	}
	for _, e := range []string{
		`{"type":"identify","userId":"u","timestamp":"2026-01-01T09:59:59.1234567891+01:00","traits":{"a":1,"b":null,"a":2}}`,
		`{"type":"track","event":"x","userId":1e3,"timestamp":"2026-01-01T24:00:00Z"}`, `{"type":"track","event":"x","userId":-0,"timestamp":"2026-01-01T00:00:00+24:00"}`,
		`{"type":"track","event":"x","userId":12345678901234567890,"timestamp":"2026-01-01t00:00:00z"}`, `{"type":"track","event":"x","userId":1e21,"timestamp":"2026-01-01T00:00:00,5Z"}`,
		` {"type":"page","anonymousId":0.1,"userId":null,"messageId":"","timestamp":null,"originalTimestamp":"2026-01-01T00:00:00Z"}	`,
		`{"type":"track","type":"page","event":"x","userId":"u","userId":"v","timestamp":"2026-01-01T00:00:00Z"}`,
	} {
		f.Add([]byte(e))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		compareWithOracle(t, set, [][]byte{line, []byte(at("10:00:00", "View", ""))})
	})
}

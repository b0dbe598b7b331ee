package pipeline

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
)

// TestSizes checks the limits in bytes of LANGUAGE.md, rule 18, at their exact
// values, against the numbers of the rule and against the oracle.
func TestSizes(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	clock := 0
	next := func() string { clock++; return fmt.Sprintf("10:%02d:%02d", clock/60, clock%60) }
	view := func(props string) string { return at(next(), "View", props) }
	look := func() string { return at(next(), "Look", ``) }
	trait := func(name, v string) string { return identify(next(), fmt.Sprintf(`%q:%s`, name, v)) }
	q := func(s string) string { return `"` + s + `"` }

	profile := sends("C", "[profile.size(), has(profile.big) ? string(profile.big).size() : -1]", `"on":["Look"]`)
	var full []string // traits of 65,536 bytes: 3 of 20,000 and one of 5,536, names included
	for i, n := range []int{20_000, 20_000, 20_000, 5_536} {
		full = append(full, trait(fmt.Sprint("t", i), q(x(n-2))))
	}
	wait := func(id, data string) string {
		return sends(id, data, `"on":["View"],"unless":{"on":["Order"],"within":3600000000000,"match":"event.id"}`)
	}
	pending := func(n int) (lines []string) { // n of 16,384 bytes each: name p and value
		for range n {
			lines = append(lines, view(`"p":`+q(x(16_383))+`,"unread":"yyy"`))
		}
		return lines
	}
	for _, c := range []struct {
		name  string
		scene scene
		lines []string
		want  string // the data of the last offer
		sizes UserSize
	}{
		{"a key of 1,024 bytes is one, a longer one is none",
			scene{[]string{`{"name":"n","on":["View"],"by":"k","agg":"count"}`}, []string{sends("C", "n.size()", `"on":["Look"]`)}},
			[]string{view(`"k":` + q(x(1024))), view(`"k":` + q(x(1025))), look()}, "1", UserSize{Entries: 1, EntryBytes: 16 + 1024}},
		{"so is the key of a list",
			scene{[]string{`{"name":"l","on":["View"],"agg":"list","key":"k","keep":256,"fields":["k","p"]}`}, []string{sends("C", "l.size()", `"on":["Look"]`)}},
			[]string{view(`"k":` + q(x(1024)) + `,"p":true`), view(`"k":` + q(x(1025))), look()}, "1", UserSize{Entries: 1, EntryBytes: 16 + 1024 + 1024 + 1}},
		{"a text is cut after its last whole character",
			scene{[]string{`{"name":"f","on":["View"],"agg":"last","of":"event.properties.p"}`}, []string{sends("C", "f.endsWith('x') ? f.size() : 0", `"on":["Look"]`)}},
			[]string{view(`"p":` + q(x(4095)+"é")), look()}, "4095", UserSize{Entries: 1, EntryBytes: 16 + 4095}},
		{"texts that are equal after the cut are one value",
			scene{[]string{`{"name":"f","on":["View"],"agg":"distinct","of":"event.properties.p"}`}, []string{sends("C", "f", `"on":["Look"]`)}},
			[]string{view(`"p":` + q(x(4096)+"a")), view(`"p":` + q(x(4096)+"b")), look()}, "1", UserSize{Entries: 1, EntryBytes: 16 + 4096}},
		{"a list that is too long is left out of its row",
			scene{[]string{`{"name":"l","on":["View"],"agg":"list","keep":256,"fields":["p","q"]}`}, []string{sends("C", "l.map(r, has(r.p))", `"on":["Look"]`)}},
			[]string{view(`"p":[` + q(x(4092)) + `]`), view(`"p":[` + q(x(4093)) + `],"q":1`), look()}, "[true,false]", UserSize{Entries: 2, EntryBytes: 16 + 4096 + 16 + 8}},
		{"the names of a session are cut",
			scene{nil, []string{sends("C", "session.events[0].size()", `"on":["Look"]`)}},
			[]string{at(next(), x(300), ``), look()}, "256", UserSize{}},
		{"traits fill 65,536 bytes",
			scene{nil, []string{profile}}, append(full[:4:4], trait("b", `""`), look()), "[4,-1]", UserSize{TraitBytes: 65_536}},
		{"a trait of the same name is measured without the old one, and stays if the new one does not fit",
			scene{nil, []string{profile}}, append(full[:4:4], trait("t3", q(x(5_535))), trait("t3", q(x(5_533))), trait("u", "null"), look()), "[5,-1]", UserSize{TraitBytes: 65_536}},
		{"traits are taken in the order of their names",
			scene{nil, []string{profile}}, append(full[:3:3], identify(next(), `"z":`+q(x(5_000))+`,"big":`+q(x(5_000))), look()), "[4,5000]", UserSize{TraitBytes: 65_003}},
		{"pending evaluations keep 65,536 bytes of what is read later; then the oldest gives way",
			scene{nil, []string{wait("W", "event.properties.p.size()")}}, append(pending(4), at("11:30:00", "x", ``)), "16383", UserSize{}},
		{"one more supersedes the oldest",
			scene{nil, []string{wait("W", "event.properties.p.size()")}}, pending(5), "", UserSize{PendingBytes: 65_536}},
		{"what nobody reads later is not kept",
			scene{nil, []string{wait("W", "event.id")}}, pending(40), "", UserSize{}},
		{"entries leave from the feature that holds most, the oldest first",
			scene{[]string{`{"name":"few","on":["View"],"agg":"count"}`, `{"name":"many","on":["View"],"by":"k","agg":"count"}`}, []string{sends("C", "[few, many.size()]", `"on":["Look"]`)}},
			func() (lines []string) { // 64 keys of 1,000 bytes, 5 entries each: 325,120 bytes
				for i := range 320 {
					lines = append(lines, view(fmt.Sprintf(`"k":"%s%03d"`, x(997), i%64)))
				}
				return append(lines, look())
			}(), "[320,64]", UserSize{Entries: 256 + 1 + (262_144-257*16)/1016, EntryBytes: 257*16 + 8 + (262_144-257*16-8)/1016*1016}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines := [][]byte{}
			for _, l := range c.lines {
				lines = append(lines, []byte(l))
			}
			b, offers := compareWithOracle(t, c.scene.set(), lines)
			got := ""
			if len(offers) > 0 {
				got = string(offers[len(offers)-1].Data)
			}
			u, err := b.fold.User("u:u")
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want || u.Size != c.sizes {
				t.Errorf("got %s and the sizes %+v, want %s and %+v", got, u.Size, c.want, c.sizes)
			}
		})
	}
}

// TestBigRecord checks that what the limits allow at most makes a record of a
// known size, however much is sent.
func TestBigRecord(t *testing.T) {
	x := strings.Repeat("x", 31_000)
	s := scene{[]string{
		`{"name":"d","on":["View"],"by":"k","agg":"distinct","of":"event.properties.p"}`,
		`{"name":"l","on":["View"],"agg":"list","key":"k","keep":256,"fields":["p"]}`, `{"name":"n","on":["*"],"by":"k","agg":"count"}`,
	}, []string{sends("W", "event.properties", `"on":["View"],"unless":{"on":["Order"],"within":3600000000000,"match":"event.id"}`)}}
	var lines [][]byte
	for i := range 600 {
		lines = append(lines, []byte(at(fmt.Sprintf("10:%02d:%02d", i/60, i%60), "View", fmt.Sprintf(`"k":"%d","p":"%d%s"`, i, i, x[:30_000]))),
			[]byte(identify(fmt.Sprintf("10:%02d:%02d", i/60, i%60), fmt.Sprintf(`"%d":"%s"`, i, x))))
	}
	def, err := campaign.ParseDefinition(s.set())
	if err != nil {
		t.Fatal(err)
	}
	b, problems := NewBacktest(def)
	if b == nil {
		t.Fatal(problems)
	}
	for _, l := range lines {
		if err := b.Line(l, func(*Offer) {}); err != nil {
			t.Fatal(err)
		}
	}
	e := b.Users["u:u"]
	if n := len(e.AppendBinary(nil)); n > 450<<10 {
		t.Errorf("the record of a user who has sent %d MB has %d bytes", len(bytes.Join(lines, nil))>>20, n)
	}
	if e.size.Bytes > 256<<10 || e.size.Bytes < 250<<10 || e.traitBytes() > 64<<10 || e.keeps > 64<<10 {
		t.Errorf("%d bytes of entries, %d of traits, %d of pending evaluations", e.size.Bytes, e.traitBytes(), e.keeps)
	}
}

// TestKeeps: what waits keeps only the fields of its event that its campaign reads
// later, and reads them as if all were there.
func TestKeeps(t *testing.T) {
	tree := strings.Repeat(`{"a":[1,2,3],"b":{"c":"text"}},`, 900)
	event := `"id":"p1","price":12.50,"deep":{"x":820982911946154508,"y":"unread"},"tree":[` + tree + `0],"products":[{"id":"p1","n":2},"x"]`
	const wait = `"on":["View"],"unless":{"on":["Order"],"within":60000000000}`
	for _, c := range []struct {
		reads, rest, kept, data string // what is kept of properties
	}{
		{"event.id.size() > 0", wait, ``, `true`},
		{"event.properties.id", wait, `"properties":{"id":"p1"}`, `"p1"`},
		{`[event.properties["price"], event.properties.?id.orValue("none")]`, wait, `"properties":{"id":"p1","price":12.50}`, `[12.5,"p1"]`},
		{"[string(event.properties.deep.x), has(event.properties.deep.z) ? 'z' : 'none', has(event.properties.price) ? 'yes' : 'no']", wait, `"properties":{"deep":{"x":820982911946154508},"price":12.50}`, `["820982911946154508","none","yes"]`},
		{"event.items.map(i, i.n)", wait, `"properties":{"products":[{"id":"p1","n":2},"x"]}`, `[2]`},
		{"event.name + event.type + event.user", wait, ``, `"Viewtracku:u"`},
		{"event.properties.id", wait + `,"when_due":"event.properties.price > 12"`, `"properties":{"id":"p1","price":12.50}`, `"p1"`},
		{"1", `"on":["View"],"if":["looking >= duration(\"30s\")","event.properties.deep.y == \"unread\""]`, `"properties":{"deep":{"y":"unread"}}`, `1`},
	} {
		s := scene{[]string{looking}, []string{sends("W", c.reads, c.rest)}}
		lines := [][]byte{[]byte(at("10:00:00", "View", event)), []byte(`{"type":"clock","timestamp":"2026-01-01T11:00:00Z"}`)}
		b, _ := compareWithOracle(t, s.set(), lines[:1])
		e := b.Users["u:u"]
		if len(e.waiting) != 1 {
			t.Fatalf("%s: %d evaluations wait", c.reads, len(e.waiting))
		}
		raw := string(e.waiting[0].stored.event())
		_, kept, _ := strings.Cut(raw, `"userId":"u"`)
		if kept = strings.Trim(kept, ",}"); kept != strings.Trim(c.kept, "}") {
			t.Errorf("%s: %s is kept", c.reads, raw)
		}
		_, offers := compareWithOracle(t, s.set(), lines)
		if len(offers) != 1 || string(offers[0].Data) != c.data {
			t.Errorf("%s: the offers are %s, want %s", c.reads, asJSON(offers), c.data)
		}
	}
}

// TestSequenceBound: of the sequences that a user has begun the newest are
// remembered, and each that is forgotten for that is counted.
func TestSequenceBound(t *testing.T) {
	var rows []string
	for i := range mostSequences + 2 {
		rows = append(rows, fmt.Sprintf(`{"id":"r%d","values":{"id":"r%d"}}`, i, i))
	}
	set := setOf(t, sends("s", "row.id", `"rows":[`+strings.Join(rows, ",")+`],"sequence":{"steps":[{"on":["View"]},{"on":["Add"]}],"within":3600000000000}`))
	l := newLogged(t, set)
	l.event("u", "View", "")
	e := l.f.ents.(Memory)["u:u"]
	if len(e.sequences) != mostSequences || e.sequences[0].campaign != "s/r2" {
		t.Errorf("%d sequences are remembered, the first of %s", len(e.sequences), e.sequences[0].campaign)
	}
	l.want("", "s/r0", "bounds:1")
	l.want("", "s/r2", "")
	l.event("u", "Add", "")
	if n := len(l.offers); n != 1 || len(e.sequences) != 0 {
		t.Errorf("%d offers on one channel, %d sequences are left", n, len(e.sequences))
	}
}

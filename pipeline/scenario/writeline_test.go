package scenario

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// TestWriteLines: the line of any event reads back as the same event.
func TestWriteLines(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	texts := []string{"View", "page", "fact", "Consent Granted", "Consent Revoked", "push", "messageId", "context.x", "a", "1", "1.0", "true", "null", "{x*3}", "*", "{", "[1]", `"`, "=", " ", "  ", "\t", "\n", "#", ": ", "'",
		"\u0085", "\u2028", "\ufeff", "\u00a0", "\U000e0001", "😀", "é", `\`, "~", "/", "-", "..."}
	text := func() (s string) {
		for range 1 + r.IntN(3) {
			s += texts[r.IntN(len(texts))]
		}
		return s
	}
	object := func(depth int) []byte { return randomObject(r, text, depth) }
	lines, raws := 0, 0
	for range 5000 {
		kind := event.Type(1 + r.IntN(int(event.Fact)))
		for kind == event.Clock {
			kind = event.Type(1 + r.IntN(int(event.Fact)))
		}
		var json []byte
		if kind == event.Fact {
			json = event.AppendFact(nil, "weather", strings.NewReplacer("\t", "", "\n", "", "\u0085", "").Replace("k"+text()), object(0), "")
		} else {
			json = append(json, `{"type":"`+kind.String()+`","userId":"someone"`...)
			if field := event.Types[kind].NameField; field != "" && (r.IntN(4) > 0 || kind == event.Track || kind == event.System) {
				json = value.AppendJSONString(append(json, `,"`+field+`":`...), text())
			}
			for _, of := range []string{"properties", "traits", "context"} {
				if r.IntN(3) == 0 {
					json = append(append(json, `,"`+of+`":`...), object(0)...)
				}
			}
			json = append(json, '}')
		}
		ev, err := new(event.Decoder).DecodeAs(json, 0)
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, json, err)
		}
		w := &writer{day: DefaultDay, as: &disguise{was: "someone", name: "ada", values: map[string]string{}, made: map[string]int{}, replaced: map[string]bool{}}, contexts: true}
		ns, _ := DefaultDay.at("2026-01-02", "10:00:00.5")
		id := []string{"", "m7"}[r.IntN(2)]
		line := w.line(ev, ns, id)
		if strings.ContainsAny(line, "\n\t\u0085\u2028\ufeff") {
			t.Fatalf("seed %d: %s\nis %q", seed, json, line)
		}
		lines++
		if line[0] == '{' {
			raws++
		}
		back, wrong := ReadEvent(line, &Clock{Day: DefaultDay})
		if wrong != nil {
			t.Fatalf("seed %d: %s\nis %s\nwhich is refused: %v", seed, json, line, wrong)
		}
		got, err := new(event.Decoder).DecodeAs(back, 0)
		if err != nil {
			t.Fatalf("seed %d: %s\nis %s\nthat reads %s: %v", seed, json, line, back, err)
		}
		same := got.Type == ev.Type && got.Name == ev.Name && got.Timestamp == ns
		for _, of := range []string{"properties", "traits", "context", "values"} {
			same = same && sameObject(ev, got, of)
		}
		if kind == event.Fact {
			same = same && got.Key == ev.Key
		} else {
			same = same && got.Key == "u:ada" && got.HasID == (id != "")
		}
		if !same {
			t.Fatalf("seed %d: %s\nis %s\nthat reads %s", seed, json, line, back)
		}
	}
	if raws == 0 || raws == lines {
		t.Errorf("%d of %d lines are JSON", raws, lines)
	}
}

// randomObject is the JSON of an object.
func randomObject(r *rand.Rand, text func() string, depth int) []byte {
	b := []byte{'{'}
	if r.IntN(20) == 0 {
		b = append(b, `"twice":true,"twice":true`...)
	}
	for range r.IntN(4) {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(value.AppendJSONString(b, text()), ':')
		switch n := r.IntN(8); {
		case n == 0 && depth < 3:
			b = append(b, randomObject(r, text, depth+1)...)
		case n == 1:
			b = append(append(append(b, '['), randomObject(r, text, depth+1)...), ']')
		case n < 4:
			b = append(b, []string{"1", "2.50", "1e400", "-0", "true", "null", "12345678901234567890"}[r.IntN(7)]...)
		default:
			b = value.AppendJSONString(b, text())
		}
	}
	return append(b, '}')
}

// sameObject compares a member of two events, whatever the order of its members.
func sameObject(a, b *event.Event, of string) bool {
	x, y := a.Object(of), b.Object(of)
	return canonical(value.AppendCompact(nil, x)) == canonical(value.AppendCompact(nil, y))
}

// TestDisguise: what is personal is replaced, equal values by equal ones; the rest
// stays.
func TestDisguise(t *testing.T) {
	d := &disguise{was: "541312140", name: "ada", values: map[string]string{}, made: map[string]int{}, replaced: map[string]bool{}}
	for _, c := range []struct{ of, from, want string }{
		{"traits", `{"email":"kim@shop.kr","Phone_Number":"+82 10","phone":821012,"name":"Kim","segment":"vip","birthday":"1990-02-03","address":{"city":"Seoul","street":"X 1"}}`,
			`{"email":"ada@example.com","Phone_Number":"+10000000000","phone":1000000,"name":"Ada Example","segment":"vip","birthday":"2000-01-01","address":{"city":"Seoul","street":"1 Example Street"}}`},
		{"traits", `{"email":"lee@shop.kr","name":"Kim","note":"of kim@shop.kr"}`, `{"email":"ada2@example.com","name":"Ada Example","note":"of ada@example.com"}`},
		{"properties", `{"name":"Bag","user":"541312140","n":541312140,"product_id":"54131214","email":null}`,
			`{"name":"Bag","user":"ada","n":"ada","product_id":"54131214","email":null}`},
		{"properties", `{"url":"https://shop.kr/u/541312140?again=541312140","id":"x541312140","more":"5413121401","both":"541312140, kim@shop.kr"}`,
			`{"url":"https://shop.kr/u/ada?again=ada","id":"x541312140","more":"5413121401","both":"ada, ada@example.com"}`},
	} {
		ev, err := new(event.Decoder).DecodeAs([]byte(`{"type":"identify","userId":"541312140","`+c.of+`":`+c.from+`}`), 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(d.append(nil, c.of, ev.Object(c.of), c.of == "traits")); got != c.want {
			t.Errorf("%s\nbecomes %s\n   want %s", c.from, got, c.want)
		}
	}
	short := &disguise{was: "17", name: "ada", values: map[string]string{}, made: map[string]int{}, replaced: map[string]bool{}}
	ev, _ := new(event.Decoder).DecodeAs([]byte(`{"type":"page","userId":17,"properties":{"n":17,"size":"17"}}`), 0)
	if got := string(short.append(nil, "properties", ev.Object("properties"), false)); got != `{"n":17,"size":"17"}` {
		t.Errorf("a short id is replaced: %s", got)
	}
}

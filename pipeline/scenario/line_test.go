package scenario

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// TestEvents reads lines in sequence and compares the events.
func TestEvents(t *testing.T) {
	seoul, err := time.LoadLocation("Asia/Seoul")
	if err != nil {
		t.Fatal(err)
	}
	clock := &Clock{Day: Day{"2026-03-01", seoul}}
	for _, c := range [][2]string{
		{`10:00:00 ada Product Viewed product_id=b1 price=12.50 new=true`,
			`{"type":"track","userId":"ada","event":"Product Viewed","timestamp":"2026-03-01T01:00:00Z","properties":{"product_id":"b1","price":12.50,"new":true}}`},
		{`+1m30s ~a-1 page`, `{"type":"page","anonymousId":"a-1","timestamp":"2026-03-01T01:01:30Z"}`},
		{`  +1d  `, `{"type":"clock","timestamp":"2026-03-02T01:01:30Z"}`},
		{`09:00 "Kim Ada" screen Your cart context.page.url=https://shop.example/?a=b context.page.n=1 messageId=7`,
			`{"type":"screen","userId":"Kim Ada","name":"Your cart","messageId":"7","timestamp":"2026-03-01T00:00:00Z","context":{"page":{"n":1,"url":"https://shop.example/?a=b"}}}`},
		{`+0.5s ada identify name="Kim, Ada" tags=["a b", {"c": 1}] "odd name"=null id=007`,
			`{"type":"identify","userId":"ada","timestamp":"2026-03-01T00:00:00.5Z","traits":{"name":"Kim, Ada","tags":["a b", {"c": 1}],"odd name":null,"id":"007"}}`},
		{`2026-03-02 10:00:00.25 ada "page" Two messageId=m-1`, `{"type":"track","userId":"ada","event":"page Two","messageId":"m-1","timestamp":"2026-03-02T01:00:00.25Z"}`},
		{`2026-03-01T10:00:00+02:00 ada View note={<*3}`, `{"type":"track","userId":"ada","event":"View","timestamp":"2026-03-01T08:00:00Z","properties":{"note":"<<<"}}`},
		{`{"type":"page","userId":"ada","timestamp":"2026-03-01T09:00:00Z"} `, `{"type":"page","userId":"ada","timestamp":"2026-03-01T09:00:00Z"} `},
		{`+1s ada View`, `{"type":"track","userId":"ada","event":"View","timestamp":"2026-03-01T09:00:01Z"}`},
		{`+1s ada system Offer Shown offer=o-1`, `{"type":"system","userId":"ada","event":"Offer Shown","timestamp":"2026-03-01T09:00:02Z","properties":{"offer":"o-1"}}`},
		{`+1s fact weather/seoul dust=90 sky="a b"`, `{"type":"fact","fact":"weather","key":"seoul","timestamp":"2026-03-01T09:00:03Z","values":{"dust":90,"sky":"a b"}}`},
		{`+1s fact weather/"New York" dust=9`, `{"type":"fact","fact":"weather","key":"New York","timestamp":"2026-03-01T09:00:04Z","values":{"dust":9}}`},
		{`+1s item product/p1 Price Changed mall=a price=90 messageId=m-2`,
			`{"type":"item","kind":"product","id":"p1","event":"Price Changed","messageId":"m-2","timestamp":"2026-03-01T09:00:05Z","properties":{"mall":"a","price":90}}`},
		{`+0s item product/"a b" page`, `{"type":"item","kind":"product","id":"a b","event":"page","timestamp":"2026-03-01T09:00:05Z"}`},
		{`+0s ada identify anonymousId=a-1 plan=x`, `{"type":"identify","userId":"ada","anonymousId":"a-1","timestamp":"2026-03-01T09:00:05Z","traits":{"plan":"x"}}`},
		{`+0s ada alias previousId=7 messageId=m-3`, `{"type":"alias","userId":"ada","previousId":"7","messageId":"m-3","timestamp":"2026-03-01T09:00:05Z"}`},
		{`+0s ada identify "anonymousId"=a-1`, `{"type":"identify","userId":"ada","timestamp":"2026-03-01T09:00:05Z","traits":{"anonymousId":"a-1"}}`},
		{`+0s ~a-2 identify anonymousId=a-1`, `{"type":"identify","anonymousId":"a-2","timestamp":"2026-03-01T09:00:05Z","traits":{"anonymousId":"a-1"}}`},
		{`+0s "fact" View`, `{"type":"track","userId":"fact","event":"View","timestamp":"2026-03-01T09:00:05Z"}`},
	} {
		got, wrong := ReadEvent(c[0], clock)
		if wrong != nil || string(got) != c[1] {
			t.Errorf("%s\nreads %s (%v)\n want %s", c[0], got, wrong, c[1])
		}
		if strings.Contains(string(got), `"type":"fact"`) || strings.Contains(string(got), `"type":"item"`) {
			continue // it is of no user
		}
		if _, err := new(event.Decoder).Admit(got, 0); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
}

// TestAnyLine: any line is either read or refused, and an event that was read
// is valid JSON.
func TestAnyLine(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	pieces := []string{" ", " ", " ", "10:00:00", "2026-01-02", "+1m", "ada", "~", "page", "identify", "View", "fact", "item", "system", "w/k", "=", "a=", `"`, `"x y"`, "{", "}", "[1]", "/", "c/k", "context.a.b=1", "context.a=2", "messageId=", "{x*3}", "1e400", "\n", "ü", "\\"}
	for range 50_000 {
		line := []string{"", "10:00:00 ada "}[r.IntN(2)]
		for range r.IntN(9) {
			line += pieces[r.IntN(len(pieces))]
		}
		read, wrong := ReadEvent(line, &Clock{Day: DefaultDay})
		if wrong == nil && !strings.HasPrefix(strings.TrimSpace(line), "{") && !json.Valid(read) {
			t.Fatalf("seed %d: %q reads %s", seed, line, read)
		}
		if wrong != nil {
			wrong.Place(line)
		}
		if o, wrong := ReadOffer(line, DefaultDay, nil); wrong == nil && o.Campaign == "" {
			t.Fatalf("seed %d: %q reads %+v", seed, line, o)
		}
	}
}

// TestOfferLines: the line of any offer is read back as the same offer.
func TestOfferLines(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	day := Day{"2026-10-25", berlin} // clocks go back: 02:30 comes twice
	for range 20_000 {
		o := Offer{Time: time.Date(2026, 10, 24, 20, 0, 0, 0, time.UTC).UnixNano() + r.Int64N(int64(12*time.Hour)), Anonymous: r.IntN(2) == 0,
			User: anyText(r), Campaign: "c.1-x", Data: anyData(r)}
		if r.IntN(2) == 0 {
			o.Key = anyText(r)
		}
		if r.IntN(2) == 0 {
			o.Campaign = "rows/c.1-x"
		}
		o.Withheld = r.IntN(3) == 0
		line := o.Show(day)
		if got, wrong := ReadOffer(line, day, func(c string) bool { return c == "rows" }); wrong != nil || got != o {
			t.Fatalf("seed %d: %+v\nis %s\nthat reads %+v (%v)", seed, o, line, got, wrong)
		}
	}
}

func anyText(r *rand.Rand) string {
	const some = `ab1~/="{[]} #:,'` + "\\\tü<"
	runes := []rune(some)
	text := ""
	for range 1 + r.IntN(4) {
		text += string(runes[r.IntN(len(runes))])
	}
	return text
}

func anyData(r *rand.Rand) string {
	var node func(depth int) any
	node = func(depth int) any {
		switch n := r.IntN(8); {
		case n == 0 && depth < 3:
			return []any{node(depth + 1), node(depth + 1)}
		case n <= 2 && depth < 3:
			m := map[string]any{}
			for range r.IntN(3) {
				m[anyText(r)] = node(depth + 1)
			}
			return m
		case n == 3:
			return nil
		case n == 4:
			return r.IntN(2) == 0
		case n == 5:
			return json.RawMessage(fmt.Sprint(r.Int64()))
		case n == 6:
			return json.Number(value.FormatDouble(r.NormFloat64()))
		}
		return anyText(r)
	}
	if r.IntN(5) == 0 {
		return ""
	}
	return canonical(compact(node(0)))
}

// TestSameData: the same data in different notations compares as equal.
func TestSameData(t *testing.T) {
	for _, same := range [][]string{
		{`10:00:00 ada c b="x y" a=1`, `10:00 ada c {"a":1.0, "b":"x y"}`, `2026-01-01T10:00:00Z "ada" c b="x y" a=10e-1`},
		{`10:00:00 ada c/7 [1]`, `10:00:00 ada c/"7" [1.0]`},
		{`10:00:00 ada c a=text`, `10:00:00 ada c a="text"`, `10:00:00 ada c {"a":"te\u0078t"}`},
		{`10:00:00 ada c 12345678901234567890`},
	} {
		first, wrong := ReadOffer(same[0], DefaultDay, nil)
		if wrong != nil {
			t.Fatal(wrong)
		}
		for _, line := range same {
			if got, wrong := ReadOffer(line, DefaultDay, nil); wrong != nil || got != first {
				t.Errorf("%s reads %+v (%v), want %+v", line, got, wrong, first)
			}
		}
	}
	for _, line := range []string{`10:00:00 ada c a=2`, `10:00:00 ~ada c a=1`, `10:00:00 ada c/k a=1`, `10:00:00 ada c a="1"`, `10:00:00.000000001 ada c a=1`} {
		if got, _ := ReadOffer(line, DefaultDay, nil); got == (Offer{Time: 1767261600e9, User: "ada", Campaign: "c", Data: `{"a":1}`}) {
			t.Errorf("%s is another offer", line)
		}
	}
}

// TestAnyData: in what is expected, ... stands for any data, and for nothing else.
func TestAnyData(t *testing.T) {
	read := func(line string) Offer {
		o, wrong := ReadOffer(line, DefaultDay, nil)
		if wrong != nil {
			t.Fatal(wrong)
		}
		return o
	}
	want := read("10:00:00 ada c/k ...")
	for line, same := range map[string]bool{
		`10:00:00 ada c/k title="x y" n=1`: true, `10:00:00 ada c/k`: true, `10:00:00 ada c/k {"a":"..."}`: true,
		`10:00:01 ada c/k`: false, `10:00:00 bob c/k`: false, `10:00:00 ada c`: false, `10:00:00 ada c/k withheld`: false,
	} {
		if got := read(line); want.Same(got) != same || got.Same(want) != same {
			t.Errorf("%s is the expected offer: %v, want %v", line, want.Same(got), same)
		}
	}
	if line := want.Show(DefaultDay); line != "10:00:00 ada c/k ..." {
		t.Errorf("it is shown as %s", line)
	}
	got := []Offer{read("10:00:00 ada a x=1"), read("10:00:00 ada c/k x=2")}
	s := &Scenario{Day: DefaultDay, Compares: true, Offers: []Offer{want}}
	if text := s.Compare(&Result{Offers: got}); text != "  offers (- expected, + actual):\n    + 10:00:00 ada a   x=1\n      10:00:00 ada c/k ...\n" {
		t.Errorf("the differences are\n%s", text)
	}
}

// TestAlign: both aligned lists are complete and in order, and as many lines as
// possible are in both.
func TestAlign(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	list := func() (offers []Offer) {
		for range r.IntN(8) {
			offers = append(offers, Offer{Key: fmt.Sprint(r.IntN(3))})
		}
		return offers
	}
	for range 5000 {
		a, b := list(), list()
		i, j, both := 0, 0, 0
		for _, l := range Align(a, b) {
			if l.First >= 0 && l.First != i || l.Second >= 0 && l.Second != j || l.Sign() == ' ' && a[l.First] != b[l.Second] {
				t.Fatalf("seed %d: %v and %v: %v", seed, a, b, Align(a, b))
			}
			if l.First >= 0 {
				i++
			}
			if l.Second >= 0 {
				j++
			}
			if l.Sign() == ' ' {
				both++
			}
		}
		if i != len(a) || j != len(b) || both != common(a, b) {
			t.Fatalf("seed %d: %v and %v: %v, %d of both, want %d", seed, a, b, Align(a, b), both, common(a, b))
		}
	}
}

func common(a, b []Offer) int {
	if len(a) == 0 || len(b) == 0 {
		return 0
	}
	n := max(common(a[1:], b), common(a, b[1:]))
	if a[0] == b[0] {
		n = max(n, 1+common(a[1:], b[1:]))
	}
	return n
}

// TestCompare checks the text that describes differences.
func TestCompare(t *testing.T) {
	offers := func(lines ...string) (all []Offer) {
		for _, l := range lines {
			o, wrong := ReadOffer(l, DefaultDay, nil)
			if wrong != nil {
				t.Fatal(wrong)
			}
			all = append(all, o)
		}
		return all
	}
	n := uint64(1)
	s := &Scenario{Day: DefaultDay, Compares: true, Duplicates: &n, Rejected: map[string]uint64{"json": 1},
		Offers: offers("10:00:00 ada a", "10:00:01 ada a", "10:00:02 ada a", "10:00:03 ada a", "10:00:04 ada a", "10:01:00 ada bag-fan views=4", "10:02:00 bob a")}
	s.Outcomes = map[string]map[string]uint64{"bag-fan": {"evaluated": 4, "fired": 1, "limit": 0}, "a": {"fired": 0}, "b": {"fired": 1}}
	r := &Result{Rejected: map[string]uint64{"identity": 2}, refused: []string{"the event of line 7: identity: the event has neither userId nor anonymousId"},
		Offers:   offers("10:00:00 ada a", "10:00:01 ada a", "10:00:02 ada a", "10:00:03 ada a", "10:00:04 ada a", "10:01:00 ada bag-fan views=5", "10:02:00 bob a", "10:03:00 bob bag-fan/b1"),
		Outcomes: map[string]map[string]uint64{"bag-fan": {"evaluated": 5, "fired": 2, "condition": 3}}}
	want := `  rejected: identity is 2, expected 0
  rejected: json is 0, expected 1
    the event of line 7: identity: the event has neither userId nor anonymousId
  duplicates are 0, expected 1
  offers (- expected, + actual):
      ... 2 as expected
      10:00:02 ada a
      10:00:03 ada a
      10:00:04 ada a
    - 10:01:00 ada bag-fan    views=4
    + 10:01:00 ada bag-fan    views=5
      10:02:00 bob a
    + 10:03:00 bob bag-fan/b1
  outcomes of b: fired is 0, expected 1
    all of them: it was never evaluated
  outcomes of bag-fan: evaluated is 5, expected 4, fired is 2, expected 1
    all of them: evaluated 5, fired 2, condition 3
`
	if got := s.Compare(r); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := (&Scenario{}).Compare(&Result{Offers: r.Offers}); got != "" || strings.Contains(got, "offers") {
		t.Errorf("nothing is expected, but %s", got)
	}
}

package expr

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
)

// strict is the language of an author, with two dwells, a list and a fact.
func strict(t testing.TB) *Language {
	t.Helper()
	base := language(t)
	env, err := base.Env().Extend(cel.Variable("dwell", cel.DurationType), cel.Variable("stay", cel.MapType(cel.StringType, cel.DurationType)), cel.Variable("n", cel.IntType), cel.Variable("bag_views", cel.IntType),
		cel.Variable("views", cel.MapType(cel.StringType, cel.IntType)), cel.Variable("cart", cel.ListType(JSONMap)), cel.Variable("lists", cel.MapType(cel.StringType, cel.ListType(JSONMap))),
		cel.Variable("row.text", cel.DynType), cel.Variable("local.date", cel.StringType), cel.Variable("long", cel.BoolType), cel.Variable("d", cel.DurationType))
	if err != nil {
		t.Fatal(err)
	}
	names := viewNames
	names.Strict = true
	names.Feature = func(name string) (Feature, bool) {
		switch name {
		case "dwell":
			return Feature{Stays: true, Single: true}, true
		case "stay":
			return Feature{Stays: true, Single: true, By: true, Key: "event.properties.category"}, true
		case "views", "lists":
			return Feature{Single: name == "views", By: true, Key: "event.properties.category"}, true
		case "bag_views", "n":
			return Feature{Single: true}, true
		case "cart":
			return Feature{Most: 20}, true
		}
		return Feature{}, false
	}
	entry := &Shape{Is: Record, Of: "an entry of cart", Fields: map[string]*Shape{"name": nil, "price": nil}}
	fact := &Shape{Is: Record, Of: "facts.weather", Fields: map[string]*Shape{"sky": {Is: Text}, "dust": {Is: Number}}}
	names.Shape = func(name string) *Shape {
		return map[string]*Shape{
			"cart": {Is: List, Elem: entry}, "lists": {Is: Values, Elem: &Shape{Is: List, Elem: entry}}, "facts.weather": {Is: Values, Elem: fact},
			"row.text": {Is: Text}, "row.min": {Is: Number}, "row.on": {Is: Truth},
		}[name]
	}
	names.Domain = func(name string) *Domain {
		return map[string]*Domain{"local.hour": {Most: 23}, "local.weekday": {Texts: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}}}[name]
	}
	return NewLanguage(env, names)
}

// unwaiting is what is said of the dwells in a condition: an error, or "warning" first.
func unwaiting(t *testing.T, l *Language, src string, lets map[string]string) (said []string) {
	t.Helper()
	compiled := map[string]*Expr{}
	for name, is := range lets {
		compiled[name] = l.Compile(is, nil, func(_, _ int, what, _ string) { t.Fatalf("%s: %s", is, what) })
	}
	if l.Conjuncts(src, func(_, _ int, what, _ string) { t.Fatalf("%s: %s", src, what) }) == nil {
		t.Fatal(src)
	}
	l.Unwaiting(src, func(name string) *Expr { return compiled[name] },
		func(line, col int, _, hint string) { said = append(said, fmt.Sprintf("%d:%d: %s", line, col, hint)) },
		func(line, col int, _, _ string) { said = append(said, fmt.Sprintf("%d:%d: warning", line, col)) })
	return said
}

// TestUnwaiting: which conditions on a dwell a campaign does not wait for, and what to
// write instead.
func TestUnwaiting(t *testing.T) {
	const only = `it waits only for conditions such as dwell >= duration("60s"), with a literal, that must hold`
	const ofLet = "write the comparison of the dwell in `if`, as a condition of its own"
	l := strict(t)
	lets := map[string]string{"long": `dwell >= duration("60s")`, "d": "dwell"}
	for src, want := range map[string]string{
		`dwell >= duration("60s")`: "", `duration("60s") <= dwell && n > 3`: "", `stay["bag"] >= duration("60s")`: "", `stay[event.properties.c] >= duration("1m")`: "",
		`dwell < duration("5s")`: "", `dwell <= duration("5s")`: "", `!(dwell >= duration("5s"))`: "", `!(dwell > duration("5s")) || n > 1`: "", `duration("5s") > dwell`: "", `"bag" in stay`: "", `stay.size() > 2`: "", `dwell == duration("0s")`: "", "n > 3 || n < 1": "",
		`dwell > duration("60s")`: `1:0: write dwell >= duration("60s")`, `n > 1 && duration("60s") < dwell`: `1:9: write dwell >= duration("60s")`, "dwell.getSeconds() >= 60": `1:0: write dwell >= duration("60s")`, "60 <= dwell.getSeconds()": `1:0: write dwell >= duration("60s")`, "int(dwell) > 60": `1:0: write dwell >= duration("60s")`,
		`!(dwell < duration("60s"))`: `1:2: write dwell >= duration("60s")`, `!(n > 1 || dwell <= duration("60s"))`: `1:11: write dwell >= duration("60s")`, `dwell >= duration("30s") + duration("30s")`: `1:0: write dwell >= duration("1m")`, `dwell + duration("10s") >= duration("1m")`: `1:0: write dwell >= duration("50s")`,
		`dwell >= duration("60s") || n > 3`: `1:0: write a campaign for each side of ||, one with if: dwell >= duration("60s")`, `n > 3 || dwell >= duration("60s") && n < 9`: `1:9: write a campaign for each side of ||, one with if: dwell >= duration("60s")`,
		`n > 3 ? dwell >= duration("60s") : true`: "1:8: write it as a condition of its own in `if`: dwell >= duration(\"60s\")", `(dwell >= duration("60s")) == true`: "1:1: write it as a condition of its own in `if`: dwell >= duration(\"60s\")", `dwell >= (n > 3 ? duration("60s") : duration("30s"))`: "1:0: " + only,
		`dwell == duration("60s")`: `1:0: write dwell >= duration("60s")`, `dwell != duration("0s")`: `1:0: write dwell >= duration("1s")`, `dwell > duration("0s")`: `1:0: write dwell >= duration("1s")`, `stay.bag >= duration("60s")`: `1:0: write stay["bag"] >= duration("60s")`, `stay["bag"] > duration("60s")`: `1:0: write stay["bag"] >= duration("60s")`,
		"dwell >= duration(row.category)": "1:0: " + only, `dwell in [duration("60s")]`: "1:0: " + only, `string(dwell) == "60s"`: "1:0: " + only, "long": "1:0: " + ofLet, "!long": "", "long || n > 1": "1:0: " + ofLet, `d >= duration("60s")`: `1:0: write dwell >= duration("60s")`, `d < duration("60s")`: "",
		`stay["bag"] > stay["hat"]`: "1:0: warning", `dwell >= stay["bag"]`: "1:0: warning", `stay.exists(k, stay[k] >= duration("60s"))`: "1:5: warning", `now - timestamp("2026-01-01T00:00:00Z") > dwell`: "", `now - timestamp("2026-01-01T00:00:00Z") < dwell`: "1:0: warning",
	} {
		if got := strings.Join(unwaiting(t, l, src, lets), "; "); got != want {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
}

// A tree is a condition on a dwell, and on a number that does not change.
type tree struct {
	op   string // && || !, or a comparison
	subs []*tree
	of   bool // of the dwell, else of the number
	with int  // what it is compared with: seconds, or a number
}

func (c *tree) String() string {
	switch {
	case c.op == "!":
		return "!(" + c.subs[0].String() + ")"
	case len(c.subs) > 0:
		return "(" + c.subs[0].String() + " " + c.op + " " + c.subs[1].String() + ")"
	case c.of:
		return fmt.Sprintf("dwell %s duration(\"%ds\")", c.op, c.with)
	}
	return fmt.Sprintf("n %s %d", c.op, c.with)
}

func (c *tree) holds(dwell, n int) bool {
	switch c.op {
	case "!":
		return !c.subs[0].holds(dwell, n)
	case "&&":
		return c.subs[0].holds(dwell, n) && c.subs[1].holds(dwell, n)
	case "||":
		return c.subs[0].holds(dwell, n) || c.subs[1].holds(dwell, n)
	}
	of := n
	if c.of {
		of = dwell
	}
	return map[string]bool{"<": of < c.with, "<=": of <= c.with, ">": of > c.with, ">=": of >= c.with, "==": of == c.with, "!=": of != c.with}[c.op]
}

// parts are the conjuncts at the top.
func (c *tree) parts() []*tree {
	if c.op == "&&" {
		return append(c.subs[0].parts(), c.subs[1].parts()...)
	}
	return []*tree{c}
}

func randomTree(r *rand.Rand, depth int) *tree {
	if depth == 0 || r.IntN(3) == 0 {
		c := &tree{op: []string{"<", "<=", ">", ">=", "==", "!="}[r.IntN(6)], of: r.IntN(2) == 0, with: r.IntN(4)}
		return c
	}
	switch op := []string{"&&", "||", "!"}[r.IntN(3)]; op {
	case "!":
		return &tree{op: op, subs: []*tree{randomTree(r, depth-1)}}
	default:
		return &tree{op: op, subs: []*tree{randomTree(r, depth-1), randomTree(r, depth-1)}}
	}
}

// TestUnwaitingRandom: of a condition of which nothing is said, no conjunct fails
// without a dwell and holds with one, but those that a campaign waits for.
func TestUnwaitingRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 16))
	l := strict(t)
	silent, told := 0, 0
	for range 600 {
		c := randomTree(r, 3)
		said := unwaiting(t, l, c.String(), nil)
		grows := slices.ContainsFunc(c.parts(), func(p *tree) bool {
			if p.of && p.op == ">=" {
				return false
			}
			for n := range 5 {
				for dwell := range 5 {
					if !p.holds(0, n) && p.holds(dwell, n) {
						return true
					}
				}
			}
			return false
		})
		if len(said) > 0 {
			told++
			continue
		}
		silent++
		if grows {
			t.Fatalf("seed %d: nothing is said of %s, which a longer dwell makes hold", seed, c)
		}
	}
	if silent < 50 || told < 50 {
		t.Errorf("seed %d: %d silent, %d told", seed, silent, told)
	}
}

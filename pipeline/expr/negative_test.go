package expr

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
)

// TestNegatives: which names of a condition make it true by being less, and in which
// part.
func TestNegatives(t *testing.T) {
	lets := map[string]*Clause{"few": ReadClause("views < 3"), "shown": ReadClause("cart.filter(i, !(i.category in bought))"), "n": ReadClause("views")}
	for _, c := range []struct{ src, want string }{
		{"views >= 3 && views > other", "other: views > other"},
		{"views < 3", "views: views < 3"},
		{"3 > views", "views: 3 > views"},
		{"!(views > 3)", "views: !(views > 3)"},
		{"!(views < 3)", ""},
		{"views <= event.properties.n", "views: views <= event.properties.n"},
		{`views["bag"] < 3 || n < 2`, `views: views["bag"] < 3; views: n < 2`},
		{`views["bag"] == 0`, `views: views["bag"] == 0`},
		{"views != 0 && views == 3 && 0 < views", ""},
		{"views != 3", "views: views != 3"},
		{`last != "bag"`, `last: last != "bag"`},
		{"last == null", "last: last == null"},
		{`dwell < duration("10s")`, `dwell: dwell < duration("10s")`},
		{`dwell == duration("0s")`, `dwell: dwell == duration("0s")`},
		{"cart.size() == 0", "cart: cart.size() == 0"},
		{"size(cart) < 2", "cart: size(cart) < 2"},
		{"cart == []", "cart: cart == []"},
		{"event.properties.id in bought", ""},
		{"!(event.properties.id in bought)", "event: !(event.properties.id in bought); bought: !(event.properties.id in bought)"},
		{"(event.properties.id in bought) == false", "event: !(event.properties.id in bought); bought: !(event.properties.id in bought)"},
		{"false != (1 in bought)", ""},
		{"views in [0, 1]", "views: views in [0, 1]"},
		{"views in [1, 2]", ""},
		{"before.views < 2 && before.session.count > 1", "before.views: before.views < 2"},
		{"!cart.exists(i, i.price > 100)", "cart: !cart.exists(i, i.price > 100)"},
		{"cart.exists(i, i.price < 100)", ""},
		{"cart.exists(i, !(i.id in bought))", "bought: !(i.id in bought)"},
		{"cart.all(i, i.price > 3)", "cart: cart.all(i, i.price > 3)"},
		{"!cart.all(i, i.price > 3)", ""},
		{"cart.filter(i, i.id in bought).size() == 0", "cart: cart.filter(i, i.id in bought).size() == 0; bought: !(i.id in bought)"},
		{"cart.map(i, i.price).size() > 1", ""},
		{"cart.filter(bought, bought.id < 3).size() > 0", ""},
		{"few && views > 0", "views: views < 3"},
		{"!few", ""},
		{"shown.max_by(i, i.price)", "bought: !(i.category in bought)"},
		{"10 - views > 3", "views: 10 - views > 3"},
		{"-views > -3", "views: -views > -3"},
		{"views - other < 3", "views: views - other < 3"},
		{"views > 3 ? cart : bought", ""},
		{"views < 3 ? cart : bought", "views: views < 3"},
		{"cel.bind(v, views, v < 3)", "views: v < 3"},
		{"has(cart.x) && !has(bought.x)", "bought: !has(bought.x)"},
		{".views < 3", "views: .views < 3"},
	} {
		clause := ReadClause(c.src)
		if clause == nil {
			t.Fatalf("%s is not CEL", c.src)
		}
		var got []string
		for _, n := range clause.Negatives(lets) {
			got = append(got, n.Name+": "+n.Text)
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: %q, want %q", c.src, s, c.want)
		}
	}
}

// TestNegativesAreAll: where a condition on x is not found, it does not hold for an
// empty x and fail for another.
func TestNegativesAreAll(t *testing.T) {
	base, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	env, err := base.Extend(cel.Variable("x", cel.IntType), cel.Variable("y", cel.IntType), cel.Variable("list", cel.ListType(cel.IntType)))
	if err != nil {
		t.Fatal(err)
	}
	const seed = 17
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	var cond func(depth int) string
	number := func() string {
		return pick("x", "x", "y", "x + y", "x - y", "y - x", "-x", "2 * x", "list.size()", "size(list.filter(i, i < x))", "list.filter(i, !(i == x || i > 2)).size()", "list.map(i, i + x).size()", "0", "1", "2", "3")
	}
	cond = func(depth int) string {
		if depth > 0 {
			switch r.IntN(5) {
			case 0:
				return "(" + cond(depth-1) + " && " + cond(depth-1) + ")"
			case 1:
				return "(" + cond(depth-1) + " || " + cond(depth-1) + ")"
			case 2, 3:
				return "!(" + cond(depth-1) + ")"
			}
		}
		switch r.IntN(8) {
		case 0:
			return pick("x", "y") + " in " + pick("list", "[0, 1]", "[1, 3]", "[2, 3]")
		case 1:
			return "list." + pick("all", "exists") + "(i, i " + pick("<", ">") + " " + number() + ")"
		case 2:
			return "list" + pick(" == []", " != []")
		case 3:
			return "(x > 1) " + pick("==", "!=") + " " + pick("true", "false")
		}
		return number() + " " + pick("<", "<=", ">", ">=") + " " + number()
	}
	lists := [][]int64{{}, {1}, {1, 3}, {3, 2, 1}}
	found, free := 0, 0
	for range 1500 {
		src := cond(2)
		names := map[string]bool{}
		for _, n := range ReadClause(src).Negatives(nil) {
			names[n.Name] = true
		}
		a, iss := env.Compile(src)
		if iss.Err() != nil {
			t.Fatal(src, iss.Err())
		}
		prg, err := env.Program(a)
		if err != nil {
			t.Fatal(err)
		}
		holds := func(x, y int64, list []int64) bool {
			v, _, err := prg.Eval(map[string]any{"x": x, "y": y, "list": list})
			return err == nil && fmt.Sprint(v) == "true"
		}
		for y := range int64(4) {
			for x := range int64(4) {
				for _, l := range lists {
					if !names["x"] && holds(0, y, l) && !holds(x, y, l) {
						t.Fatalf("%s holds for x 0 and not for %d (y %d, list %v), and is not found", src, x, y, l)
					}
					if !names["list"] && holds(x, y, nil) && !holds(x, y, l) {
						t.Fatalf("%s holds for an empty list and not for %v (x %d, y %d), and is not found", src, l, x, y)
					}
				}
			}
		}
		if names["x"] {
			found++
		} else {
			free++
		}
	}
	if found < 200 || free < 200 {
		t.Errorf("x is found in %d conditions, not in %d", found, free)
	}
}

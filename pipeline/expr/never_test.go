package expr

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// TestDoubtsAreSound compares what is said of random conditions on x and y with
// what CEL makes of them for all combinations of a few values. x is known to be a
// whole number from 0 to 4.
func TestDoubtsAreSound(t *testing.T) {
	base, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	env, err := base.Extend(cel.Variable("x", cel.DynType), cel.Variable("y", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	const seed = 16
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	atom := func() string {
		switch r.IntN(8) {
		case 0:
			return "y in [" + pick("", "1", `"a", 2`, `1, 2, 3`, `true`, `null`) + "]"
		case 1, 2, 3:
			return "x " + pick("==", "!=", "<", "<=", ">", ">=") + " " + pick("-1", "0", "1", "2", "3", "4", "5", "2.5")
		case 4:
			return pick("0", "2", "4") + " " + pick("==", "!=", "<", "<=", ">", ">=") + " x"
		case 5:
			return "y " + pick("==", "!=") + " " + pick(`"a"`, `"b"`, "true", "false", "null", "1")
		}
		return "y " + pick("==", "!=", "<", "<=", ">", ">=") + " " + pick("1", "2", "2.5", "3", `"a"`, `"b"`)
	}
	var formula func(depth int) string
	formula = func(depth int) string {
		if depth == 0 || r.IntN(3) == 0 {
			return pick("", "", "!") + "(" + atom() + ")"
		}
		parts := make([]string, 2+r.IntN(2))
		for i := range parts {
			parts[i] = formula(depth - 1)
		}
		return pick("", "", "!") + "(" + strings.Join(parts, pick(" && ", " || ")) + ")"
	}
	xs := []any{0, 1, 2, 3, 4}
	ys := []any{0, 1, 1.5, 2, 2.25, 2.5, 2.75, 3, 4, "", "a", "aa", "b", "c", true, false, nil}
	known := func(s Subject) *Known {
		if s.Name == "x" {
			return &Known{Most: 4, Why: "x is 0 to 4"}
		}
		return nil
	}
	never, always := 0, 0
	for range 2000 {
		src := formula(r.IntN(3))
		a, iss := env.Compile(src)
		if iss.Err() != nil {
			continue
		}
		prog, err := env.Program(a)
		if err != nil {
			t.Fatal(err)
		}
		holds, fails := "", ""
		for _, x := range xs {
			for _, y := range ys {
				v, _, err := prog.Eval(map[string]any{"x": x, "y": y})
				switch at := fmt.Sprintf("x %v, y %v", x, y); {
				case err == nil && v == types.True:
					holds = at
				case err == nil:
					fails = at
				}
			}
		}
		c := ReadClause(src)
		j := judging{known: known}
		f := reading{}.formula(c, c.ast.Expr(), false, nil)
		may := j.holds(f, nil)
		if !may {
			never++
			if holds != "" {
				t.Fatalf("%s holds for %s, and %v", src, holds, j.doubts)
			}
		}
		if len(j.doubts) == 1 && j.doubts[0].Always && f.op == compares {
			always++
			if fails != "" {
				t.Fatalf("%s does not hold for %s, and %v", src, fails, j.doubts)
			}
		}
		if f.op == compares && may && holds == "" && f.is.Name == "x" {
			t.Fatalf("%s holds for no x, and nothing is said", src)
		}
	}
	if never < 100 || always < 30 {
		t.Errorf("only %d that never hold, %d that always do", never, always)
	}
}

// TestDoubtPlaces: a doubt points at its part of the condition, on the right line.
func TestDoubtPlaces(t *testing.T) {
	first, second := ReadClause("a.b > 3 &&\n  a.b < 2"), ReadClause(`x && "ä" != "b" && a.b == 1`)
	ds := Doubts([]*Clause{first, nil, second}, map[string]*Clause{"x": ReadClause("a.b < 0")}, func(Subject) *Known { return nil })
	want := []string{"0 2:2 a.b < 2, 0 1:0", "2 1:0 a.b < 0, 0 1:0", "2 1:19 a.b == 1, 0 1:0"}
	if len(ds) != len(want) {
		t.Fatalf("%+v", ds)
	}
	for i, d := range ds {
		if got := fmt.Sprintf("%d %d:%d %s, %d %d:%d", d.Clause, d.Line, d.Col, d.Text, d.WithClause, d.WithLine, d.WithCol); got != want[i] {
			t.Errorf("%s, want %s", got, want[i])
		}
	}
}

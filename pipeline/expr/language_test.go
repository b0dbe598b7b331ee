package expr

import (
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// TestDottedNames: names with dots read as variables, and what check says of
// unknown ones.
func TestDottedNames(t *testing.T) {
	l := language(t)
	v := see(`"city":"seoul","category":"bag","n":5`)
	v.one = value.OfInt(41)
	for src, want := range map[string]string{
		"before.one": "40", "one - before.one": "1", `before.by["17"]`: "1", `"17" in before.by`: "true", "before.by.size()": "5", "before.profile.tier": `"gold"`, `before.profile.?segment.orValue("")`: `""`, "has(before.profile.tier)": "true", "before.profile.x": "error: no such key: x",
		"local.hour >= 11 && local.hour < 21": "true", `local.weekday in ["sat", "sun"]`: "true", "event.properties.category == row.category": "true", "event.properties.n >= row.min": "true", "row.min * 2": "6", "row.id == 820982911946154508": "true", "row.id": "820982911946154508",
		"one > row.min && row.on": "true", "one == row.min": "false", "event.name.substring(0, row.min)": `"abc"`, "by[row.id]": "3", "before.by[row.id]": "2", `"{" + string(row.min)`: `"{3"`, "[1, 2].map(row, row + 1)": "[2,3]", "[7].exists(local, local == 7 && .local.hour == 20)": "true",
		"duration(row.min) > duration(\"1s\")": "error: no such overload",

		"facts.weather[event.properties.city].dust > 80": "true", "facts.weather[event.properties.city].dust": "90", `facts.weather["busan"].sky`: "error: no such key: sky", "facts.weather[row.category].dust": "error: no such key: bag", "facts.weather[?row.category].?dust.orValue(0)": "0", "facts.weather.seoul.dust": "90",
		`"seoul" in facts.weather`: "true", `has(facts.weather["busan"].sky)`: "false", "facts.weather.size()": "2", "facts.weather.exists(c, facts.weather[c].dust < 8)": "true",
		"facts.weather[event.properties.city].dsut > 80": `1:36: facts.weather has no field "dsut": did you mean "dust"?`, `facts.weather["busan"]["wind"]`: `1:22: facts.weather has no field "wind": known are dust, sky`, `has(facts.weather["busan"].sly)`: `1:3: facts.weather has no field "sly": did you mean "sky"?`,
		`facts.weather[?"busan"].?skies`: `1:23: facts.weather has no field "skies": known are dust, sky`, "facts.weather.seoul.dus": `1:19: facts.weather has no field "dus": did you mean "dust"?`, `facts.weather["busan"][event.properties.city]`: "error: no such key: seoul",

		"before.oen > 1": `1:0: nothing here is named "before.oen": did you mean "before.one"?`, "1 < before.sessions": `1:4: nothing here is named "before.sessions": known are before.by, before.one, before.profile`, "before.later": `1:0: nothing here is named "before.later": not in when_due`,
		"one > 1 &&\n  before\n .onee > 1": `2:2: nothing here is named "before.onee": did you mean "before.one"?`, "before": "1:0: before has no value of its own: known are before.by, before.one, before.profile", "before[\"one\"]": "1:0: before has no value of its own: known are before.by, before.one, before.profile",
		"has(before.one)": "1:4: before.one is always there: has() and .? do not apply to it: write before.one", "before.?one": "1:0: before.one is always there: has() and .? do not apply to it: write before.one", "before.item.one": `1:0: nothing here is named "before.item": known are before.by, before.one, before.profile`,
		"local.hours == 1": `1:0: nothing here is named "local.hours": did you mean "local.hour"?`, "row.mni": `1:0: nothing here is named "row.mni": did you mean "row.min"?`, "facts.wether[\"x\"].y": `1:0: nothing here is named "facts.wether": did you mean "facts.weather"?`, `row.catégorie == "bag"`: `1:4: "catégorie" is no identifier: a name after row. has letters, digits and _ only`,
		"evnt.properties.x": `1:0: nothing here is named "evnt"`, "x.local.hour": `1:0: nothing here is named "x"`, "before.one-foo": `1:11: nothing here is named "foo"`, "row.min-price": `1:8: nothing here is named "price"`, "facts.weather.a-b": `1:14: "a-b" is no identifier: write facts.weather["a-b"]`,
		"has(row.min-price)": "1:11: has() asks whether a field is there: such as has(event.properties.price); a feature and profile are always there", "event.name.substrng(1)": `1:19: there is no function "substrng": did you mean "substring"?`, "mx(1)": `1:2: there is no function "mx": did you mean "max"?`, "zzzzzz(1)": `1:6: there is no function "zzzzzz": the functions are in config/LANGUAGE.md`, "coupon.code": `1:0: nothing here is named "coupon"`,
	} {
		got := evaluate(l, src, v)
		if got != want && !(strings.HasPrefix(want, "error: ") && strings.HasPrefix(got, want)) {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
}

// TestDottedShortcuts: conditions on names with dots run without CEL and give what
// CEL gives.
func TestDottedShortcuts(t *testing.T) {
	l := language(t)
	for src, quick := range map[string]bool{
		"before.one > 39": true, "one > before.one": true, `before.by["17"] >= 1`: true, "before.by[event.properties.category] == 0": true, "event.properties.category in before.by": true, "before.by[row.category] == 0": true,
		"local.hour >= 11 && local.hour < 21": true, `local.weekday in ["sat", "sun"]`: true, `local.weekday in [row.category, "sat"]`: true, `event.properties.category in [row.category, row.min, "x"]`: true, `event.properties.category in [fails, "bag"]`: true,
		"event.properties.category == row.category": true, "event.properties.n >= row.min": true, "row.on": true, "!row.on || row.min < 2": true, "row.id == 820982911946154508": true, "sum == 5": true, "fails > 1": true,
		`before.profile.tier == "gold"`: false, "facts.weather[event.properties.city].dust > 80": false,
	} {
		x := l.Compile(src, cel.BoolType, func(_, _ int, what, _ string) { t.Errorf("%s: %s", src, what) })
		if x == nil {
			continue
		}
		if (x.quick != nil) != quick {
			t.Errorf("%s: has a shortcut: %v, want %v", src, x.quick != nil, quick)
			continue
		}
		for _, category := range []string{`"bag"`, `"x"`, "3", "null"} {
			v := see(`"city":"seoul","n":5,"category":` + category)
			v.one = value.OfInt(41)
			want, wantErr := x.Eval(v)
			if quick {
				if got, ok := x.quick(v); ok && (wantErr != nil || got.CEL() != want) {
					t.Errorf("%s, category %s: %v, CEL gives %v, %v", src, category, got.CEL(), want, wantErr)
				}
			}
			got, err := x.Holds(v)
			if (err == nil) != (wantErr == nil) || err == nil && ref.Val(value.OfBool(got).CEL()) != want {
				t.Errorf("%s, category %s holds: %v, %v; CEL gives %v, %v", src, category, got, err, want, wantErr)
			}
		}
	}
}

// TestFailingVariable: the error of a variable that cannot be read is that of the
// expression, with the same text, and counts as missing if it says so.
func TestFailingVariable(t *testing.T) {
	l := language(t)
	v := see(`"a":1`)
	for src, want := range map[string]string{
		"fails": "no such key: price", "fails > 1.0": "no such key: price", "fails > 1.0 || 1 == 2": "no such key: price", "[1, 2].exists(i, i > fails)": "no such key: price", "broken.x": "division by zero", "event.properties.a > broken": "division by zero",
		"[fails].max()": "no such key: price", "[1].max_by(i, fails)": "no such key: price", "has(broken.x)": "division by zero", "broken.?x.orValue(1)": "division by zero", "true ? broken : 1": "division by zero", "by[broken]": "division by zero",
	} {
		x := l.Compile(src, nil, func(_, _ int, what, _ string) { t.Fatalf("%s: %s", src, what) })
		_, err := x.Eval(v)
		if err == nil || err.Error() != want || IsMissing(err) != strings.HasPrefix(want, "no such key") {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
		if _, err := x.Holds(v); err == nil || err.Error() != want {
			t.Errorf("%s holds: %v, want %s", src, err, want)
		}
		if _, err := x.Value(v); err == nil || err.Error() != want {
			t.Errorf("the value of %s: %v, want %s", src, err, want)
		}
	}
	for _, src := range []string{"fails > 1.0 || sum == 5", "event.properties.a == 1 || broken"} {
		x := l.Compile(src, cel.BoolType, func(_, _ int, what, _ string) { t.Fatalf("%s: %s", src, what) })
		if ok, err := x.Holds(v); err != nil || !ok {
			t.Errorf("%s: %v, %v", src, ok, err)
		}
	}
}

// TestReads: the names that an expression reads, without those that it binds.
func TestReads(t *testing.T) {
	l := language(t)
	for src, want := range map[string]string{
		"before.one > 1 && sum > 2": "before.one sum", "facts.weather[event.properties.city].dust > row.min": "facts.weather event row.min", "[1].exists(i, i > sum)": "sum", "counted.max_by(one, one + sum)": "counted sum", "one.exists(one, one == 1)": "one",
		"[1].exists(now, .now == timestamp(now))": "now", "cel.bind(x, sum, x + x) > 1": "sum", "type(sum) == type(1)": "sum", "true": "", `local.weekday in ["sat"]`: "local.weekday", "has(before.profile.x)": "before.profile",
	} {
		x := l.Compile(src, nil, func(_, _ int, what, _ string) { t.Fatalf("%s: %s", src, what) })
		if got := strings.Join(x.Reads, " "); got != want {
			t.Errorf("%s reads %q, want %q", src, got, want)
		}
	}
	parts := l.Conjuncts("sum > 1 && one > before.one", func(_, _ int, what, _ string) { t.Fatal(what) })
	if got := parts[1].Reads; !slices.Equal(got, []string{"one", "before.one"}) || len(parts[0].Reads) != 1 || parts[1].Text != "one > before.one" {
		t.Errorf("%s reads %q, %s reads %q", parts[0].Text, parts[0].Reads, parts[1].Text, got)
	}
	if got := l.Conjuncts(`counted.max_by(i, i) == "b" && sum > 1`, nil)[0].Text; got != `counted.max_by(i, i) == "b"` {
		t.Errorf("the text is %s", got)
	}
	var fields event.Fields
	parts[0].AddFields(&fields)
	if x := l.Compile(`[1].exists(event, .event.properties.a == event) || event.?traits.b.hasValue() || event.context["c"] == 1`, nil, func(_, _ int, what, _ string) { t.Fatal(what) }); x != nil {
		x.AddFields(&fields)
	}
	var want event.Fields
	want.Add("properties", "a")
	want.Add("traits", "b")
	want.Add("context", "c")
	want.Name = true // of `event` in the loop: what a variable of a loop is called is not looked at
	want.AddItems()
	want.Add("properties")
	want.Add("traits")
	want.Add("context")
	if fields.Key() != want.Key() {
		t.Errorf("fields %q, want %q", fields.Key(), want.Key())
	}
}

// TestEquality: the conditions that are recognised as equalities with texts of the
// event.
func TestEquality(t *testing.T) {
	l := language(t)
	for src, want := range map[string]string{
		`event.properties.c == "a"`: `properties.c: "a"`, `"a" == event.properties.c`: `properties.c: "a"`, "event.properties.c == row.category": "properties.c: category", "row.category == event.context.page.c": "context.page.c: category", `event.properties["c d"] == row.min`: "properties.c d: min",
		`event.properties.c in [row.category, "b", row.min]`: `properties.c: category "b" min`, `event.properties.c == row.category || row.min == event.properties.c || event.properties.c in ["x"]`: `properties.c: category min "x"`, "event.properties.c in []": "properties.c:",
		"event.properties.c == row.category || event.properties.d == row.min": "", "event.properties.c == one": "", "event.properties.c in [row.category, one]": "", "event.properties.c == row.category.x": "", "event.properties.c != row.category": "", `event.properties.c in [?optional.of("a")]`: "", "local.weekday == row.category": "", "event.properties.c == before.one": "",
	} {
		x := l.Compile(src, cel.BoolType, func(_, _ int, what, _ string) { t.Fatalf("%s: %s", src, what) })
		path, values := x.Equality()
		got := ""
		if path != nil {
			got = strings.Join(path, ".") + ":"
			for _, v := range values {
				if v.Row != "" {
					got += " " + v.Row
				} else {
					got += ` "` + v.Text + `"`
				}
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", src, got, want)
		}
	}
}

// TestMadeMaps: a map that an expression makes cannot be looped over in it, and
// iterates in the order of its keys where it leaves it.
func TestMadeMaps(t *testing.T) {
	l := language(t)
	const no = ": a comprehension over a map literal has no fixed order: use a list"
	for src, want := range map[string]string{
		`{"b": 1, "a": 2}.map(k, k)`: "1:20" + no, `cel.bind(m, {"b": 1, "a": 2}, m.map(k, k))`: "1:35" + no, `[{"b": 1, "a": 2}].map(m, m.map(k, k))`: "1:31" + no, `by.transformMap(k, v, v + 1).map(k, k)`: "1:32" + no, `cel.bind(m, by.transformMap(k, v, v + 1), m.values())`: "1:50: a map literal has no fixed order: use a list",
		`event.items.filter(i, i.s in {"a": 1}).map(i, i.s)`: `["a"]`, `by.transformMap(k, v, v + 1)["17"]`: "3", `["b", "a"].filter(k, {"a": 1}[?k].hasValue()).map(k, k)`: `["a"]`, "by.map(k, by[k])": "[4,2,3,5,6]",
	} {
		if got := evaluate(l, src, see(`"s":"a"`)); got != want {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
	const wide = `{"k07": 7, "k3": {"z": 1, "y": 2, "x": 3, "w": 4}, "k05": 5, "k01": 1, "k04": 4, "k02": 2, "k06": 6, "k00": 0, 10: 10, 9: 9}`
	loop, err := l.Env().Extend(cel.Variable("m", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	read := NewLanguage(loop, viewNames)
	for make, src := range map[string]string{wide: `m.map(k, string(k)) + m.k3.map(k, k)`, "[" + wide + "]": `m[0].map(k, string(k)) + m[0].values()[6].map(k, k)`, "[optional.of(" + wide + ")]": `m[0].optMap(n, n.map(k, string(k)) + n.k3.map(k, k)).value()`, "one == 1 ? dyn(1) : dyn(" + wide + ")": `m.map(k, string(k)) + m.k3.map(k, k)`} {
		x := l.Compile(make, nil, func(_, _ int, what, _ string) { t.Fatalf("%s: %s", make, what) })
		made, err := x.Eval(see(""))
		if err != nil {
			t.Fatal(err)
		}
		v := &variable{see(""), made}
		if got := evaluate(read, src, v); got != `["10","9","k00","k01","k02","k04","k05","k06","k07","k3","w","x","y","z"]` && !strings.Contains(src, "values") || strings.Contains(src, "values") && !strings.HasPrefix(got, "error") {
			t.Errorf("%s of %s: %s", src, make, got)
		}
	}
}

// A variable is a Scope with a variable `m`.
type variable struct {
	*view
	m ref.Val
}

func (v *variable) ResolveName(name string) (any, bool) {
	if name == "m" {
		return v.m, true
	}
	return v.view.ResolveName(name)
}

// TestTemplateOfOtherNames: templates take the names of their own language, and
// tell which they read.
func TestTemplateOfOtherNames(t *testing.T) {
	l := language(t)
	env, err := l.Env().Extend(cel.Variable("coupon.code", cel.StringType), cel.Variable("coupon.expires", cel.TimestampType), cel.Variable("item", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	templates := NewLanguage(env, viewNames)
	const data = `{"a":"{{ item.name }} with {{ coupon.code }} until {{ coupon.expires }}","b":["{{ row.min }}","{{ item.price * 2 }}"],"c":"{{ facts.weather[item.city].dust }}","d":1}`
	tmpl := templates.Template([]byte(data), func(_ []string, _, _ int, what, hint string) { t.Fatal(what, hint) })
	got, err := tmpl.Render(&coupons{see(`"name":"Bag","price":5,"city":"busan"`)})
	if want := `{"a":"Bag with ABC until 1970-01-01T00:00:01Z","b":[3,10],"c":7.5,"d":1}`; err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	var reads []string
	tmpl.Each(func(x *Expr) { reads = append(reads, x.Reads...) })
	if want := []string{"item", "coupon.code", "coupon.expires", "row.min", "item", "facts.weather", "item"}; !slices.Equal(reads, want) {
		t.Errorf("reads %q, want %q", reads, want)
	}
	var found []string
	templates.Template([]byte(`{"x":"a {{ coupon.cod }}"}`), func(_ []string, line, col int, what, hint string) { problems(&found)(line, col, what, hint) })
	if want := `1:5: nothing here is named "coupon.cod": did you mean "coupon.code"?`; strings.Join(found, "; ") != want {
		t.Errorf("%q, want %q", found, want)
	}
}

// coupons is a Scope with a coupon.
type coupons struct{ *view }

func (c *coupons) ResolveName(name string) (any, bool) {
	switch name {
	case "coupon.code":
		return value.OfString("ABC").CEL(), true
	case "coupon.expires":
		return value.CELTime(1e9), true
	}
	return c.view.ResolveName(name)
}

// TestLooseRows: an int is compared with a row's field, and a double with an int
// in the loosened environment, also where a row takes part.
func TestLooseRows(t *testing.T) {
	l := language(t)
	vars := func(total *cel.Type) *cel.Env {
		env, err := l.Env().Extend(cel.Variable("total", total))
		if err != nil {
			t.Fatal(err)
		}
		return env
	}
	strict := NewLanguage(vars(cel.DoubleType), viewNames)
	strict.Loosen(vars(cel.DynType))
	for _, src := range []string{"total == row.min", "total == 0", "total == 0 && sum == row.min", "sum == row.min || total >= row.min", "local.hour == row.min && total != 3"} {
		strict.Compile(src, cel.BoolType, func(_, _ int, what, _ string) { t.Errorf("%s: %s", src, what) })
	}
}

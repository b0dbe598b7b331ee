package expr

import (
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// TestExactNumbers: the value of each expression, as JSON, or its error.
func TestExactNumbers(t *testing.T) {
	l := language(t)
	v := see(`"n":4,"edge":9007199254740992,"f":2.5,"z":-0,"id":820982911946154508,"id2":820982911946154509,"u":18446744073709551615,"long":1000000000000000000000000000001,"long2":1000000000000000000000000000000,
		"big":8930509029688,"huge":1e309,"minus":-9007199254740993,"ids":[17,820982911946154509,820982911946154508,1000000000000000000000000000001],"o":{"id":820982911946154508},"t":"17","s":"text","b":true`)
	v.one = value.OfInt(7)
	for src, want := range map[string]string{
		// shown
		"P.id": "820982911946154508", "P.long": "1000000000000000000000000000001", "P.z": "0", "-P.z": "0", "P.ids": "[17,820982911946154509,820982911946154508,1000000000000000000000000000001]",
		"P.o": `{"id":820982911946154508}`, "P.huge": "error: +Inf is not", "[P.id2, 1.5]": "[820982911946154509,1.5]", `{"a": P.id}`: `{"a":820982911946154508}`, `{1: 2, "1": 3}`: "error: two keys",
		// string() and format
		"string(P.big)": `"8930509029688"`, `"p/" + string(P.big)`: `"p/8930509029688"`, "P.ids.map(i, string(i))": `["17","820982911946154509","820982911946154508","1000000000000000000000000000001"]`,
		"string(P.id)": `"820982911946154508"`, "string(12900000.0)": `"12900000"`, "string(P.z)": `"0"`, "string(-0.0)": `"0"`, "string(1e21)": `"1000000000000000000000"`, "string(P.f)": `"2.5"`,
		"string(7)": `"7"`, "string(7u)": `"7"`, "string(true)": `"true"`, `string("a")`: `"a"`, `string(b"a")`: `"a"`, `string(duration("90s"))`: `"90s"`, "string(now)": `"1970-01-01T00:00:00Z"`,
		"string(P.huge)": "error: +Inf is not", "string(P.s)": `"text"`, "string(P.ids)": "error: ", "string(dyn(null))": "error: ",
		`"%s %d".format([P.id, P.id2])`: `"820982911946154508 820982911946154509"`, `"%s|%d|%s".format([P.long, P.long, P.ids])`: `"1000000000000000000000000000001|1000000000000000000000000000001|[17, 820982911946154509, 820982911946154508, 1000000000000000000000000000001]"`,
		`"%d%% %x %b %.1f %d %s".format([P.n, P.n, P.n, P.n, P.z, P.o])`: `"4% 4 100 4.0 0 {id: 820982911946154508}"`, `"%x".format([P.f])`: "error: ", `"%d".format([P.s])`: "error: ",
		// comparisons
		"P.id == 820982911946154508": "true", "P.id == 820982911946154509": "false", "820982911946154508 == P.id": "true", "820982911946154509 == P.id": "false", "P.id == P.id2": "false", "P.id != P.id2": "true",
		"P.id < P.id2": "true", "P.id2 <= P.id": "false", "P.id > 820982911946154507": "true", "P.id >= 820982911946154509": "false", "820982911946154507 < P.id": "true", "P.u > 18446744073709551614u": "true",
		"P.u == 18446744073709551615u": "true", "P.long == P.long2": "true", "P.long == 1e30": "true", "1e30 == P.long": "true", "P.long > 1e29": "true", "P.minus == -9007199254740993": "true", "P.minus == -9007199254740992": "false",
		"P.minus < -9007199254740992": "true", "dyn(9007199254740993) == 9007199254740992.0": "false", "9007199254740992.0 < 9007199254740993": "true", "P.n == 4": "true", "P.n == 4u": "true", `P.id == "820982911946154508"`: "false",
		"P.id == null": "false", "P.s < 3": "error: no such overload", "P.s < P.id": "error: no such overload", "P.huge > P.long": "true", "P.id < dyn(0.0) / 0.0": "false", "P.id != dyn(0.0) / 0.0": "true",
		// in, lists and maps
		"P.id in [820982911946154508, 5]": "true", "P.id in [820982911946154509, 5]": "false", "820982911946154508 in P.ids": "true", "820982911946154507 in P.ids": "false", "P.long in [1e30]": "true", "1e30 in P.ids": "true", "P.id in P.ids": "true",
		"P.n in [1, 4]": "true", "P.n in [4.0]": "true", "P.id in [1, 4]": "false", "P.edge in [9007199254740992]": "true", "P.minus in [-9007199254740993, 1]": "true", `P.s in ["text"]`: "true", "P.ids == [17, 820982911946154509, 820982911946154508, 1e30]": "true", "P.ids == [17, 820982911946154508, 820982911946154508, 1e30]": "false",
		`P.o == {"id": 820982911946154508}`: "true", `{"id": 820982911946154509} == P.o`: "false", "P.ids.exists(i, i == 820982911946154508)": "true", "P.ids.filter(i, i > 820982911946154508).size()": "2",
		"sets.contains(P.ids, [820982911946154508])": "true", "sets.contains(P.ids, [820982911946154507])": "false", "sets.intersects([820982911946154508], P.ids)": "true", "P.ids.hasAll([820982911946154509])": "true", "[820982911946154508].hasAny(P.ids)": "true",
		"[P.long, P.id2, P.id, 17].map(i, dyn(i)).sort()": "[17,820982911946154508,820982911946154509,1000000000000000000000000000001]", "[17, P.id2, P.id, P.f].sortBy(i, -i)": "[820982911946154509,820982911946154508,17,2.5]", "[P.id, 820982911946154508, P.id2].map(i, dyn(i)).distinct().size()": "2",
		`["b", "a"].sort()`: `["a","b"]`, "[dyn(1), 2.5, 2u].sort()": "[1,2,2.5]", `[dyn(1), "a"].sort()`: "error: values of different types", "[dyn(null)].sort()": "error: a null_type cannot",
		"math.greatest(P.id, P.id2)": "820982911946154509", "math.least(P.ids)": "17", "math.greatest(P.ids)": "1000000000000000000000000000001", "math.greatest(P.n, 820982911946154509)": "820982911946154509", "math.least(P.id, P.n, 3.5)": "3.5",
		"math.greatest(P.id)": "820982911946154508", "math.greatest(P.s, 1)": "error: a number is wanted",
		// keys
		"by[P.id]": "3", "by[P.id2]": "0", "by[P.long]": "4", "by[dyn(17)]": "2", "by[dyn(17.0)]": "2", "by[dyn(17u)]": "2", "by[P.t]": "2", `by["17"]`: "2", `by[dyn(duration("90s"))]`: "5", "by[P.b]": "6", "by[?P.id]": "3",
		"P.id in by": "true", "P.id2 in by": "false", "dyn(17.0) in by": "true", "P.long in by": "true", "string(P.id) in by": "true", "by[dyn(null)]": "error: ", "dyn(null) in by": "false",
		`{"4": "four"}[P.n]`: `"four"`, `{4: "four"}[P.n]`: `"four"`, "{820982911946154508: 1}[P.id]": "1", `{"820982911946154508": 1}[P.id]`: "1", "{820982911946154509: 1}[P.id]": "error: no such key", `P.n in {"4": 1}`: "true", "P.id in {820982911946154508: 1}": "true", "P.n in {5: 1}": "false",
		"event.properties.ids[P.b ? dyn(1) : dyn(2)]": "820982911946154509", "P.ids[P.id]": "error: index out of bounds",
		// arithmetic
		"P.id + 0": "820982911946154500", "P.id2 - P.id": "0", "P.id * 1": "820982911946154500", "-P.id": "-820982911946154500", "P.long / 1e30": "1", "P.n * 2": "8", "P.n * 2u": "8", "2u * P.n": "8", "P.n + 2u": "6", "P.f - 1u": "1.5", "P.n / 3u > 1.3": "true",
		"7 / 2": "3", "dyn(7) / dyn(2)": "3", "P.?x.orValue(7) / 2": "3", "one / 2": "3", "3 * 2u": "6", "2u - 3": "-1", "2u * 2.5": "5", "3 % 2u": "1", "18446744073709551615u + 1": "error: ",
		"P.n % 2 == 0": "true", "P.n % 3": "1", "-P.n % 3": "-1", "P.f % 2": "0.5", "P.n % 2u": "0", "7 % 4": "3", "P.n % 0": "error: modulus by zero", "P.id % 2": "0", "7.5 % 2.0": "1.5", "P.s % 2": "error: no such overload",
		// functions that take an int
		"event.name.substring(0, P.n)": `"abcd"`, "event.name.substring(P.n)": `"ef"`, "event.name.charAt(P.n)": `"e"`, `event.name.indexOf("f", P.n)`: "5", `event.name.lastIndexOf("a", P.n)`: "0", `"a-a-a-a-a-a".replace("-", "", P.n)`: `"aaaaa-a"`, `"a-b-c".split("-", P.n).size()`: "3",
		"[1, 2, 3, 4, 5].slice(0, P.n)": "[1,2,3,4]", "[[[[[1]]]]].flatten(P.n)": "[1]", "timestamp(P.n)": `"1970-01-01T00:00:04Z"`, "timestamp(P.big)": "error: ", "math.bitAnd(P.n, 5)": "4", "math.bitAnd(P.n, 5u)": "4", "math.bitShiftLeft(P.n, 1)": "8", "math.bitNot(P.n)": "-5",
		"event.name.substring(0, P.f)": "error: 2.5 is no whole number", "event.name.substring(0, P.id)": "error: index out of range", "event.name.charAt(P.s)": "error: no such overload", "[1, 2, 3, 4, 5][P.n]": "5",
		// conversions and functions that take a double
		"int(P.id)": "820982911946154508", "int(P.id2) - int(P.id)": "1", "uint(P.u)": "18446744073709551615", "int(P.u)": "error: ", "double(P.id)": "820982911946154500", "int(P.f)": "2", "math.ceil(P.id)": "820982911946154500", "math.abs(P.minus)": "9007199254740992", "math.sign(P.id)": "1",
		"math.sqrt(P.long) > 9e14": "true", "math.round(P.f)": "3", "math.isFinite(P.long)": "true", "math.floor(P.n)": "4",
	} {
		src := strings.ReplaceAll(src, "P.", "event.properties.")
		var found []string
		x := l.Compile(src, nil, problems(&found))
		if x == nil {
			if !slices.ContainsFunc(found, func(p string) bool { return strings.Contains(p, "always fails: "+strings.TrimPrefix(want, "error: ")) }) {
				t.Errorf("%s: %v", src, found)
			}
			continue
		}
		got := ""
		result, err := x.Eval(v)
		if err == nil {
			var b []byte
			b, err = value.AppendJSON(nil, result)
			got = string(b)
		}
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want && !(strings.HasPrefix(want, "error: ") && strings.HasPrefix(got, want)) {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
}

// TestShortcuts: shortcuts of comparisons give exactly what CEL gives.
func TestShortcuts(t *testing.T) {
	l := language(t)
	literals := []string{"0", "17", "-17", "17.0", "2.5", "9007199254740991", "9007199254740992", "9007199254740993", "9007199254740992.0", "-9007199254740993", "9223372036854775807",
		"9223372036854775808.0", "-9223372036854775807", "18446744073709551616.0", "1e30", `"17"`, "true", "null", "one", "event.properties.y"}
	numbers := []string{"0", "-0", "-0.0", "17", "17.0", "2.5", "9007199254740991", "9007199254740992", "9007199254740993", "9007199254740992.0", "-9007199254740993", "9223372036854775807", "9223372036854775808",
		"-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616", "1000000000000000000000000000000", "1000000000000000000000000000001", "1e30", "1e309", "-1e309", `"17"`, "true", "null", "[17]"}
	quick := 0
	for _, form := range []string{"event.properties.x == L", "L != event.properties.x", "event.properties.x < L", "L <= event.properties.x", "event.properties.x > L", "event.properties.x >= L || L == one",
		"one == event.properties.x", "by[event.properties.x] > 1", "event.properties.x in by", `event.properties.x in ["17", "a"]`} {
		for _, literal := range literals {
			src := strings.ReplaceAll(form, "L", literal)
			x := l.Compile(src, cel.BoolType, func(int, int, string, string) {})
			if x == nil || x.quick == nil {
				continue // the checker refuses it, or CEL evaluates it
			}
			for _, n := range numbers {
				for _, one := range []value.Value{value.OfInt(1<<53 + 1), value.OfDouble(1 << 53), value.OfJSON(fastjson.MustParse("9223372036854775808")), {}} {
					v := see(`"x":` + n + `,"y":9007199254740993`)
					v.one = one
					got, ok := x.quick(v)
					if !ok {
						continue
					}
					quick++
					want, err := x.Eval(v)
					if err != nil || got.CEL() != want {
						t.Errorf("%s, x = %s, one = %v: %v, CEL gives %v (%v)", src, n, one.CEL(), got.CEL(), want, err)
					}
				}
			}
		}
	}
	if quick < 5000 {
		t.Errorf("only %d shortcuts were taken", quick)
	}
}

// TestAlwaysFails: what check says of parts that fail whenever they are evaluated.
func TestAlwaysFails(t *testing.T) {
	for src, want := range map[string]string{
		"1 / 0 == 1": "1:2: this always fails: division by zero", "event.name == \"a\" || 1 % 0 == 1": "1:23: this always fails: modulus by zero", `int("x") == 1`: "1:3: this always fails: type conversion error from 'string' to 'int'",
		"[1][5] == 1": "1:3: this always fails: index out of bounds: 5", `{"a": 1}.b == 1`: "1:8: this always fails: no such key: b", "9223372036854775807 + 1 > 0": "1:20: this always fails: integer overflow",
		"[1, 2].exists(i, i / 0 == 1)": "1:13: this always fails: division by zero", "[1].exists(i, i == event.properties.n || 1 / 0 == i)": "1:43: this always fails: division by zero", "cel.bind(x, 1 / 0, x == event.properties.n)": "1:14: this always fails: division by zero",
		`event.name.matches("(")`: "", "false && 1 / 0 == 1": "", "true || 1 / 0 == 1": "", "1.0 / 0.0 > 1.0": "", "event.properties.n / 0 == 1": "", "[1, 2].exists(i, i == 1 || i / 0 == 1)": "", `duration("1d") > duration("1h")`: "",
	} {
		var found []string
		language(t).Compile(src, cel.BoolType, problems(&found))
		if strings.Contains(src, "matches") {
			continue
		}
		if got := strings.Join(found, "; "); got != want {
			t.Errorf("%s: %q, want %q", src, got, want)
		}
	}
}

// TestTemplatesAlwaysFail: what check says of templates that can never be filled in.
func TestTemplatesAlwaysFail(t *testing.T) {
	const never = ", so the offer would never be sent"
	for text, want := range map[string]string{
		"{{ null }}": "1:2: the value is always null" + never, "a {{ null }}": "1:4: the value is always null" + never, "{{ dyn(null) }}": "1:2: the value is always null" + never, "{{ event.properties.n == 1 ? null : null }}": "1:2: the value is always null" + never,
		"a {{ event.items }}": "1:4: a list has no text" + never, "{{ 0.0 / 0.0 }}": "1:2: the offer would never be sent: NaN is not a number that can be shown", "a\n{{ 1.0 / 0.0 }}": "2:2: the offer would never be sent: +Inf is not a number that can be shown",
		"{{ 1 / 0 }}": "1:5: this always fails: division by zero", "a {{ 1 }} {{ [1] }}": "1:12: a list has no text" + never, "{{ {1: 2, \"1\": 3} }}": `1:2: the offer would never be sent: two keys of the map have the text "1"`,
		"{{ event.items }}": "", "a {{ event.properties.n }}": "", "{{ 7 }}": "", "{{ [null] }}": "", "null": "", "{{ event.properties.n == 1 ? dyn(null) : 1 }}": "",
	} {
		data, _ := value.AppendJSON(nil, value.OfString(text).CEL())
		var found []string
		language(t).Template(data, func(_ []string, line, col int, what, hint string) { problems(&found)(line, col, what, "") })
		if got := strings.Join(found, "; "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestMisnamed: how check says to write a name that is no identifier.
func TestMisnamed(t *testing.T) {
	for src, want := range map[string]string{
		"event.properties.상품 == 1":                           `1:17: "상품" is no identifier: write event.properties["상품"]`,
		"event.properties.product-id == 1":                   `1:17: "product-id" is no identifier: write event.properties["product-id"]`,
		"event.properties.product-line-id == 1":              `1:17: "product-line-id" is no identifier: write event.properties["product-line-id"]`,
		"event.properties.product id == 1":                   `1:17: "product id" is no identifier: write event.properties["product id"]`,
		`event.properties["a.b"].größe == 1`:                 `1:24: "größe" is no identifier: write event.properties["a.b"]["größe"]`,
		`event.name == "x.상" && event.properties.이름 == 1`:    `1:40: "이름" is no identifier: write event.properties["이름"]`,
		"event.name == \"x\" &&\n  event.properties.이름 == 1": `2:19: "이름" is no identifier: write event.properties["이름"]`,
		"has(event.properties.상품)":                           `1:21: "상품" is no identifier: write "상품" in event.properties`,
		"has(event.properties.product-id)":                   `1:21: "product-id" is no identifier: write "product-id" in event.properties`,
		"event.properties.?상품.orValue(1) == 1":               `1:18: "상품" is no identifier: write event.properties[?"상품"]`,
		"event.items.exists(i, i.3d == 1)":                   `1:24: "3d" is no identifier: write i["3d"]`,
		"event.properties.$price == 1":                       `1:17: "$price" is no identifier: write event.properties["$price"]`,
		"event.properties.in == 1":                           `1:17: "in" is no identifier: write event.properties["in"]`,
		"상품 == 1":                                            `1:0: "상품" is no identifier: a property is event.properties["상품"]`,
		"event.properties.x-1 == 1":                          "",
		"event.properties.x - y == 1":                        `1:21: nothing here is named "y"`,
		`event.properties["상품"] == 1`:                        "",
	} {
		var found []string
		language(t).Compile(src, cel.BoolType, problems(&found))
		if got := strings.Join(found, "; "); got != want {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
}

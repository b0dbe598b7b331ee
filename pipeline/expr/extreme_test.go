package expr

import (
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// ranked is the type of an element of a list of structs, as of a `top`.
var ranked = value.NewStruct("Ranked", map[string]value.Field{
	"key":   {Type: cel.StringType, Get: func(v any) ref.Val { return value.OfString(v.(string)).CEL() }},
	"score": {Type: cel.DoubleType, Get: func(v any) ref.Val { return value.OfDouble(float64(len(v.(string)))).CEL() }},
})

// evaluate is the value of an expression as JSON, or its error, or what check says.
func evaluate(l *Language, src string, sc Scope) string {
	var found []string
	x := l.Compile(src, nil, problems(&found))
	if x == nil {
		return strings.Join(found, "; ")
	}
	v, err := x.Eval(sc)
	if err != nil {
		return "error: " + err.Error()
	}
	b, err := value.AppendJSON(nil, v)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(b)
}

// TestExtremes: what max_by, min_by, max, min and values give, also of JSON.
func TestExtremes(t *testing.T) {
	l := language(t)
	v := see(`"items":[{"n":"a","p":5,"s":"x"},{"n":"b","p":820982911946154509,"s":"z"},{"n":"c","p":820982911946154508,"s":"z"},{"n":"d","p":820982911946154509,"s":"y"}],
		"none":[],"gap":[{"p":1},{}],"zero":0,"mixed":[1,"a"],"nil":[null],"map":{"b":2,"a":1,"c":820982911946154509},"nested":[[1,5],[7],[]]`)
	for src, want := range map[string]string{
		"P.items.max_by(i, i.p).n": `"b"`, "P.items.min_by(i, i.p).n": `"a"`, "P.items.max_by(i, i.s).n": `"b"`, "P.items.min_by(i, i.s).n": `"a"`, "P.items.filter(i, i.p > 5).min_by(i, i.p).n": `"c"`, "P.items.max_by(i, i.s == \"z\").n": `"b"`,
		"P.items.max_by(i, timestamp(i.n.size())).n": `"a"`, `P.items.max_by(i, duration(string(i.n.size()) + "s")).n`: `"a"`, "P.items.max_by(i, i.n == \"a\" ? dyn(6) : i.n == \"b\" ? dyn(6.5) : dyn(2u)).n": `"b"`,
		"P.none.max_by(i, i.p)": "null", "P.none.max_by(i, i.p) == null": "true", "[].max_by(i, i) == null": "true", "P.none.max()": "null", "[1].filter(i, i > 1).max() == null": "true", "[ranked].filter(i, false).max_by(i, i.score) == null": "true",
		"P.gap.max_by(i, i.p)": "error: no such key: p", "P.mixed.max()": "error: values of different types cannot be ordered", "P.nil.min()": "error: a null_type cannot be ordered", "P.nil.max_by(i, 1)": "null", "P.items.max_by(i, i.n == \"d\" ? null : i.p)": "error: a null_type cannot be ordered",
		"P.items.min_by(i, i.n == \"d\" ? 0.0 / 0.0 : 1.0)": "error: NaN has no order", "[P.zero].map(i, i / i).max()": "error: NaN has no order", "P.none.max_by(i, i.p).n": "error: ", "P.zero.max()": "error: no such overload",
		"[3, 9, 4].max()": "9", "[3, 9, 4].min() + 1": "4", "[3.5, 2.0].min()": "2", "[\"b\", \"a\"].max()": `"b"`, "P.items.map(i, i.p).max()": "820982911946154509", `[duration("1m"), duration("1h")].max()`: `"3600s"`, "[now].min() < now + duration(\"1s\")": "true",
		"P.nested.map(l, l.max()).filter(x, x != null).min()": "5", "[[1, 5], [7, 6]].max_by(l, l.min_by(i, i))": "[7,6]", "[[1], [2, 3]].max_by(l, l.size())[1]": "3",
		"P.map.values()": "[1,2,820982911946154509]", "P.map.values().max()": "820982911946154509", "by.values()": "[4,2,3,5,6]", "by.values().max()": "6", "dyn(by).values().min()": "2", "P.zero.values()": "error: no such overload",
		"[ranked].max_by(i, i.score).key": `"abc"`, "[ranked].max_by(i, i.score).kye": "1:27: nothing here is named \"kye\"", "[ranked].first().value().key": `"abc"`, "P.items.last().n.value()": `"d"`, "P.none.first().hasValue()": "false",
		"P.items.max_by(i, {\"a\": 1})": "1:33: a map(string, int) has no order, so it cannot be the key of max_by: take a number, text, bool, time or duration", "[1].min_by(i, [i])": "1:14: a list(int) has no order, so it cannot be the key of min_by: take a number, text, bool, time or duration",
		"[1].max_by(1, 2)": "1:11: this is to be the name of an element: a name such as i, as in max_by(i, i.price)", `{"b": 1, "a": 2}.values()`: "1:23: a map literal has no fixed order: use a list", "1.max()": "1:5: max() does not apply to an int",
		"[[1]].max()": "1:9: max() does not apply to a list: its elements are to be numbers, texts, times or durations", "now.max_by(i, i)": "1:10: expression of type 'timestamp' cannot be range of a comprehension (must be list, map, or dynamic)",
	} {
		src := strings.ReplaceAll(src, "P.", "event.properties.")
		got := evaluate(l, src, v)
		if got != want && !(strings.HasPrefix(want, "error: ") && strings.HasPrefix(got, want)) {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
}

// TestExtremesOnce: the list is evaluated once, however long it is, and a missing
// field in a key counts as missing.
func TestExtremesOnce(t *testing.T) {
	l := language(t)
	v := see(`"items":[{"p":1},{"p":2},{"q":3}]`)
	x := l.Compile("counted.max_by(i, i)", nil, func(_, _ int, what, _ string) { t.Fatal(what) })
	if got, err := x.Eval(v); err != nil || got.Value() != "b" || v.counted != 1 {
		t.Errorf("%v, %v; the list was read %d times", got, err, v.counted)
	}
	x = l.Compile("event.properties.items.max_by(i, i.p)", nil, func(_, _ int, what, _ string) { t.Fatal(what) })
	if _, err := x.Eval(v); err == nil || !IsMissing(err) {
		t.Errorf("a missing field gives %v", err)
	}
	if !slices.Equal(x.Reads, []string{"event"}) {
		t.Errorf("reads %q", x.Reads)
	}
}

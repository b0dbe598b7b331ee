package value

import (
	"math"
	"slices"
	"testing"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/valyala/fastjson"
)

// TestNumbers: an integer of JSON keeps its digits, as value, text, key and JSON,
// and when it is stored.
func TestNumbers(t *testing.T) {
	for raw, want := range map[string]struct {
		cel  ref.Val
		text string // "": it has none
	}{
		"0": {types.Double(0), "0"}, "-0": {types.Double(0), "0"}, "-0.0": {types.Double(math.Copysign(0, -1)), "0"}, "-1e-400": {types.Double(math.Copysign(0, -1)), "0"},
		"17": {types.Double(17), "17"}, "17.0": {types.Double(17), "17"}, "1.7e1": {types.Double(17), "17"}, "-17": {types.Double(-17), "-17"},
		"999999999999999":  {types.Double(999999999999999), "999999999999999"},
		"8930509029688":    {types.Double(8930509029688), "8930509029688"},
		"9007199254740991": {types.Double(1<<53 - 1), "9007199254740991"}, "-9007199254740991": {types.Double(1 - 1<<53), "-9007199254740991"},
		"9007199254740992": {JSONInteger("9007199254740992"), "9007199254740992"}, "9007199254740993": {JSONInteger("9007199254740993"), "9007199254740993"},
		"9007199254740993.0": {types.Double(1 << 53), "9007199254740992"}, "-9007199254740993": {JSONInteger("-9007199254740993"), "-9007199254740993"},
		"820982911946154508": {JSONInteger("820982911946154508"), "820982911946154508"}, "18446744073709551616": {JSONInteger("18446744073709551616"), "18446744073709551616"},
		"1000000000000000000000000000001": {JSONInteger("1000000000000000000000000000001"), "1000000000000000000000000000001"},
		"1e30":                            {types.Double(1e30), "1000000000000000000000000000000"},
		"1e309":                           {types.Double(math.Inf(1)), ""}, "-1e309": {types.Double(math.Inf(-1)), ""},
	} {
		parsed := fastjson.MustParse(raw)
		got := CELJSON(parsed)
		if got != want.cel {
			t.Errorf("%s is %T(%v), want %T(%v)", raw, got, got, want.cel, want.cel)
		}
		kept, err := Of(got)
		if err != nil || kept != OfJSON(parsed) {
			t.Errorf("%s is kept as %v (%v), and as a trait %v", raw, kept, err, OfJSON(parsed))
		}
		w := Writer{}
		w.Value(kept)
		r := Reader{B: w.B}
		if back := r.Value(); back != kept || r.Done() != nil || back.CEL() != got {
			t.Errorf("%s is stored as %v", raw, back)
		}
		key, isKey := AliasJSONKey(parsed)
		text, err := PrintText(got)
		written, _ := AppendJSON(nil, got)
		asKey, ok := KeyText(got)
		for _, s := range []string{key, text, string(written), asKey} {
			if s != want.text {
				t.Errorf("%s: key %q, text %q, JSON %s, key of an expression %q; want %q", raw, key, text, written, asKey, want.text)
				break
			}
		}
		if has := want.text != ""; isKey != has || ok != has || (err == nil) != has {
			t.Errorf("%s: is a key %t, %t; error %v", raw, isKey, ok, err)
		}
	}
}

// TestKeys: what can be a key.
func TestKeys(t *testing.T) {
	for v, want := range map[ref.Val]string{
		types.Int(17): "17", types.Uint(17): "17", types.Double(17): "17", types.String("17"): "17", types.True: "true",
		OfDuration(90e9).CEL(): "90s", CELTime(0): "1970-01-01T00:00:00Z", types.Double(math.NaN()): "", types.Double(math.Inf(1)): "", types.NullValue: "",
	} {
		if got, ok := KeyText(v); got != want || ok != (want != "") {
			t.Errorf("%v as a key is %q, %t; want %q", v, got, ok, want)
		}
	}
	for _, raw := range []string{"null", "[1]", "{}"} {
		if key, ok := KeyText(CELJSON(fastjson.MustParse(raw))); ok {
			t.Errorf("%s is the key %q", raw, key)
		}
	}
}

// TestCompare: numbers in ascending order; those of one line are equal.
func TestCompare(t *testing.T) {
	inf := types.Double(math.Inf(1))
	ascending := [][]ref.Val{
		{-inf},
		{JSONInteger("-1000000000000000000000000000000"), types.Double(-1e30)},
		{types.Double(-0x1p64)},
		{JSONInteger("-9223372036854775808"), types.Int(math.MinInt64), types.Double(-0x1p63)},
		{JSONInteger("-9223372036854775807"), types.Int(-math.MaxInt64)},
		{types.Int(-9007199254740993), JSONInteger("-9007199254740993")},
		{types.Double(-9007199254740992), types.Int(-9007199254740992)},
		{types.Double(-0.5)},
		{types.Double(0), types.Double(math.Copysign(0, -1)), types.Int(0), types.Uint(0)},
		{types.Double(0.5)},
		{types.Double(17), types.Int(17), types.Uint(17)},
		{types.Double(17.5)},
		{types.Int(1 << 53), types.Double(1 << 53), JSONInteger("9007199254740992"), types.Uint(1 << 53)},
		{types.Int(1<<53 + 1), JSONInteger("9007199254740993")},
		{JSONInteger("820982911946154508"), types.Int(820982911946154508)},
		{JSONInteger("820982911946154509")},
		{JSONInteger("9223372036854775807"), types.Int(math.MaxInt64)},
		{JSONInteger("9223372036854775808"), types.Uint(1 << 63), types.Double(0x1p63)},
		{JSONInteger("18446744073709551614"), types.Uint(math.MaxUint64 - 1)},
		{types.Double(1e30), JSONInteger("1000000000000000000000000000000"), JSONInteger("1000000000000000000000000000001")},
		{inf, JSONInteger("1" + string(slices.Repeat([]byte("0"), 400)))},
	}
	for i, as := range ascending {
		for j, bs := range ascending {
			want := types.Int(0)
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			for _, a := range as {
				for _, b := range bs {
					if got := Compare(a, b); got != want {
						t.Errorf("%T(%v) and %T(%v): order %v, want %v", a, a, b, b, got, want)
					}
					if got := Equal(a, b); got != types.Bool(want == 0) {
						t.Errorf("%T(%v) == %T(%v) is %v", a, a, b, b, got)
					}
					v, _ := Of(a)
					w, _ := Of(b)
					if got, ok := CompareValues(v, w); !ok || types.Int(got) != want {
						t.Errorf("as Values, %T(%v) and %T(%v): order %v, %t", a, a, b, b, got, ok)
					}
				}
			}
		}
	}
	// Beyond 64 bits, numbers compare as doubles.
	if Equal(types.Uint(math.MaxUint64), JSONInteger("18446744073709551616")) != types.True {
		t.Error("18446744073709551615 and ...616 differ as doubles")
	}
	if nan := types.Double(math.NaN()); Equal(nan, nan) != types.False || !types.IsError(Compare(nan, JSONInteger("9007199254740993"))) {
		t.Error("NaN is equal to itself, or has an order")
	}
}

// TestEqual: numbers in lists and maps compare as others do.
func TestEqual(t *testing.T) {
	in := func(v ref.Val) ref.Val { return types.NewRefValList(types.DefaultTypeAdapter, []ref.Val{v}) }
	as := func(v ref.Val) ref.Val {
		return types.NewRefValMap(types.DefaultTypeAdapter, map[ref.Val]ref.Val{types.String("n"): v})
	}
	long, list, object := types.Int(820982911946154508), `[820982911946154508]`, `{"n":820982911946154508}`
	for _, c := range []struct {
		a, b ref.Val
		want types.Bool
	}{
		{in(long), CELJSON(fastjson.MustParse(list)), true}, {in(long + 1), CELJSON(fastjson.MustParse(list)), false}, {in(long), in(in(long)), false},
		{as(long), CELJSON(fastjson.MustParse(object)), true}, {as(long + 1), CELJSON(fastjson.MustParse(object)), false}, {as(long), as(types.NullValue), false},
		{types.OptionalOf(long), types.OptionalOf(JSONInteger("820982911946154508")), true}, {types.OptionalOf(long), types.OptionalNone, false},
		{long, types.String("820982911946154508"), false}, {JSONInteger("820982911946154508"), types.NullValue, false}, {types.NullValue, types.NullValue, true},
	} {
		if Equal(c.a, c.b) != c.want || Equal(c.b, c.a) != c.want {
			t.Errorf("%v == %v is %v and %v, want %v", c.a, c.b, Equal(c.a, c.b), Equal(c.b, c.a), c.want)
		}
	}
}

// TestSame: `distinct` tells values apart by their texts.
func TestSame(t *testing.T) {
	integer := func(digits string) Value { return Value{Kind: Integer, Str: digits} }
	for _, c := range []struct {
		v, w Value
		want bool
	}{
		{OfDouble(17), OfInt(17), true}, {OfDouble(17), OfString("17"), true}, {OfBool(true), OfString("true"), true}, {OfDouble(17), OfDouble(18), false},
		{integer("820982911946154508"), integer("820982911946154509"), false}, {integer("820982911946154508"), OfString("820982911946154508"), true},
		{integer("1000000000000000000000000000000"), OfDouble(1e30), true}, {OfDouble(0), OfDouble(math.Copysign(0, -1)), true}, {OfDouble(0), Value{}, false}, {Value{}, Value{}, true},
	} {
		if c.v.Same(c.w) != c.want || c.w.Same(c.v) != c.want {
			t.Errorf("%v and %v are the same: %t, want %t", c.v, c.w, !c.want, c.want)
		}
	}
}

func BenchmarkCELNumber(b *testing.B) {
	for _, raw := range []string{"4", "12900", "35.5", "820982911946154508"} {
		v := fastjson.MustParse(raw)
		b.Run(raw, func(b *testing.B) {
			for range b.N {
				OfJSON(v)
			}
		})
	}
}

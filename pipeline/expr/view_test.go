package expr

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A view is a Scope of one event, with two features, which are known under before.
// too: `one` is a single value, and `by` counts under keys. Of the variables
// without a feature, those of local. and row. have Getters, as has `sum`; `fails` is
// one that cannot be read.
type view struct {
	event   *event.Event
	one     value.Value
	by      counts
	row     map[string]value.Value
	counted int // how often `counted` was read
}

const beforeIndex = 2 // of before.one; features begin at 0

func (v *view) Parent() interpreter.Activation { return nil }
func (v *view) Now() int64                     { return 0 }
func (v *view) Event() *event.Event            { return v.event }
func (v *view) Item() *fastjson.Value          { return v.event.Get("properties") }

func (v *view) Total(i int) value.Value {
	if i >= beforeIndex {
		return value.OfInt(40)
	}
	return v.one
}

func (v *view) Under(i int, key string) value.Value {
	if i >= beforeIndex {
		return value.OfInt(max(0, v.by[key]-1))
	}
	return value.OfInt(v.by[key])
}

func (v *view) Has(_ int, key string) bool { return v.by.Has(key) }

func (v *view) ResolveName(name string) (any, bool) {
	switch name {
	case "one":
		return v.one.CEL(), true
	case "by":
		return value.Map{Source: v.by}, true
	case "before.one":
		return v.Total(beforeIndex).CEL(), true
	case "before.by":
		less := counts{}
		for k, n := range v.by {
			less[k] = n - 1
		}
		return value.Map{Source: less}, true
	case "before.profile":
		return value.CELJSON(fastjson.MustParse(`{"tier":"gold"}`)), true
	case "local.hour":
		return types.Int(20), true
	case "local.weekday":
		return types.String("sat"), true
	case "facts.weather":
		return value.CELJSON(fastjson.MustParse(`{"seoul":{"dust":90,"sky":"rain"},"busan":{"dust":7.5}}`)), true
	case "sum":
		return types.Int(5), true
	case "fails":
		return types.NewErr("no such key: price"), true
	case "broken":
		return types.NewErr("division by zero"), true
	case "ranked":
		return ranked.Of("abc"), true
	case "counted":
		v.counted++
		return value.CELJSON(fastjson.MustParse(`["a","b"]`)), true
	}
	if column, ok := strings.CutPrefix(name, "row."); ok {
		return v.row[column].CEL(), true
	}
	return Common(v, name)
}

type counts map[string]int64

func (c counts) Find(key string) (ref.Val, bool) { return value.OfInt(c[key]).CEL(), true }
func (c counts) Has(key string) bool             { return c[key] > 0 }
func (c counts) Keys() []string                  { return slices.Sorted(maps.Keys(c)) }
func (c counts) Size() int                       { return len(c) }

// see makes a view of an event with these properties.
func see(properties string) *view {
	return &view{
		event: &event.Event{Root: fastjson.MustParse(`{"properties":{` + properties + `}}`), Name: "abcdef"},
		by:    counts{"17": 2, "820982911946154508": 3, "1000000000000000000000000000001": 4, "90s": 5, "true": 6},
		row:   map[string]value.Value{"category": value.OfString("bag"), "min": value.OfDouble(3), "id": value.OfJSON(fastjson.MustParse("820982911946154508")), "on": value.OfBool(true)},
	}
}

// language is that of a view.
func language(t testing.TB) *Language {
	t.Helper()
	env, err := NewEnv(ranked)
	if err == nil {
		env, err = env.Extend(cel.Variable("event", Event.Type), cel.Variable("now", cel.TimestampType), cel.Variable("one", cel.DynType), cel.Variable("by", cel.MapType(cel.StringType, cel.IntType)),
			cel.Variable("before.one", cel.NullableType(cel.IntType)), cel.Variable("before.by", cel.MapType(cel.StringType, cel.IntType)), cel.Variable("before.profile", JSONMap),
			cel.Variable("local.hour", cel.IntType), cel.Variable("local.weekday", cel.StringType), cel.Variable("facts.weather", cel.MapType(cel.StringType, JSONMap)),
			cel.Variable("row.category", cel.DynType), cel.Variable("row.min", cel.DynType), cel.Variable("row.id", cel.DynType), cel.Variable("row.on", cel.DynType),
			cel.Variable("sum", cel.IntType), cel.Variable("fails", cel.DoubleType), cel.Variable("broken", cel.DynType), cel.Variable("ranked", ranked.Type), cel.Variable("counted", cel.ListType(cel.DynType)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return NewLanguage(env, viewNames)
}

var viewNames = Names{
	Hint: func(name string) string {
		if name == "before.later" {
			return "not in when_due"
		}
		return ""
	},
	Feature: func(name string) (Feature, bool) {
		f := Feature{By: strings.HasSuffix(name, "by"), Single: true}
		switch name {
		case "before.one", "before.by":
			f.Index = beforeIndex
		case "one", "by":
		default:
			return Feature{}, false
		}
		return f, true
	},
	Getter: func(name string) Getter {
		if column, ok := strings.CutPrefix(name, "row."); ok {
			return func(sc Scope) (value.Value, bool) { v, ok := sc.(*view).row[column]; return v, ok }
		}
		switch name {
		case "local.hour":
			return func(Scope) (value.Value, bool) { return value.OfInt(20), true }
		case "local.weekday":
			return func(Scope) (value.Value, bool) { return value.OfString("sat"), true }
		case "sum":
			return func(Scope) (value.Value, bool) { return value.OfInt(5), true }
		case "fails", "broken":
			return func(Scope) (value.Value, bool) { return value.Value{}, false }
		}
		return nil
	},
	Fields: func(name string) []string {
		if name == "facts.weather" {
			return []string{"dust", "sky"}
		}
		return nil
	},
}

// problems collects what is reported.
func problems(found *[]string) Report {
	return func(line, col int, what, hint string) {
		*found = append(*found, strings.TrimSuffix(fmt.Sprintf("%d:%d: %s: %s", line, col, what, hint), ": "))
	}
}

package expr

import (
	"strings"
	"testing"

	"cel.dev/cel-go/cel"

	"offerstream/pipeline/value"
)

// people is a type such as that of a feature of users.
var people = value.NewSized("People", func(n any) int { return n.(int) })

// crowded is a view with such a feature, and with one of last by key.
type crowded struct{ *view }

func (c crowded) ResolveName(name string) (any, bool) {
	switch name {
	case "watchers", "before.watchers":
		return people.Of(len(name)), true
	case "prices", "offers":
		return value.Map{Source: value.Object{V: c.event.Object("properties")}}, true
	}
	return c.view.ResolveName(name)
}

// TestSized: of a list of users, only size() compiles.
func TestSized(t *testing.T) {
	env, err := NewEnv(people)
	if err == nil {
		env, err = env.Extend(cel.Variable("event", Event.Type), cel.Variable("watchers", people.Type), cel.Variable("before.watchers", people.Type),
			cel.Variable("prices", cel.MapType(cel.StringType, cel.NullableType(cel.DoubleType))), cel.Variable("offers", cel.MapType(cel.StringType, cel.DynType)))
	}
	if err != nil {
		t.Fatal(err)
	}
	names := Names{Feature: func(name string) (Feature, bool) {
		return Feature{By: name == "prices"}, name == "prices" || name == "watchers"
	}}
	for src, want := range map[string]string{
		"watchers.size()": "8", "size(watchers)": "8", "watchers.size() > 3 && before.watchers.size() > 3": "true",
		"watchers == before.watchers":  "nothing but the size of watchers can be read",
		"watchers":                     "nothing but the size of watchers can be read: write watchers.size()",
		"[watchers].size()":            "nothing but the size of watchers can be read",
		`"u:1" in watchers`:            "1:6: ",
		"watchers[0]":                  "1:8: ",
		"watchers.exists(u, u == '1')": "1:",
		"watchers.first":               "1:8: ",
		"string(watchers)":             "1:6: ",
		"dyn(watchers) == 1":           "nothing but the size of watchers can be read",
		"prices.values().min()":        "3", "prices.values().max()": "20.5", "prices.values().min() < before.watchers.size()": "true", "prices.size()": "2", "offers.values().min()": "3", "offers.values().max() - offers.values().min()": "17.5",
	} {
		got := evaluate(NewLanguage(env, names), src, crowded{see(`"a":3,"b":20.5`)})
		if got != want && (want[0] < 'a' && want[0] != '1' || !strings.Contains(got, want)) {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
}

package change

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/campaign"
)

// TestEveryKey changes each key of a definition alone: the change shows it.
func TestEveryKey(t *testing.T) {
	for _, c := range []struct {
		of      any
		compare func(a, b any) []Value
		hidden  []string // names and rows, which are shown otherwise
	}{
		{new(campaign.Campaign), func(a, b any) []Value { return differ(structure(a), structure(b)) }, []string{".ID", ".Rows[0].ID", ".Rows[0].Values"}},
		{new(campaign.Feature), func(a, b any) []Value { return differ(structure(a), structure(b)) }, []string{".Name"}},
		{new(campaign.Definition), func(a, b any) []Value {
			was, is := a.(*campaign.Definition), b.(*campaign.Definition)
			return slices.Concat(differ(settings(was), settings(is)), kinds(was, is), facts(was, is))
		}, []string{".Facts[0].Rows[0].ID", ".Facts[0].Rows[0].Values", ".Features", ".Campaigns"}},
	} {
		fill(reflect.ValueOf(c.of).Elem())
		leaves := 0
		each(reflect.ValueOf(c.of).Elem(), "", func(path string, v reflect.Value) {
			if slices.ContainsFunc(c.hidden, func(h string) bool { return strings.HasPrefix(path, h) }) {
				return
			}
			leaves++
			was := copyOf(t, c.of)
			another(v)
			if got := c.compare(was, c.of); len(got) == 0 || got[0].Old == got[0].New || got[0].Key == "" {
				t.Errorf("%T%s is another: %v", c.of, path, got)
			}
		})
		if leaves < 10 {
			t.Errorf("%T has %d keys", c.of, leaves)
		}
	}
}

func copyOf(t *testing.T, of any) any {
	b, err := json.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	c := reflect.New(reflect.TypeOf(of).Elem()).Interface()
	if err := json.Unmarshal(b, c); err != nil {
		t.Fatal(err)
	}
	return c
}

// fill sets all keys.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte(`{"title":"a"}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Bool: // as false is absent, both are keys
	default:
		another(v)
	}
}

// another sets a key to another value.
func another(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "a")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 60e9)
	case reflect.Float64:
		v.SetFloat(v.Float() + 1)
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Slice:
		v.SetBytes([]byte(`{"title":"b"}`))
	}
}

// each calls fn with each value that has no parts.
func each(v reflect.Value, path string, fn func(path string, v reflect.Value)) {
	switch {
	case v.Kind() == reflect.Pointer:
		each(v.Elem(), path, fn)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			each(v.Field(i), path+"."+v.Type().Field(i).Name, fn)
		}
	case v.Kind() == reflect.Slice && v.Type() != reflect.TypeFor[json.RawMessage]():
		for i := range v.Len() {
			each(v.Index(i), fmt.Sprintf("%s[%d]", path, i), fn)
		}
	default:
		fn(path, v)
	}
}

// TestDiffer: lists are compared one by one, with what is alike side by side.
func TestDiffer(t *testing.T) {
	list := func(text string) *node {
		n := &node{each: true, list: []*node{}}
		for _, s := range strings.Fields(text) {
			n.list = append(n.list, leaf(s))
		}
		of := &node{}
		of.set("if", n)
		return of
	}
	for _, c := range []struct{ old, new, want string }{
		{"a b c", "a b c", ""},
		{"a b", "x a b", "if[0]: -> x"},
		{"x a b", "a b", "if[0]: x ->"},
		{"a x c", "a y c", "if[1]: x -> y"},
		{"views>=2 b", "hour>8 views>=3 b", "if[0]: -> hour>8, if[1]: views>=2 -> views>=3"},
		{"a b", "b a", "if[0]: a ->, if[1]: -> a"},
		{"", "a", "if[0]: -> a"},
		{"a", "", "if[0]: a ->"},
		{"a a a", "a", "if[1]: a ->, if[2]: a ->"},
	} {
		var got []string
		for _, v := range differ(list(c.old), list(c.new)) {
			got = append(got, strings.Join(strings.Fields(fmt.Sprintf("%s: %s -> %s", v.Key, v.Old, v.New)), " "))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s to %s: %s, want %s", c.old, c.new, s, c.want)
		}
	}
}

// TestValues: values are written as in a campaign file.
func TestValues(t *testing.T) {
	old := loadWhole(t, `version: 1
policies: {consent: none, quiet_hours: none}
campaigns:
  a: {on: X, period: {to: "2026-04-02T00:00:00Z"}, offer: {channel: web, data: {n: 5, t: "", "a b": [x, y], deep: {k: 1}}}, holdout: 10%}
  b: {any: [{on: X}, {on: Y, unless: {on: Z, within: 90m, restart: false}}], offer: {channel: web}, limits: [{max: 1, per: session}]}
`)
	new := loadWhole(t, `version: 1
zone: Asia/Seoul
bounds: {keys: 128}
coupons: {key: k5f2c9a01}
policies: {consent: {push: required, valid_for: 730d}, quiet_hours: {channels: [push], from: "20:50", to: "08:00", then: drop}, holdout: 0.5%, caps: [{channels: [web], max: 2, within: 7d}]}
campaigns:
  a: {on: [X, Y], let: {v: 1 + 1}, offer: {channel: web, data: {n: "5", t: "text", "a b": [x, z], deep: 7}}, holdout: 12.5%}
  b: {any: [{on: X}, {on: Y, unless: {on: Z, within: 2h}}], offer: {channel: push}, limits: [{max: 1, within: 24h}]}
`)
	c := Between(old, new, nil, day, 0)
	want := `~ zone                  none -> Asia/Seoul
~ bounds.keys           64 -> 128
~ coupons               none -> {key: k5f2c9a01}
~ policies.caps         none -> [{channels: [web], max: 2, within: 7d}]
~ policies.quiet_hours  none -> {channels: [push], from: 20:50, to: 08:00, then: drop}
~ policies.consent      none -> {valid_for: 730d, push: required}
~ policies.holdout      none -> 0.5%
~ campaign a: nothing of it waits
    period                {to: 2026-04-02T00:00:00Z} -> none
    on                    X -> [X, Y]
    let                   none -> {v: 1 + 1}
    offer.data["a b"][1]  y -> z
    offer.data.deep       {k: 1} -> 7
    offer.data.n          5 -> "5"
    offer.data.t          "" -> text
    holdout               10% -> 12.5%
~ campaign b: cancels what is pending: how many is not known: no worker answered
    any[1].unless.within   1h30m -> 2h
    any[1].unless.restart  false -> none
    offer.channel          web -> push
    limits                 [{max: 1, per: session}] -> [{max: 1, within: 1d}]
--backfill would take from the log: campaigns a, b`
	if got := strings.Join(c.Lines(), "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	brakes := campaign.Definition{Brakes: []campaign.Brake{{Channel: "push", Max: 5000, Within: 10 * time.Minute, PerCampaign: true}}}
	if got := fmt.Sprint(differ(settings(new.Definition()), settings(&brakes))); !strings.Contains(got, "{policies.brake  [{channel: push, max: 5000, within: 10m, per: campaign}]}") {
		t.Errorf("with brakes: %s", got)
	}
}

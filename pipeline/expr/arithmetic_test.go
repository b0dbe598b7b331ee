package expr

import "testing"

// TestScaledDurations: durations times and by numbers, whatever type the numbers have.
func TestScaledDurations(t *testing.T) {
	l := language(t)
	v := see(`"n":0.8,"zero":0,"nothing":null,"long":9223372036854775807,"text":"2"`)
	const d = `duration("90s")`
	for src, want := range map[string]string{
		d + " * 2 == duration(\"3m\")": "true", "2 * " + d + " == duration(\"3m\")": "true", d + " * 2u == 2u * " + d: "true", d + " * 0.8 == duration(\"72s\")": "true", "0.8 * " + d + " == duration(\"72s\")": "true",
		d + " * event.properties.n == duration(\"72s\")": "true", "event.properties.n * " + d + " == duration(\"72s\")": "true", "dyn(" + d + ") * dyn(2) == dyn(duration(\"3m\"))": "true", d + " / 2 == duration(\"45s\")": "true", d + " / 0.5 == duration(\"3m\")": "true", d + " / 3u == duration(\"30s\")": "true", "dyn(" + d + ") / event.properties.n > duration(\"112s\")": "true",
		`duration("5ns") * 0.5 == duration("2ns")`: "true", `duration("7ns") / 2 == duration("4ns")`: "true", `duration("-5ns") / 2 == duration("-2ns")`: "true", `duration("1ns") * 0.4 == duration("0s")`: "true",
		d + " * event.properties.zero == duration(\"0s\")": "true",
		d + " / event.properties.zero":                     "error: division by zero", d + " / (event.properties.zero * 1.0)": "error: division by zero", `duration("0s") / event.properties.zero`: "error: division by zero", d + " / 0": "1:16: this always fails: division by zero",
		d + " * event.properties.long": "error: the duration is out of range", d + " * (0.0 / event.properties.zero)": "error: the duration is out of range", d + " / (event.properties.n * 1e-30)": "error: the duration is out of range", "-1.0 / event.properties.zero * " + d: "error: the duration is out of range",
		d + " * event.properties.nothing": "error: no such overload", d + " * event.properties.text": "error: no such overload", "event.properties.text * " + d: "error: no such overload", "event.properties.n / dyn(" + d + ")": "error: no such overload", "dyn(" + d + ") * " + d: "1:21: this always fails: no such overload", "dyn(" + d + ") / dyn(" + d + ")": "1:21: this always fails: no such overload",
	} {
		if got := evaluate(l, src, v); got != want {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
}

// TestEventUser: the entity key, before engine 5 the id alone, and of an item nobody.
func TestEventUser(t *testing.T) {
	l := language(t)
	for key, want := range map[string]string{"u:42": `"u:42"`, "a:x": `"a:x"`, "i:product:p1": "error: no such field: user (the event is about an item)"} {
		v := see("")
		if v.event.Key = key; evaluate(l, "event.user", v) != want {
			t.Errorf("event.user of %s is %s, want %s", key, evaluate(l, "event.user", v), want)
		}
		if v.event.Bare = true; key[0] != 'i' && evaluate(l, "event.user", v) != `"`+key[2:]+`"` {
			t.Errorf("before engine 5, event.user of %s is %s", key, evaluate(l, "event.user", v))
		}
	}
	x := l.Compile("event.user", nil, func(_, _ int, what, _ string) { t.Error(what) })
	v := see("")
	v.event.Key = "i:product:p1"
	if _, err := x.Eval(v); err == nil || !IsMissing(err) {
		t.Errorf("%v is no missing field", err)
	}
}

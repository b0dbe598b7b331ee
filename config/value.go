package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
	times "offerstream/pipeline/value"
)

// A value is a node of a campaign file that is read into a Go value. A mistake
// in it is reported at its place; from then on the value counts as absent.
type value struct {
	l    *load
	file *source
	key  *yaml.Node // its key; nil for an element of a list
	n    *yaml.Node
	path []string // as in a campaign.Problem
	flow bool     // it is inside [ ] or { }
	row  *keyRow  // what its key means; nil if it is no key of a map of the language
}

// child returns the element of v with the given name.
func (v value) child(key, n *yaml.Node, name string) value {
	flow := v.flow || v.n.Style&yaml.FlowStyle != 0
	c := value{l: v.l, file: v.file, key: key, n: n, path: append(slices.Clip(slices.Clone(v.path)), name), flow: flow}
	v.l.register(c)
	if c.bad() {
		v.l.silence(c.path)
	}
	return c
}

// spot returns the place to report for v: its key, if the value begins on
// another line, else the value.
func (v value) spot() spot {
	if v.key != nil && (v.n.Line != v.key.Line || v.null()) {
		return start(v.key)
	}
	return start(v.n)
}

func (v value) place() string {
	p := v.spot()
	return fmt.Sprintf("%s:%d:%d", v.file.name, p.line+1, p.col+1)
}

func (v value) keyPlace() string {
	return fmt.Sprintf("%s:%d:%d", v.file.name, v.key.Line, v.key.Column)
}

// problem reports a mistake in v. A character that only looks right is the likeliest
// one.
func (v value) problem(what, hint string) {
	if at, c, ok := v.lookalike(); ok {
		what, hint = c.Says()
		v.problemAt(at, what, hint)
		return
	}
	v.problemAt(v.spot(), what, hint)
}

func (v value) problemAt(p spot, what, hint string) {
	v.l.problems = append(v.l.problems, Problem{v.file.name, p.line + 1, p.col + 1, what, hint})
	v.l.silence(v.path)
}

// warn reports what is allowed, but probably not meant.
func (v value) warn(what, hint string) { v.warnAt(v.spot(), what, hint) }

func (v value) warnAt(p spot, what, hint string) {
	v.l.warnings = append(v.l.warnings, Problem{v.file.name, p.line + 1, p.col + 1, what, hint})
}

func (v value) bad() bool { return v.l.bad[v.n] }

// null reports whether the value is missing, as in "key:".
func (v value) null() bool { return v.n.Kind == yaml.ScalarNode && plain(v.n) && v.n.Value == "" }

func plain(n *yaml.Node) bool { return n.Style&^yaml.FlowStyle == 0 }

// is names the type of the value.
func (v value) is() string {
	switch {
	case v.n.Kind == yaml.MappingNode:
		return "a map"
	case v.n.Kind == yaml.SequenceNode:
		return "a list"
	case v.null():
		return "nothing"
	case !plain(v.n):
		return "text"
	}
	switch literal(v.n.Value).(type) {
	case nil:
		return "null"
	case bool:
		return "true or false"
	case string:
		return "text"
	}
	return "a number"
}

func (v value) wrong(want, hint string) {
	if is := v.is(); is == "nothing" || is == "null" {
		v.problem("the value is missing, expected "+want, hint)
	} else {
		v.problem(fmt.Sprintf("this is %s, expected %s", is, want), hint)
	}
}

// text reads a text that is not empty.
func (v value) text(hint string) string {
	switch {
	case v.bad():
		return ""
	case v.n.Kind != yaml.ScalarNode || v.is() != "text":
		v.wrong("text", hint)
		return ""
	case strings.TrimSpace(v.n.Value) == "":
		v.problem("the text is empty", hint)
		return ""
	}
	return v.n.Value
}

// word reads one of a few words.
func (v value) word(words ...string) string {
	hint := strings.Join(words, " or ")
	t := v.text(hint)
	if t != "" && !slices.Contains(words, t) {
		v.problem(fmt.Sprintf("%q is not a possible value", t), hint)
		return ""
	}
	return t
}

// texts reads a text, or a list of texts, and returns them sorted.
func (v value) texts(hint string) []string {
	if v.bad() || v.n.Kind != yaml.SequenceNode {
		if t := v.text(hint); t != "" {
			return []string{t}
		}
		return nil
	}
	var ts []string
	v.elements(hint, func(c value) {
		t := c.text(hint)
		if t != "" && slices.Contains(ts, t) {
			c.problem(fmt.Sprintf("%q appears twice", t), "keep one")
		}
		ts = append(ts, t)
	})
	slices.Sort(ts)
	return ts
}

// span reads a duration within the limits of its key.
func (v value) span() time.Duration {
	return v.durationTo(time.Duration(v.row.is.least), time.Duration(v.row.is.most), v.row.hint())
}

// duration reads a duration of at most a century.
func (v value) duration(least time.Duration, hint string) time.Duration {
	return v.durationTo(least, century, hint)
}

func (v value) durationTo(least, most time.Duration, hint string) time.Duration {
	if v.bad() {
		return 0
	}
	if v.n.Kind != yaml.ScalarNode || v.null() {
		v.wrong("a duration", hint)
		return 0
	}
	d, err := campaign.ParseDuration(v.n.Value)
	switch {
	case err != nil && computed.MatchString(v.n.Value):
		v.problem("this duration is not computed", "write one such as 90s, 30m, 1h30m or 7d; `within` of `unless` and `expires` of an offer may be expressions")
	case err != nil && campaign.SpellDuration(v.n.Value) != "":
		v.problem(err.Error(), campaign.SpellDuration(v.n.Value))
	case err != nil:
		v.problem(err.Error(), hint)
	case d < least:
		v.problem(fmt.Sprintf("%s is too short, at least %s is required", v.n.Value, campaign.FormatDuration(least)), hint)
	case d > most && most < century:
		v.problem(fmt.Sprintf("%s is too long, at most %s is allowed", v.n.Value, campaign.FormatDuration(most)), hint)
	case d > most:
		v.problem(fmt.Sprintf("%s is too long, at most %s is allowed", v.n.Value, campaign.FormatDuration(most)), "leave the key out for no bound")
	default:
		return d
	}
	return 0
}

// computed matches an expression in place of a duration.
var computed = lazyregexp.New(`[A-Za-z_]\w*[.(\[]`)

// moment reads a time, in nanoseconds since 1970.
func (v value) moment() int64 {
	const hint = "such as 2026-04-01T00:00:00+09:00"
	t := v.text(hint)
	if t == "" {
		return 0
	}
	ns, err := times.ParseTime(t)
	if err == nil && ns <= 0 {
		err = fmt.Errorf("%q is before 1970", t)
	}
	if err != nil {
		v.problem(err.Error(), hint)
		return 0
	}
	return ns
}

// whole reads a whole number within the limits of its key.
func (v value) whole() int { return v.integer(int(v.row.is.least), int(v.row.is.most)) }

// integer reads a whole number.
func (v value) integer(least, most int) int {
	if v.bad() {
		return 0
	}
	want := fmt.Sprintf("a whole number from %d to %d", least, most)
	if v.is() != "a number" {
		v.wrong(want, v.ungrouped())
		return 0
	}
	n, ok := literal(v.n.Value).(int64)
	if !ok || n < int64(least) || n > int64(most) {
		v.problem(fmt.Sprintf("%s is not %s", v.n.Value, want), "")
		return 0
	}
	return int(n)
}

var groups = lazyregexp.New(`^[0-9]{1,3}([,_ ][0-9]{3})+$`)

// ungrouped is a hint for a number whose digits are in groups, or in quotes.
func (v value) ungrouped() string {
	switch {
	case v.n.Kind != yaml.ScalarNode:
	case groups.MatchString(v.n.Value):
		return "write " + strings.NewReplacer(",", "", "_", "", " ", "").Replace(v.n.Value)
	case !plain(v.n) && jsonNumber.MatchString(v.n.Value):
		return "write " + v.n.Value + ", without quotes"
	}
	return ""
}

// number reads any number.
func (v value) number() float64 {
	if v.bad() {
		return 0
	}
	if v.is() != "a number" {
		v.wrong("a number", v.ungrouped())
		return 0
	}
	switch x := literal(v.n.Value).(type) {
	case int64:
		return float64(x)
	case float64:
		if !math.IsInf(x, 0) && !math.IsNaN(x) {
			return x
		}
	}
	v.problem(v.n.Value+" is out of range", "")
	return 0
}

// boolean reads true or false.
func (v value) boolean() bool {
	if v.bad() {
		return false
	}
	b, ok := literal(v.n.Value).(bool)
	if !ok || v.is() != "true or false" {
		v.wrong("true or false", "")
	}
	return b
}

var shareForm = lazyregexp.New(`^([0-9]{1,3})(?:\.([0-9]{1,2}))?%$`)

// share reads a percentage, in 1/10,000.
func (v value) share() int {
	if !v.bad() && v.is() == "a number" {
		v.wrong("a percentage", "write "+v.n.Value+"%")
		return 0
	}
	t := v.text(v.row.hint())
	if t == "" {
		return 0
	}
	n := 0
	if short := strings.ReplaceAll(t, " ", ""); short != t && shareForm.MatchString(short) {
		v.problem(fmt.Sprintf("%q is not a share of the users", t), "write "+short)
		return 0
	}
	if m := shareForm.FindStringSubmatch(t); m != nil {
		n, _ = strconv.Atoi(m[1] + (m[2] + "00")[:2])
	}
	if n < 1 || n > 10_000 {
		v.problem(fmt.Sprintf("%q is not a share of the users", t), "0.01% to 100%, with at most two decimals")
		return 0
	}
	return n
}

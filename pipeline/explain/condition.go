package explain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// partWords tells of a part: what it found, and if it stopped the evaluation, what is
// missing.
func partWords(p pipeline.TracePart, def *campaign.Definition, now int64, zone *time.Location) string {
	if !p.Condition {
		return gateWords(p, now, zone)
	}
	if p.Error != "" {
		return failed(p)
	}
	if c := p.Compared; c != nil {
		return compared(c, p.OK, def)
	}
	var reads []string
	for _, v := range p.Values {
		if v.Of != p.Text {
			reads = append(reads, fmt.Sprintf("%s is %s", v.Of, shown(v.Is)))
		}
	}
	words := fmt.Sprintf("%s is %t", plain(p.Text), p.OK)
	if len(reads) > 0 {
		words += fmt.Sprintf(" (%s)", strings.Join(reads, ", "))
	}
	return words
}

// failed tells of an expression that failed with an error.
func failed(p pipeline.TracePart) string {
	if c := p.Compared; c != nil && !p.Missing {
		if words := mixed(c.Left, c.LeftIs, c.RightIs) + mixed(c.Right, c.RightIs, c.LeftIs); words != "" {
			return words
		}
	}
	if field, ok := strings.CutPrefix(p.Error, "no such key: "); ok {
		for _, v := range p.Values {
			if string(v.Is) == "null" && strings.HasSuffix(v.Of, "."+field) {
				return v.Of + " is missing"
			}
		}
		return fmt.Sprintf("%s: %s is missing", plain(p.Text), field)
	}
	return fmt.Sprintf("%s failed: %s", plain(p.Text), p.Error)
}

// mixed tells of a text that is compared with a number.
func mixed(of string, is, other json.RawMessage) string {
	_, isText := text(is)
	if _, isNumber := number(other); isText && isNumber {
		return fmt.Sprintf("%s is the text %s, where a number is wanted", of, shown(is))
	}
	return ""
}

// compared tells of a comparison.
func compared(c *pipeline.TraceComparison, ok bool, def *campaign.Definition) string {
	left, op, right, rightText := c.LeftIs, c.Op, c.RightIs, c.Right
	of := c.Left
	if c.FeatureIsRight {
		left, right, op, of, rightText = c.RightIs, c.LeftIs, turned[c.Op], c.Right, c.Left
	}
	if f := featureOf(def, c.Feature); f != nil && op != "" && op != "in" {
		if words := ofFeature(f, c.Key, left, op, right, ok); words != "" {
			return words
		}
	}
	wanted := wants(op, right)
	read := rightText != string(right) && !isLiteral(rightText) // what is wanted is read, too
	if read {
		wanted += fmt.Sprintf(" (%s)", rightText)
	}
	switch {
	case ok && read && strings.ContainsAny(op, "<>"):
		return fmt.Sprintf("%s is %s, %s", of, shown(left), wanted)
	case ok || op == "!=" && string(right) == "null":
		return fmt.Sprintf("%s is %s", of, shown(left))
	case op == "==" || op == "in":
		return fmt.Sprintf("%s is %s, not %s", of, shown(left), wanted)
	}
	return fmt.Sprintf("%s is %s, but %s is wanted", of, shown(left), wanted)
}

// turned are the operators of the same comparison with its sides exchanged.
var turned = map[string]string{"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// wants tells what a comparison asks for.
func wants(op string, right json.RawMessage) string {
	is := shown(right)
	switch op {
	case "==":
		return is
	case "!=":
		return "anything but " + is
	case "<":
		return "less than " + is
	case "<=":
		return "at most " + is
	case ">":
		return "more than " + is
	case ">=":
		return "at least " + is
	case "in":
		return "one of " + is
	}
	return op + " " + is
}

// isLiteral reports whether a part of an expression, as written, is a literal.
func isLiteral(written string) bool {
	return written != "" && (strings.ContainsRune(`"'[-0123456789`, rune(written[0])) || strings.HasPrefix(written, "duration(") || slices.Contains([]string{"true", "false", "null"}, written))
}

func featureOf(def *campaign.Definition, name string) *campaign.Feature {
	if def == nil || name == "" {
		return nil
	}
	i := slices.IndexFunc(def.Features, func(f campaign.Feature) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &def.Features[i]
}

// counted are the aggregates whose value is an amount of something: 3 of 4 views.
var counted = []string{"count", "sum", "distinct", "dwell"}

// ofFeature tells of a feature that is compared; "" if it has no words of its own.
func ofFeature(f *campaign.Feature, key string, have json.RawMessage, op string, want json.RawMessage, ok bool) string {
	if !slices.Contains(counted, f.Agg) {
		return ""
	}
	what := spoken(f.Name)
	if f.Agg == "dwell" {
		what = "of " + what
	}
	if key != "" {
		what += fmt.Sprintf(" (%s %q)", plain(f.By), key)
	}
	if f.Within > 0 {
		what += " in the last " + exactly(f.Within)
	}
	h, w := amount(have), amount(want)
	if hd, _ := duration(have); h == w {
		if wd, _ := duration(want); hd != wd { // they are equal only because they are rounded
			h, w = exactly(hd), exactly(wd)
		}
	}
	if h == "" || w == "" {
		return ""
	}
	things := f.Agg == "count" || f.Agg == "distinct"
	is := h + " " + what
	switch {
	case things && h == "0":
		is = "no " + what
	case things && h == "1": // the name may be a plural
		is = what + ": 1"
	}
	if ok {
		return is
	}
	are, fewer := "is", "less"
	if things {
		fewer = "fewer"
	}
	if things && w != "1" {
		are = "are"
	}
	switch op {
	case ">=":
		if things && w == "1" {
			return is
		}
		return fmt.Sprintf("%s of %s %s", unitless(h, w), w, what)
	case ">":
		return fmt.Sprintf("%s, but more than %s %s wanted", is, w, are)
	case "<":
		return fmt.Sprintf("%s, but %s than %s %s wanted", is, fewer, w, are)
	case "<=":
		return fmt.Sprintf("%s, but at most %s %s wanted", is, w, are)
	case "==":
		return fmt.Sprintf("%s, but %s %s wanted", is, w, are)
	}
	return fmt.Sprintf("%s, but another number is wanted", is)
}

// amount is a number, or a duration in seconds; "" for any other value.
func amount(v json.RawMessage) string {
	if _, ok := number(v); ok {
		return string(v)
	}
	if d, ok := duration(v); ok {
		if d < 10*time.Minute { // cut off, since 59.9996 s are not 60 s
			return strconv.FormatFloat(d.Truncate(time.Millisecond).Seconds(), 'f', -1, 64) + " s"
		}
		return span(int64(d))
	}
	return ""
}

// unitless is an amount without its unit, if the other has the same: 41 of 60 s.
func unitless(a, b string) string {
	if na, ok := strings.CutSuffix(a, " s"); ok && strings.HasSuffix(b, " s") {
		return na
	}
	return a
}

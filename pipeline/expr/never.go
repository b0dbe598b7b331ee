package expr

import (
	"fmt"
	"math"
	"slices"

	"offerstream/pipeline/campaign"
)

// Known is what is known of a subject's values before any condition.
type Known struct {
	Least, Most float64  // of numbers; of durations in nanoseconds
	Duration    bool     // the values are durations
	Words       []string // the only texts that it can be; nil: it is no text
	Why         string   // "local.hour is 0 to 23"
	Hint        string   // what to do about a comparison that goes beyond
}

// AtLeast0 is what is known of a count.
func AtLeast0(why string) *Known { return &Known{Most: math.Inf(1), Why: why} }

// A Doubt is a part of a condition that can never hold, or always holds.
type Doubt struct {
	Clause    int // the number of the expression
	Line, Col int // where it begins there: a line from 1, and runes before it
	Always    bool
	Text      string // the part
	Why       string
	Hint      string

	With              string // the part of an expression with which it can never hold; "": by itself
	WithClause        int
	WithLine, WithCol int
}

// Doubts finds parts of conditions that can never hold together, or by what is known
// of a subject, and parts that always hold. The conditions are judged at one moment, and all
// must hold. lets are the names in them that stand for expressions.
func Doubts(conditions []*Clause, lets map[string]*Clause, known func(Subject) *Known) []Doubt {
	j := judging{known: known}
	whole := formula{op: allOf}
	for i, c := range conditions {
		if c != nil {
			whole.parts = append(whole.parts, reading{lets: lets, clause: i}.formula(c, c.ast.Expr(), false, nil))
		}
	}
	j.holds(whole.flat(), nil)
	return j.doubts
}

type judging struct {
	known  func(Subject) *Known
	doubts []Doubt
}

func (j *judging) doubt(f formula, d Doubt) {
	d.Clause, d.Line, d.Col, d.Text = f.at.clause, f.at.line, f.at.col, f.text
	j.doubts = append(j.doubts, d)
}

// holds reports whether a formula may be true where the others are.
func (j *judging) holds(f formula, others []formula) bool {
	switch f.op {
	case isFalse:
		j.doubt(f, Doubt{Why: "it is false whatever happens", Hint: "remove it; to stop a campaign, remove the campaign"})
		return false
	case isTrue:
		return true
	case compares:
		return j.compares(f, others)
	case anyOf:
		return j.some(f, others)
	}
	may := true
	var later []formula // those of any: they see all comparisons
	for _, p := range f.parts {
		if p.op == anyOf {
			later = append(later, p)
			continue
		}
		if !j.holds(p, others) {
			may = false
			continue // it contradicts all else
		}
		others = append(others[:len(others):len(others)], p)
	}
	for _, p := range later {
		may = j.holds(p, others) && may
	}
	return may
}

// some judges a formula of which any part is enough.
func (j *judging) some(f formula, others []formula) bool {
	may := 0
	for _, p := range f.parts {
		if j.holds(p, others) {
			may++
		}
	}
	return may > 0
}

func (j *judging) compares(f formula, others []formula) bool {
	if f.subject == "" {
		return true
	}
	k := j.known(f.is)
	whole := k != nil && !k.Duration
	switch {
	case k != nil && apart(f.holds, k.values(), whole):
		j.doubt(f, Doubt{Why: k.Why, Hint: k.hint(f.holds)})
		return false
	case everything(f.holds):
		j.doubt(f, Doubt{Always: true, Why: "each value is another than one of these", Hint: "if it must be none of them, join the comparisons with &&"})
		return true
	case k != nil && k.Words == nil && !slices.ContainsFunc(k.values(), func(s stretch) bool { return !covers(f.holds, s, whole) }):
		why := "it is " + k.extent()
		if len(f.holds) > 1 {
			why = "no value is left out"
		}
		j.doubt(f, Doubt{Always: true, Why: why, Hint: "leave it out, or compare with another value"})
		return true
	}
	for _, o := range others {
		if o.op == compares && o.subject == f.subject && apart(f.holds, o.holds, whole) {
			j.doubt(f, Doubt{With: o.text, WithClause: o.at.clause, WithLine: o.at.line, WithCol: o.at.col,
				Hint: "keep one of them; if either is enough, join them with ||"})
			return false
		}
	}
	return true
}

// everything reports whether a union of sets has all values of all kinds.
func everything(union []stretch) bool {
	k := union[0].kind
	return covers(union, stretch{kind: k}, false) && covers(union, stretch{kind: k, others: true}, false)
}

// hint is what to do about a comparison with what cannot be.
func (k *Known) hint(holds []stretch) string {
	if k.Hint != "" {
		return k.Hint
	}
	for _, s := range holds {
		if s.kind != aText || s.lo == nil {
			continue
		}
		if meant := campaign.Nearest(s.lo.s, k.Words); meant != "" {
			return fmt.Sprintf("did you mean %q?", meant)
		}
	}
	return "compare with a value that it can have"
}

// extent is from where to where the values are, in words.
func (k *Known) extent() string {
	unit := ""
	if k.Duration {
		unit = "s"
	}
	if math.IsInf(k.Most, 1) {
		return fmt.Sprintf("%v%s or more", k.Least, unit)
	}
	return fmt.Sprintf("%v to %v", k.Least, k.Most)
}

// values are the values that are known to be possible.
func (k *Known) values() (all []stretch) {
	if k.Words != nil {
		for _, w := range k.Words {
			all = append(all, only(point{kind: aText, s: w}))
		}
		return all
	}
	s := stretch{kind: aNumber}
	if k.Duration {
		s.kind = aSpan
	}
	if !math.IsInf(k.Least, 0) {
		s.lo = &point{kind: s.kind, n: k.Least}
	}
	if !math.IsInf(k.Most, 0) {
		s.hi = &point{kind: s.kind, n: k.Most}
	}
	return []stretch{s}
}

// String is the doubt as a sentence, without the place of what it stands with.
func (d Doubt) String() string {
	switch {
	case d.Always:
		return fmt.Sprintf("`%s` always holds: %s", d.Text, d.Why)
	case d.With != "":
		return fmt.Sprintf("`%s` can never hold where `%s` does", d.Text, d.With)
	}
	return fmt.Sprintf("`%s` can never hold: %s", d.Text, d.Why)
}

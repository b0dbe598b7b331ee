package survey

import (
	"cmp"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/expr"
)

// conditions count how often the conjuncts of a campaign's `if` held, all its rows
// together.
type conditions struct {
	parts   []part
	judged  uint64
	passed  uint64              // of which all held
	waiting map[waitKey]waiting // evaluations that wait for dwell
}

// A part is a conjunct of `if`.
type part struct {
	expr.Term
	path     []string
	conjunct int // of the expression at path
	held     uint64
	failed   uint64 // with an error
	err      string // the last one
	best     *closest
}

// A closest is the value that came nearest to what a comparison asks for.
type closest struct {
	of, is string
	number float64
	most   bool // the greatest; else the least
}

type waitKey struct {
	user string
	wait uint64
}

// waited is under which number an evaluation has waited until a step: a visitor's, where
// the visitor has become the user in it.
func waited(t *pipeline.Trace) waitKey { return waitKey{cmp.Or(t.Of, t.User), t.From} }

// A waiting is an evaluation that waits for dwell.
type waiting struct {
	held *heldParts
	due  int64
}

// heldParts are the conjuncts that have held.
type heldParts = big.Int

func conditionsOf(def *campaign.Campaign, r *expr.Reader) *conditions {
	c := &conditions{waiting: map[waitKey]waiting{}}
	for j, src := range def.If {
		_, terms := r.Uses(src)
		for k, t := range terms {
			c.parts = append(c.parts, part{Term: t, conjunct: k, path: []string{"campaigns", def.ID, "if", strconv.Itoa(j)}})
		}
	}
	return c
}

// traced takes the trace of an evaluation. `if` is judged when it is triggered, and
// once more when it has waited for dwell: a conjunct about dwell that holds then
// counts as one that held.
func (c *conditions) traced(t *pipeline.Trace) {
	key := waited(t)
	before, known := c.waiting[key]
	was := before.held
	if t.From > 0 {
		delete(c.waiting, key)
	}
	if known && t.Cause == pipeline.ByMerge && t.Wait > 0 { // it waits on under another number
		c.waiting[waitKey{t.User, t.Wait}] = before
		return
	}
	for _, stage := range t.Stages {
		switch {
		case stage.Stage == "trigger" && t.From == 0 && c.are(stage.Parts):
			held := c.count(stage.Parts, new(heldParts))
			if t.Stage == "dwell" && t.Wait > 0 {
				c.waiting[waitKey{t.User, t.Wait}] = waiting{held, t.Due}
			}
			c.judged++
		case stage.Stage == "dwell" && was != nil && t.Cause == "" && c.are(stage.Parts):
			c.count(stage.Parts, was)
		}
	}
}

// are reports whether the parts of a stage are the conjuncts.
func (c *conditions) are(parts []pipeline.TracePart) bool {
	if len(parts) < len(c.parts) || len(c.parts) == 0 {
		return false
	}
	for i := range c.parts {
		if parts[i].Text != c.parts[i].Text {
			return false
		}
	}
	return true
}

// count counts the conjuncts that hold and did not hold before, and returns all that
// have held.
func (c *conditions) count(parts []pipeline.TracePart, held *heldParts) *heldParts {
	all := true
	for i := range c.parts {
		switch {
		case !parts[i].OK:
			all = false
			c.parts[i].miss(&parts[i])
		case held.Bit(i) == 0:
			held.SetBit(held, i, 1)
			c.parts[i].held++
		}
	}
	if all {
		c.passed++
	}
	return held
}

// miss takes a conjunct that does not hold.
func (p *part) miss(t *pipeline.TracePart) {
	if t.Error != "" {
		p.failed++
		p.err = t.Error
		return
	}
	if t.Compared == nil {
		return
	}
	is := closest{of: t.Compared.Left}
	text, greater := t.Compared.LeftIs, strings.HasPrefix(t.Compared.Op, ">")
	switch {
	case !greater && !strings.HasPrefix(t.Compared.Op, "<"):
		return
	case t.Compared.FeatureIsRight:
		is.of, text, greater = t.Compared.Right, t.Compared.RightIs, !greater
	}
	var v any
	if json.Unmarshal(text, &v) != nil {
		return
	}
	switch v := v.(type) {
	case float64:
		is.number, is.is = v, string(text)
	case string:
		d, err := time.ParseDuration(v)
		if err != nil {
			return
		}
		is.number, is.is = float64(d), d.String()
	default:
		return
	}
	if is.most = greater; p.best == nil || is.most == (is.number > p.best.number) {
		p.best = &is
	}
}

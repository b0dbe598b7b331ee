package explain

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"regexp"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
)

var (
	toldSeeds = flag.Int("told-seeds", 60, "how many seeds TestTold runs")
	toldSeed  = flag.Uint64("told-seed", 1, "the first seed that TestTold runs")
)

// TestTold checks the traces of random runs in themselves: what a gate compares, and
// what a comparison reads, give what was judged; waits end when they are due, or
// before by something that is named; and no words contradict it.
func TestTold(t *testing.T) {
	t.Parallel()
	met := map[string]int{}
	for seed := *toldSeed; seed < *toldSeed+uint64(*toldSeeds); seed++ {
		c := oracle.Random(seed)
		def, err := campaign.ParseDefinition(c.Set)
		if err != nil {
			t.Fatal(err)
		}
		b, problems := pipeline.NewBacktest(def)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		k := &checker{t: t, def: def, waits: map[string]*pipeline.Trace{}, met: met}
		b.Trace(k.trace)
		for _, line := range c.Events {
			if err := b.Line(line, func(*pipeline.Offer) {}); err != nil {
				t.Fatal(err)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d: go test ./pipeline/explain -run TestTold -told-seeds=1 -told-seed=%d", seed, seed)
		}
	}
	t.Log(met)
	for _, what := range []string{"limit false", "cap false", "pause false", "consent false", "period false", "age false", "fresh false", "quiet hours false", "best_hour true", "compared true", "compared false", "dwell", "absence", "delay", "hold", "due", "view", "unless", "newer"} {
		if met[what] == 0 && *toldSeeds >= 60 {
			t.Errorf("%s was never met", what)
		}
	}
}

// A checker checks the traces of a run.
type checker struct {
	t     *testing.T
	def   *campaign.Definition
	waits map[string]*pipeline.Trace // by user and number
	met   map[string]int
}

func (k *checker) trace(t *pipeline.Trace) {
	id := func(n uint64) string { return fmt.Sprint(t.User, " ", n) }
	if t.From > 0 {
		from := fmt.Sprint(cmp.Or(t.Of, t.User), " ", t.From)
		was := k.waits[from]
		delete(k.waits, from)
		switch {
		case was == nil:
			k.t.Errorf("%s of %s goes on from %d, which does not wait", t.Campaign, t.User, t.From)
			return
		case was.Campaign != t.Campaign || was.Began != t.Began || was.Stage != "dwell" && was.Key != t.Key || was.Trigger != t.Trigger && was.Trigger.Name == t.Trigger.Name:
			k.t.Errorf("%s goes on as %+v, was %+v", t.Campaign, t, was)
		case t.Cause == "" && (t.By != nil || t.Now != was.Due):
			k.t.Errorf("%s goes on at %s and not by its due time %s", t.Campaign, value.FormatTime(t.Now), value.FormatTime(was.Due))
		case t.Cause != "" && (t.Now > was.Due || len(t.Stages) > 0 && t.Cause != pipeline.ByView || t.Stage != was.Stage):
			k.t.Errorf("%s in %s is %s by %s at %s, was due %s in %s", t.Campaign, t.Stage, t.Outcome, t.Cause, value.FormatTime(t.Now), value.FormatTime(was.Due), was.Stage)
		case (t.Cause == pipeline.ByView || t.Cause == pipeline.ByUnless) && t.By == nil:
			k.t.Errorf("%s: nothing is named that ended it by %s", t.Campaign, t.Cause)
		}
		if k.met["due"]++; t.Cause != "" {
			k.met[string(t.Cause)]++
		}
	} else if t.Now != t.Began && t.By != nil {
		k.t.Errorf("%s began at %s, traced at %s", t.Campaign, value.FormatTime(t.Began), value.FormatTime(t.Now))
	}
	if t.Wait > 0 {
		k.waits[id(t.Wait)] = t
		if k.met[t.Stage]++; t.Due <= t.Now {
			k.t.Errorf("%s waits until %s, it is %s", t.Campaign, value.FormatTime(t.Due), value.FormatTime(t.Now))
		}
	}
	if (t.Outcome == pipeline.Fired || t.Outcome == pipeline.Withheld) && t.Due == pipeline.NoDue && (t.Offer == nil || t.Offer.Time != value.FormatTime(t.Now) || t.Offer.Withheld != (t.Outcome == pipeline.Withheld)) {
		k.t.Errorf("%s is %s with the offer %+v", t.Campaign, t.Outcome, t.Offer)
	}
	for i, st := range t.Stages {
		stopped := 0
		for _, p := range st.Parts {
			if !p.OK {
				stopped++
			}
			if p.Condition {
				k.condition(p)
			} else {
				k.gate(t, p)
			}
		}
		last := i == len(t.Stages)-1
		gone := t.Due == pipeline.NoDue && t.Outcome != pipeline.Fired
		waits := t.Due != pipeline.NoDue && (t.Stage == "dwell" || t.Stage == "hold")
		if stopped > 0 != (last && (gone || waits)) && t.Cause == "" {
			k.t.Errorf("%s: %d parts of %s stop an evaluation that is %s in %s, due %d: %+v", t.Campaign, stopped, st.Stage, t.Outcome, t.Stage, t.Due, t.Stages)
		}
	}
}

var twice = regexp.MustCompile(`^(\S+)( s)? of (\S+)( s)? `)

// condition checks a comparison.
func (k *checker) condition(p pipeline.TracePart) {
	words := partWords(p, k.def, 0, time.UTC)
	if m := twice.FindStringSubmatch(words); m != nil && !p.OK && m[1] == m[3] {
		k.t.Errorf("%s does not hold, and is told as: %s", p.Text, words)
	}
	c := p.Compared
	if c == nil || p.Error != "" {
		return
	}
	left, ok := amountOf(c.LeftIs)
	right, also := amountOf(c.RightIs)
	if !ok || !also || len(c.LeftIs) > 15 || len(c.RightIs) > 15 { // doubles do not hold every integer
		return
	}
	holds, known := map[string]bool{"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right, "==": left == right, "!=": left != right}[c.Op]
	if known && holds != p.OK {
		k.t.Errorf("%s is %t, told with %s and %s", p.Text, p.OK, c.LeftIs, c.RightIs)
	}
	if known {
		k.met[fmt.Sprint("compared ", p.OK)]++
	}
}

// amountOf is a number or a duration.
func amountOf(v json.RawMessage) (float64, bool) {
	if d, ok := duration(v); ok {
		return float64(d), true
	}
	return number(v)
}

// gate checks what is compared by something other than a condition.
func (k *checker) gate(t *pipeline.Trace, p pipeline.TracePart) {
	k.met[fmt.Sprint(p.Text, " ", p.OK)]++
	v := valuesOf(p)
	at := func(of string) int64 {
		ns, err := value.ParseTime(v.text(of))
		if err != nil {
			k.t.Errorf("%s: %s is %s", p.Text, of, v[of].Is)
		}
		return ns
	}
	span := func(of string) int64 {
		d, err := campaign.ParseDuration(v.text(of))
		if err != nil {
			k.t.Errorf("%s: %s is %s", p.Text, of, v[of].Is)
		}
		return int64(d)
	}
	ok := p.OK
	switch p.Text {
	case "limit", "cap":
		ok = v.number("sent") < v.number("max")
	case "pause":
		ok = !v.has("last") || at("last") <= value.Minus(t.Now, span("after_any"))
	case "consent":
		ok = v.text("newest") == "granted" && (!v.has("valid_for") || at("at") > value.Minus(t.Now, span("valid_for")))
	case "period":
		ok = (!v.has("from") || at("from") <= t.Now) && (!v.has("to") || t.Now < at("to"))
	case "age":
		ok = !v.has("held") || span("held") <= span("at_most")
	case "fresh":
		ok = span("age") <= span("fresh")
	case "quiet hours":
		if v.has("until") != (t.Wait > 0 && t.Stage == "hold") || v.has("until") && at("until") != t.Due {
			k.t.Errorf("held until %s, due %s in %s", v.text("until"), value.FormatTime(t.Due), t.Stage)
		}
		local, from, to := v.text("local"), v.text("from"), v.text("to")
		if in := from < to && from <= local && local < to || from > to && (local >= from || local < to); !in && !p.OK {
			k.t.Errorf("it is %s, quiet from %s to %s", local, from, to)
		} else if in && p.OK && k.def.Quiet.ExceptConsent == "" {
			k.t.Errorf("it is %s, not quiet from %s to %s", local, from, to)
		}
	case "best_hour":
		if best := at("best"); p.OK && (t.Wait > 0 && t.Stage == "delay") != (best > t.Now) || t.Wait > 0 && t.Stage == "delay" && best != t.Due {
			k.t.Errorf("the best hour is %s, due %s in %s", v.text("best"), value.FormatTime(t.Due), t.Stage)
		}
	}
	if ok != p.OK {
		k.t.Errorf("%s: %s is %t, told with %s", t.Campaign, p.Text, p.OK, p.Values)
	}
}

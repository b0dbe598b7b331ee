package explain

import (
	"fmt"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// told are the values of a part, by name.
type told map[string]pipeline.TraceValue

func valuesOf(p pipeline.TracePart) told {
	v := told{}
	for _, x := range p.Values {
		v[x.Of] = x
	}
	return v
}

func (v told) text(of string) string {
	s, _ := text(v[of].Is)
	return s
}

func (v told) number(of string) int64 {
	f, _ := number(v[of].Is)
	return int64(f)
}

func (v told) has(of string) bool { _, ok := v[of]; return ok }

// moment is a time among the values.
func (v told) moment(of string, now int64, zone *time.Location) string {
	t, err := time.Parse(time.RFC3339Nano, v.text(of))
	if err != nil {
		return v.text(of)
	}
	return moment(t.UnixNano(), now, zone)
}

// gateWords tells of a part that is no condition: a gate, the hour, the choice.
func gateWords(p pipeline.TracePart, now int64, zone *time.Location) string {
	v := valuesOf(p)
	when := func(of string) string { return v.moment(of, now, zone) }
	within := func() string {
		switch {
		case v.has("per"):
			return "in this session"
		case v.has("within"):
			return "in the last " + rounded(v.text("within"), "")
		}
		return "ever"
	}
	switch p.Text {
	case pipeline.Paused.String():
		return pipeline.PausedBy(v.text("by"), v.text("of"), v.text("channel"))
	case "fresh":
		return fmt.Sprintf("the event was %s old when it came, and `fresh` allows %s", rounded(v.text("age"), v.text("fresh")), rounded(v.text("fresh"), ""))
	case "match":
		switch {
		case p.Error != "":
			return "`match` failed: " + lacking(p.Error)
		case v.number("keys") > 0:
			return fmt.Sprintf("an evaluation for the same %s is pending already (`restart: false`)", v.text("match"))
		}
		return fmt.Sprintf("the event has no %s, which `match` needs", v.text("match"))
	case "answer":
		return answerWords(p)
	case "to":
		return fmt.Sprintf("the user is in %s of %s", v.text("list"), entityWords(v.text("of")))
	case "items":
		return fmt.Sprintf("no item of the event has %s", v.text("key"))
	case "within":
		switch {
		case p.Error != "":
			return "`within` failed: " + lacking(p.Error)
		case !p.OK:
			return "`within` gives no span of time above 0"
		}
		return "`within` is " + rounded(v.text("within"), "")
	case "grant":
		switch of := v.text("of"); {
		case p.OK:
			return "granted by " + entityWords(of)
		case strings.HasPrefix(of, "p:"):
			return entityWords(of) + " has no code left"
		default:
			return entityWords(of) + " is used up"
		}
	case "best_hour":
		if p.Error != "" {
			return "`at` failed: " + lacking(p.Error)
		}
		return "the best hour is " + when("best")
	case pipeline.Period.String():
		return "the period is " + strings.TrimSpace(optional("from", when, v)+" "+optional("to", when, v))
	case pipeline.Age.String():
		if !v.has("held") {
			return "it was never held"
		}
		return fmt.Sprintf("it was held in the quiet hours for %s, and `at_most` is %s", rounded(v.text("held"), v.text("at_most")), rounded(v.text("at_most"), ""))
	case pipeline.WhenDue.String():
		if p.OK {
			return "`when_due` holds"
		}
		return "`when_due` does not hold"
	case pipeline.NoConsent.String():
		switch newest := v.text("newest"); {
		case newest == "none":
			return fmt.Sprintf("the user has given no consent to %s", v.text("channel"))
		case newest == "revoked":
			return fmt.Sprintf("the user revoked the consent to %s at %s", v.text("channel"), when("at"))
		case p.OK:
			return fmt.Sprintf("the user gave consent to %s at %s", v.text("channel"), when("at"))
		}
		return fmt.Sprintf("the consent to %s of %s is no longer valid (`valid_for` is %s)", v.text("channel"), when("at"), rounded(v.text("valid_for"), ""))
	case pipeline.Limit.String():
		words := fmt.Sprintf("%d of at most %s of this campaign %s", v.number("sent"), quantity(v.number("max"), "offer"), within())
		if p.OK {
			return words
		}
		if v.has("last") {
			words += ", the last at " + when("last")
		}
		return "already " + words + " (`limits`)"
	case pipeline.Cap.String():
		words := fmt.Sprintf("%d of at most %s on %s %s", v.number("sent"), quantity(v.number("max"), "offer"), v.text("channels"), within())
		if p.OK {
			return words
		}
		return "already " + words + " (`caps`)"
	case pipeline.Pause.String():
		if !v.has("last") {
			return fmt.Sprintf("no offer went out on %s before", v.text("channels"))
		}
		return fmt.Sprintf("an offer went out on %s at %s, and the pause is %s", v.text("channels"), when("last"), rounded(v.text("after_any"), ""))
	case pipeline.Quiet.String():
		words := fmt.Sprintf("it is %s in %s, and quiet hours are %s to %s", v.text("local"), v.text("zone"), v.text("from"), v.text("to"))
		if v.has("until") {
			words += ": held until " + when("until")
		}
		return words
	case pipeline.Duplicate.String():
		return "the same offer has already gone out"
	case "holdout":
		return "the user is in the control group"
	case "data":
		if p.Error != "" {
			return "the offer's data cannot be made: " + lacking(p.Error)
		}
		return "the offer's data are complete"
	case "score":
		if p.Error != "" {
			return "`score` failed: " + lacking(p.Error)
		}
	}
	switch {
	case v.has("taken by"):
		return fmt.Sprintf("outranked on %s by %s", v.text("channel"), v.text("taken by"))
	case v.has("channel"):
		return v.text("channel") + " is free"
	case v.has("item"):
		return "choose gave " + shown(v["item"].Is)
	case p.Error != "":
		return fmt.Sprintf("`%s` failed: %s", p.Text, lacking(p.Error))
	}
	return p.Text
}

// lacking is the error of an expression; of a field that an object lacks, in words.
func lacking(err string) string {
	if field, ok := strings.CutPrefix(err, "no such key: "); ok {
		return field + " is missing"
	}
	return err
}

// optional is a word with its time, if there is one.
func optional(of string, when func(string) string, v told) string {
	if !v.has(of) {
		return ""
	}
	return of + " " + when(of)
}

// rounded is a span without digits that do not matter, beside another one.
func rounded(s, beside string) string {
	d, err := campaign.ParseDuration(s)
	if err != nil {
		return s
	}
	if other, err := campaign.ParseDuration(beside); err == nil && d != other && span(int64(d)) == span(int64(other)) {
		return exactly(d)
	}
	return span(int64(d))
}

// answerWords tells what an item has answered.
func answerWords(p pipeline.TracePart) string {
	var all []string
	for _, x := range p.Values[1:] {
		all = append(all, fmt.Sprintf("%s is %s", x.Of, shown(x.Is)))
	}
	of, _ := text(p.Values[0].Is)
	return fmt.Sprintf("%s: %s", entityWords(of), strings.Join(all, ", "))
}

// entityWords names the entity with a key.
func entityWords(key string) string {
	kind, name, _ := strings.Cut(key, ":")
	switch kind {
	case "u":
		return "user " + name
	case "a":
		return "visitor " + name
	case "i":
		return strings.Replace(name, ":", " ", 1)
	case "c":
		return "the budget of " + name
	case "p":
		return "pool " + name
	}
	return key
}

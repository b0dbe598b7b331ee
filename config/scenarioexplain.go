package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/scenario"
)

// An explainAt holds the places of one expectation in `explain`; a part that is not
// written is nil.
type explainAt struct{ sentence, outcome, stage *value }

const anExplanation = "an explanation"

// explain reads what must be told of users' last evaluations: a part of the sentence,
// or a map of sentence, outcome and stage.
func (r *scenarioReader) explain(v value, s *scenario.Scenario, wrote *expectation) {
	const hint = `explain: {ada bag-fan: "3 of 4 bag_views"}`
	if v.is() == "a map" && len(v.n.Content) == 0 {
		v.problem("the map is empty", hint)
	}
	v.named("explain", func(name string, v value) {
		x, wrong := scenario.ReadExplanation(name)
		if wrong != nil {
			line, col := wrong.Place(name)
			v.problemAt(v.file.locate(v.key, line, col), wrong.What, wrong.Hint)
			return
		}
		if x.Campaign != "" {
			v.knownCampaign(start(v.key), x.Campaign, s.Set)
		}
		var at explainAt
		sentence := func(v value) {
			at.sentence = &v
			if !v.null() || !r.all.Fill {
				x.Sentence = v.text(`a part of the sentence, such as "3 of 4 bag_views"; offerctl test --update fills in a missing one`)
			}
		}
		if v.n.Kind != yaml.MappingNode {
			sentence(v)
		} else if has := v.fields(anExplanation, fields{
			"sentence": sentence,
			"outcome":  func(v value) { at.outcome = &v; x.Outcome = v.oneOf(scenario.ExplainedOutcomes()) },
			"stage":    func(v value) { at.stage = &v; x.Stage = v.oneOf(scenario.Stages()) },
		}); len(has) == 0 {
			v.problem("nothing is expected here", name+": {outcome: condition, stage: trigger}")
		}
		s.Explains, wrote.explains = append(s.Explains, x), append(wrote.explains, at)
	})
}

// oneOf reads one of some names; those of two words may have _ between them.
func (v value) oneOf(names []string) string {
	t := v.text(strings.Join(names, ", "))
	for _, name := range names {
		if t == name || t == strings.ReplaceAll(name, " ", "_") {
			return name
		}
	}
	if t != "" {
		v.problem(fmt.Sprintf("%q is not one of the names", t), didYouMean(t, names))
	}
	return ""
}

// explanation edits one expectation of `explain`.
func (u *update) explanation(at explainAt, want scenario.Explanation, got scenario.Told) {
	if v := at.sentence; v != nil && (v.null() || !want.Tells(got)) {
		u.value(*v, quoted(got.Sentence))
	}
	if v := at.outcome; v != nil && got.Outcome != "" && got.Outcome != want.Outcome {
		u.value(*v, got.Outcome)
	}
	if v := at.stage; v != nil && got.Stage != "" && got.Stage != want.Stage {
		u.value(*v, got.Stage)
	}
}

// value replaces the value of a key, also one that is missing.
func (u *update) value(v value, text string) {
	if v.null() {
		at := u.colon(v) + 1
		u.edits = append(u.edits, edit{at, at, " " + text})
		return
	}
	u.replace(v.n, text)
}

// quoted writes a text of one line as a quoted scalar of YAML.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/scenario"
	core "offerstream/pipeline/value"
)

// Upper limits of numbers in a scenario file.
const (
	mostCount  = 1 << 40
	mostRepeat = 100_000
)

const (
	eventLineHint = "10:00:00 ada Product Viewed product_id=b1, or +1m"
	aRepetition   = "a repetition"
)

// line reads the text of an event or an offer in a scenario.
func (v value) line(hint string) (string, bool) {
	if v.bad() {
		return "", false
	}
	if v.n.Kind != yaml.ScalarNode || v.null() {
		v.wrong("a line of text", hint)
		return "", false
	}
	if at, ok := v.cutOff(); ok && at.col+1 < len(v.file.lines[at.line]) && v.file.lines[at.line][at.col+1] != ' ' {
		v.problemAt(at, "the line ends here, because YAML takes the rest for a comment", quoteIt+"; if it is a comment, put a space after the #")
		return "", false
	}
	return v.n.Value, true
}

// cutOff returns where a comment begins after a plain scalar, if there is one.
func (v value) cutOff() (spot, bool) {
	if !plain(v.n) {
		return spot{}, false
	}
	return v.comment()
}

// mistake reports a mistake in a line at its place. The cause may be that YAML
// has cut the line off.
func (v value) mistake(m *scenario.Mistake) {
	if at, ok := v.cutOff(); ok && strings.Count(v.n.Value, `"`)%2 == 1 {
		v.problemAt(at, "the line ends here, because YAML takes the rest for a comment", "put '...' around all of it")
		return
	}
	if v.flow && plain(v.n) && !balanced(v.n.Value) {
		v.problem("the line is cut: "+strconv.Quote(v.n.Value), "inside [ ] and { } put it in '...', or give it its own line")
		return
	}
	line, col := m.Place(v.n.Value)
	v.problemAt(v.file.locate(v.n, line, col), m.What, m.Hint)
}

// events reads a scenario's input: a list, or the name of a file of JSON.
func (r *scenarioReader) events(v value, day scenario.Day) []scenario.Event {
	if !v.bad() && v.n.Kind == yaml.ScalarNode && !v.null() {
		return r.eventFile(v)
	}
	var events []scenario.Event
	clock := &scenario.Clock{Day: day}
	v.elements("- 10:00:00 ada Product Viewed product_id=b1", func(v value) {
		var lines [][]byte
		switch {
		case v.n.Kind == yaml.MappingNode && v.has("repeat"):
			lines = v.repetition(clock)
		case v.n.Kind == yaml.MappingNode:
			lines = [][]byte{v.wholeEvent(clock)}
		default:
			lines = [][]byte{v.event(clock)}
		}
		for _, json := range lines {
			events = append(events, scenario.Event{JSON: json, Line: v.n.Line})
		}
	})
	return events
}

func (v value) has(name string) bool {
	for k := range v.pairs {
		if k == name {
			return true
		}
	}
	return false
}

func (r *scenarioReader) eventFile(v value) []scenario.Event {
	const hint = "events: visit.jsonl, a file of JSON lines beside this file; or a list"
	name := v.text(hint)
	if name == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(r.file.Name), filepath.FromSlash(name)))
	if err != nil {
		v.problem(err.Error(), hint)
		return nil
	}
	var events []scenario.Event
	for i, line := range bytes.Split(b, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			events = append(events, scenario.Event{JSON: line, Line: i + 1})
		}
	}
	return events
}

// event reads an event in its short form.
func (v value) event(clock *scenario.Clock) []byte {
	text, ok := v.line(eventLineHint)
	if !ok {
		return nil
	}
	json, wrong := scenario.ReadEvent(text, clock)
	if wrong != nil {
		v.mistake(wrong)
	}
	return json
}

// wholeEvent reads an event with all its keys, as it is sent to the gateway. An
// additional key `at` may give its time.
func (v value) wholeEvent(clock *scenario.Clock) []byte {
	before := len(v.l.problems)
	whole, _ := v.tree(0).(map[string]any)
	if len(v.l.problems) > before || whole == nil {
		return nil
	}
	for k, c := range v.pairs {
		if k != "at" && k != "timestamp" {
			continue
		}
		text, ok := c.line("at: +10s")
		if !ok {
			return nil
		}
		ns, wrong := clock.Moment(text)
		switch {
		case wrong != nil && k == "at":
			c.mistake(wrong)
		case wrong != nil: // the gateway checks the timestamp
		default:
			clock.Set(ns)
			if k == "at" {
				delete(whole, "at")
				whole["timestamp"] = core.FormatTime(ns)
			}
		}
	}
	return jsonLine(whole)
}

func jsonLine(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // tree returns only JSON types
		panic("config: " + err.Error())
	}
	return bytes.TrimSpace(b.Bytes())
}

// repetition reads {repeat: 257, every: 1s, event: ...}: the same event many
// times, with {i} replaced by 1, 2, 3 and so on.
func (v value) repetition(clock *scenario.Clock) (lines [][]byte) {
	n, every, text, at := 0, time.Duration(0), "", value{}
	has := v.fields(aRepetition, fields{
		"repeat": func(v value) { n = v.integer(1, mostRepeat) },
		"every":  func(v value) { every = v.duration(0, "every: 1s") },
		"event":  func(v value) { at = v; text, _ = v.line(eventLineHint) },
	})
	v.needs(has, aRepetition, "event", `event: "10:00:00 ada View i={i}"`)
	if text == "" {
		return nil
	}
	moment := *clock
	for i := range n {
		moment = *clock
		moment.Later = time.Duration(i) * every
		json, wrong := scenario.ReadEvent(strings.ReplaceAll(text, "{i}", fmt.Sprint(i+1)), &moment)
		if wrong != nil {
			at.mistake(wrong)
			return nil
		}
		lines = append(lines, json)
	}
	clock.Set(moment.Last())
	return lines
}

// expect reads the offers that must come out, in order.
func (r *scenarioReader) expect(v value, s *scenario.Scenario, wrote *expectation) {
	const hint = "write the offers as a list, or none"
	s.Compares, wrote.offers = true, &v
	switch {
	case v.bad():
	case v.null() && r.all.Fill:
	case v.null():
		v.problem("the value is missing", hint+"; offerctl test --update fills in the actual offers")
	case v.n.Kind == yaml.ScalarNode && v.n.Value == "none":
	case v.n.Kind != yaml.SequenceNode:
		v.wrong("a list or none", hint)
	case len(v.n.Content) > 0:
		v.elements(hint, func(v value) {
			text, ok := v.line("10:01:30 ada bag-fan views=4")
			if !ok {
				return
			}
			o, wrong := scenario.ReadOffer(text, s.Day, rowed(s.Set))
			if wrong != nil {
				v.mistake(wrong)
				return
			}
			if v.knownCampaign(start(v.n), o.Campaign, s.Set) && !s.IsAbout(o.Campaign) {
				v.problem(fmt.Sprintf("the scenario is about %s, but this is an offer of %s", strings.Join(s.About, " and "), o.Campaign), "remove it, or name the campaign in about")
			}
			s.Offers = append(s.Offers, o)
		})
	}
}

// about reads the campaigns whose offers are compared.
func (r *scenarioReader) about(v value, s *scenario.Scenario) {
	s.About = v.texts("about: cart-left, a campaign or a list of them")
	for _, name := range s.About {
		v.knownCampaign(v.spot(), name, s.Set)
	}
}

// rowed tells which campaigns of a set have rows.
func rowed(set *pipeline.Set) func(string) bool {
	return func(name string) bool {
		if set == nil {
			return false
		}
		return slices.ContainsFunc(set.Definition().Campaigns, func(c campaign.Campaign) bool { return c.ID == name && len(c.Rows) > 0 })
	}
}

// knownCampaign reports a campaign or row that the set does not have.
func (v value) knownCampaign(at spot, name string, set *pipeline.Set) bool {
	if set == nil || name == "" {
		return false
	}
	id, row, hasRow := strings.Cut(name, "/")
	var names []string
	for _, c := range set.Definition().Campaigns {
		if names = append(names, c.ID); c.ID != id {
			continue
		}
		if !hasRow || slices.ContainsFunc(c.Rows, func(r campaign.Row) bool { return r.ID == row }) {
			return true
		}
		v.problemAt(at, fmt.Sprintf("campaign %q has no row %q", id, row), "write the id of one of its rows")
		return false
	}
	v.problemAt(at, fmt.Sprintf("there is no campaign %q", name), didYouMean(name, names))
	return false
}

// outcomes reads the expected counts, by campaign. An outcome of two words may
// have _ between them.
func (r *scenarioReader) outcomes(v value, s *scenario.Scenario, wrote *expectation) {
	s.Outcomes = map[string]map[string]uint64{}
	v.named("outcomes", func(name string, c value) {
		c.knownCampaign(start(c.key), name, s.Set)
		known := fields{}
		for _, of := range scenario.OutcomeNames() {
			read := func(v value) {
				if s.Outcomes[name] == nil {
					s.Outcomes[name] = map[string]uint64{}
				}
				s.Outcomes[name][of] = uint64(v.integer(0, mostCount))
				wrote.outcomes = append(wrote.outcomes, outcomeAt{name, of, v})
			}
			known[of] = read
			known[strings.ReplaceAll(of, " ", "_")] = read
		}
		if has := c.fields("outcomes", known); len(has) == 0 && c.is() == "a map" {
			c.problem("no outcome is named here", name+": {evaluated: 4, fired: 1}")
		}
	})
}

// numbers reads a map from names to numbers.
func (r *scenarioReader) numbers(v value, name, number string) map[string]uint64 {
	m := map[string]uint64{}
	v.named("{"+name+": "+number+"}", func(name string, c value) { m[name] = uint64(c.integer(0, mostCount)) })
	return m
}

package config

import (
	"fmt"
	"time"

	"offerstream/pipeline/campaign"
)

// A keyRow describes one key of a map of the language. The reader takes from it
// which keys a map has and needs, the limits of numbers and durations, and its
// hints. The JSON Schema (schema.go) and the reference at the end of LANGUAGE.md
// are made from the same rows.
type keyRow struct {
	name    string
	is      shape
	absent  string // what applies without the key: needed, a default in the form of a file, or words
	limits  string // beyond those of the shape
	meaning string
	example string // as it is written in a file
}

// needed in keyRow.absent marks a required key.
const needed = "required"

// hint returns what to write.
func (r *keyRow) hint() string {
	if r.absent == forEver {
		return r.example + "; without the key, for ever"
	}
	return r.example
}

const forEver = "for ever"

// A keyTable describes one map of the language.
type keyTable struct {
	name   string // in messages: "a feature"
	about  string // the sentences before the table of the reference
	rows   []keyRow
	schema map[string]any // what the rows cannot say
}

func (t *keyTable) row(name string) *keyRow {
	for i := range t.rows {
		if t.rows[i].name == name {
			return &t.rows[i]
		}
	}
	return nil
}

func (t *keyTable) names() []string {
	names := make([]string, len(t.rows))
	for i, r := range t.rows {
		names[i] = r.name
	}
	return names
}

// A shape is the type of a value.
type shape struct {
	says   string         // its name in the reference
	limits string         // in the reference
	schema map[string]any // JSON Schema
	least  int64          // of a number; of a duration in nanoseconds
	most   int64
}

func wholeNumber(least, most int64) shape {
	return shape{says: "number", limits: grouped(least) + " to " + grouped(most), least: least, most: most,
		schema: map[string]any{"type": "integer", "minimum": least, "maximum": most}}
}

// grouped writes a number with a comma between thousands.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// The longest duration is a century: a longer one has no use, and arithmetic
// with it would overflow.
const century = 36525 * 24 * time.Hour

func span(least time.Duration) shape { return spanTo(least, century) }

func spanTo(least, most time.Duration) shape {
	limits := "`" + campaign.FormatDuration(least) + "` or more"
	if most != century {
		limits = "`" + campaign.FormatDuration(least) + "` to `" + campaign.FormatDuration(most) + "`"
	}
	return shape{says: "duration", limits: limits, least: int64(least), most: int64(most), schema: ref("duration")}
}

// keepShape is the number of entries that an aggregate keeps.
var keepShape = shape{says: "number", limits: "1 to " + grouped(mostEntries) + ", with `users` to " + grouped(campaign.MostKeepUsers), least: 1, most: campaign.MostKeepUsers,
	schema: map[string]any{"type": "integer", "minimum": 1, "maximum": campaign.MostKeepUsers}}

// valueShape is a sum of values, which are counted in millionths.
var valueShape = shape{says: "number", limits: "0.000001 to " + grouped(mostBudget), schema: map[string]any{"type": "number", "minimum": leastValue, "maximum": mostBudget}}

// from is a shape of a duration with the shortest one, where the duration is no
// expression.
func (s shape) from(least time.Duration) shape {
	s.least, s.most = int64(least), int64(century)
	s.limits = "`" + campaign.FormatDuration(least) + "` or more; " + s.limits
	return s
}

// words is one of a few words.
func words(choice ...string) shape {
	s := shape{schema: map[string]any{"enum": anys(choice)}}
	for i, w := range choice {
		switch {
		case i > 0 && i == len(choice)-1:
			s.says += " or "
		case i > 0:
			s.says += ", "
		}
		s.says += "`" + w + "`"
	}
	return s
}

func anys(texts []string) []any {
	all := make([]any, len(texts))
	for i, t := range texts {
		all[i] = t
	}
	return all
}

// matching is a text of a form that has a definition in the schema.
func matching(says, definition string) shape { return shape{says: says, schema: ref(definition)} }

func ref(definition string) map[string]any {
	return map[string]any{"$ref": "#/definitions/" + definition}
}

func aMap(what string) shape { return shape{says: "map", schema: ref(slug(what))} }

// noneOr is the word none, or something else.
func noneOr(s shape) shape {
	return shape{says: "`none`, or a " + s.says, schema: map[string]any{"anyOf": []any{map[string]any{"const": "none"}, s.schema}}}
}

func listOf(what string) shape {
	return shape{says: "list of maps", schema: map[string]any{"type": "array", "items": ref(slug(what)), "minItems": 1}}
}

func listTo(what string, least, most int) shape {
	s := listOf(what)
	s.limits = fmt.Sprintf("%d to %d", least, most)
	s.least, s.most = int64(least), int64(most)
	s.schema["minItems"], s.schema["maxItems"] = least, most
	return s
}

// stepsOf is a list of maps, or of events, each of which stands for a map with `on`.
func stepsOf(what string) shape {
	s := listTo(what, 2, mostSteps)
	s.says = "list of maps or event names"
	s.schema["items"] = map[string]any{"anyOf": []any{ref(slug(what)), ref("events")}}
	return s
}

// byName is a map whose keys are names that match a definition of the schema.
func byName(names string, of map[string]any) shape {
	return shape{says: "map by name", schema: map[string]any{"type": "object", "propertyNames": ref(names), "additionalProperties": of}}
}

// known reports keys of a map that its reader does not read, or the reverse: a
// mistake in this program.
func (t *keyTable) known(read fields) {
	for name := range read {
		if t.row(name) == nil {
			panic(fmt.Sprintf("config: %s has a reader for %q, but no row", t.name, name))
		}
	}
	for _, name := range t.names() {
		if read[name] == nil {
			panic(fmt.Sprintf("config: %s has a row for %q, but no reader", t.name, name))
		}
	}
}

// slug returns the name of a map in the schema.
func slug(what string) string {
	for _, article := range []string{"a ", "an "} {
		if len(what) > len(article) && what[:len(article)] == article {
			what = what[len(article):]
		}
	}
	b := []byte(what)
	for i := range b {
		if b[i] == ' ' {
			b[i] = '_'
		}
	}
	return string(b)
}

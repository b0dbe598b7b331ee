package config

import (
	"bytes"
	"encoding/json"
)

// Schema returns the JSON Schema (draft 7) of campaign files, with which an
// editor completes keys and marks mistakes. It is made from the tables that the
// reader uses. It cannot check expressions, names that are used elsewhere in the
// set, and few other things: `offerctl check` does.
func Schema() []byte {
	definitions := map[string]any{}
	for _, t := range tables() {
		definitions[slug(t.name)] = t.asSchema()
	}
	for name, s := range forms {
		definitions[name] = s
	}
	root := map[string]any{
		"$schema":     "http://json-schema.org/draft-07/schema#",
		"title":       "Offerstream campaigns",
		"$ref":        "#/definitions/" + slug(aSet),
		"definitions": definitions,
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil { // cannot happen: it has JSON types only
		panic("config: the schema does not marshal: " + err.Error())
	}
	return b.Bytes()
}

// asSchema returns the schema of one map.
func (t *keyTable) asSchema() map[string]any {
	properties, needs := map[string]any{}, []any{}
	for _, r := range t.rows {
		p := map[string]any{"description": r.description()}
		switch s := r.is.schema; {
		case s["$ref"] != nil: // draft 7 ignores what stands beside it
			p["allOf"] = []any{s}
		default:
			for k, v := range s {
				p[k] = v
			}
		}
		properties[r.name] = p
		if r.absent == needed {
			needs = append(needs, r.name)
		}
	}
	s := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(needs) > 0 {
		s["required"] = needs
	}
	for k, v := range t.schema {
		s[k] = v
	}
	return s
}

// description is what an editor shows of a key.
func (r *keyRow) description() string {
	d := r.meaning
	if r.absent != "" && r.absent != needed {
		d += ". Without the key: " + r.absent
	}
	return d + ". Example: " + r.example
}

// forms are the definitions of the schema that are not maps. They have no
// descriptions: an editor would show these instead of what the key means.
var forms = map[string]any{
	"duration":       pattern(`^\+?0$|^\+?[0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h|d)([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))*$`, "a duration such as 90s, 30m, 1h30m or 7d is expected"),
	"time":           pattern(`^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}`, "a time such as 2026-04-01T00:00:00+09:00 is expected"),
	"time_of_day":    pattern(clockForm.String(), "a time of day from 00:00 to 23:59 is expected"),
	"share":          pattern(shareForm.String(), "a percentage from 0.01% to 100% is expected"),
	"channel":        pattern(`^[a-z0-9_-]{1,32}$`, "a channel's name has "+channelHint),
	"name":           pattern(campaignID.String(), "a campaign's name has "+campaignIDHint),
	"identifier":     pattern(identifier.String(), "such a name has 1 to 64 letters, digits and _, a letter first"),
	"property":       map[string]any{"type": "string", "minLength": 1},
	"key_expression": map[string]any{"type": "string", "minLength": 1},
	"expression":     map[string]any{"type": []any{"string", "boolean", "number"}, "minLength": 1},
	"texts":          textOrTexts(),
	"events":         textOrTexts(),
}

func textOrTexts() map[string]any {
	text := map[string]any{"type": "string", "minLength": 1}
	return map[string]any{"anyOf": []any{text, map[string]any{"type": "array", "items": text, "minItems": 1, "uniqueItems": true}}}
}

// pattern is a text that matches an expression. Editors show expected where it does
// not; the word for it is none of JSON Schema, which other readers pass over.
func pattern(re, expected string) map[string]any {
	return map[string]any{"type": "string", "pattern": re, "patternErrorMessage": expected}
}

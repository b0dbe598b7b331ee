package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
)

// Describe lists the changes from one set to another, one per line: + for an
// added part, - for a removed part, ~ for a changed one, with its changed keys.
// If old is nil, everything is new.
func Describe(old, new *campaign.Definition) []string {
	if old == nil {
		old = newLoad().def
	}
	var lines []string
	lines = append(lines, describeSet(old, new)...)
	lines = append(lines, describeNamed("item", old.Items, new.Items, func(i campaign.Item) string { return i.Kind })...)
	if moved(old.Items, new.Items) {
		lines = append(lines, "~ items: in another order")
	}
	lines = append(lines, describeNamed("feature", old.Features, new.Features, func(f campaign.Feature) string { return f.Name })...)
	lines = append(lines, describeNamed("fact", old.Facts, new.Facts, func(f campaign.Fact) string { return f.Name })...)
	return append(lines, describeNamed("campaign", old.Campaigns, new.Campaigns, func(c campaign.Campaign) string { return c.ID })...)
}

// describeSet compares the set's own keys.
func describeSet(old, new *campaign.Definition) []string {
	a, b := keysOf(old), keysOf(new)
	var lines []string
	for _, k := range changed(a, b) {
		if k == "items" || k == "features" || k == "facts" || k == "campaigns" {
			continue
		}
		lines = append(lines, fmt.Sprintf("~ %s: %s -> %s", k, show(k, a[k]), show(k, b[k])))
	}
	return lines
}

// show returns a value of the set as it is written in a campaign file.
func show(key string, raw json.RawMessage) string {
	if raw == nil {
		return "none"
	}
	var any any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if dec.Decode(&any) != nil {
		return string(raw)
	}
	return showAny(key, asWritten(key, any))
}

// asWritten turns a policy into the form of a campaign file, where a definition
// has another.
func asWritten(key string, v any) any {
	m, _ := v.(map[string]any)
	switch key {
	case "quiet_hours":
		m["then"] = "hold"
		if m["drop"] == true {
			m["then"] = "drop"
		}
		delete(m, "drop")
	case "consent":
		channels, _ := m["required"].([]any)
		for _, ch := range channels {
			m[fmt.Sprint(ch)] = "required"
		}
		delete(m, "required")
	case "brake":
		brakes, _ := v.([]any)
		for _, b := range brakes {
			if m, _ := b.(map[string]any); m["per_campaign"] == true {
				delete(m, "per_campaign")
				m["per"] = "campaign"
			}
		}
	}
	return v
}

// spans are the keys whose numbers are durations.
var spans = []string{"lateness", "anonymous", "known", "within", "after_any", "valid_for", "at_most"}

func showAny(key string, v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, k+": "+showAny(k, v[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, showAny(key, e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case json.Number:
		n, err := v.Int64()
		switch {
		case err != nil:
		case slices.Contains(spans, key):
			return campaign.FormatDuration(time.Duration(n))
		case key == "from" || key == "to": // minutes after midnight
			return fmt.Sprintf("%02d:%02d", n/60, n%60)
		case key == "holdout": // 1/10,000
			return strconv.FormatFloat(float64(n)/100, 'f', -1, 64) + "%"
		}
	}
	return fmt.Sprint(v)
}

// describeNamed compares features or campaigns by name.
func describeNamed[T any](kind string, old, new []T, name func(T) string) []string {
	before, after := map[string]T{}, map[string]T{}
	names := map[string]bool{}
	for _, x := range old {
		before[name(x)], names[name(x)] = x, true
	}
	for _, x := range new {
		after[name(x)], names[name(x)] = x, true
	}
	var lines []string
	for _, n := range slices.Sorted(maps.Keys(names)) {
		a, had := before[n]
		b, has := after[n]
		switch {
		case !had:
			lines = append(lines, fmt.Sprintf("+ %s %s", kind, n))
		case !has:
			lines = append(lines, fmt.Sprintf("- %s %s", kind, n))
		default:
			before, after := keysOf(a), keysOf(b)
			keys := changed(before, after)
			for i, k := range keys {
				if k == forEach {
					keys[i] += describeRows(before[k], after[k])
				}
			}
			if len(keys) > 0 {
				lines = append(lines, fmt.Sprintf("~ %s %s: %s", kind, n, strings.Join(keys, ", ")))
			}
		}
	}
	return lines
}

// describeRows counts the changes from one table to another.
func describeRows(old, new json.RawMessage) string {
	rows := func(raw json.RawMessage) map[string]string {
		var list []campaign.Row
		byID := map[string]string{}
		if raw == nil || json.Unmarshal(raw, &list) != nil {
			return byID
		}
		for _, r := range list {
			byID[r.ID] = string(r.Values)
		}
		return byID
	}
	before, after := rows(old), rows(new)
	added, removed, changed := 0, 0, 0
	for id, values := range after {
		switch was, had := before[id]; {
		case !had:
			added++
		case was != values:
			changed++
		}
	}
	for id := range before {
		if _, has := after[id]; !has {
			removed++
		}
	}
	return fmt.Sprintf(" (rows: %d added, %d removed, %d changed)", added, removed, changed)
}

// moved reports whether the kinds of items that two sets share are in another order,
// which is that in which items are asked.
func moved(old, new []campaign.Item) bool {
	kinds := func(of, other []campaign.Item) (all []string) {
		for _, i := range of {
			if slices.ContainsFunc(other, func(o campaign.Item) bool { return o.Kind == i.Kind }) {
				all = append(all, i.Kind)
			}
		}
		return all
	}
	return !slices.Equal(kinds(old, new), kinds(new, old))
}

// keysOf returns a part of a definition as a map of its keys, by their names in
// a file. A campaign's from and to become the key period, users the key to, brakes
// the key brake.
func keysOf(part any) map[string]json.RawMessage {
	b, err := json.Marshal(part)
	if err != nil {
		panic("config: definition does not marshal: " + err.Error())
	}
	keys := map[string]json.RawMessage{}
	if err := json.Unmarshal(b, &keys); err != nil {
		panic("config: " + err.Error())
	}
	from, to := keys["from"], keys["to"]
	if from != nil || to != nil {
		keys["period"] = slices.Concat(from, []byte(" "), to)
	}
	delete(keys, "from")
	delete(keys, "to")
	if users, ok := keys["users"]; ok {
		keys["to"] = users
		delete(keys, "users")
	}
	if brakes, ok := keys["brakes"]; ok {
		keys["brake"] = brakes
		delete(keys, "brakes")
	}
	if rows, ok := keys["rows"]; ok {
		keys[forEach] = rows
		delete(keys, "rows")
	}
	return keys
}

// changed returns the keys whose values differ, sorted.
func changed(a, b map[string]json.RawMessage) []string {
	differ := map[string]bool{}
	for k := range a {
		if !bytes.Equal(a[k], b[k]) {
			differ[k] = true
		}
	}
	for k := range b {
		if !bytes.Equal(a[k], b[k]) {
			differ[k] = true
		}
	}
	return slices.Sorted(maps.Keys(differ))
}

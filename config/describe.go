package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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
	lines = append(lines, describeNamed("feature", old.Features, new.Features, func(f campaign.Feature) string { return f.Name })...)
	lines = append(lines, describeNamed("campaign", old.Campaigns, new.Campaigns, func(c campaign.Campaign) string { return c.ID })...)
	return lines
}

// describeSet compares the set's own keys.
func describeSet(old, new *campaign.Definition) []string {
	a, b := keysOf(old), keysOf(new)
	var lines []string
	for _, k := range changed(a, b) {
		if k == "features" || k == "campaigns" {
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
	return showAny(key, any)
}

// spans are the keys whose numbers are durations.
var spans = []string{"lateness", "anonymous", "known", "within", "after_any"}

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
		if n, err := v.Int64(); err == nil && slices.Contains(spans, key) {
			return printDuration(time.Duration(n))
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
			if keys := changed(keysOf(a), keysOf(b)); len(keys) > 0 {
				lines = append(lines, fmt.Sprintf("~ %s %s: %s", kind, n, strings.Join(keys, ", ")))
			}
		}
	}
	return lines
}

// keysOf returns a part of a definition as a map of its keys. A campaign's from
// and to become the key period.
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

// printDuration writes a duration in the form of campaign files: 7d, 1h30m,
// 90s.
func printDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d <= 0 {
		return d.String()
	}
	s := ""
	if days := d / day; days > 0 {
		s, d = fmt.Sprintf("%dd", days), d%day
	}
	if d == 0 {
		return s
	}
	t := d.String()
	if strings.HasSuffix(t, "m0s") {
		t = strings.TrimSuffix(t, "0s")
	}
	if strings.HasSuffix(t, "h0m") {
		t = strings.TrimSuffix(t, "0m")
	}
	return s + t
}

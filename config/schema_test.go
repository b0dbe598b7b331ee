package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var remake = flag.Bool("update", false, "write schema.json and the reference in LANGUAGE.md anew from the tables of keys")

// TestSchemaFile: schema.json is what the tables of keys say.
func TestSchemaFile(t *testing.T) {
	const name = "schema.json"
	if *remake {
		if err := os.WriteFile(name, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(b, Schema()) {
		t.Errorf("%s is not what the tables say (%v); make it anew with: go test ./config -run TestSchemaFile -update", name, err)
	}
}

// A checker checks values against a JSON Schema. It knows the keywords that
// Schema uses, and refuses all others, so that none is passed over.
type checker struct{ definitions map[string]any }

func newChecker(t *testing.T) (*checker, map[string]any) {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	return &checker{root["definitions"].(map[string]any)}, map[string]any{"$ref": root["$ref"]}
}

// check returns what is wrong with v, "" if nothing is.
func (c *checker) check(schema map[string]any, v any, at string) string {
	for word, arg := range schema {
		if wrong := c.keyword(word, arg, schema, v, at); wrong != "" {
			return wrong
		}
	}
	return ""
}

func (c *checker) keyword(word string, arg any, schema map[string]any, v any, at string) string {
	wrong := func(format string, args ...any) string { return at + ": " + fmt.Sprintf(format, args...) }
	m, isMap := v.(map[string]any)
	list, isList := v.([]any)
	text, isText := v.(string)
	number, isNumber := v.(float64)
	schemas := func(do func(map[string]any) string) (failures []string) {
		for _, s := range arg.([]any) {
			if f := do(s.(map[string]any)); f != "" {
				failures = append(failures, f)
			}
		}
		return failures
	}
	alternatives := func() (fit int, failures []string) {
		failures = schemas(func(s map[string]any) string { return c.check(s, v, at) })
		return len(arg.([]any)) - len(failures), failures
	}
	switch word {
	case "description", "then", "patternErrorMessage":
	case "$ref":
		name := strings.TrimPrefix(arg.(string), "#/definitions/")
		def, ok := c.definitions[name].(map[string]any)
		if !ok {
			return wrong("no definition %q", name)
		}
		return c.check(def, v, at)
	case "allOf":
		if _, failures := alternatives(); len(failures) > 0 {
			return failures[0]
		}
	case "anyOf":
		if fit, failures := alternatives(); fit == 0 {
			return strings.Join(failures, " and ")
		}
	case "oneOf":
		if fit, failures := alternatives(); fit != 1 {
			return wrong("%d of oneOf fit: %v", fit, failures)
		}
	case "not":
		if c.check(arg.(map[string]any), v, at) == "" {
			return wrong("it is %v", arg)
		}
	case "if":
		if c.check(arg.(map[string]any), v, at) == "" {
			return c.check(schema["then"].(map[string]any), v, at)
		}
	case "const":
		if !reflect.DeepEqual(arg, v) {
			return wrong("%v is not %v", v, arg)
		}
	case "enum":
		if !slices.Contains(arg.([]any), v) {
			return wrong("%v is none of %v", v, arg)
		}
	case "type":
		kinds, ok := arg.([]any)
		if !ok {
			kinds = []any{arg}
		}
		is := map[string]bool{"object": isMap, "array": isList, "string": isText, "number": isNumber, "integer": isNumber && number == math.Trunc(number)}
		_, is["boolean"] = v.(bool)
		if !slices.ContainsFunc(kinds, func(k any) bool { return is[k.(string)] }) {
			return wrong("%v is no %v", v, arg)
		}
	case "properties":
		for k, s := range arg.(map[string]any) {
			if p, ok := m[k]; ok {
				if f := c.check(s.(map[string]any), p, at+"."+k); f != "" {
					return f
				}
			}
		}
	case "additionalProperties":
		properties, _ := schema["properties"].(map[string]any)
		for k, p := range m {
			switch of, may := arg.(map[string]any); {
			case properties[k] != nil:
			case !may:
				return wrong("no key %q is allowed", k)
			default:
				if f := c.check(of, p, at+"."+k); f != "" {
					return f
				}
			}
		}
	case "propertyNames":
		for k := range m {
			if f := c.check(arg.(map[string]any), k, at); f != "" {
				return f
			}
		}
	case "required":
		for _, k := range arg.([]any) {
			if _, ok := m[k.(string)]; isMap && !ok {
				return wrong("%q is missing", k)
			}
		}
	case "minProperties":
		if isMap && len(m) < int(arg.(float64)) {
			return wrong("it has %d keys", len(m))
		}
	case "items":
		for i, e := range list {
			if f := c.check(arg.(map[string]any), e, fmt.Sprintf("%s[%d]", at, i)); f != "" {
				return f
			}
		}
	case "minItems":
		if isList && len(list) < int(arg.(float64)) {
			return wrong("it has %d elements", len(list))
		}
	case "maxItems":
		if isList && len(list) > int(arg.(float64)) {
			return wrong("it has %d elements", len(list))
		}
	case "uniqueItems":
		for i := range list {
			if slices.ContainsFunc(list[:i], func(e any) bool { return reflect.DeepEqual(e, list[i]) }) {
				return wrong("%v appears twice", list[i])
			}
		}
	case "minLength":
		if isText && len(text) < int(arg.(float64)) {
			return wrong("the text is too short")
		}
	case "pattern":
		if isText && !regexp.MustCompile(arg.(string)).MatchString(text) {
			return wrong("%q does not match %s", text, arg)
		}
	case "minimum":
		if isNumber && number < arg.(float64) {
			return wrong("%v is less than %v", number, arg)
		}
	case "maximum":
		if isNumber && number > arg.(float64) {
			return wrong("%v is more than %v", number, arg)
		}
	default:
		return wrong("the schema has %q, which this test does not know", word)
	}
	return ""
}

// asJSON returns a node as an editor sees it: in the types of YAML 1.2.
func asJSON(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = asJSON(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := make([]any, len(n.Content))
		for i, c := range n.Content {
			l[i] = asJSON(c)
		}
		return l
	}
	if !plain(n) {
		return n.Value
	}
	switch x := literal(n.Value).(type) {
	case int64:
		return float64(x)
	case *big.Int:
		f, _ := new(big.Float).SetInt(x).Float64()
		return f
	default:
		return x
	}
}

func (c *checker) file(t *testing.T, root map[string]any, name string, b []byte) string {
	t.Helper()
	_, n, problems := parse(name, b)
	if n == nil {
		t.Fatal(problems)
	}
	return c.check(root, asJSON(n), name)
}

// TestSchemaAccepts: the schema accepts all campaign files of the repository that
// load, and the drafts, if they are here.
func TestSchemaAccepts(t *testing.T) {
	c, root := newChecker(t)
	var files []string
	sets, err := FindSets("../deploy/campaigns")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sets {
		files = append(files, s.Files...)
	}
	for _, name := range append(files, "../../shared/campaigns-draft/user.yaml", "../../shared/campaigns-draft/item.yaml") {
		b, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if wrong := c.file(t, root, name, b); wrong != "" {
			t.Error(wrong)
		}
	}
}

// TestSchemaRefuses: what the reader refuses because of a key or the form of a
// value, the schema refuses too.
func TestSchemaRefuses(t *testing.T) {
	c, root := newChecker(t)
	for _, name := range []string{"keys", "types", "policies", "times-of-day", "triggers", "rows", "facts", "top"} {
		path := filepath.Join("testdata", name+".yaml")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if c.file(t, root, path, b) == "" {
			t.Errorf("%s is accepted", path)
		}
	}
	const campaign = "campaigns: {c: {offer: {channel: web}, %s}}"
	for _, part := range []string{
		"where: x", "on: X, any: [{on: Y}]", "on: X, priority: 1, score: x", "sequence: {steps: [{on: X}], within: 1h}", "on: []", "on: [X, X]",
		"on: X, holdout: 0.123%", "on: X, fresh: soon", "on: X, limits: [{max: 1, per: session, within: 1h}]", "on: X, limits: [{max: 1001}]",
		"on: X, for_each: {}", "on: X, for_each: {rows: [{n: 1}]}", "on: X, for_each: {rows: [{id: a, n: [1]}]}", "on: X, period: {}", "on: X, at: {ahead: 1h}",
		"on: X, let: {a-b: x}", "on: X, unless: {on: Y, within: 1h, restart: 1}",
		"on: X, unless: {on: Y, within: x.p50 * 2}", "on: X, to: a-b", "on: X, budget: {}", "on: X, budget: {offers: 0}", "on: X, budget: {value: 5}", "on: X, budget: {offers: 5, of: x}",
		"on: X, budget: {offers: 5, value: 5, of: x}", "on: X, budget: {offers: 5, per: week}", "on: X, budget: {offers: 5, per: day, within: 1d}", "on: X, budget: {value: -1, of: x}",
	} {
		if c.file(t, root, part, fmt.Appendf(nil, campaign, part)) == "" {
			t.Errorf("%s is accepted", part)
		}
	}
	for _, set := range []string{
		"items: {product: {}}", "items: {a-b: {key: x}}", "items: {product: {key: x, forget: soon}}", "items: {product: {key: x, keep: 1}}", "bounds: {item_bytes: 0}",
		"features: {f: {on: X, agg: users}}", "features: {f: {per: p, on: X, agg: together}}", "features: {f: {per: p, on: X, agg: users, keep: 100001}}", "features: {f: {on: X, agg: histogram, keep: 4097}}",
		"campaigns: {c: {on: X, offer: {channel: web, expires: x.p50}}}", "campaigns: {c: {on: X, offer: {channel: web, coupon: {pool: Spring}}}}",
	} {
		if c.file(t, root, set, []byte(set)) == "" {
			t.Errorf("%s is accepted", set)
		}
	}
}

// TestKeyTables: each key has an example, which the schema accepts. (A key without
// a reader, or a reader without a key, stops the program.)
func TestKeyTables(t *testing.T) {
	c, _ := newChecker(t)
	for _, table := range tables() {
		for _, r := range table.rows {
			_, n, problems := parse(r.name, []byte(r.example))
			if problems != nil {
				t.Errorf("%s, %s: %v", table.name, r.name, problems)
				continue
			}
			m := asJSON(n).(map[string]any)
			if v, ok := m[r.name]; !ok || len(m) != 1 {
				t.Errorf("%s, %s: the example is %s", table.name, r.name, r.example)
			} else if wrong := c.check(jsonOf(t, r.is.schema), v, r.name); wrong != "" {
				t.Errorf("%s: the schema refuses %s: %s", table.name, r.example, wrong)
			}
			if r.meaning == "" {
				t.Errorf("%s, %s: no meaning", table.name, r.name)
			}
		}
	}
}

// jsonOf returns a schema as it reads after writing it.
func jsonOf(t *testing.T, schema map[string]any) (m map[string]any) {
	t.Helper()
	b, err := json.Marshal(schema)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

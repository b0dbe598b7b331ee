package deliver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"text/template"
	"text/template/parse"
)

// functions are what templates can use besides Go's own.
var functions = template.FuncMap{
	"json":  asJSON,
	"text":  firstText,
	"field": fieldOf,
	"slack": strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace,
}

// readTemplate reads the template of a preset, or the one that is given instead.
func readTemplate(p *preset, given string) (*template.Template, error) {
	source := given
	if source == "" {
		b, err := templates.ReadFile("templates/" + p.file)
		if err != nil {
			return nil, err
		}
		source = string(b)
	}
	t, err := template.New(p.file).Option("missingkey=error").Funcs(functions).Parse(strings.TrimSpace(source))
	if err != nil {
		return nil, fmt.Errorf("the template: %w", err)
	}
	if p.mail {
		for _, name := range [...]string{"subject", "text"} {
			if t.Lookup(name) == nil {
				return nil, fmt.Errorf(`the template has no {{ define "%s" }}`, name)
			}
		}
	}
	return t, nil
}

// TemplateOf is the text of a preset's template; "" if there is no such preset.
func TemplateOf(name string) string {
	b, err := templates.ReadFile("templates/" + name + ".tmpl")
	if err != nil {
		return ""
	}
	return string(b)
}

// asJSON is a value as JSON, in which <, > and & stay what they are.
func asJSON(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// fieldOf is the first of the fields that the offer's data has, as a text; "" if it has
// none. Data that is a text is each of its fields.
func fieldOf(v *view, names ...string) string {
	switch data := v.Data.(type) {
	case string:
		return data
	case map[string]any:
		for _, name := range names {
			switch is := data[name].(type) {
			case string:
				return is
			case json.Number:
				return is.String()
			case bool:
				return fmt.Sprint(is)
			}
		}
	}
	return ""
}

// firstText is fieldOf, and fails if there is none.
func firstText(v *view, names ...string) (string, error) {
	if text := fieldOf(v, names...); text != "" {
		return text, nil
	}
	return "", fmt.Errorf("the offer's data has no text in any of %s", strings.Join(names, ", "))
}

// traitsIn are the names of the traits that a template reads, as in .Traits.name or
// $.Traits.name.
func traitsIn(t *template.Template) map[string]bool {
	names := map[string]bool{}
	for _, one := range t.Templates() {
		if one.Tree != nil && one.Root != nil {
			visit(reflect.ValueOf(one.Root), names)
		}
	}
	return names
}

// visit walks the nodes of a template, whose types are many.
func visit(v reflect.Value, names map[string]bool) {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			return
		}
		switch n := v.Interface().(type) {
		case *parse.FieldNode:
			addTrait(n.Ident, names)
			return
		case *parse.VariableNode:
			addTrait(n.Ident[1:], names)
			return
		case *parse.Tree:
			return // the way back
		}
		visit(v.Elem(), names)
	case reflect.Slice:
		for i := range v.Len() {
			visit(v.Index(i), names)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				visit(v.Field(i), names)
			}
		}
	}
}

func addTrait(path []string, names map[string]bool) {
	if len(path) > 1 && path[0] == "Traits" {
		names[path[1]] = true
	}
}

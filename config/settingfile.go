package config

import (
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// file reads a YAML file of settings.
func (p *program) file(name string) ([]given, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading settings: %w", err)
	}
	src, root, problems := parse(name, b)
	if root == nil {
		return nil, problems
	}
	bad := map[*yaml.Node]bool{}
	src.strict(root, bad, &problems)
	add := func(n *yaml.Node, what, hint string) {
		if !bad[n] {
			problems = append(problems, Problem{name, n.Line, n.Column, what, hint})
		}
	}
	if root.Kind != yaml.MappingNode {
		add(root, "expected a map of settings", "nats: nats://127.0.0.1:4222")
		return nil, problems
	}
	var gs []given
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		row := p.row(func(s *setting) bool { return s.inFile() == k.Value })
		switch {
		case bad[k] || bad[v]:
		case row == nil:
			add(k, fmt.Sprintf("%s has no setting %q", p.name, k.Value), p.unknown(k.Value, "", (*setting).inFile))
		default:
			text, ok := settingText(row, v)
			if !ok {
				add(k, fmt.Sprintf("%q is not a single value", k.Value), row.everywhere())
				continue
			}
			gs = append(gs, given{row, text, func(err error) error {
				return Problem{File: name, Line: v.Line, Col: v.Column, What: row.inFile() + ": " + err.Error()}
			}})
		}
	}
	if len(problems) > 0 {
		return gs, problems.sorted()
	}
	return gs, nil
}

// settingText returns a value of the file as it would be given in a flag.
func settingText(row *setting, v *yaml.Node) (string, bool) {
	if v.Kind == yaml.ScalarNode {
		return v.Value, v.Value != "" || !plain(v)
	}
	if v.Kind != yaml.SequenceNode || !row.many {
		return "", false
	}
	var texts []string
	for _, e := range v.Content {
		if e.Kind != yaml.ScalarNode {
			return "", false
		}
		texts = append(texts, e.Value)
	}
	return strings.Join(texts, ","), true
}

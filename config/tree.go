package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile is the largest file that is read, in bytes. All campaigns of a large
// shop in one file take a few megabytes.
const maxFile = 16 << 20

const quoteIt = "quote it or use |"

// parse reads one YAML document. If the document cannot be read, the root is
// nil and the problems say why.
func parse(name string, b []byte) (*source, *yaml.Node, Errors) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if len(b) > maxFile {
		return nil, nil, Errors{{name, 1, 1, fmt.Sprintf("the file has %d bytes, at most %d are read", len(b), maxFile), "split it"}}
	}
	if i := invalid(b); i >= 0 {
		s := newSource(name, string(b[:i]))
		last := len(s.lines) - 1
		return nil, nil, Errors{{name, last + 1, len(s.lines[last]) + 1, "this is not UTF-8 text", "save the file as UTF-8"}}
	}
	s := newSource(name, string(b))
	dec := yaml.NewDecoder(bytes.NewReader(b))
	doc, err := decode(dec)
	switch {
	case errors.Is(err, io.EOF), err == nil && len(doc.Content) == 0:
		return s, nil, Errors{{name, 1, 1, "the file is empty", ""}}
	case err != nil:
		return s, nil, Errors{s.syntax(err)}
	}
	switch second, err := decode(dec); {
	case err == nil:
		return s, nil, Errors{{name, max(second.Line, 1), max(second.Column, 1), "a second document begins here", "make it a file of its own"}}
	case !errors.Is(err, io.EOF):
		return s, nil, Errors{s.syntax(err)}
	}
	return s, doc.Content[0], nil
}

// decode reads the next document. The parser panics on some invalid input; this
// is returned as an error.
func decode(dec *yaml.Decoder) (n *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	n = new(yaml.Node)
	return n, dec.Decode(n)
}

// invalid returns where b stops being valid UTF-8, or -1.
func invalid(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// strict reports features of YAML that a configuration file must not use: tags,
// anchors, aliases, merges, keys that are not text, repeated keys. Reported
// nodes are added to bad, so that they are not reported again.
func (s *source) strict(n *yaml.Node, bad map[*yaml.Node]bool, problems *Errors) {
	add := func(n *yaml.Node, what, hint string) {
		bad[n] = true
		*problems = append(*problems, Problem{s.name, n.Line, n.Column, what, hint})
	}
	switch c := s.at(start(n)); {
	case n.Kind == yaml.AliasNode:
		add(n, fmt.Sprintf("*%s reads as a YAML alias", n.Value), quoteIt)
		return
	case c == '!' && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 || n.Style&yaml.TaggedStyle != 0:
		word, _, _ := strings.Cut(string(s.lines[n.Line-1][n.Column-1:]), " ")
		add(n, fmt.Sprintf("%s reads as a YAML tag", word), quoteIt)
		return
	case n.Anchor != "":
		add(n, fmt.Sprintf("&%s reads as a YAML anchor", n.Anchor), quoteIt)
		return
	}
	if n.Kind == yaml.MappingNode {
		s.strictKeys(n, bad, add)
		if bad[n] {
			return
		}
	}
	for _, c := range n.Content {
		if !bad[c] {
			s.strict(c, bad, problems)
		}
	}
}

func (s *source) strictKeys(n *yaml.Node, bad map[*yaml.Node]bool, add func(*yaml.Node, string, string)) {
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		switch {
		case k.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0:
			add(n, "{{ }} reads as a map in a map", quoteIt)
			return
		case k.Kind == yaml.MappingNode || k.Kind == yaml.SequenceNode:
			add(k, "this reads as a key that is a map or a list", quoteIt)
		case k.Kind == yaml.ScalarNode && k.Value == "<<" && k.Style == 0:
			add(k, "<< reads as a YAML merge", "write the keys out")
		case k.Kind == yaml.ScalarNode && seen[k.Value] != nil:
			add(k, fmt.Sprintf("%q appears twice", k.Value), fmt.Sprintf("it is already on line %d", seen[k.Value].Line))
		case k.Kind == yaml.ScalarNode:
			seen[k.Value] = k
		}
	}
}

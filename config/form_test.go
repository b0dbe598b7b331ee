package config

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/campaign"
)

// seeded returns a source of randomness. If the test fails, it prints the seed.
func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// TestNormalForm: the order of keys, files and names, formatting and comments
// do not change the set's hash.
func TestNormalForm(t *testing.T) {
	b, err := os.ReadFile("../deploy/campaigns/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := load1(t, string(b)).Hash()
	r := seeded(t)
	for range 100 {
		dir := t.TempDir()
		for i, part := range scatter(t, r, b) {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), part, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d, err := LoadCampaigns(dir)
		if err != nil {
			t.Fatal(err)
		}
		if d.Hash() != want {
			t.Fatalf("another set:\n%s", d.JSON())
		}
	}
}

// scatter rewrites a set as one to three files.
func scatter(t *testing.T, r *rand.Rand, b []byte) [][]byte {
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	shuffle(r, "", doc.Content[0])
	parts := make([]*yaml.Node, 1+r.IntN(3))
	for i := range parts {
		parts[i] = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "version"}, {Kind: yaml.ScalarNode, Value: "1"}}}
	}
	root := doc.Content[0].Content
	for i := 0; i < len(root); i += 2 {
		k, v := root[i], root[i+1]
		if k.Value == "version" {
			continue
		}
		for j, p := range parts { // each file gets some of the entries
			share := &yaml.Node{Kind: v.Kind, Value: v.Value, Style: v.Style}
			for e := 0; e < len(v.Content); e += 2 {
				if e/2%len(parts) == j {
					share.Content = append(share.Content, v.Content[e], v.Content[e+1])
				}
			}
			if len(share.Content) > 0 || v.Kind == yaml.ScalarNode {
				p.Content = append(p.Content, k, share)
			}
		}
	}
	var files [][]byte
	for _, p := range parts {
		b, err := yaml.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	return files
}

// shuffle changes everything that must not matter: the order of keys and of
// names, flow and block style, quotes, a single name or a list of one, comments.
func shuffle(r *rand.Rand, key string, n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	if r.IntN(4) == 0 && n.Kind != yaml.ScalarNode {
		n.Style ^= yaml.FlowStyle
	}
	names := slices.Contains([]string{"on", "channels", "remove_on", "fields"}, key)
	switch n.Kind {
	case yaml.MappingNode:
		order := r.Perm(len(n.Content) / 2)
		var content []*yaml.Node
		for _, i := range order {
			k, v := n.Content[2*i], n.Content[2*i+1]
			k.HeadComment, k.LineComment, k.FootComment = "", "", ""
			shuffle(r, k.Value, v)
			content = append(content, k, v)
		}
		n.Content = content
	case yaml.SequenceNode:
		for _, c := range n.Content {
			shuffle(r, "", c)
		}
		if names {
			r.Shuffle(len(n.Content), func(i, j int) { n.Content[i], n.Content[j] = n.Content[j], n.Content[i] })
		}
	case yaml.ScalarNode:
		if _, text := literal(n.Value).(string); text && key != "within" {
			n.Style = []yaml.Style{0, yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle}[r.IntN(3)]
		}
		if (key == "on" || key == "if") && r.IntN(2) == 0 {
			*n = yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: n.Value}}}
		}
	}
}

// TestWalk: the place of each letter of a value is found in its source, in all
// five styles.
func TestWalk(t *testing.T) {
	r := seeded(t)
	words := strings.Fields(`a event.name "x" it's é 😀 \ > | # - : , [0] {{b}} == && !c`)
	for range 5000 {
		var text strings.Builder
		for i := range 1 + r.IntN(30) {
			if i > 0 {
				text.WriteString([]string{" ", " ", " ", "  ", "\n", "\n\n", "\n  "}[r.IntN(7)])
			}
			text.WriteString(words[r.IntN(len(words))])
		}
		style := []yaml.Style{0, yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle, yaml.LiteralStyle, yaml.FoldedStyle}[r.IntN(5)]
		b, err := yaml.Marshal(map[string]any{"a": []*yaml.Node{{Kind: yaml.ScalarNode, Value: text.String(), Style: style}}})
		if err != nil {
			t.Fatal(err)
		}
		src, root, problems := parse("x", b)
		if problems != nil {
			t.Fatal(problems)
		}
		n := root.Content[1].Content[0]
		spots := src.walk(n)
		if spots == nil {
			t.Fatalf("lost in\n%s", b)
		}
		for i, want := range []rune(n.Value) {
			if got := src.at(spots[i]); got != want && (unicode.IsLetter(want) && got != '\\' || unicode.IsDigit(want)) {
				t.Fatalf("rune %d is %c, found %c at %v in\n%s", i, want, got, spots[i], b)
			}
		}
	}
}

// FuzzLoad: no file makes the loader panic, or work for longer than its size
// explains, and every loaded set can be described, hashed and read back.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "../deploy/campaigns/*.yaml", "../deploy/campaigns/*/*/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Add([]byte(wholeLanguage))
	f.Add([]byte(itemLanguage))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		l := newLoad()
		l.open = func(_, name string) (string, []byte, error) { return name, []byte("id,n\na,1\nb,x\n"), nil }
		ended := time.AfterFunc(20*time.Second, func() { panic(fmt.Sprintf("loading takes too long:\n%s", b)) })
		defer ended.Stop()
		l.file("fuzz.yaml", b)
		d, err := l.finish()
		if err != nil {
			_ = err.Error()
			return
		}
		_ = Describe(nil, d)
		if again, err := campaign.ParseDefinition(d.JSON()); err != nil || again.Hash() != d.Hash() {
			t.Errorf("read back: %v", err)
		}
	})
}

// FuzzTable: no CSV file makes the loader panic, and the rows of every table that
// is read have different ids.
func FuzzTable(f *testing.F) {
	for _, s := range []string{"id,n\na,1\n", "id\n\"a\n\"\n", "\ufeffid,x\r\n1,true\r\n", "id,id\n", "a\n1\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, _, problems := readTable("t.csv", b)
		seen := map[string]bool{}
		for _, r := range rows {
			if problems == nil && (seen[r.ID] || !json.Valid(r.Values)) {
				t.Fatalf("%+v", r)
			}
			seen[r.ID] = true
		}
		_ = problems.sorted().Error()
	})
}

package config

import (
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
)

// The two references that code, tests and comments cite by number.
const (
	language = "config/LANGUAGE.md"   // ### Rule N: ...
	protocol = "pipeline/PROTOCOL.md" // ### D1: ..., ### P1: ...
	module   = ".."                   // the module's root directory
	rules    = `[0-9]+(?:(?:, | and | to |, and )[0-9]+)*`
	letters  = `[DP][0-9]+(?:(?:, | and | to |, and )[DP][0-9]+)*`
	fold     = `[\s/#]+` // a citation may continue on the next line of a comment
)

var (
	ruleHeading   = regexp.MustCompile(`(?m)^### (Rule \d+): \S`)
	letterHeading = regexp.MustCompile(`(?m)^### ([DP]\d+): \S`)

	ruleCited     = regexp.MustCompile(`LANGUAGE\.md(?:\)|'s)?,` + fold + `rules?` + fold + `(` + rules + `)`)
	letterCited   = regexp.MustCompile(`PROTOCOL\.md(?:\)|'s)?,` + fold + `(` + letters + `)`)
	bareRule      = regexp.MustCompile(`(?i)\brules? (` + rules + `)`)
	bareLetter    = regexp.MustCompile(`\b([DP][1-9])\b`)
	mutation      = regexp.MustCompile(`^"([DP][1-9]): `)
	number        = regexp.MustCompile(`[DP]?\d+`)
	documentNamed = regexp.MustCompile(`\b[A-Z]{4,}\.md\b`)
)

// A text is a part of a file that may contain citations: the whole file, or a
// comment.
type text struct {
	file string
	line int // its first line
	text string
}

// at returns the file and line of byte i of the text.
func (c text) at(i int) string {
	return fmt.Sprintf("%s:%d", c.file, c.line+strings.Count(c.text[:i], "\n"))
}

// repository calls fn with each Go, Markdown and YAML file of the module.
func repository(t *testing.T, fn func(name string, content string)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(module), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name != "." && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains([]string{".go", ".md", ".yaml"}, path.Ext(name)) {
			return nil
		}
		b, err := os.ReadFile(filepath.Join(module, name))
		if err == nil {
			fn(name, string(b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// comments calls fn with the comments of a Go file, consecutive lines joined
// into one, and with its strings.
func comments(name, src string, fn func(c text, isComment bool)) {
	var s scanner.Scanner
	file := token.NewFileSet().AddFile(name, -1, len(src))
	s.Init(file, []byte(src), nil, scanner.ScanComments)
	var block text
	for {
		pos, tok, lit := s.Scan()
		line := 0
		if pos.IsValid() {
			line = file.Line(pos)
		}
		if tok == token.COMMENT && block.text != "" && line == block.line+strings.Count(block.text, "\n")+1 {
			block.text += "\n" + lit
			continue
		}
		if block.text != "" && !(tok == token.SEMICOLON && lit == "\n") {
			fn(block, true)
			block = text{}
		}
		switch tok {
		case token.COMMENT:
			block = text{name, line, lit}
		case token.STRING:
			fn(text{name, line, lit}, false)
		case token.EOF:
			return
		}
	}
}

// A citation names one heading of a reference.
type citation struct{ at, heading string }

// citations returns the citations in a file, and the documents that it names.
func citations(name, content string) (cited, documents []citation) {
	take := func(c text, re *regexp.Regexp, prefix string) {
		for _, m := range re.FindAllStringSubmatchIndex(c.text, -1) {
			for _, n := range expand(c.text[m[2]:m[3]]) {
				cited = append(cited, citation{c.at(m[0]), prefix + n})
			}
		}
	}
	both := func(c text) {
		take(c, ruleCited, "Rule ")
		take(c, letterCited, "")
		for _, m := range documentNamed.FindAllStringIndex(c.text, -1) {
			documents = append(documents, citation{c.at(m[0]), c.text[m[0]:m[1]]})
		}
	}
	switch whole := (text{name, 1, content}); path.Ext(name) {
	case ".go":
		comments(name, content, func(c text, isComment bool) {
			if !isComment {
				take(c, mutation, "")
				return
			}
			both(c)
			take(c, bareLetter, "")
		})
	case ".md":
		both(whole)
		take(whole, bareLetter, "")
		if name == language {
			take(whole, bareRule, "Rule ")
		}
	default:
		both(whole)
		if strings.HasSuffix(name, ".test.yaml") {
			for i, line := range strings.Split(content, "\n") {
				if _, comment, ok := strings.Cut(line, "#"); ok {
					take(text{name, i + 1, comment}, bareRule, "Rule ")
				}
			}
		}
	}
	return cited, documents
}

// expand returns the numbers that a list names, such as "3", "5 and 8",
// "1 to 4" or "P1, P4".
func expand(list string) (all []string) {
	places := number.FindAllStringIndex(list, -1)
	for i, at := range places {
		n := list[at[0]:at[1]]
		if i > 0 && list[places[i-1][1]:at[0]] == " to " {
			letter := strings.TrimRight(n, "0123456789")
			from, _ := strconv.Atoi(strings.TrimPrefix(all[len(all)-1], letter))
			to, _ := strconv.Atoi(strings.TrimPrefix(n, letter))
			for k := from + 1; k < to && k < from+100; k++ {
				all = append(all, letter+strconv.Itoa(k))
			}
		}
		all = append(all, n)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(module, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// headings returns the numbered headings of the references. Each must be there
// exactly once.
func headings(t *testing.T) map[string]bool {
	t.Helper()
	have := map[string]bool{}
	for _, of := range []struct {
		file string
		re   *regexp.Regexp
		want map[string]int // by prefix, the last number of those from 1
		more int            // headings with other numbers
	}{
		{language, ruleHeading, map[string]int{"Rule ": 26}, 1}, // 28: 27 is for erasure, which is not built
		{protocol, letterHeading, map[string]int{"D": 5, "P": 9}, 0},
	} {
		n := 0
		for _, m := range of.re.FindAllStringSubmatch(read(t, of.file), -1) {
			if n++; have[m[1]] {
				t.Errorf("%s: %s has two headings", of.file, m[1])
			}
			have[m[1]] = true
		}
		for prefix, last := range of.want {
			n -= last
			for i := range last {
				if h := prefix + strconv.Itoa(i+1); !have[h] {
					t.Errorf("%s: there is no heading ### %s: ...", of.file, h)
				}
			}
		}
		if n -= of.more; n > 0 {
			t.Errorf("%s: %d numbered headings too many", of.file, n)
		}
	}
	return have
}

// TestCitations checks that every rule and protocol point cited anywhere in the
// repository exists, and every document that is named.
func TestCitations(t *testing.T) {
	have := headings(t)
	files := map[string]bool{}
	repository(t, func(name, _ string) { files[path.Base(name)] = true })
	seen := 0
	repository(t, func(name, content string) {
		cited, documents := citations(name, content)
		seen += len(cited)
		for _, c := range cited {
			if !have[c.heading] {
				t.Errorf("%s cites %s: %s and %s have no such heading", c.at, c.heading, language, protocol)
			}
		}
		for _, c := range documents {
			if !files[c.heading] {
				t.Errorf("%s names %s: there is no such file in the repository", c.at, c.heading)
			}
		}
	})
	if seen < 100 {
		t.Errorf("found only %d citations: does this test still read them?", seen)
	}
}

// TestCitationsAreFound: citations are found in each of their forms, with their
// place, and nothing else is taken for one.
func TestCitationsAreFound(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"a.go", "package a\n\n// x (LANGUAGE.md, rule 3).\n", "a.go:3 Rule 3"},
		{"a.go", "package a\n\n// x: LANGUAGE.md's, rules 3, 4 and 99.\n", "a.go:3 Rule 3; a.go:3 Rule 4; a.go:3 Rule 99"},
		{"a.go", "package a\n\nfunc f() {\n\tx() // y, see LANGUAGE.md,\n\t// rules 2 to 4\n}\n", "a.go:4 Rule 2; a.go:4 Rule 3; a.go:4 Rule 4"},
		{"a.go", "package a\n\n/* y\nsee PROTOCOL.md, D9 */\n", "a.go:4 D9; a.go:4 D9"},
		{"a.go", "package a\n\nvar x = 1 // z (P5, P8)\n", "a.go:3 P5; a.go:3 P8"},
		{"a.go", "package a\n\nvar x = []string{\n\"P1: what\", \"in P2\"}\n", "a.go:4 P1"},
		{"a.go", "package a\n\nvar P1 = \"LANGUAGE.md, rule 77\" // P99, MP3, p5\n", ""},
		{"a.md", "# A\n\nMutations P1, D4.\nSee [LANGUAGE.md](x), rule 5.\n", "a.md:3 P1; a.md:3 D4"},
		{"a.md", "See LANGUAGE.md, rule 5. A rule 6.\n", "a.md:1 Rule 5"},
		{"a.test.yaml", "# rule 20\nx: rule 21 # as rules 1 and 22\n", "a.test.yaml:1 Rule 20; a.test.yaml:2 Rule 1; a.test.yaml:2 Rule 22"},
		{"a.yaml", "# rule 20\nx: 1 # LANGUAGE.md, rule 4\n", "a.yaml:2 Rule 4"},
	} {
		var got []string
		cited, _ := citations(c.name, c.content)
		for _, x := range cited {
			got = append(got, x.at+" "+x.heading)
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%q: cites %q, want %q", c.content, s, c.want)
		}
	}
	if _, documents := citations("a.go", "package a\n\n// see GONE.md\n"); len(documents) != 1 || documents[0] != (citation{"a.go:3", "GONE.md"}) {
		t.Errorf("%v", documents)
	}
}

// TestLanguageExamples checks the examples in LANGUAGE.md: its complete sets load,
// and its scenarios pass.
func TestLanguageExamples(t *testing.T) {
	sets, scenarios, heading := 0, 0, ""
	for _, part := range strings.Split(read(t, language), "\n#")[1:] {
		heading, part, _ = strings.Cut(strings.TrimLeft(part, "# "), "\n")
		_, rest, _ := strings.Cut(part, "```yaml\n")
		block, _, _ := strings.Cut(rest, "\n```\n")
		switch {
		case strings.Contains(block, "scenarios:\n"):
			scenarios++
			t.Run(heading, func(t *testing.T) { exampleScenario(t, block) })
		case strings.HasPrefix(block, "version:"):
			sets++
			t.Run(heading, func(t *testing.T) { exampleSet(t, block) })
		}
	}
	if sets < 1 || scenarios < 20 {
		t.Errorf("%s shows %d campaign sets and %d scenarios", language, sets, scenarios)
	}
}

func exampleSet(t *testing.T, text string) {
	l := newLoad()
	l.file(language, []byte(text))
	if _, err := l.finish(); err != nil {
		t.Error(err)
	}
}

func exampleScenario(t *testing.T, text string) {
	f, err := new(Scenarios).read(language, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range f.Scenarios {
		r, err := s.Run()
		if err != nil {
			t.Fatal(err)
		}
		if wrong := s.Compare(r); wrong != "" {
			t.Errorf("%s:\n%s", s.Name, wrong)
		}
	}
}

// TestLanguageNames: LANGUAGE.md names everything that the language has.
func TestLanguageNames(t *testing.T) {
	text := read(t, language)
	names := slices.Concat(aggregates, []string{campaign.ClockBroker, campaign.ClockEvent, campaign.Advertising, campaign.Service})
	for _, name := range names {
		if !regexp.MustCompile("`[^`\n]*\\b" + name + "\\b[^`\n]*`").MatchString(text) {
			t.Errorf("%s does not name %q", language, name)
		}
	}
}

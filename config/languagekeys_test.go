package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The part of LANGUAGE.md that is made from the tables of keys.
const (
	generatedFrom = "<!-- From here on made from the tables of keys: go test ./config -run TestReference -update -->\n"
	generatedTo   = "<!-- To here. -->\n"
)

// reference writes the tables of keys as Markdown.
func reference() string {
	var b strings.Builder
	for _, t := range tables() {
		fmt.Fprintf(&b, "\n### %s\n\n", strings.ToUpper(t.name[:1])+t.name[1:])
		if t.about != "" {
			fmt.Fprintf(&b, "%s\n\n", t.about)
		}
		b.WriteString("| key | type | default | limits | meaning | example |\n|---|---|---|---|---|---|\n")
		for _, r := range t.rows {
			limits := r.is.limits
			if limits != "" && r.limits != "" {
				limits += "; "
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | `%s` |\n", r.name, r.is.says, asDefault(r), limits+r.limits, r.meaning, strings.ReplaceAll(r.example, "|", `\|`))
		}
	}
	b.WriteString("\n")
	return b.String()
}

var isValue = regexp.MustCompile(`^([0-9][0-9,.a-z]*|[a-z]+)$`)

// asDefault writes what applies without a key: a value as code, else words.
func asDefault(r keyRow) string {
	_, choice := r.is.schema["enum"]
	if r.absent != needed && isValue.MatchString(r.absent) && (choice || r.absent[0] <= '9' || r.absent == "true" || r.absent == "false") {
		return "`" + r.absent + "`"
	}
	return r.absent
}

// TestReference: the end of LANGUAGE.md is what the tables of keys say.
func TestReference(t *testing.T) {
	text := read(t, language)
	before, rest, ok := strings.Cut(text, generatedFrom)
	generated, after, end := strings.Cut(rest, generatedTo)
	if !ok || !end {
		t.Fatalf("%s has no lines %q and %q", language, generatedFrom, generatedTo)
	}
	if *remake {
		if err := os.WriteFile(filepath.Join(module, language), []byte(before+generatedFrom+reference()+generatedTo+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if generated != reference() {
		t.Errorf("the reference in %s is not what the tables say; make it anew with: go test ./config -run TestReference -update", language)
	}
}

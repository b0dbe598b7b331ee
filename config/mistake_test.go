package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var warned = regexp.MustCompile(`(?m)^# warning: (.*)$`)

// TestWarnedFiles compares what check warns of in each file of testdata/warned with
// its `# warning:` lines.
func TestWarnedFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/warned/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, m := range warned.FindAllStringSubmatch(string(b), -1) {
				want = append(want, name+":"+m[1])
			}
			l := newLoad()
			l.file(name, b)
			if _, err := l.finish(); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(l.warnings.sorted()); got != strings.Join(want, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}

// TestMendedOnTrial: a character that only looks right is not blamed for what is
// unreadable without it.
func TestMendedOnTrial(t *testing.T) {
	for text, want := range map[string]string{
		"campaigns:\n  a:\n    on: “X”\n   offer: {channel: web}\n": "x:4:4: this is not YAML",
		"campaigns:\n  a:\n    on: X\n    data: {a: “b”, c: [}\n":   "x:4:11: this is not YAML",
		"campaigns:\n  a:\n    on:X: b: c\n":                        "x:3:5: this is not YAML",
	} {
		l := newLoad()
		l.file("x", []byte(text))
		if _, err := l.finish(); !strings.HasPrefix(fmt.Sprint(err), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

package config

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
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

// TestTextColumn: a column of a CSV file is texts if any cell is no number, so that a
// comparison with a number never holds.
func TestTextColumn(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"t.csv": "id,least\na,3\nb,n/a\n", "set.yaml": "campaigns:\n  c:\n    for_each: {file: t.csv}\n    on: X\n    if: row.least > 1\n    offer: {channel: web}\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := LoadCampaigns("set.yaml")
	if want := `set.yaml:5:19: this never holds: row.least is a text and 1 is an int: a text is in quotes: "1"`; fmt.Sprint(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestMangledFiles: whatever is wrong with a file, each mistake is at a place that the
// file has.
func TestMangledFiles(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 2))
	b, err := os.ReadFile("../deploy/campaigns/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	from := []rune(string(b))
	pieces := []string{":", ": ", "：", "，", "“", "”", "\u00a0", "\u200b", "[", "]", "{", "}", "｛", "\"", "'", "#", " #", "-", "- ", "|", "&", "*", "!", ",", "\n", "\t", "  ", "{{", "}}", "${profile.name}", "=", "10,000", "on:", "fresh 2m\n", "1 day", "상품"}
	for range 150 {
		at := r.IntN(len(from))
		text := string(from[:at]) + pieces[r.IntN(len(pieces))] + string(from[min(len(from), at+r.IntN(3)):])
		l := newLoad()
		l.file("x", []byte(text))
		_, err := l.finish()
		var problems Errors
		if err != nil && !errors.As(err, &problems) {
			t.Fatal(err)
		}
		src := newSource("x", text)
		for _, p := range append(problems, l.warnings...) {
			if p.Line < 1 || p.Line > len(src.lines) || p.Col < 1 || p.Col > len(src.lines[p.Line-1])+1 || p.What == "" {
				t.Fatalf("seed %d: after %q: there is no such place: %v", seed, text[max(0, len(string(from[:at]))-40):len(string(from[:at]))], p)
			}
		}
	}
}

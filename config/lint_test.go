package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/deploy"
)

var updateLint = flag.Bool("update-lint", false, "write the `# want:` lines of testdata/lint anew")

// TestLint compares the warnings about each set of testdata/lint with its `# want:`
// lines.
func TestLint(t *testing.T) {
	files, err := filepath.Glob("testdata/lint/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	seen := map[string]bool{}
	for _, name := range files {
		d, findings, err := Check{}.Findings(name)
		if err != nil || d == nil {
			t.Errorf("%s: %v %v", name, err, findings)
			continue
		}
		var got []string
		for _, f := range findings {
			got = append(got, fmt.Sprintf("# want: %s (%s)", strings.TrimPrefix(f.Error(), name+":"), f.Rule))
			seen[f.Rule] = true
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text, want, _ := strings.Cut(string(b), "# want:")
		if want != "" {
			want = "# want:" + want
		}
		if *updateLint {
			if err := os.WriteFile(name, []byte(text+strings.Join(append(got, ""), "\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if g := strings.Join(append(got, ""), "\n"); g != want {
			t.Errorf("%s\ngot:\n%s\nwant:\n%s", name, g, want)
		}
	}
	sampled := []string{"event-never-occurs", "property-never-occurs", "text-for-number", "value-never-matches", "condition-never-holds"} // package survey tests them
	for _, r := range Rules() {
		if r.says == nil && r.Level == Warning && !seen[r.ID] && !slices.Contains(sampled, r.ID) {
			t.Errorf("no set of testdata/lint breaks the rule %s", r.ID)
		}
	}
}

// TestShippedHasNoWarnings: whoever checks a set that comes with the programs sees
// nothing but ok.
func TestShippedHasNoWarnings(t *testing.T) {
	sets, err := FindSets("../deploy/campaigns")
	if err != nil || len(sets) < 16 {
		t.Fatal(len(sets), err)
	}
	var first []string
	for _, id := range deploy.First {
		first = append(first, "../deploy/campaigns/gallery/"+id)
	}
	firstFiles, err := CampaignFiles(first...)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(sets, Folder{Path: "demo", Files: firstFiles}) {
		if _, findings, err := (Check{}).Findings(s.Files...); err != nil || len(findings) > 0 {
			t.Errorf("%s: %v %v", s.Path, err, findings)
		}
	}
}

// TestLanguageHasNoWarnings: whoever copies an example of LANGUAGE.md is not warned
// of it.
func TestLanguageHasNoWarnings(t *testing.T) {
	b, err := os.ReadFile("LANGUAGE.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
		set, _, _ := strings.Cut("\n"+block[1], "\nscenarios:")
		set, _, _ = strings.Cut(set, "\ntimes:")
		n++
		_, findings, err := Check{}.Findings(write(t, "set.yaml", set))
		if err != nil || len(findings) > 0 {
			t.Errorf("%v %v in\n%s", err, findings, set)
		}
	}
	if n < 20 {
		t.Errorf("only %d examples", n)
	}
}

// TestRetention notes the windows that reach back further than the log.
func TestRetention(t *testing.T) {
	name := write(t, "set.yaml", `features:
  ever:  {on: X, agg: count}
  day:   {on: X, agg: count, within: 1d}
  week:  {on: X, agg: count, within: 7d}
  month: {on: X, agg: count, within: 30d}
  liked: {on: X, by: brand, agg: top, half_life: 30d}
campaigns: {c: {on: X, if: ever + day + week + month + liked.size() > 3, offer: {channel: web}}}
`)
	_, findings, err := Check{Retention: 7 * 24 * time.Hour}.Findings(name)
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	for _, f := range findings {
		if f.Rule != "longer-than-log" || f.Level != Note || !strings.Contains(f.Error(), ": note: ") {
			t.Errorf("%+v", f)
		}
		lines = append(lines, f.Line)
	}
	if !slices.Equal(lines, []int{2, 5}) {
		t.Errorf("lines %v", lines)
	}
}

// TestRulesOfErrors: each error in testdata has the rule of its kind, and an end
// that is not before its beginning.
func TestRulesOfErrors(t *testing.T) {
	seen := map[string][]string{}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		_, findings, err := Check{}.Findings(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range findings {
			if ruleNamed(f.Rule).Level != f.Level {
				t.Errorf("%v has level %s under rule %s", f, f.Level, f.Rule)
			}
			if f.EndCol < f.Col {
				t.Errorf("%v ends at %d", f, f.EndCol)
			}
			seen[f.Rule] = append(seen[f.Rule], f.Error())
		}
	}
	for rule, sample := range map[string]string{
		"syntax":       "this is not YAML",
		"unknown-key":  "is not a key of",
		"duplicate":    "appears twice",
		"unknown-name": "nothing here is named",
		"bad-name":     "is not a campaign's name",
		"consent":      "this advertises by emial",
		"missing":      "needs `",
		"type":         "expected a map",
		"value":        "is not a possible value",
	} {
		if !slices.ContainsFunc(seen[rule], func(s string) bool { return strings.Contains(s, sample) }) {
			t.Errorf("no problem under %s says %q", rule, sample)
		}
	}
	if testing.Verbose() {
		for _, r := range Rules() {
			for _, s := range seen[r.ID] {
				t.Logf("%-14s %s", r.ID, s)
			}
		}
	}
}

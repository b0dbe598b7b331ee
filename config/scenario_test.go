package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadScenarios compares the mistakes found in each file with its `# want:`
// lines.
func TestBadScenarios(t *testing.T) {
	files, err := FindScenarios("testdata/scenarios")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, m := range wanted.FindAllStringSubmatch(string(b), -1) {
				want = append(want, name+":"+m[1])
			}
			_, err = new(Scenarios).Read(name)
			if got := fmt.Sprint(err); got != strings.Join(want, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}

// TestFindScenarios: every *.test.yaml in and below a directory is a scenario
// file, and no campaign file is.
func TestFindScenarios(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("c.yaml", "campaigns: {c: {on: View, offer: {channel: web}}}\n")
	put("c.test.yaml", "campaigns: c.yaml\nscenarios: {one: {events: visit.jsonl, expect: [10:00:00 ada c]}}\n")
	put("visit.jsonl", `{"type":"track","event":"View","userId":"ada","timestamp":"2026-01-01T10:00:00Z"}`+"\n\n")
	put("below/d.test.yml", "")
	put(".hidden/e.test.yaml", "")
	put("empty/f.yaml", "")
	files, err := FindScenarios(dir, filepath.Join(dir, "c.test.yaml"))
	if err != nil || len(files) != 2 || filepath.Base(files[0]) != "d.test.yml" || filepath.Base(files[1]) != "c.test.yaml" {
		t.Errorf("%v, %v", files, err)
	}
	for path, want := range map[string]string{
		"c.yaml":  "c.yaml is not a scenario file: name a file *.test.yaml or a directory that has some",
		"nowhere": "no such file or directory: name a file *.test.yaml or a directory that has some",
		"empty":   "empty has no file *.test.yaml: write one, or name another directory",
	} {
		if _, err := FindScenarios(filepath.Join(dir, path)); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	if d, err := LoadCampaigns(dir); err != nil || len(d.Campaigns) != 1 {
		t.Errorf("the directory's campaigns: %+v, %v", d, err)
	}
	if _, err := LoadCampaigns(filepath.Join(dir, "c.test.yaml")); err == nil || !strings.Contains(err.Error(), "run offerctl test") {
		t.Errorf("scenarios as campaigns: %v", err)
	}
	f, err := new(Scenarios).Read(filepath.Join(dir, "c.test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Scenarios[0].Run()
	if err != nil {
		t.Fatal(err)
	}
	if wrong := f.Scenarios[0].Compare(r); wrong != "" {
		t.Error(wrong)
	}
}

// TestScenarioRows: the lines of a scenario name a campaign's rows, and outcomes
// of two words are written either way. A campaign without a row stands for all.
func TestScenarioRows(t *testing.T) {
	const text = `
campaigns:
  c: {for_each: {rows: [{id: a}, {id: b}]}, on: View, where: event.properties.to == row.id, choose: null, offer: {channel: web}}
  d: {for_each: {rows: [{id: a}, {id: b}]}, on: Look, offer: {channel: web}}
scenarios:
  rows:
    about: [c, d/a]
    events: [10:00:00 ada View to=a, 10:00:00 ada View to=b, 10:00:00 ada Look]
    expect: [10:00:00 ada d/a]
    outcomes:
      c: {evaluated: 2, no_choice: 2, quiet_hours: 0}
      c/a: {no choice: 1}
`
	f, err := new(Scenarios).read("x.test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Scenarios[0].Run()
	if err != nil {
		t.Fatal(err)
	}
	if wrong := f.Scenarios[0].Compare(r); wrong != "" {
		t.Error(wrong)
	}
	_, err = new(Scenarios).read("x.test.yaml", []byte(strings.NewReplacer("ada d/a", "ada d/x", "c/a:", "c/y:").Replace(text)))
	want := `x.test.yaml:9:14: campaign "d" has no row "x": write the id of one of its rows
x.test.yaml:12:7: campaign "c" has no row "y": write the id of one of its rows`
	if fmt.Sprint(err) != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

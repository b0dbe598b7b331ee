package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"offerstream/config"
)

// checked returns what `offerctl check` prints, with the hash of each set left
// out, and its exit status.
func checked(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"check"}, args...), stdio{strings.NewReader(""), &o, &e})
	return regexp.MustCompile(`set [0-9a-f]{32}`).ReplaceAllString(o.String(), "set H"), e.String(), code
}

// TestCheckTree: each folder with campaign files is a set of its own, and named
// files are one.
func TestCheckTree(t *testing.T) {
	t.Chdir(t.TempDir())
	put := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("all/shop.yaml", "campaigns: {c: {on: View, offer: {channel: web}}}\n")
	put("all/more.yml", "features: {views: {on: View, agg: count}}\n")
	put("all/shop.test.yaml", "nonsense")
	put("all/gallery/a/a.yaml", "campaigns: {c: {for_each: {file: t.csv}, on: View, where: event.name == row.id, offer: {channel: web}}}\n")
	put("all/gallery/a/t.csv", "id,n\none,1\ntwo,\n")
	put("all/gallery/.hidden/x.yaml", "nonsense")
	put("all/empty/readme.txt", "nothing")

	out, errs, code := checked(t, "all")
	want := "ok: all: 1 campaign, 1 feature in 2 files, set H\nok: all/gallery/a: 1 campaign with 2 rows, 0 features in 1 file, set H\n"
	warning := "all/more.yml:1:12: warning: no campaign reads views: remove it, because each user's state holds it; keep it if a campaign to come is to find it filled\n" +
		"all/gallery/a/t.csv:3:1: warning: the column \"n\" is text, because a cell in it is empty: write a number there, if it is meant to hold numbers\n"
	if out != want || errs != warning || code != 0 {
		t.Errorf("exit %d\n%s%swant\n%s%s", code, out, errs, want, warning)
	}
	if out, errs, code := checked(t, "all/shop.yaml", "all/more.yml"); out != "ok: 1 campaign, 1 feature in 2 files, set H\n" || !strings.Contains(errs, "no campaign reads views") || code != 0 {
		t.Errorf("two files: exit %d\n%s%s", code, out, errs)
	}
	put("all/gallery/b/b.yaml", "campaigns: {c: {on: View, offer: {chanel: web}}}\n")
	if out, errs, code := checked(t, "all/gallery"); code != 1 || !strings.Contains(errs, "all/gallery/b/b.yaml:1:") || !strings.HasPrefix(out, "ok: all/gallery/a: ") {
		t.Errorf("a wrong set: exit %d\n%s%s", code, out, errs)
	}
	if _, errs, code := checked(t, "all/empty"); code != 1 || !strings.Contains(errs, "no campaign files") {
		t.Errorf("no campaigns: exit %d\n%s", code, errs)
	}
}

// twoSets writes a set with an error and one with a warning, and goes to where they
// are.
func twoSets(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"all/bad 1.yaml":    "campaigns: {c: {on: View, offer: {chanel: web}}}\n",
		"all/odd/odd.yaml":  "campaigns:\n  c: {on: View, if: '\"ä\" != \"b\" && session.count < 0', offer: {channel: web}}\n",
		"all/good/set.yaml": "campaigns: {c: {for_each: {rows: [{id: a}, {id: b}]}, on: View, where: event.name == row.id, offer: {channel: web}}}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckJSON(t *testing.T) {
	twoSets(t)
	out, errs, code := checked(t, "--json", "all")
	if errs != "" || code != 1 {
		t.Errorf("exit %d, standard error: %s", code, errs)
	}
	var got struct {
		OK   bool
		Sets []struct {
			Path, Set                 string
			Files                     []string
			OK                        bool
			Campaigns, Rows, Features int
		}
		Problems []map[string]any
	}
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil || dec.More() {
		t.Fatal(err, out)
	}
	want := []map[string]any{
		{"file": "all/bad 1.yaml", "line": 1., "col": 35., "end_col": 41., "severity": "error", "rule": "unknown-key", "message": "\"chanel\" is not a key of an offer", "hint": "did you mean \"channel\"?"},
		{"file": "all/odd/odd.yaml", "line": 2., "col": 36., "end_col": 49., "severity": "warning", "rule": "never-holds", "message": "`session.count < 0` can never hold: a count is 0 or more", "hint": "compare with a value that it can have"},
	}
	if got.OK || !reflect.DeepEqual(got.Problems, want) {
		t.Errorf("got %v\nwant %v", got.Problems, want)
	}
	if s := got.Sets; len(s) != 3 || s[0].OK || !s[1].OK || !s[2].OK || s[1].Path != "all/good" || s[1].Rows != 2 || s[1].Set == "" || s[0].Set != "" || s[0].Files[0] != "all/bad 1.yaml" {
		t.Errorf("sets: %+v", s)
	}
	if out, _, code := checked(t, "--json", "all/good"); code != 0 || !strings.Contains(out, `"problems": []`) || !strings.Contains(out, `"ok": true`) {
		t.Errorf("a good set: exit %d\n%s", code, out)
	}
}

// TestCheckExit: what the exit status depends on.
func TestCheckExit(t *testing.T) {
	twoSets(t)
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"all/good"}, 0}, {[]string{"all/odd"}, 0}, {[]string{"all"}, 1},
		{[]string{"--strict", "all/good"}, 0}, {[]string{"--strict", "all/odd"}, 1}, {[]string{"all/odd", "--strict", "--sarif"}, 1}, {[]string{"--strict", "--retention", "7d", "all/good"}, 0},
		{[]string{"nowhere"}, 1}, {[]string{"--json", "nowhere"}, 1},
		{nil, 2}, {[]string{"--json", "--sarif", "all"}, 2}, {[]string{"--retention", "soon", "all"}, 2}, {[]string{"--retention", "0s", "all"}, 2}, {[]string{"--yes", "all"}, 2},
	} {
		if out, errs, code := checked(t, c.args...); code != c.code {
			t.Errorf("%v: exit %d, want %d\n%s%s", c.args, code, c.code, out, errs)
		}
	}
}

// TestCheckSARIF holds the output to what the schema of SARIF 2.1.0 demands of the
// parts that are there, and to what code hosts demand beyond it.
func TestCheckSARIF(t *testing.T) {
	twoSets(t)
	out, errs, code := checked(t, "--sarif", "all")
	if errs != "" || code != 1 {
		t.Errorf("exit %d, standard error: %s", code, errs)
	}
	type message struct{ Text string }
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct {
						ID                   string
						ShortDescription     message
						DefaultConfiguration struct{ Level string }
					}
				}
			}
			ColumnKind string
			Results    []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Message   message
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn, EndColumn int }
					}
				}
			}
		}
	}
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&log); err != nil {
		t.Fatal(err, out)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name != "offerctl" || log.Runs[0].ColumnKind != "unicodeCodePoints" {
		t.Fatalf("%+v", log)
	}
	levels := []string{"error", "warning", "note"}
	rules := log.Runs[0].Tool.Driver.Rules
	seen := map[string]bool{}
	for _, r := range rules {
		if r.ID == "" || seen[r.ID] || r.ShortDescription.Text == "" || !slices.Contains(levels, r.DefaultConfiguration.Level) {
			t.Errorf("rule %+v", r)
		}
		seen[r.ID] = true
	}
	var got []string
	for _, r := range log.Runs[0].Results {
		if r.RuleIndex < 0 || r.RuleIndex >= len(rules) || rules[r.RuleIndex].ID != r.RuleID || !slices.Contains(levels, r.Level) || r.Message.Text == "" || len(r.Locations) != 1 {
			t.Errorf("result %+v", r)
			continue
		}
		at := r.Locations[0].PhysicalLocation
		if at.Region.StartLine < 1 || at.Region.StartColumn < 1 || at.Region.EndColumn <= at.Region.StartColumn {
			t.Errorf("region %+v", at.Region)
		}
		got = append(got, fmt.Sprintf("%s:%d:%d %s %s", at.ArtifactLocation.URI, at.Region.StartLine, at.Region.StartColumn, r.Level, r.RuleID))
	}
	want := []string{"all/bad%201.yaml:1:35 error unknown-key", "all/odd/odd.yaml:2:36 warning never-holds"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestSchemaCommand(t *testing.T) {
	var o, e bytes.Buffer
	if code := run(t.Context(), []string{"schema"}, stdio{strings.NewReader(""), &o, &e}); code != 0 || !bytes.Equal(o.Bytes(), config.Schema()) {
		t.Errorf("exit %d: %s", code, e.String())
	}
}

package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"offerstream/deploy"
	"offerstream/pipeline/campaign"
)

var wanted = regexp.MustCompile(`(?m)^# want: (.*)$`)

// TestBadFiles compares the mistakes found in each file of testdata with its
// `# want:` lines.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
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
			for _, m := range wanted.FindAllStringSubmatch(string(b), -1) {
				want = append(want, name+":"+m[1])
			}
			_, err = LoadCampaigns(name)
			if got := fmt.Sprint(err); got != strings.Join(want, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}

var unknownName = regexp.MustCompile(`nothing here is named "(\w+)"`)

// TestPlaces checks that the place reported for an unknown name is the name's
// place in the file, in scalars of every style.
func TestPlaces(t *testing.T) {
	b, err := os.ReadFile("testdata/scalars.yaml")
	if err != nil {
		t.Fatal(err)
	}
	src := newSource("", string(b))
	_, err = LoadCampaigns("testdata/scalars.yaml")
	var problems Errors
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	n := 0
	for _, p := range problems {
		if m := unknownName.FindStringSubmatch(p.What); m != nil {
			n++
			if at := string(src.lines[p.Line-1][p.Col-1:]); !strings.HasPrefix(at, m[1]) {
				t.Errorf("%v\npoints at %s", p, at)
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d unknown names", n)
	}
}

// TestLineEnds: a file with Windows line ends and a byte order mark gets the
// same places.
func TestLineEnds(t *testing.T) {
	b, err := os.ReadFile("testdata/scalars.yaml")
	if err != nil {
		t.Fatal(err)
	}
	problems := func(text string) string {
		l := newLoad()
		l.file("x", []byte(text))
		_, err := l.finish()
		return fmt.Sprint(err)
	}
	want := problems(string(b))
	if got := problems("\ufeff" + strings.ReplaceAll(string(b), "\n", "\r\n")); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestShipped(t *testing.T) {
	embedded, err := LoadCampaignsFS(deploy.Campaigns())
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := LoadCampaigns("../deploy/campaigns", "../deploy/campaigns/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if embedded.Hash() != onDisk.Hash() {
		t.Errorf("embedded %s, on disk %s", embedded.Hash(), onDisk.Hash())
	}
	again, err := campaign.ParseDefinition(onDisk.JSON())
	if err != nil || !reflect.DeepEqual(again, onDisk) {
		t.Errorf("changed by writing and reading: %v\n%+v\n%+v", err, again, onDisk)
	}
}

// TestDrafts: the drafts of campaigns that use the whole language have no problems.
func TestDrafts(t *testing.T) {
	drafts, _ := filepath.Glob("../../shared/campaigns-draft/*.yaml")
	if len(drafts) == 0 {
		t.Skip("../shared/campaigns-draft is not here")
	}
	for _, name := range drafts {
		if _, err := LoadCampaigns(name); err != nil {
			t.Error(err)
		}
	}
}

func TestPaths(t *testing.T) {
	empty := t.TempDir()
	for _, c := range []struct {
		paths []string
		want  string
	}{
		{nil, "reading campaigns: no path: name a campaign file or a directory of them"},
		{[]string{"nowhere"}, "reading campaigns: stat nowhere: no such file or directory: name a campaign file or a directory of them"},
		{[]string{empty}, "reading campaigns: " + empty + ": no campaign files (*.yaml, *.yml) here: name a directory that has some"},
	} {
		if _, err := LoadCampaigns(c.paths...); fmt.Sprint(err) != c.want {
			t.Errorf("%v:\ngot  %v\nwant %s", c.paths, err, c.want)
		}
	}
}

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a.yaml", "zone: UTC\nlateness: 60m\nfeatures: {n: {on: X, agg: count}}\npolicies: {quiet_hours: none}\n")
	put("b.yml", "lateness: 1h\npolicies: {consent: none}\ncampaigns: {c: {on: X, if: n > 1, offer: {channel: push}}}\n")
	put(".c.yaml", "nonsense")
	put("d.txt", "nonsense")
	d, err := LoadCampaigns(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d.Zone != "UTC" || len(d.Features) != 1 || len(d.Campaigns) != 1 {
		t.Errorf("%+v", d)
	}
	put("e.yaml", "zone: Asia/Seoul\nfeatures:\n  n: {on: Y, agg: count}\ncampaigns:\n  c: {on: X, offer: {channel: web}}\n")
	_, err = LoadCampaigns(dir)
	want := fmt.Sprintf(`%[1]s/e.yaml:1:7: "zone" has another value at %[1]s/a.yaml:1:7: set it in one file
%[1]s/e.yaml:3:3: feature "n" is already defined at %[1]s/a.yaml:3:12: rename one
%[1]s/e.yaml:5:3: campaign "c" is already defined at %[1]s/b.yml:3:13: rename one`, dir)
	if fmt.Sprint(err) != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	put("a.yaml", "features: [\n") // no other file may be blamed for features that are in this one
	err = os.Remove(filepath.Join(dir, "e.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = LoadCampaigns(dir)
	if n := strings.Count(fmt.Sprint(err), "\n"); n > 0 || !strings.Contains(fmt.Sprint(err), "a.yaml:1:11: this is not YAML") {
		t.Errorf("one file that is not YAML: %v", err)
	}
}

func load1(t *testing.T, text string) *campaign.Definition {
	t.Helper()
	d, err := LoadCampaigns(write(t, "set.yaml", text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDescribe(t *testing.T) {
	old := load1(t, `
features: {a: {on: X, agg: count}, b: {on: X, agg: count, within: 1h}}
campaigns:
  gone: {on: X, offer: {channel: web}}
  same: {on: X, if: a > 1, offer: {channel: web}}
  other: {on: X, if: b > 1, period: {to: 2026-04-01T00:00:00Z}, offer: {channel: web}}`)
	new := load1(t, `
lateness: 90m
policies: {caps: [{channels: [web], max: 2, within: 7d}]}
features: {b: {on: X, agg: count, within: 2h}, a: {on: [X], agg: count}}
campaigns:
  fresh: {on: X, offer: {channel: web}}
  same: {on: [X], if: [a > 1], offer: {channel: web, kind: advertising}}
  other: {on: X, if: b > 2, limits: [{max: 1}], offer: {channel: web}}`)
	got := strings.Join(Describe(old, new), "\n")
	want := `~ caps: none -> [{channels: [web], max: 2, within: 7d}]
~ lateness: 1h -> 1h30m
~ feature b: within
+ campaign fresh
- campaign gone
~ campaign other: if, limits, period`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	got = strings.Join(Describe(nil, old), "\n")
	want = "+ feature a\n+ feature b\n+ campaign gone\n+ campaign other\n+ campaign same"
	if got != want {
		t.Errorf("from nothing, got:\n%s\nwant:\n%s", got, want)
	}
	if got := Describe(new, new); len(got) != 0 {
		t.Errorf("from itself: %v", got)
	}
}

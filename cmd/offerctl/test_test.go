package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/scenario"
)

// tested returns the output of `offerctl test`, without its speed, and its exit
// status.
func tested(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"test"}, args...), stdio{strings.NewReader(""), &o, &e})
	return speed.ReplaceAllString(o.String(), "in T s (R a second)"), e.String(), code
}

var speed = regexp.MustCompile(`in [0-9.]+ s \([0-9]+ a second\)`)

// TestReadmeScenarios: the README's scenarios pass, and a failing one is reported
// as the README shows.
func TestReadmeScenarios(t *testing.T) {
	readmeText := readme(t)
	campaigns, scenarios, shown := readmeBlock(t, "yaml", "version: 1"), readmeBlock(t, "yaml", "campaigns: bags.yaml"), readmeBlock(t, "text", "FAIL")
	t.Chdir(t.TempDir())
	file := filepath.Join("campaigns", "bags.test.yaml")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("campaigns", 0o755); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join("campaigns", "bags.yaml"), campaigns)
	write(file, scenarios)
	if out, errs, code := tested(t, "campaigns"); code != 0 || errs != "" || out != "ok    "+file+": 2 scenarios\n2 scenarios in 1 file: all passed, in T s (R a second)\n" {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	wrong := strings.Replace(scenarios, "views=4", "views=5", 1)
	write(file, wrong)
	out, errs, code := tested(t, "campaigns")
	if want := speed.ReplaceAllString(shown, "in T s (R a second)"); code != 1 || errs != "" || out != want {
		t.Errorf("exit %d\n%s%s\nREADME.md shows\n%s", code, out, errs, want)
	}
	if out, errs, code := tested(t, "--update", "--run", "cart", "campaigns"); code != 0 || errs != "" || !strings.Contains(out, "1 scenario in") {
		t.Errorf("--run: exit %d\n%s%s", code, out, errs)
	}
	if out, errs, code := tested(t, "campaigns", "--update"); code != 0 || errs != "" || !strings.HasSuffix(out, "1 file changed: review the changes before you keep them\n") {
		t.Errorf("--update: exit %d\n%s%s", code, out, errs)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != scenarios {
		t.Errorf("after --update (%v)\n%s", err, b)
	}
	if names := strings.Join(scenario.OutcomeNames(), " "); !strings.Contains(readmeText, "`"+names+"`") {
		t.Errorf("README.md does not list the outcomes: %s", names)
	}
	if out, _, code := tested(t, "-v", "--run", "four|cart", "campaigns"); code != 0 || !strings.Contains(out, "      four bags and a minute's look\n      what was ordered in time") {
		t.Errorf("-v: exit %d\n%s", code, out)
	}
}

// TestTest checks the JSON output and the errors.
func TestTest(t *testing.T) {
	out, errs, code := tested(t, "--json", "--run", "^cart-left fires", "../../deploy/campaigns")
	var got struct {
		File, Scenario string
		Line           int
		OK             bool
		Offers         []pipeline.Offer
		Outcomes       map[string]map[string]uint64
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || errs != "" {
		t.Fatalf("exit %d, %v\n%s%s", code, err, out, errs)
	}
	if got.File != "../../deploy/campaigns/shop.test.yaml" || got.Line == 0 || !got.OK || len(got.Offers) == 0 || got.Outcomes["cart-left"]["fired"] != 1 {
		t.Errorf("%s", out)
	}
	for args, want := range map[string]string{
		"":                            "no path: name a file *.test.yaml or a directory that has some",
		"--run [ ../../deploy":        "--run: error parsing regexp",
		"--run zebra ../../deploy":    "no scenario's name matches --run zebra",
		"../../deploy/campaigns/nope": "no such file or directory: name a file *.test.yaml",
		"../../config/testdata/scenarios/colon.test.yaml": `colon.test.yaml:6:9: this is not YAML`,
	} {
		if out, errs, code := tested(t, strings.Fields(args)...); code == 0 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("test %s: exit %d\n%s%s\nwant %s", args, code, out, errs, want)
		}
	}
}

package pipeline_test

import (
	"path/filepath"
	"testing"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/scenario"
)

// TestScenarios runs the scenarios of the language's rules on the core, and
// compares core and oracle on them. After each event, entities are also encoded
// and decoded.
func TestScenarios(t *testing.T) {
	eachScenario(t, "testdata/scenarios", func(t *testing.T, s *scenario.Scenario) {
		if !s.Compares || s.Outcomes == nil {
			t.Error("the scenario of a rule must state both its offers and its outcomes")
		}
	})
}

// TestShippedScenarios does the same with the scenarios of the campaigns that are
// shipped.
func TestShippedScenarios(t *testing.T) {
	eachScenario(t, "../deploy/campaigns", func(*testing.T, *scenario.Scenario) {})
}

// eachScenario runs the scenarios in a directory, and those below it.
func eachScenario(t *testing.T, dir string, also func(*testing.T, *scenario.Scenario)) {
	t.Helper()
	files, err := config.FindScenarios(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all config.Scenarios
	for _, name := range files {
		f, err := all.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range f.Scenarios {
			t.Run(filepath.Base(name)+"/"+s.Name, func(t *testing.T) {
				r, err := s.Run()
				if err != nil {
					t.Fatal(err)
				}
				if wrong := s.Compare(r); wrong != "" {
					t.Errorf("%s:%d:\n%s", s.File, s.Line, wrong)
				}
				also(t, s)
				var lines [][]byte
				for _, e := range s.Events {
					lines = append(lines, e.JSON)
				}
				pipeline.CompareWithOracle(t, s.Set.Definition().JSON(), lines)
			})
		}
	}
}

package pipeline_test

import (
	"path/filepath"
	"testing"

	"offerstream/config"
	"offerstream/pipeline"
)

// TestScenarios runs the scenarios of the language's rules on the core, and
// compares core and oracle on them. After each event, entities are also encoded
// and decoded.
func TestScenarios(t *testing.T) {
	files, err := config.FindScenarios("testdata/scenarios")
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
				if !s.Compares || s.Outcomes == nil {
					t.Error("the scenario of a rule must state both its offers and its outcomes")
				}
				var lines [][]byte
				for _, e := range s.Events {
					lines = append(lines, e.JSON)
				}
				pipeline.CompareWithOracle(t, s.Set.Definition().JSON(), lines)
			})
		}
	}
}

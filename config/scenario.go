package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/scenario"
	"offerstream/pipeline/zone"
)

// IsScenarioFile reports whether a file is a scenario file, by its name.
func IsScenarioFile(name string) bool {
	return strings.HasSuffix(name, ".test.yaml") || strings.HasSuffix(name, ".test.yml")
}

// FindScenarios returns the scenario files at the paths: files, and directories
// with all their subdirectories.
func FindScenarios(paths ...string) ([]string, error) {
	var files []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("reading scenarios: %w: name a file *.test.yaml or a directory that has some", err)
		}
		if !info.IsDir() && !IsScenarioFile(p) {
			return nil, fmt.Errorf("reading scenarios: %s is not a scenario file: name a file *.test.yaml or a directory that has some", p)
		}
		before := len(files)
		err = filepath.WalkDir(p, func(name string, d fs.DirEntry, err error) error {
			switch hidden := strings.HasPrefix(d.Name(), ".") && name != p; {
			case err != nil:
				return err
			case hidden && d.IsDir():
				return filepath.SkipDir
			case !hidden && !d.IsDir() && IsScenarioFile(name):
				files = append(files, filepath.Clean(name))
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading scenarios: %w", err)
		}
		if len(files) == before {
			return nil, fmt.Errorf("reading scenarios: %s has no file *.test.yaml: write one, or name another directory", p)
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// Scenarios reads scenario files. Equal campaign sets are compiled once, also
// across files.
type Scenarios struct {
	Fill bool // an empty expect is not a mistake, because Update will fill it in

	sets  map[string]*pipeline.Set // by hash, and that of the facts' tables
	reads map[string][]string      // by scenario file
}

// Reads returns the files and directories that the last Read of a scenario file
// looked at besides it, also if they have mistakes or do not exist.
func (s *Scenarios) Reads(name string) []string { return s.reads[name] }

// saw notes that a scenario file reads a file or directory.
func (s *Scenarios) saw(name string, paths ...string) {
	for _, p := range paths {
		if p = filepath.Clean(p); !slices.Contains(s.reads[name], p) {
			s.reads[name] = append(s.reads[name], p)
		}
	}
}

// A ScenarioFile is a scenario file that was read.
type ScenarioFile struct {
	Name      string
	Scenarios []*scenario.Scenario

	src   *source
	bom   bool
	wrote []expectation // one for each scenario
}

// Read reads a file. All mistakes in it are returned together, as Errors.
func (s *Scenarios) Read(name string) (*ScenarioFile, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading scenarios: %w", err)
	}
	return s.read(name, b)
}

func (s *Scenarios) read(name string, b []byte) (*ScenarioFile, error) {
	if s.sets == nil {
		s.sets, s.reads = map[string]*pipeline.Set{}, map[string][]string{}
	}
	s.reads[name] = nil
	src, root, problems := parse(name, b)
	if root == nil {
		return nil, problems
	}
	l := newLoad()
	l.problems = problems
	src.strict(root, l.bad, &l.problems)
	r := &scenarioReader{all: s, l: l, file: &ScenarioFile{Name: name, src: src, bom: strings.HasPrefix(string(b), "\ufeff")}}
	r.top(value{l: l, file: src, n: root})
	if len(l.problems) > 0 {
		return nil, l.problems.sorted()
	}
	return r.file, nil
}

// A scenarioReader reads one file.
type scenarioReader struct {
	all  *Scenarios
	l    *load // collects the problems that are not in campaigns
	file *ScenarioFile

	day    scenario.Day
	shared setParts      // keys at the file's top, for all its scenarios
	common *pipeline.Set // compiled from shared alone
	tried  bool          // common has been compiled, or could not be
}

const (
	aScenarioFile = "a file of scenarios"
	aScenario     = "a scenario"
)

// top reads the file's own keys, and then its scenarios.
func (r *scenarioReader) top(v value) {
	r.day = scenario.DefaultDay
	var scenarios []value
	known := fields{
		"times":     func(v value) { r.day = v.times(r.day) },
		"scenarios": func(v value) { scenarios = append(scenarios, v) },
	}
	r.shared = setParts{at: v}
	r.shared.keys(v, known)
	has := v.fields(aScenarioFile, known)
	v.needs(has, aScenarioFile, "scenarios", "scenarios: {four bags: {events: [...], expect: none}}")
	for _, v := range scenarios {
		v.named("scenarios", r.scenario)
		if !v.bad() && v.is() == "a map" && len(v.n.Content) == 0 {
			v.problem("there is no scenario here", "four bags: {events: [...], expect: none}")
		}
	}
}

// scenario reads one scenario.
func (r *scenarioReader) scenario(name string, v value) {
	s := &scenario.Scenario{Name: name, File: r.file.Name, Line: v.key.Line, Day: r.day}
	own := setParts{at: v}
	var later []func() // reads the keys that need the day and the set
	var about *value
	wrote := expectation{}
	known := fields{
		"times":      func(v value) { s.Day = v.times(r.day) },
		"events":     func(v value) { later = append(later, func() { s.Events = r.events(v, s.Day) }) },
		"about":      func(v value) { about = &v },
		"expect":     func(v value) { later = append(later, func() { r.expect(v, s, &wrote) }) },
		"outcomes":   func(v value) { later = append(later, func() { r.outcomes(v, s, &wrote) }) },
		"explain":    func(v value) { later = append(later, func() { r.explain(v, s, &wrote) }) },
		"views":      func(v value) { later = append(later, func() { r.views(v, s, &wrote) }) },
		"rejected":   func(v value) { s.Rejected = r.numbers(v, "identity", "1") },
		"duplicates": func(v value) { n := uint64(v.integer(0, mostCount)); s.Duplicates = &n },
	}
	own.keys(v, known)
	has := v.fields(aScenario, known)
	v.needs(has, aScenario, "events", "events: [10:00:00 ada Product Viewed product_id=b1]")
	if v.is() == "a map" && !v.bad() && !has.has("expect") && !has.has("outcomes") && !has.has("explain") && !has.has("views") {
		v.problemAt(start(v.key), "the scenario has no expectations", "write expect: with the offers, or expect: none; or outcomes: of a campaign; or explain: of a user; or views: of what is stored")
	}
	s.Set = r.set(own)
	if about != nil {
		r.about(*about, s)
	}
	before := len(r.l.problems)
	for _, read := range later {
		read()
	}
	if len(r.l.problems) == before { // the events have been read, and all views
		viewTimes(s, wrote.views)
	}
	r.file.Scenarios, r.file.wrote = append(r.file.Scenarios, s), append(r.file.wrote, wrote)
}

// times reads the date and the zone of times that have none.
func (v value) times(d scenario.Day) scenario.Day {
	const hint = "times: {date: 2026-01-01, zone: Asia/Seoul}"
	has := v.fields("times", fields{
		"date": func(v value) {
			t := v.text("date: 2026-01-01")
			if t == "" {
				return
			}
			if err := scenario.ReadDate(t); err != nil {
				v.problem(err.Error(), "date: 2026-01-01")
				return
			}
			d.Date = t
		},
		"zone": func(v value) {
			if z := v.zone(); z != "" {
				d.Zone, _ = zone.Load(z) // v.zone has found it
			}
		},
	})
	if v.is() == "a map" && len(has) == 0 {
		v.problem("the value is missing", hint)
	}
	return d
}

// setParts are the keys of a campaign set in a scenario file: those at the
// file's top, or those of one scenario.
type setParts struct {
	at    value
	pairs []*yaml.Node // keys and values, as in a campaign file
	paths []value      // campaigns: PATH
}

// keys adds the keys of a set to the known keys of a map.
func (p *setParts) keys(v value, known fields) {
	take := func(v value) {
		if v.bad() {
			return
		}
		if v.key.Value == "campaigns" && v.n.Kind != yaml.MappingNode {
			p.paths = append(p.paths, v)
			return
		}
		p.pairs = append(p.pairs, v.key, v.n)
	}
	for name := range v.setKeys() {
		known[name] = take
	}
}

func (p *setParts) empty() bool { return len(p.pairs) == 0 && len(p.paths) == 0 }

func (p *setParts) hasCampaigns() bool {
	for i := 0; i < len(p.pairs); i += 2 {
		if p.pairs[i].Value == "campaigns" {
			return true
		}
	}
	return len(p.paths) > 0
}

// set returns the set of a scenario: its own keys and those at the file's top
// form one set, like two files do. It returns nil if the set has mistakes.
func (r *scenarioReader) set(own setParts) *pipeline.Set {
	if !own.hasCampaigns() && !r.shared.hasCampaigns() {
		own.at.problemAt(start(own.at.key), "the scenario names no campaigns", "write campaigns: with a file beside this file, or with the campaigns themselves")
		return nil
	}
	if !own.empty() {
		return r.compile(r.shared, own)
	}
	if !r.tried {
		r.tried, r.common = true, r.compile(r.shared)
	}
	return r.common
}

func (r *scenarioReader) compile(parts ...setParts) *pipeline.Set {
	l := newLoad()
	l.bad = r.l.bad
	l.compile = r.all.once
	l.open = func(file, name string) (string, []byte, error) {
		r.all.saw(r.file.Name, filepath.Join(filepath.Dir(file), filepath.FromSlash(name)))
		return openBeside(file, name)
	}
	for _, p := range parts {
		for _, v := range p.paths {
			r.campaignFiles(l, v)
		}
		if len(p.pairs) > 0 {
			at := p.at.n
			n := &yaml.Node{Kind: yaml.MappingNode, Line: at.Line, Column: at.Column, Content: p.pairs, Style: at.Style}
			value{l: l, file: r.file.src, n: n}.campaignSet()
		}
	}
	if l.partial && len(l.problems) == 0 {
		return nil // the problem with a path is already reported
	}
	set, err := l.compiled()
	var problems Errors
	if errors.As(err, &problems) {
		r.l.problems = append(r.l.problems, problems...)
	}
	return set
}

// campaignFiles adds the files that a scenario names to its set.
func (r *scenarioReader) campaignFiles(l *load, v value) {
	const hint = "campaigns: bags.yaml, a file or a directory beside this file"
	before := len(r.l.problems)
	var paths []string
	for _, t := range v.texts(hint) {
		if t != "" {
			paths = append(paths, filepath.Join(filepath.Dir(r.file.Name), filepath.FromSlash(t)))
		}
	}
	if len(r.l.problems) > before {
		l.partial = true
		return
	}
	r.all.saw(r.file.Name, paths...)
	files, err := CampaignFiles(paths...)
	r.all.saw(r.file.Name, files...)
	for _, name := range files {
		var b []byte
		if b, err = os.ReadFile(name); err != nil {
			break
		}
		l.file(name, b)
	}
	if err != nil {
		l.partial = true
		v.problem(strings.TrimPrefix(err.Error(), "reading campaigns: "), hint)
	}
}

// once compiles a set, or returns the equal one that was compiled before.
func (s *Scenarios) once(d *campaign.Definition) (*pipeline.Set, []campaign.Problem) {
	d.Clock = campaign.ClockEvent
	hash := d.Hash() + tablesHash(d)
	if set := s.sets[hash]; set != nil {
		return set, nil
	}
	set, problems := pipeline.Check(d)
	if set != nil {
		s.sets[hash] = set
	}
	return set, problems
}

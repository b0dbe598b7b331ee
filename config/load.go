package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// LoadCampaigns reads, merges and checks campaign files. A path is a file, or a
// directory in which every *.yaml and *.yml file is read except scenario files
// (*.test.yaml). All mistakes in the campaigns are returned together, as
// Errors.
func LoadCampaigns(paths ...string) (*campaign.Definition, error) {
	l, err := readFiles(paths)
	if err != nil {
		return nil, err
	}
	return l.finish()
}

// LoadCampaignsRead is LoadCampaigns that also returns the files that it looked at,
// which include tables, also if they have mistakes or do not exist.
func LoadCampaignsRead(paths ...string) (d *campaign.Definition, read []string, err error) {
	if read, err = CampaignFiles(paths...); err != nil {
		return nil, nil, err
	}
	l := newLoad()
	l.open = func(file, name string) (string, []byte, error) {
		read = append(read, filepath.Join(filepath.Dir(file), filepath.FromSlash(name)))
		return openBeside(file, name)
	}
	if err = l.files(read...); err == nil {
		d, err = l.finish()
	}
	return d, read, err
}

// readFiles reads the campaign files of a set.
func readFiles(paths []string) (*load, error) {
	files, err := CampaignFiles(paths...)
	if err != nil {
		return nil, err
	}
	l := newLoad()
	return l, l.files(files...)
}

// files adds files to the set.
func (l *load) files(names ...string) error {
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("reading campaigns: %w", err)
		}
		l.file(name, b)
	}
	return nil
}

// LoadCampaignsFS is like LoadCampaigns, for directories of a file system, which
// together hold one set. Without dirs it reads the root directory.
func LoadCampaignsFS(fsys fs.FS, dirs ...string) (*campaign.Definition, error) {
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	l := newLoad()
	l.open = openIn(fsys)
	for _, dir := range dirs {
		if err := l.directory(fsys, dir); err != nil {
			return nil, fmt.Errorf("reading campaigns: %w", err)
		}
	}
	return l.finish()
}

// directory adds the campaign files of a directory to the set.
func (l *load) directory(fsys fs.FS, dir string) error {
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return err
	}
	names, err := campaignsIn(sub)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(sub, name)
		if err != nil {
			return err
		}
		l.file(path.Join(dir, name), b)
	}
	return nil
}

// CampaignFiles returns the files that LoadCampaigns reads.
func CampaignFiles(paths ...string) ([]string, error) {
	if len(paths) == 0 {
		return nil, errors.New("reading campaigns: no path: name a campaign file or a directory of them")
	}
	var files []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("reading campaigns: %w: name a campaign file or a directory of them", err)
		}
		if !info.IsDir() && IsScenarioFile(p) {
			return nil, fmt.Errorf("reading campaigns: %s has scenarios, not campaigns: leave it out, or run offerctl test %s", p, p)
		}
		if !info.IsDir() {
			files = append(files, filepath.Clean(p))
			continue
		}
		names, err := campaignsIn(os.DirFS(p))
		if err != nil {
			return nil, fmt.Errorf("reading campaigns: %s: %w", p, err)
		}
		for _, name := range names {
			files = append(files, filepath.Join(p, name))
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

var errNoCampaigns = errors.New("no campaign files (*.yaml, *.yml) here: name a directory that has some")

func campaignsIn(fsys fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		ext := path.Ext(e.Name())
		if ext != ".yaml" && ext != ".yml" || strings.HasPrefix(e.Name(), ".") || IsScenarioFile(e.Name()) {
			continue
		}
		info, err := fs.Stat(fsys, e.Name()) // follows links
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return nil, errNoCampaigns
	}
	return names, nil
}

// A load is a campaign set while it is read from its files.
type load struct {
	def      *campaign.Definition
	problems Errors
	warnings Errors
	partial  bool                           // one of its files cannot be read
	bad      map[*yaml.Node]bool            // nodes that are already reported
	meant    map[*yaml.Node]map[string]bool // keys of a map that are misspelt in it, which is reported
	places   map[string]value               // by path
	silent   map[string]bool                // paths for which nothing more is reported
	set      map[string]settled             // the set's own keys
	consent  consent                        // what the set says about consent

	sources   map[string]*source // by the names of the files
	compilers map[Problem]bool   // the problems that the compiler reports

	open    func(file, name string) (path string, b []byte, err error) // reads a file that a campaign file names
	compile func(*campaign.Definition) (*pipeline.Set, []campaign.Problem)
}

// A settled is a key that has one value in the whole set, even if several files
// have it.
type settled struct {
	at  value
	val any
}

func newLoad() *load {
	return &load{
		def: &campaign.Definition{
			Engine: pipeline.Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness,
			Forget: campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown},
			Bounds: campaign.DefaultBounds,
		},
		bad: map[*yaml.Node]bool{}, meant: map[*yaml.Node]map[string]bool{}, places: map[string]value{}, silent: map[string]bool{},
		set: map[string]settled{}, sources: map[string]*source{}, compilers: map[Problem]bool{}, open: openBeside, compile: pipeline.Check,
	}
}

// file adds one file to the set.
func (l *load) file(name string, b []byte) {
	src, root, problems := parse(name, b)
	l.sources[name] = src
	l.problems = append(l.problems, problems...)
	if root == nil {
		l.partial = true
		return
	}
	src.strict(root, l.bad, &l.problems)
	value{l: l, file: src, n: root}.campaignSet()
}

// once keeps a key of the set. A second file may have the same key only with
// the same value.
func (l *load) once(name string, v value, val any, keep func()) {
	first, ok := l.set[name]
	switch {
	case !ok:
		l.set[name] = settled{v, val}
		keep()
	case !reflect.DeepEqual(first.val, val):
		v.problem(fmt.Sprintf("%q has another value at %s", name, first.at.place()), "set it in one file")
	}
}

func key(path []string) string { return strings.Join(path, "\x00") }

func (l *load) register(v value) {
	if k := key(v.path); l.places[k].n == nil {
		l.places[k] = v
	}
}

// silence suppresses the compiler's problems at a path and below it, because a
// mistake that causes them is already reported.
func (l *load) silence(path []string) { l.silent[key(path)] = true }

func (l *load) isSilent(path []string) bool {
	for i := 1; i <= len(path); i++ {
		if l.silent[key(path[:i])] {
			return true
		}
	}
	return false
}

// finish checks the whole set, if all its files could be read.
func (l *load) finish() (*campaign.Definition, error) {
	if _, err := l.compiled(); err != nil {
		return nil, err
	}
	return l.def, nil
}

// compiled is like finish, but returns the compiled set.
func (l *load) compiled() (*pipeline.Set, error) {
	d := l.def
	if l.partial {
		return nil, l.problems.sorted()
	}
	slices.SortFunc(d.Features, func(a, b campaign.Feature) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Facts, func(a, b campaign.Fact) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Campaigns, func(a, b campaign.Campaign) int { return strings.Compare(a.ID, b.ID) })
	l.sameNames()
	l.unknownKinds()
	l.unknownUsers()
	set, problems := l.compile(d)
	for _, p := range problems {
		switch t := l.translate(p); {
		case l.isSilent(p.Path):
		case p.Warning:
			l.warnings = append(l.warnings, t)
		default:
			l.problems, l.compilers[t] = append(l.problems, t), true
		}
	}
	l.refuseSilence()
	if len(l.problems) > 0 {
		return nil, l.problems.sorted()
	}
	l.suspect()
	l.severalNames()
	return set, nil
}

// translate adds the place in a file to a problem of the compiler.
func (l *load) translate(p campaign.Problem) Problem {
	t := Problem{What: oneLine(p.What), Hint: oneLine(p.Hint), File: "campaigns", Line: 1, Col: 1}
	for n := len(p.Path); n > 0; n-- {
		v, ok := l.places[key(p.Path[:n])]
		if !ok {
			continue
		}
		at := v.spot()
		if n == len(p.Path) && p.Line > 0 {
			at = v.file.locate(v.n, p.Line, p.Col)
		}
		t.File, t.Line, t.Col = v.file.name, at.line+1, at.col+1
		break
	}
	return t
}

// oneLine shortens a message of CEL to one line, without the list of all tokens
// that would have been possible, which does not help.
func oneLine(s string) string {
	s, _, _ = strings.Cut(s, " expecting {")
	s = strings.ReplaceAll(s, "'<EOF>'", "the end")
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

package pipeline

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// arrows says which packages of ours each package may import: the ones that it
// names, and in no other direction. A package that is not listed fails the
// test. Tests are free.
var arrows = map[string]string{
	// The core, from the bottom up.
	"pipeline/value":    "",
	"pipeline/event":    "pipeline/value",
	"pipeline/campaign": "",
	"pipeline/window":   "pipeline/value",
	"pipeline/expr":     "pipeline/value pipeline/event pipeline/campaign",
	"pipeline":          "pipeline/value pipeline/event pipeline/campaign pipeline/window pipeline/expr",
	"pipeline/scenario": "pipeline pipeline/value pipeline/event pipeline/campaign",
	"pipeline/oracle":   "", // the semantics once more, for tests alone

	// The edges.
	"pipeline/task":            "",
	"pipeline/broker":          core + " pipeline/task",
	"pipeline/broker/embedded": "",
	"pipeline/ingest":          core + " pipeline/broker pipeline/task config",
	"pipeline/checkpoint":      core + " pipeline/broker state",
	"pipeline/worker":          core + " pipeline/broker pipeline/task pipeline/checkpoint state",
	"pipeline/audit":           core + " pipeline/broker pipeline/task pipeline/checkpoint state",
	"state":                    "",
	"config":                   core + " pipeline/scenario pipeline/window",
	"deploy":                   "",

	// The programs, which join all others.
	"cmd/gateway":        core + " pipeline/broker pipeline/ingest config",
	"cmd/worker":         core + " pipeline/broker pipeline/worker config",
	"cmd/offerctl":       "*",
	"cmd/offerctl/bench": "*",
}

// core is what the core shows to others.
const core = "pipeline pipeline/value pipeline/event pipeline/campaign"

// edges are the packages below pipeline that may do more than compute; all
// others are pure.
var edges = []string{"pipeline/task", "pipeline/broker", "pipeline/ingest", "pipeline/checkpoint", "pipeline/worker", "pipeline/audit", "pipeline/oracle"}

// impure is what a pure package may not import, with all below it.
var impure = []string{"os", "io/fs", "net/http", "log", "math/rand", "crypto/rand", "runtime", "path/filepath", "syscall",
	"github.com/nats-io", "github.com/dgraph-io", "github.com/prometheus"}

// alone are the packages that may import a library: who needs what it does
// goes through them.
var alone = map[string][]string{
	"github.com/dgraph-io": {"state"},
}

func TestArrows(t *testing.T) {
	seen := map[string]bool{}
	eachFile(t, func(dir, path string, src []byte) {
		seen[dir] = true
		may, listed := arrows[dir]
		if !listed {
			t.Errorf("%s: package %s is not listed in arrows", path, dir)
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			to := strings.Trim(imp.Path.Value, `"`)
			ours, is := strings.CutPrefix(to, "offerstream/")
			if is && (ours == "pipeline/oracle" || may != "*" && !slices.Contains(strings.Fields(may), ours)) {
				t.Errorf("%s imports %s: %s may import %q of ours", path, to, dir, may)
			}
			for lib, dirs := range alone {
				if below(to, lib) && !slices.Contains(dirs, dir) {
					t.Errorf("%s imports %s: only %q may", path, to, dirs)
				}
			}
		}
	})
	for dir := range arrows {
		if !seen[dir] {
			t.Errorf("arrows lists %s, and there is no such package", dir)
		}
	}
}

// below says whether a path is another one, or lies below it.
func below(path, other string) bool { return path == other || strings.HasPrefix(path, other+"/") }

// pure says whether a package must only compute: all below pipeline that are
// no edge.
func pure(dir string) bool {
	return below(dir, "pipeline") && !slices.ContainsFunc(edges, func(e string) bool { return below(dir, e) })
}

// TestPure holds the core to its promise: no clock, no randomness, no file, no
// socket, no goroutine.
func TestPure(t *testing.T) {
	checked := map[string]bool{}
	eachFile(t, func(dir, path string, src []byte) {
		if !pure(dir) {
			return
		}
		checked[dir] = true
		f, err := parser.ParseFile(token.NewFileSet(), path, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			to := strings.Trim(imp.Path.Value, `"`)
			if slices.ContainsFunc(impure, func(no string) bool { return below(to, no) }) {
				t.Errorf("%s imports %s: the core is pure", path, to)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: the core is pure", path)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clocks, n.Sel.Name) {
					t.Errorf("%s has time.%s: the core is pure", path, n.Sel.Name)
				}
			}
			return true
		})
	})
	for _, dir := range []string{"pipeline", "pipeline/value", "pipeline/event", "pipeline/campaign", "pipeline/window", "pipeline/expr", "pipeline/scenario"} {
		if !checked[dir] {
			t.Errorf("%s was not looked at", dir)
		}
	}
}

// clocks are the functions of package time that read a clock, the host's zones,
// or wait.
var clocks = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTicker", "NewTimer", "LoadLocation", "Local"}

func eachFile(t *testing.T, fn func(dir, path string, src []byte)) {
	root := ".."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		fn(filepath.ToSlash(dir), path, src)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

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

// arrows lists, for each package, those of our packages that it may import. A
// package that is not listed fails the test. Tests may import anything.
var arrows = map[string]string{
	// The core, from the bottom up.
	"pipeline/value":       "",
	"pipeline/lazyregexp":  "",
	"pipeline/event":       "pipeline/value",
	"pipeline/campaign":    "pipeline/lazyregexp",
	"pipeline/coupon":      "", // for programs of a shop too
	"pipeline/unsubscribe": "",
	"pipeline/window":      "pipeline/value",
	"pipeline/zone":        "pipeline/value",
	"pipeline/expr":        "pipeline/value pipeline/lazyregexp pipeline/event pipeline/campaign pipeline/zone",
	"pipeline":             "pipeline/value pipeline/lazyregexp pipeline/event pipeline/campaign pipeline/coupon pipeline/unsubscribe pipeline/window pipeline/zone pipeline/expr",
	"pipeline/scenario":    "pipeline pipeline/lazyregexp pipeline/value pipeline/event pipeline/campaign pipeline/zone pipeline/explain",
	"pipeline/explain":     "pipeline pipeline/value pipeline/campaign pipeline/zone",
	"pipeline/change":      "pipeline pipeline/value pipeline/campaign pipeline/expr",
	"pipeline/survey":      "pipeline pipeline/value pipeline/event pipeline/campaign pipeline/expr",
	"pipeline/report":      "pipeline pipeline/value pipeline/campaign pipeline/zone pipeline/backtest pipeline/explain",
	"pipeline/oracle":      "", // a second implementation of the semantics, for tests only

	// The edges.
	"pipeline/task":            "",
	"pipeline/broker":          core + " pipeline/task",
	"pipeline/broker/embedded": "",
	"pipeline/page":            core + " pipeline/broker",
	"pipeline/ingest":          core + " pipeline/broker pipeline/page pipeline/task config",
	"pipeline/checkpoint":      core + " pipeline/broker state",
	"pipeline/backfill":        core + " pipeline/broker pipeline/task pipeline/checkpoint state",
	"pipeline/worker":          core + " pipeline/broker pipeline/task pipeline/checkpoint pipeline/backfill state",
	"pipeline/audit":           core + " pipeline/broker pipeline/task pipeline/checkpoint pipeline/backfill state",
	"pipeline/backtest":        core + " pipeline/broker pipeline/audit",
	"pipeline/deliver":         core + " pipeline/broker",
	"state":                    "",
	"config":                   core + " pipeline/lazyregexp pipeline/scenario pipeline/window pipeline/zone pipeline/expr",
	"deploy":                   "",
	"deploy/load":              "", // sends what deploy/change.sh needs

	// The programs, which join the other packages.
	"cmd/gateway":             core + " pipeline/broker pipeline/page pipeline/ingest config",
	"cmd/worker":              core + " pipeline/broker pipeline/worker config",
	"cmd/offerctl":            "*",
	"cmd/offerctl/bench":      "*",
	"cmd/offerctl/storefront": "pipeline/event pipeline/explain pipeline/page pipeline/ingest",
}

// core is what packages outside of the core may import of it.
const core = "pipeline pipeline/value pipeline/event pipeline/campaign pipeline/coupon pipeline/unsubscribe"

// edges are the packages under pipeline that do input and output; all others
// there are pure.
var edges = []string{"pipeline/task", "pipeline/broker", "pipeline/page", "pipeline/ingest", "pipeline/checkpoint", "pipeline/backfill", "pipeline/worker", "pipeline/audit", "pipeline/backtest", "pipeline/deliver", "pipeline/oracle"}

// impure lists what a pure package may not import, with all packages below it.
var impure = []string{"os", "io/fs", "net/http", "log", "math/rand", "crypto/rand", "runtime", "path/filepath", "syscall",
	"github.com/nats-io", "github.com/dgraph-io", "github.com/prometheus"}

// alone lists packages that only some of ours may import; others use those.
var alone = map[string][]string{
	"github.com/dgraph-io": {"state"},
	// Expressions that are compiled at the start cost each worker and gateway time and memory.
	"regexp": {"pipeline/lazyregexp", "pipeline/broker", "pipeline/oracle", "cmd/offerctl"},
}

// TestArrows checks the imports of all packages against arrows and alone.
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
			ours, isOurs := strings.CutPrefix(to, "offerstream/")
			if isOurs && (ours == "pipeline/oracle" || may != "*" && !slices.Contains(strings.Fields(may), ours)) {
				t.Errorf("%s imports %s: %s may import only %q of our packages", path, to, dir, may)
			}
			for lib, dirs := range alone {
				if below(to, lib) && !slices.Contains(dirs, dir) {
					t.Errorf("%s imports %s, which only %q may import", path, to, dirs)
				}
			}
		}
	})
	for dir := range arrows {
		if !seen[dir] {
			t.Errorf("arrows lists %s, but there is no such package", dir)
		}
	}
}

// below reports whether a path equals another one or lies below it.
func below(path, other string) bool { return path == other || strings.HasPrefix(path, other+"/") }

// pure reports whether a package must be pure: every package under pipeline
// except the edges.
func pure(dir string) bool {
	return below(dir, "pipeline") && !slices.ContainsFunc(edges, func(e string) bool { return below(dir, e) })
}

// TestPure checks that the core uses no clock, no randomness, no files, no
// sockets and no goroutines.
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
	for _, dir := range []string{"pipeline", "pipeline/value", "pipeline/event", "pipeline/campaign", "pipeline/coupon", "pipeline/window", "pipeline/zone", "pipeline/expr", "pipeline/scenario"} {
		if !checked[dir] {
			t.Errorf("%s was not checked", dir)
		}
	}
}

// clocks are the functions of package time that read a clock or the host's time
// zones, or that wait.
var clocks = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTicker", "NewTimer", "LoadLocation", "Local"}

// eachFile calls fn with each Go file of the repository that is not a test.
func eachFile(t *testing.T, fn func(dir, path string, src []byte)) {
	root := ".."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); d.IsDir() && path != root && err == nil { // a module of its own
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

package pipeline

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// arrows says which package may not import what. An import is forbidden when
// it is one of these or lies below one. Tests are free.
var arrows = map[string][]string{
	"pipeline": {"offerstream", "os", "net/http", "io/fs", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "runtime", "path/filepath",
		"github.com/nats-io", "github.com/dgraph-io", "github.com/prometheus"},
	"pipeline/broker": {"offerstream/state", "offerstream/config", "offerstream/pipeline/worker", "offerstream/pipeline/ingest", "offerstream/cmd", "github.com/dgraph-io"},
	"pipeline/ingest": {"offerstream/state", "offerstream/pipeline/worker", "offerstream/cmd", "github.com/dgraph-io"},
	"pipeline/worker": {"offerstream/pipeline/ingest", "offerstream/cmd", "github.com/dgraph-io"},
	"state":           {"offerstream/pipeline", "offerstream/config", "offerstream/cmd", "github.com/nats-io"},
	"config":          {"offerstream/state", "offerstream/pipeline/broker", "offerstream/pipeline/worker", "offerstream/pipeline/ingest", "offerstream/cmd", "github.com/nats-io", "github.com/dgraph-io"},
	"cmd/gateway":     {"offerstream/state", "offerstream/pipeline/worker", "github.com/dgraph-io"},
	"cmd/worker":      {"offerstream/pipeline/ingest", "github.com/dgraph-io"},
	"":                {"offerstream/pipeline/oracle"}, // everywhere: for tests alone
}

func TestArrows(t *testing.T) {
	eachFile(t, func(dir, path string, src []byte) {
		f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			to := strings.Trim(imp.Path.Value, `"`)
			for _, no := range slices.Concat(arrows[dir], arrows[""]) {
				if to == no || strings.HasPrefix(to, no+"/") {
					t.Errorf("%s imports %s: %s may not", path, to, dir)
				}
			}
		}
	})
}

// TestPure holds the core to its promise: no clock, no randomness, no
// goroutine.
func TestPure(t *testing.T) {
	eachFile(t, func(dir, path string, src []byte) {
		if dir != "pipeline" {
			return
		}
		for _, no := range []string{"time.Now(", "time.Since(", "time.After(", "time.Sleep(", "time.Tick", "time.LoadLocation(", "\tgo func", "\tgo f."} {
			if strings.Contains(string(src), no) {
				t.Errorf("%s has %s: the core is pure", path, no)
			}
		}
	})
}

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

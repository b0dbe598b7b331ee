// Command times reads what `go test -json` writes. It passes on what failed,
// and at the end shows how long each package and the longest tests took, and
// which tests were skipped and why. A test whose subtests run in parallel took
// as long as they did together:
//
//	go test -count=1 -json ./... | go run .ci/times.go
//
// It tells of a failure and then ends with status 1, so that nothing depends
// on the shell's pipefail.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// An event is a line of `go test -json`. Output that belongs to a build has
// ImportPath instead of Package.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// A test is one of a package, or the package where it has no name.
type test struct {
	pkg, name string
	seconds   float64
}

// longest is how many tests are shown.
const longest = 10

func main() {
	if err := report(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func report(in io.Reader, out io.Writer) error {
	var packages, tests []test
	var skipped []string
	said := map[test][]string{} // by a test that has not ended yet
	parts := map[test]float64{} // the seconds of a test's subtests
	failed := 0
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		var e event
		if json.Unmarshal(line, &e) != nil { // what go itself says
			fmt.Fprintf(out, "%s", line)
			continue
		}
		pkg := strings.TrimPrefix(e.Package, "offerstream/")
		at := test{pkg: pkg, name: e.Test}
		switch e.Action {
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "output":
			said[at] = append(said[at], e.Output)
		case "pass", "skip", "fail":
			words := said[at]
			delete(said, at)
			if e.Action == "fail" {
				failed++
				if e.Test == "" { // what ran when it ended, where that was before its time
					for t, unended := range said {
						if t.pkg == pkg {
							fmt.Fprint(out, strings.Join(unended, ""))
						}
					}
				}
				fmt.Fprint(out, strings.Join(words, ""))
			}
			switch {
			case e.Test == "" && e.Action == "skip": // it has no tests
			case e.Test == "":
				packages = append(packages, test{pkg, "", e.Elapsed})
				fmt.Fprintf(out, "%s %s %.1f s\n", e.Action, pkg, e.Elapsed)
			case e.Action == "skip":
				skipped = append(skipped, fmt.Sprintf("%s %s: %s", pkg, e.Test, reason(words)))
			case strings.Contains(e.Test, "/"):
				if parent, sub, _ := strings.Cut(e.Test, "/"); !strings.Contains(sub, "/") {
					parts[test{pkg: pkg, name: parent}] += e.Elapsed
				}
			default: // what its parallel subtests took is not in its own time
				tests = append(tests, test{pkg, e.Test, max(e.Elapsed, parts[at])})
			}
		}
	}
	bySeconds := func(a, b test) int { return cmp.Compare(b.seconds, a.seconds) }
	slices.SortStableFunc(packages, bySeconds)
	slices.SortStableFunc(tests, bySeconds)
	fmt.Fprintf(out, "\n| package | seconds |\n|---|---|\n")
	for _, p := range packages {
		fmt.Fprintf(out, "| `%s` | %.1f |\n", p.pkg, p.seconds)
	}
	fmt.Fprintf(out, "\n| test | package | seconds |\n|---|---|---|\n")
	for _, t := range tests[:min(longest, len(tests))] {
		fmt.Fprintf(out, "| `%s` | `%s` | %.1f |\n", t.name, t.pkg, t.seconds)
	}
	if len(skipped) > 0 {
		fmt.Fprintf(out, "\nSkipped:\n")
		for _, s := range skipped {
			fmt.Fprintln(out, s)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d tests and packages failed", failed)
	}
	if len(packages) == 0 {
		return fmt.Errorf("no package was tested")
	}
	return nil
}

// reason is what a test said as it was skipped, without where in the file.
func reason(words []string) string {
	for _, w := range slices.Backward(words) {
		w = strings.TrimSpace(w)
		if w == "" || strings.HasPrefix(w, "---") || strings.HasPrefix(w, "===") {
			continue
		}
		_, r, ok := strings.Cut(w, ".go:")
		if _, r2, ok2 := strings.Cut(r, ": "); ok && ok2 {
			return r2
		}
		return w
	}
	return "without a reason"
}

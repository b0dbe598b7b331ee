package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"offerstream/config"
)

const (
	// watchEvery is how often the files are looked at.
	watchEvery = 300 * time.Millisecond
	// mostWatched bounds the files that are looked at.
	mostWatched = 10_000
)

// A testWatch runs scenarios again whenever files that they read have changed. It
// looks at sizes and times of the files, which works on every file system and with
// every editor.
type testWatch struct {
	*testRun
	paths  []string
	files  []string            // of scenarios, as last found
	reads  map[string][]string // what each of them reads
	seen   map[string]fileMark
	failed map[string]bool // files of scenarios that did not pass the last time
	wrong  string          // why the files could not be looked at the last time; "" if they could
}

// A fileMark tells whether a file, or the list of campaign files in a directory, has
// changed.
type fileMark struct {
	size int64
	at   time.Time
	list string
}

// watchTests is `offerctl test --watch`.
func watchTests(t *testRun, paths []string) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	w := &testWatch{testRun: t, paths: paths}
	return w.loop(func() bool {
		select {
		case <-ticker.C:
			return true
		case <-t.ctx.Done():
			return false
		}
	})
}

// loop runs all scenarios, and after each tick those of which a file has changed,
// with those that did not pass the last time, until tick returns false. Its error
// says whether all passed the last time that they ran.
func (w *testWatch) loop(tick func() bool) error {
	w.reads, w.failed = map[string][]string{}, map[string]bool{}
	if _, err := w.look(); err != nil {
		return err
	}
	w.run(w.files, true)
	for tick() {
		changed, err := w.look()
		switch {
		case err != nil && err.Error() != w.wrong:
			w.wrong = err.Error()
			fmt.Fprintln(w.std.err, w.wrong)
		case err == nil && len(changed) > 0:
			w.wrong = ""
			w.changed(changed)
		}
	}
	if len(w.failed) > 0 || w.wrong != "" {
		return errSilent
	}
	return nil
}

// changed runs the files that a change concerns.
func (w *testWatch) changed(changed []string) {
	if !w.asJSON {
		if terminal(w.std.out) {
			fmt.Fprint(w.std.out, "\x1b[H\x1b[2J\x1b[3J") // the cursor to the top, and everything cleared
		}
		fmt.Fprintf(w.std.out, "changed: %s\n\n", several(changed))
	}
	var again []string
	for _, name := range w.files {
		reads := func(path string) bool { return path == name || slices.Contains(w.reads[name], path) }
		if w.failed[name] || slices.ContainsFunc(changed, reads) {
			again = append(again, name)
		}
	}
	for name := range w.reads {
		if !slices.Contains(w.files, name) {
			delete(w.reads, name)
			delete(w.failed, name)
		}
	}
	w.run(again, false)
}

// run runs some files of scenarios.
func (w *testWatch) run(files []string, first bool) {
	p := w.pass()
	err := p.run(files)
	if w.ctx.Err() != nil {
		return
	}
	if wrong := p.writeJUnit(); wrong != nil {
		err = wrong
	}
	if err != nil && !errors.Is(err, errSilent) && (first || !errors.Is(err, errNoMatch)) {
		fmt.Fprintf(w.std.err, "offerctl test: %v\n", err)
	}
	for _, name := range files {
		w.failed[name] = true
	}
	for _, r := range p.results {
		w.reads[r.name] = p.all.Reads(r.name)
		if r.passed() {
			delete(w.failed, r.name)
		}
		for _, path := range w.reads[r.name] {
			if _, known := w.seen[path]; known {
				continue
			}
			m := markOf(path)
			if m.at.After(p.began) {
				m = fileMark{} // it may have changed since it was read
			}
			w.seen[path] = m
		}
	}
	read := map[string]bool{}
	for _, name := range w.files {
		read[name] = true
		for _, path := range w.reads[name] {
			read[path] = true
		}
	}
	maps.DeleteFunc(w.seen, func(path string, _ fileMark) bool { return !read[path] })
	if !w.asJSON {
		fmt.Fprintf(w.std.out, "\nwatching %s; Ctrl-C ends\n", count(len(w.seen), "file"))
	}
}

// look looks at all files, and returns those that have changed, are new or are gone.
func (w *testWatch) look() (changed []string, err error) {
	files, err := config.FindScenarios(w.paths...)
	if err != nil {
		return nil, err
	}
	now := map[string]fileMark{}
	for _, name := range files {
		for _, path := range append([]string{name}, w.reads[name]...) {
			if _, done := now[path]; !done {
				now[path] = markOf(path)
			}
		}
	}
	if len(now) > mostWatched {
		return nil, fmt.Errorf("there are %d files to watch, and at most %d can be: name fewer", len(now), mostWatched)
	}
	for path, m := range now {
		if was, known := w.seen[path]; !known || was != m {
			changed = append(changed, path)
		}
	}
	for path := range w.seen {
		if _, still := now[path]; !still {
			changed = append(changed, path)
		}
	}
	w.files, w.seen = files, now
	slices.Sort(changed)
	return changed, nil
}

// markOf is the mark of a file or directory; that of one that does not exist is
// zero.
func markOf(path string) fileMark {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fileMark{}
	case !info.IsDir():
		return fileMark{size: info.Size(), at: info.ModTime()}
	}
	files, _ := config.CampaignFiles(path)
	return fileMark{list: strings.Join(files, "\n")}
}

// several lists a few names.
func several(names []string) string {
	const most = 3
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

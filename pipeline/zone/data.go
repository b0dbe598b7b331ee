package zone

import (
	"archive/zip"
	_ "embed"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed zoneinfo.zip
var data string

// Hash is the SHA-256 of the zones' data, in hex.
const Hash = "8f55634d05f8bca1f7bc7c69c5933428c69357e0bdf565e5ba224e3f88ff12e8"

// files are the files of the data, by the name of their zone.
var files = func() map[string]*zip.File {
	r, err := zip.NewReader(strings.NewReader(data), int64(len(data)))
	if err != nil {
		panic("zone: the data are damaged: " + err.Error())
	}
	all := make(map[string]*zip.File, len(r.File))
	for _, f := range r.File {
		all[f.Name] = f
	}
	return all
}()

// loaded holds the zones that were asked for, by name. Their number is bounded by
// that of the files.
var loaded sync.Map // from string to *time.Location

// Known reports whether a name is exactly that of a zone of the IANA database,
// such as Asia/Seoul or UTC.
func Known(name string) bool { return files[name] != nil }

// Names are the names of all zones, sorted.
func Names() []string {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Load is the zone of a name; ok is false if the name is not Known. It may be
// called at the same time from several goroutines.
func Load(name string) (loc *time.Location, ok bool) {
	if l, ok := loaded.Load(name); ok {
		return l.(*time.Location), true
	}
	f := files[name]
	if f == nil {
		return nil, false
	}
	loc, err := read(f)
	if err != nil {
		panic("zone: the data of " + name + " are damaged: " + err.Error())
	}
	l, _ := loaded.LoadOrStore(name, loc)
	return l.(*time.Location), true
}

func read(f *zip.File) (*time.Location, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return time.LoadLocationFromTZData(f.Name, b)
}

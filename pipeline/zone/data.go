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

// A source is the file of one zone, which is read when the zone is first asked for.
type source struct {
	file *zip.File
	once sync.Once
	loc  *time.Location
}

// sources are all zones, by name.
var sources = sync.OnceValue(func() map[string]*source {
	r, err := zip.NewReader(strings.NewReader(data), int64(len(data)))
	if err != nil {
		panic("zone: the data are damaged: " + err.Error())
	}
	all := make(map[string]*source, len(r.File))
	for _, f := range r.File {
		all[f.Name] = &source{file: f}
	}
	return all
})

// Known reports whether a name is exactly that of a zone of the IANA database,
// such as Asia/Seoul or UTC.
func Known(name string) bool { return sources()[name] != nil }

// Names are the names of all zones, sorted.
func Names() []string {
	names := make([]string, 0, len(sources()))
	for name := range sources() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Load is the zone of a name; ok is false if the name is not Known. It may be
// called at the same time from several goroutines.
func Load(name string) (loc *time.Location, ok bool) {
	s := sources()[name]
	if s == nil {
		return nil, false
	}
	s.once.Do(func() {
		var err error
		if s.loc, err = read(s.file); err != nil {
			panic("zone: the data of " + name + " are damaged: " + err.Error())
		}
	})
	return s.loc, true
}

// OrUTC is the zone of a name, UTC if the name is not Known.
func OrUTC(name string) *time.Location {
	if loc, ok := Load(name); ok {
		return loc
	}
	return time.UTC
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

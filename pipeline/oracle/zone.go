package oracle

import (
	"archive/zip"
	"io"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// zones are the files of the repository's zone data, by name. Neither the host's
// own files nor its local time have any influence.
var zones = sync.OnceValue(func() map[string][]byte {
	_, here, _, _ := runtime.Caller(0)
	r, err := zip.OpenReader(filepath.Join(filepath.Dir(here), "..", "zone", "zoneinfo.zip"))
	if err != nil {
		panic("oracle: zone data: " + err.Error())
	}
	defer r.Close()
	all := map[string][]byte{}
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			panic("oracle: zone data: " + err.Error())
		}
		if all[f.Name], err = io.ReadAll(in); err != nil {
			panic("oracle: zone data: " + err.Error())
		}
		in.Close()
	}
	return all
})

// loadZone returns the zone of that name, nil if there is none.
func loadZone(name string) *time.Location {
	data, ok := zones()[name]
	if !ok {
		return nil
	}
	zone, err := time.LoadLocationFromTZData(name, data)
	if err != nil {
		return nil
	}
	return zone
}

// zone returns the user's zone: that of the trait, else the set's, else UTC.
func (u *user) zone() *time.Location {
	if u.atHome == nil {
		name, _ := u.traits()["timezone"].(string)
		for _, name := range []string{name, u.set.Zone} {
			if u.atHome == nil {
				u.atHome = loadZone(name)
			}
		}
		if u.atHome == nil {
			u.atHome = time.UTC
		}
	}
	return u.atHome
}

// local returns the parts of a time in a zone.
func local(now int64, zone *time.Location) ref.Val {
	at := time.Unix(0, now).In(zone)
	return textMap{values: map[string]ref.Val{
		"hour":    types.Int(at.Hour()),
		"minute":  types.Int(at.Minute()),
		"weekday": types.String([]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}[at.Weekday()]),
		"date":    types.String(at.Format("2006-01-02")),
	}}
}

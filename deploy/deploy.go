// Package deploy embeds the campaigns that are shipped with the binaries, with
// which demo and serve start.
package deploy

import (
	"embed"
	"io/fs"
)

//go:embed campaigns
var files embed.FS

// Campaigns returns the shipped campaign files.
func Campaigns() fs.FS {
	sub, err := fs.Sub(files, "campaigns")
	if err != nil { // cannot happen: the directory is embedded above
		panic(err)
	}
	return sub
}

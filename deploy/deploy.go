// Package deploy embeds what ships with the binaries: the campaigns that
// demo and serve start with.
package deploy

import (
	"embed"
	"io/fs"
)

//go:embed campaigns
var files embed.FS

// Campaigns are the shipped campaign files.
func Campaigns() fs.FS {
	sub, err := fs.Sub(files, "campaigns")
	if err != nil { // the directory is embedded above
		panic(err)
	}
	return sub
}

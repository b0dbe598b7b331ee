// Package deploy embeds the campaigns that are shipped with the binaries: the
// gallery, from which offerctl new writes copies and demo and serve take their
// first set, and the set of a web shop with which bench measures.
package deploy

import (
	"embed"
	"io/fs"
)

//go:embed campaigns
var files embed.FS

// Campaigns returns the files of the set with which bench measures. It stays as
// it is, so that figures can be compared.
func Campaigns() fs.FS { return below("campaigns") }

// Gallery returns the gallery: a directory for each system, named by its id, with
// a campaign set, its tables and its scenarios. The first line of the set is a
// comment that says in a sentence what the system does.
func Gallery() fs.FS { return below("campaigns/gallery") }

// First are the systems of the gallery that form the set with which demo and serve
// start: those for which the events of a web shop are enough, and two that tell of hotels
// and of job postings how others have used them. Those with items are in the order of their
// names, so that a folder of these files is the same set.
var First = []string{"groobee-bag", "groobee-referrer", "gmarket-rank", "bigin-group", "11st-cart", "amazon-browse", "agoda-last", "enuri-watch", "jobkorea-views"}

func below(dir string) fs.FS {
	sub, err := fs.Sub(files, dir)
	if err != nil { // cannot happen: the directory is embedded above
		panic(err)
	}
	return sub
}

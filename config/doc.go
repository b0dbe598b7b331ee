// Package config reads what people write: campaign files, and the settings of
// the programs. Both are strict: whatever is not understood is an error that
// says where it stands, what is wrong and what to do.
//
// A campaign file on its way to a pipeline.Definition:
//
//	load      files -> one set (load.go)
//	source    a file's lines, and where in them a character of a value stands (source.go)
//	tree      YAML -> nodes, without what surprises: tags, anchors, merges (tree.go, syntax.go)
//	value     a node on its way to a Go value (value.go)
//	set       the set's own keys (set.go) and policies (policy.go)
//	feature   features (feature.go)
//	campaign  campaigns (campaign.go) and the data of their offers (data.go)
//	problem   what is wrong (problem.go)
//
// What the language has and this engine has not is refused (later.go), never
// ignored: an offer without the consent that its author asked for is worse
// than none.
package config

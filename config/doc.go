// Package config reads what people write: campaign files, and the settings of
// the programs. Both are strict: whatever is not understood is an error that
// says where it stands, what is wrong and what to do.
//
// LANGUAGE.md is the reference of the campaign language, for those who write
// it.
//
// A campaign file on its way to a campaign.Definition:
//
//	load      files -> one set (load.go)
//	source    a file's lines, and where in them a rune of a value stands (source.go)
//	tree      YAML -> nodes, without what surprises: tags, anchors, merges
//	          (tree.go); what to say of a file that is no YAML (syntax.go)
//	value     a node on its way to a Go value (value.go, map.go, literal.go, expression.go)
//	set       the set's own keys (set.go, policy.go), features (feature.go),
//	          campaigns (campaign.go), the data of their offers (data.go)
//	problem   what is wrong (problem.go)
//	describe  what changes from one set to another (describe.go)
//
// A file of scenarios (*.test.yaml) on its way to pipeline/scenario: what its
// maps mean (scenario.go), its lines (scenarioline.go), and how a file is
// written anew with what came out (scenarioupdate.go).
//
// What the language has and this engine has not is refused (later.go), never
// ignored: an offer without the consent that its author asked for is worse
// than none.
//
// Settings are a table with a row each (settings.go, settingtext.go), read
// from flags and environment (program.go) and a file (settingfile.go).
package config

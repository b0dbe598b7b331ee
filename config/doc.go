// Package config reads the files that people write: campaign files, scenario
// files and the settings of the programs. It is strict: anything that it does
// not understand is an error with a place, what is wrong and what to do.
//
// LANGUAGE.md is the reference for the campaign language.
//
// How a campaign file becomes a campaign.Definition:
//
//	load      files -> one set (load.go)
//	source    a file's lines, and the position of each rune of a value (source.go)
//	tree      YAML -> nodes; tags, anchors and merges are refused (tree.go); the
//	          error for a file that is not YAML (syntax.go), or that only looks like
//	          it (mend.go)
//	value     node -> Go value (value.go, map.go, literal.go, expression.go)
//	keys      the tables of keys: what each map has and needs, its limits and
//	          examples (table.go, keys.go); from them come the JSON Schema
//	          (schema.go) and the reference in LANGUAGE.md
//	set       the set's own keys (set.go, policy.go), kinds of items (item.go), facts
//	          (fact.go), features (feature.go), campaigns (campaign.go), what triggers
//	          them (trigger.go, names.go), their rows (rows.go, tablefile.go), offers
//	          (offer.go) with their data (data.go), budgets (budget.go), and durations
//	          that may be expressions (computed.go)
//	problem   the errors (problem.go), and warnings of keys that have no effect in
//	          their set (suspect.go)
//	finding   all of them with their rules, for `offerctl check` (finding.go,
//	          rule.go), and what is valid but probably not meant (lint.go):
//	          conditions (doubt.go), what nothing reads (unused.go), campaigns that
//	          never win (outranked.go) or are never compared (asking.go), limits and times
//	          (limit.go), names (similar.go)
//	describe  the changes from one set to another (describe.go)
//
// A directory tree may hold several sets (folder.go).
//
// How a scenario file (*.test.yaml) becomes scenarios of pipeline/scenario: its
// maps (scenario.go), its lines (scenarioline.go), what must be told of users
// (scenarioexplain.go), and replacing the expected results in the file with the
// actual ones (scenarioupdate.go). A file is written out of a user's log by
// scenariowrite.go.
//
// Settings are a table with one row per setting (settings.go, settingtext.go).
// They are read from flags and the environment (program.go) and from a file
// (settingfile.go).
package config

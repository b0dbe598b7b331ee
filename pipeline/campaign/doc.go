// Package campaign holds a campaign set as data: its normal form
// (definition.go) and the problems found in one (problem.go). It also has what
// both the campaign files and their expressions need: durations (duration.go),
// the names of channels (channel.go), and suggestions for misspelt names
// (nearest.go), durations (spelling.go) and characters (character.go).
package campaign

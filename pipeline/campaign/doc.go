// Package campaign is a campaign set as data: its normal form (definition.go),
// what is wrong with one (problem.go), and what its files and its expressions
// both read: durations, channels' names, the name that was probably meant.
package campaign

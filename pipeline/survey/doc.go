// Package survey looks at a sample of a shop's events, and tells where a campaign
// set does not fit them: names that never occur, values that never match, and how
// often each condition held.
package survey

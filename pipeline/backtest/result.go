package backtest

import "offerstream/pipeline"

// A Result is what a set would have done. Times are in nanoseconds since 1970.
type Result struct {
	Set        string // its hash
	First      int64  // the log time from which offers and outcomes are counted
	Last       int64  // the log time of the end
	Lines      uint64 // lines that are not empty
	Events     uint64 // that were applied, including duplicates
	Users      uint64
	Duplicates uint64
	Rejected   map[string]uint64 // by reason
	Loaded     uint64            // rows of facts' tables
	Mails      uint64            // of Log: messages that its steps sent to users, items, budgets and pools; what was received is the log's
	Jumps      []pipeline.Jump
	Campaigns  map[string]*Campaign // the rows of a campaign together
	Features   pipeline.Counts
	Failures   []Failure // the most frequent errors of features' expressions
}

// A Campaign is what a campaign would have done.
type Campaign struct {
	pipeline.Counts
	Rows     map[string]pipeline.Counts // by unit; nil: the campaign has no rows
	Users    map[string]bool            // the keys of the entities that an offer went out to
	Failures []Failure                  // the most frequent errors of its expressions
}

// A Failure is an error of an expression, and how often it was counted.
type Failure struct {
	Place string // such as if, choose, or offer.data.title; of a feature, such as features.views.by
	Text  string // the expression
	Error string
	N     uint64
}

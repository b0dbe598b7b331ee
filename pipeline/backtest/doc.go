// Package backtest runs a campaign set over a file of events, or over the log of
// a deployment, on all cores, and holds what it would have done.
//
//	run      over a file, with its stages (run.go): batches of lines (batch.go), which
//	         get their log times (stamp.go), are folded for some users each (shard.go),
//	         and are put together in order (merge.go)
//	log      over a deployment's log, by partitions (log.go); the offers of each wait
//	         in a file (offerfile.go)
//	result   what came out (result.go), with the errors of expressions (failure.go)
//	compare  two runs over the same events (compare.go)
package backtest

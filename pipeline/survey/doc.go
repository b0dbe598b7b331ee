// Package survey looks at a sample of a shop's events, and tells where a campaign
// set does not fit them: names that never occur, values that never match, and how
// often each condition held.
//
//	survey     a sample, event by event (survey.go)
//	reading    what the set's expressions and keys read of which events (reading.go)
//	sample     which events, properties and values occur (sample.go)
//	trigger    how often each conjunct of `where` held, judged on every event that
//	           `on` names (trigger.go)
//	condition  how often each conjunct of `if` held, from the traces of a backtest
//	           (condition.go), or of some of its evaluations if there are many
//	           (tracing.go)
//	finding    where reading and sample disagree (finding.go, value.go), with the
//	           nearest name that occurs (near.go)
//	result     the table (result.go)
package survey

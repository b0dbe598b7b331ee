// Package window keeps what features add up: under each key of a feature one
// aggregate, over the entries that lie in its window.
//
//	aggregate   the table of aggregates: what each takes, keeps and reads as
//	            (aggregate.go, quantiles.go)
//	shape       how one feature's windows are kept, and what is done with them
//	            (shape.go)
//	state       the bytes that an entity holds of a feature: a record a key
//	            (state.go), which is a series of numbers (series.go) or a
//	            window of any values (window.go), of rows too (rows.go)
//	reading     what an expression sees (reading.go)
//	stay        dwell: when what is open will be long enough (stay.go)
package window

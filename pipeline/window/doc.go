// Package window keeps the values that features aggregate: under each key of a
// feature one aggregate, over the entries that lie in its window.
//
//	aggregate   the table of aggregates: what each takes, keeps and is read as
//	            (aggregate.go, quantiles.go, top.go, histogram.go); sums of 128 bits
//	            (wide.go)
//	shape       how the windows of one feature are kept, and the operations on
//	            them (shape.go)
//	state       the bytes of one feature of one entity: a record for each key
//	            (state.go). A record is a series of numbers (series.go) or a
//	            window of any values (window.go), including rows (rows.go)
//	size        how much is held, in the terms of the limits, and what leaves first
//	            (size.go)
//	reading     what an expression sees (reading.go)
//	stay        dwell: when stays that are open will have lasted long enough
//	            (stay.go)
package window

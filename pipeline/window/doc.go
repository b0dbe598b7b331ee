// Package window keeps the values that features aggregate: under each key of a
// feature one aggregate, over the entries that lie in its window.
//
//	aggregate   the table of aggregates: what each takes, keeps and is read as
//	            (aggregate.go, quantiles.go, top.go, histogram.go, and of items
//	            users.go and sampled.go); sums of 128 bits (wide.go)
//	shape       how the windows of one feature are kept, and the operations on
//	            them (shape.go)
//	state       the bytes of one feature of one entity: a record for each key
//	            (state.go). A record is a series of numbers (series.go), a
//	            window of any values (window.go), including rows (rows.go), or a
//	            sample (sample.go). A list of users has pieces in place of records
//	            (users.go, userlist.go)
//	size        how much is held, in the terms of the limits, and what leaves first
//	            (size.go)
//	reading     what an expression sees (reading.go); the same as it was at one
//	            time, to be sent and kept (frozen.go)
//	union       what a visitor's state adds to a user's (union.go)
//	takeback    how a budget's sum is compared, and gets a value back (takeback.go)
//	stay        dwell: when stays that are open will have lasted long enough
//	            (stay.go)
package window

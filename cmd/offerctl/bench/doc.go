// Package bench is what `offerctl bench` measures. The command reads flags
// into a Run, and prints the Finding that Measure returns.
//
// A Run (run.go) makes a temporary directory, starts NATS and does one of
//
//	worker    how fast a worker catches up (worker.go, report.go); then HTTP in,
//	          offer out (live.go), and how a user's state is found (lookup.go,
//	          stores.go, pages_*.go)
//	gateway   the gateway against a bare HTTP handler (gateway.go, client.go)
//	backtest  a backtest of a pipe (backtest.go), without NATS
//	group     hand-overs, kills and restores (group.go, group_load.go, rebuild.go)
//
// NATS, what is measured and what makes the load are processes of their own.
// Each is a part (part.go; those that take events or work until they are told
// to end are in serve.go): the program starts itself again, with the part in
// its environment, and RunPart, which main calls first, finds it there. A part
// says what it found, or its address, as a line of JSON or text on standard
// output, and ends when its standard input does, so that none is left behind.
//
// Events (events.go) and campaigns (campaigns.go) are generated from seeds.
// log.go brings events into a deployment's logs, repacks them and removes them.
//
// An Against (against.go) compares two programs instead: it runs both as
// `bench --json`, in pairs, and makes a Comparison (comparison.go) of what they
// found: by key, the median of the pairs' ratios and its interval from their
// order, such as the 2nd to the 9th of ten. No distribution is assumed.
//
// What `bench --backtest` measures is the command's own, which this package
// cannot import: main gives it to RunPart as a Backtest.
package bench

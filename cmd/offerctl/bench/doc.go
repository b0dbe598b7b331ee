// Package bench makes the measurements of `offerctl bench`. The command reads
// its flags into a Run, and prints the Finding that Measure returns.
//
// A Run (run.go) makes a temporary directory, starts NATS and does one of
//
//	worker    how fast a worker catches up (worker.go, report.go); then the time
//	          from an HTTP request to its offer (live.go), and the time to find
//	          a user's state (lookup.go, stores.go, pages_*.go). With many
//	          campaigns instead: how that compares with few (scale.go). With a number of
//	          events per message: only how fast it catches up with these
//	gateway   the gateway, compared with a bare HTTP handler (gateway.go, client.go);
//	          user tokens and other SDKs' forms of the same events, compared with
//	          events without and in the gateway's own form (forms.go, tokens.go, dialects.go)
//	page      offers on pages (page.go): the time from a stored offer to its page, and the
//	          memory of idle streams
//	burst     held offers that are released at once (burst.go), each time with a NATS
//	          of its own, which syncs each write or does not
//	idle      the CPU and memory of offerctl serve with few events and with none
//	          (idle.go); it has NATS within it
//	backtest  a backtest of events from a pipe (backtest.go), without NATS
//	group     hand-overs, kills and restores (group.go, group_load.go, rebuild.go)
//	items     campaigns that read features of products (items.go): the rate of a
//	          worker that catches up, also with a hot product (itemsrate.go), the
//	          time from an HTTP request to its offer (itemslive.go), and a price
//	          that reaches all who watch it (itemsfan.go)
//
// NATS, the measured program and the load generator are separate processes.
// Each is a part (part.go; the parts that run until they are stopped are in
// serve.go): the program starts itself again, with the part in its environment,
// and RunPart, which main calls first, finds it there. A part prints its result,
// or its address, as one line of JSON or text on standard output. It ends when
// its standard input is closed, so that none is left behind.
//
// Events (events.go) and campaigns (campaigns.go) are generated from seeds.
// log.go writes events to a deployment's logs, repacks them and removes them.
//
// An Against (against.go) compares two programs instead: it runs both as
// `bench --json`, in pairs, and makes a Comparison (comparison.go) of their
// results: for each key, the median of the pairs' ratios, and a confidence
// interval from the order of the ratios, such as the 2nd to the 9th of ten. No
// distribution is assumed.
//
// `bench --backtest` measures the command's own function, which this package
// cannot import: main passes it to RunPart as a Backtest.
package bench

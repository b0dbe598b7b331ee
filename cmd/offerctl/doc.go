// Command offerctl is the command line tool: it starts Offerstream, checks, tests
// and applies campaigns, and inspects a deployment.
//
// Each command has a file of its own, named after it; main.go lists the commands. Those
// of several files:
//
//	check     check.go; checkformat.go (JSON and SARIF); survey.go (--events, --nats)
//	test      test.go; junit.go (--junit); testwatch.go (--watch); testfrom.go
//	          (--from-user), with the logs that it reads (testlog.go)
//	backtest  backtest.go (a file), backtestlog.go (--nats); what it prints:
//	          backtesttext.go, backtestjson.go, backtestcompare.go; report.go (--report)
//	shadow    shadow.go; shadowcount.go (what it counts), shadowexamples.go; what it
//	          prints: shadowtext.go, shadowjson.go
//	demo      demo.go; shopper.go (the simulated shop); demoshop.go (the shop page, of
//	          package storefront)
//	serve     serve.go; servewatch.go (--watch)
//	import    import.go; import users: importusers.go, importlist.go (reads the list),
//	          importrow.go (a row as an event), importprogress.go (goes on where it was)
//	apply     apply.go; what changes: applyplan.go, applyretired.go, applyshow.go (prints
//	          it, refuses); applyrecord.go (writes the record and the files); applywait.go
//	          (until it is in every log); applybackfill.go; secondfolds.go (how far a backfill
//	          is, for status too); table.go (tables of facts)
//	status    status.go; statuschange.go (what is changing)
//	coupons   coupons.go (new-key, check), couponsimport.go, couponsleft.go
//	campaigns campaigns.go (its subcommands), campaignsstate.go (what is asked for, and
//	          what is in force), campaignsbudget.go (what is left of budgets and pools);
//	          list, show, export, pause and resume, rollback and
//	          history have a file each
//
// They share: the node, all parts in one process (node.go, for demo and serve), sending
// to a gateway (send.go), and files of lines, with their progress and with what is said
// of lines that are no events (input.go). Commands hold flags, files, connections and
// output; what they compute is in the packages that they call.
package main

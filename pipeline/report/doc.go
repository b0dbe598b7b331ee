// Package report writes the page of a backtest: what each campaign would have sent
// over time, why it did not send more, whom it reached and at which hours, with
// examples in the words of package explain. The page is one file: it loads nothing,
// runs no script, and its charts are SVG.
//
// Reading order: series (the offers of a run by time), page (what the page shows),
// chart (the SVG), page.html (how it looks).
package report

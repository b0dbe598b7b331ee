// Package report writes the page of a backtest.
package report

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestManyCampaigns: what people read stays short for a set of many campaigns and rows:
// the foremost are shown, and how many more there are.
func TestManyCampaigns(t *testing.T) {
	const n = 400
	var set, other, events strings.Builder
	set.WriteString("policies: {consent: none, quiet_hours: none}\ncampaigns:\n  table:\n    for_each: {rows: [")
	for i := range n {
		fmt.Fprintf(&set, "{id: r%d, n: %d}, ", i, i)
	}
	set.WriteString("]}\n    on: View\n    where: event.properties.n == row.n\n    offer: {channel: push}\n")
	other.WriteString(set.String())
	for i := range n {
		fmt.Fprintf(&set, "  c%03d: {on: View, where: event.properties.n == %d, offer: {channel: web, data: {n: %d}}}\n", i, i, i)
		fmt.Fprintf(&other, "  c%03d: {on: View, where: event.properties.n == %d, offer: {channel: web, data: {n: x}}}\n", i, i)
	}
	for i := range n {
		fmt.Fprintf(&events, `{"type":"track","event":"View","userId":"ada","messageId":"m%d","timestamp":"2026-01-01T10:00:%02dZ","properties":{"n":%d}}`+"\n", i, i/10, i)
	}
	a, b, e := file(t, "a.yaml", set.String()), file(t, "b.yaml", other.String()), file(t, "e.jsonl", events.String())
	page := filepath.Join(t.TempDir(), "page.html")
	for _, of := range []struct {
		most int // lines
		says string
		args []string
	}{
		{350, "and 301 more campaigns; these have the most offers, --json has all\nall ", []string{"backtest", "--campaigns", a, "--events", e}},
		{600, "and 300 more rows; --json has all", []string{"backtest", "--campaigns", a, "--events", e, "--rows"}},
		{1600, "and 300 more campaigns with changes", []string{"backtest", "--campaigns", a, "--events", e, "--compare", b, "--report", page}},
		{1100, "and 301 more campaigns; these have the most evaluations", []string{"check", "--events", e, a}},
		{350, "and 381 more campaigns, ", []string{"explain", "ada", "--campaigns", a, "--events", e}},
		{110, "and 300 more of the kind unknown-name; --json has all", []string{"check", file(t, "wrong.yaml", strings.ReplaceAll(set.String(), "event.properties.n == row.n", "true")+wrongCampaigns(n))}},
	} {
		out, _ := ran(t, of.args...)
		if lines := strings.Count(out, "\n"); lines > of.most || !strings.Contains(out, of.says) {
			t.Errorf("%v: %d lines, should have at most %d, with %q:\n%.3000s", of.args[0], lines, of.most, of.says, out)
		}
	}
	html, err := os.ReadFile(page)
	if err != nil || strings.Count(string(html), "<section") != 100 || !strings.Contains(string(html), "These are the 100 campaigns with the most offers. 301 others are not shown.") {
		t.Errorf("%v: the page has %d campaigns", err, strings.Count(string(html), "<section"))
	}
}

// wrongCampaigns are campaigns with a name that does not exist.
func wrongCampaigns(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  w%03d: {on: View, if: nothing_%d > 1, offer: {channel: web}}\n", i, i)
	}
	return b.String()
}

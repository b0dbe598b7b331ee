package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
)

// showChange prints what is changing, as the partitions have it: the revisions of the
// records that they have carried out, what is paused, and how far a backfill is.
func showChange(out io.Writer, o audit.Overview) {
	byRecord, byPause := map[uint64][]int{}, map[string][]int{}
	folds := map[string]bool{}
	var newest uint64
	for _, p := range o.Partitions {
		if p.Revision > 0 {
			byRecord[p.Revision] = append(byRecord[p.Revision], p.Partition)
			newest = max(newest, p.Revision)
		}
		for _, what := range pausedIn(p) {
			byPause[what] = append(byPause[what], p.Partition)
		}
		if s := p.Second; s != nil && !s.Switched && !(s.CaughtUp && p.Set == s.Set) {
			folds[s.Set] = true
		}
	}
	if newest > 0 {
		fmt.Fprintf(out, "\nrevision %d", newest)
		if n := len(byRecord[newest]); n < len(o.Partitions) {
			fmt.Fprintf(out, " in %d of %d partitions", n, len(o.Partitions))
		}
		fmt.Fprintln(out)
	}
	for _, what := range slices.Sorted(maps.Keys(byPause)) {
		where := ""
		if n := len(byPause[what]); n < len(o.Partitions) {
			where = " in partition " + ranges(byPause[what])
		}
		fmt.Fprintf(out, "%s%s\n", what, where)
	}
	for _, set := range slices.Sorted(maps.Keys(folds)) {
		s := secondsOf(o, set)
		fmt.Fprintf(out, "backfill of set %s: %s\n", set, s.how())
		for _, text := range s.trouble {
			fmt.Fprintf(out, "  %s\n", text)
		}
		if len(s.overdue) > 0 {
			fmt.Fprintf(out, "  %s\n", strings.ReplaceAll(s.overdueText(), "\n", "\n  "))
		}
	}
}

// pausedIn is what is paused in a partition, for people.
func pausedIn(p audit.PartitionOverview) (all []string) {
	for _, id := range p.Paused {
		all = append(all, "paused: campaign "+id)
	}
	for _, name := range p.Channels {
		all = append(all, "paused: channel "+name)
	}
	for _, what := range p.Braked {
		all = append(all, "BRAKED: "+what)
	}
	return all
}

// enginesOf is what to know about the engines of a member; "" if nothing.
func enginesOf(m audit.Member) string {
	switch {
	case !m.Answers || slices.Contains(m.Engines, pipeline.Engine):
		return ""
	case len(m.Engines) == 0:
		return fmt.Sprintf("an older version, which runs engine %d alone", firstEngine)
	}
	return "another version, which runs the engines " + ranges(m.Engines)
}

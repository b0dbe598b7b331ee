package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// TestApplyBackfill: a backfill is asked for, refuses a second apply, is given up, and
// goes in force in each partition that has caught up.
func TestApplyBackfill(t *testing.T) {
	t.Parallel()
	s := newOwnerStub(t, 3)
	before, after := file(t, "set.yaml", beforeSet), file(t, "set.yaml", strings.ReplaceAll(afterSet, "properties.title", "properties.name"))
	n := hashOf(t, after)
	begun := func(p int, of broker.SecondStatus) { of.Set = n; s.second[p] = of }
	s.apply(t, 0, "", []string{before, "--yes"})
	first := s.record(t)

	s.apply(t, 1, "", []string{"--go", "--overdue", "drop"}, "no backfill runs: ")
	s.apply(t, 1, "", []string{"--abort"}, "no backfill runs: ")
	s.apply(t, 1, "", []string{after, "--backfill", "--yes", "--clock", "event"}, "the live set has clock: broker and this one clock: event: a backfill needs the same clock")
	s.apply(t, 2, "", []string{after, "--backfill", "--overdue", "soon"}, "--overdue: ")
	s.apply(t, 2, "", []string{after, "--backfill", "--rate", "2"}, "--rate 2 is not a share of a core")
	s.apply(t, 2, "", []string{after, "--wait", "-1s"}, "--wait -1s is negative")
	s.apply(t, 2, "", []string{after, "--by", "a\nb"}, "--by has characters that are not printed")
	s.apply(t, 2, "", []string{after, "--go"}, "no path")
	s.apply(t, 2, "", []string{after, "--detach"}, "need --backfill")

	// Asked, in every log, and given up.
	s.apply(t, 0, "y\n", []string{after, "--backfill", "--detach", "--by", "ada", "--rate", "0.25"}, "taken from the log: features bought; campaigns late\n", "~ campaign late: cancels 0 pending; pending comes from the log\n",
		"Fold the log again under this set? [y/N] the backfill of set "+n+" has begun\n", "offerctl apply --abort")
	want := broker.Backfill{Set: n, Engine: pipeline.Engine, Features: []string{"bought"}, Campaigns: []string{"late"}, Rate: 0.25}
	asked := s.record(t)
	if asked.Revision != 2 || asked.Set != first.Set || asked.By != "ada" || asked.Previous != nil || asked.Backfill == nil || jsonOf(asked.Backfill) != jsonOf(want) {
		t.Errorf("the record: %+v, %+v", asked, asked.Backfill)
	}
	var listed campaignList // since the set is live, not since the backfill was asked for
	if err := json.Unmarshal([]byte(offerctl(t, "campaigns", "list", "--json", "--nats", s.url)), &listed); err != nil || listed.Set != first.Set || listed.At != first.At || listed.By != first.By {
		t.Errorf("list: %+v, %v; want that of %+v", listed, err, first)
	}
	s.set(func() {
		begun(0, broker.SecondStatus{Seq: 50, End: 100})
		begun(1, broker.SecondStatus{From: 100, Seq: 125, End: 200})
	})
	for _, args := range [][]string{{file(t, "other.yaml", afterSet), "--yes", "--force"}, {file(t, "other.yaml", afterSet), "--yes", "--force", "--backfill"}} {
		s.apply(t, 1, "", args, "a backfill runs: ada asked for set "+n+" on "+shortTime(asked.At)+"; 25%, 0 of 3 partitions have caught up\n", "offerctl apply --go ", "offerctl apply --abort ", "offerctl status ")
	}
	s.apply(t, 0, "", []string{after, "--yes"}, "a backfill of this set runs: ada asked for it on "+shortTime(asked.At)+"; 25%, 0 of 3 partitions")
	s.apply(t, 0, "", []string{before, "--yes"}, "is live already\n", "a backfill of another set, "+n+", runs: ada asked for it on ")
	s.set(func() { s.stopped[2] = "its disk is full" })
	s.apply(t, 1, "", []string{"--abort", "--by", "eve"}, "the backfill is given up, but that is carried into the log only in 2 of 3 partitions\n  partition 2: it has stopped on w: its disk is full\n")
	if got := s.record(t); got.Revision != 3 || got.Set != first.Set || got.By != "eve" || got.Backfill != nil {
		t.Errorf("the record: %+v", got)
	}

	// Detached, with what becomes of overdue offers: only --go makes it live. A
	// partition that has stopped begins when it runs again, and the others switch.
	s.apply(t, 0, "", []string{after, "--backfill", "--detach", "--yes", "--overdue", "6h", "--by", "ada"}, "the backfill is known only in 2 of 3 partitions\n")
	s.set(func() {
		begun(0, broker.SecondStatus{Seq: 100, End: 100, CaughtUp: true, Overdue: map[string]int{"late web": 1200}})
		begun(1, broker.SecondStatus{Seq: 100, End: 100, Failed: "it has no room"})
	})
	s.apply(t, 1, "", []string{"--go"}, "100%, 1 of 3 partitions have caught up, given up in 1, stopped: 2\n", "the backfill was given up in partition 1, ")
	if got := s.record(t); got.Revision != 4 || got.Set != first.Set || got.Backfill.Overdue != "6h" {
		t.Errorf("the record: %+v", got)
	}
	s.set(func() {
		begun(1, broker.SecondStatus{Seq: 100, End: 100, CaughtUp: true, Overdue: map[string]int{"late web": 34}})
	})
	s.apply(t, 1, "", []string{"--go", "--by", "eve"}, "overdue, by campaign and channel:\n  late web: 1234\n", "set "+n+" is live, by backfill\n", "in force only in 2 of 3 partitions\n  partition 2: it has stopped on w: its disk is full\n")
	want.Rate, want.Overdue = 0.5, "6h"
	got := s.record(t)
	if got.Revision != 5 || got.Set != n || got.By != "eve" || got.Previous == nil || got.Previous.Set != first.Set || got.Previous.At != first.At || jsonOf(got.Backfill) != jsonOf(want) {
		t.Errorf("the record: %+v, %+v, %+v", got, got.Previous, got.Backfill)
	}
	s.apply(t, 1, "", []string{before, "--yes"}, "a backfill is going in force: eve made set "+n+" live on "+shortTime(got.At)+", and 1 of 3 partitions have not switched yet")
	s.apply(t, 1, "", []string{"--abort"}, "it is too late to give it up")
	s.apply(t, 1, "", []string{"--go", "--overdue", "drop"}, "is decided: 6h")
	s.set(func() { s.stopped[2] = ""; begun(2, broker.SecondStatus{CaughtUp: true}) })
	s.carry(t.Context(), t)
	s.apply(t, 0, "", []string{"--go"}, "eve made set "+n+" live on ", "in force in all 3 partitions\n")
}

// TestApplyAttached: apply shows how far a backfill is until all have caught up, asks
// what becomes of what is overdue, and makes the set live. Ctrl-C leaves it running.
func TestApplyAttached(t *testing.T) {
	t.Parallel()
	s := newOwnerStub(t, 2)
	before, after := file(t, "set.yaml", beforeSet), file(t, "set.yaml", strings.ReplaceAll(afterSet, "properties.title", "properties.name"))
	n := hashOf(t, after)
	s.apply(t, 0, "", []string{before, "--yes"})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, ended, code := &transcript{}, make(chan struct{}), 0
	go func() {
		defer close(ended)
		code = run(ctx, []string{"apply", after, "--backfill", "--yes", "--nats", s.url}, stdio{strings.NewReader(""), out, out})
	}()
	out.await(t, "has begun\n", ended)
	cancel()
	if <-ended; code != 1 || !strings.Contains(out.String(), "the backfill goes on without this command:\n  offerctl status") {
		t.Errorf("after Ctrl-C: exit %d, %s", code, out)
	}
	if got := s.record(t); got.Asked() != n {
		t.Errorf("the record: %+v", got)
	}

	s.set(func() {
		for p := range s.second {
			s.second[p] = broker.SecondStatus{Set: n, CaughtUp: true, Overdue: map[string]int{"late web": 7}}
		}
	})
	s.apply(t, 1, "", []string{after, "--backfill", "--yes"}, "a backfill of this set runs: ", "2 of 2 partitions have caught up\n", "  late web: 14\n", "the set is not live yet, because ")
	s.apply(t, 1, "", []string{"--go"}, "What becomes of offers that are overdue at the switch? ", "the set is not live yet, because ")
	s.apply(t, 0, "soon\nnow\n", []string{after, "--backfill"}, `this is "soon"`, "set "+n+" is live, by backfill\nin force in all 2 partitions\n")
	if got := s.record(t); got.Set != n || got.Backfill == nil || got.Backfill.Overdue != "now" {
		t.Errorf("the record: %+v", got)
	}
}

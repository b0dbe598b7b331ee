package main

import (
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
)

// TestStatusChange: status shows how far the partitions are with what changes, what is
// paused, and which workers run an older version.
func TestStatusChange(t *testing.T) {
	second := func(s audit.SecondOverview) *audit.SecondOverview { s.Set = "n"; return &s }
	o := audit.Overview{Partitions: []audit.PartitionOverview{
		{Partition: 0, Answers: true, Revision: 7, Paused: []string{"cart"}, Channels: []string{"sms"}, Second: second(audit.SecondOverview{Seq: 50, End: 100})},
		{Partition: 1, Answers: true, Revision: 7, Paused: []string{"cart"}, Braked: []string{"channel push"}, Second: second(audit.SecondOverview{CaughtUp: true, Overdue: map[string]int{"cart sms": 12}})},
		{Partition: 2, Answers: true, Revision: 6, Paused: []string{"cart"}, Second: second(audit.SecondOverview{Failed: "it has no room"})},
		{Partition: 3, Stops: []audit.Stop{{Member: "w", Why: "its disk is full"}}},
	}}
	var b strings.Builder
	showChange(&b, o)
	want := `
revision 7 in 2 of 4 partitions
BRAKED: channel push in partition 1
paused: campaign cart in partition 0-2
paused: channel sms in partition 0
backfill of set n: 75%, 1 of 4 partitions have caught up, given up in 2, stopped: 3
  partition 2: the backfill was given up: it has no room
  partition 3 has stopped on w: its disk is full: it begins when it runs again
  overdue, by campaign and channel:
    cart sms: 12
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	for i := range o.Partitions { // it has become the live set
		o.Partitions[i].Revision, o.Partitions[i].Set = 8, "n"
		o.Partitions[i].Paused, o.Partitions[i].Channels, o.Partitions[i].Braked = nil, nil, nil
		o.Partitions[i].Second = second(audit.SecondOverview{CaughtUp: true})
	}
	b.Reset()
	if showChange(&b, o); b.String() != "\nrevision 8\n" {
		t.Errorf("after the switch: %q", b.String())
	}
	b.Reset()
	if showChange(&b, audit.Overview{Partitions: make([]audit.PartitionOverview, 2)}); b.String() != "" {
		t.Errorf("of a deployment without a record: %q", b.String())
	}
	for want, m := range map[string]audit.Member{
		"": {Answers: true, Engines: pipeline.Engines()}, "does not answer": {},
		"an older version, which runs engine 3 alone": {Answers: true}, "another version, which runs the engines 6-7": {Answers: true, Engines: []int{6, 7}},
	} {
		if got := noteOn(m); got != want {
			t.Errorf("%+v: %q, want %q", m, got, want)
		}
	}
}

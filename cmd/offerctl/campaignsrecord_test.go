package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// TestChanges joins the control messages of three partitions: one has lost its oldest,
// one has skipped a set and got the next one before the others got that, messages of engine 3 have no revision, and the bucket has
// more than the logs.
func TestChanges(t *testing.T) {
	set := func(at int64, revision uint64, hash, by string) broker.ControlMessage {
		return broker.ControlMessage{Stored: at * 1e9, Control: broker.Control{Revision: revision, Set: hash, By: by}}
	}
	pauses := func(at int64, revision uint64, resumed map[string]uint64, ids ...string) broker.ControlMessage {
		return broker.ControlMessage{Stored: at * 1e9, Control: broker.Control{Revision: 7, Pauses: revision, Paused: append([]string{}, ids...), Resumed: resumed, By: "ada"}}
	}
	turn := set(50, 8, "d", "bob")
	turn.Switch = json.RawMessage(`{"from":3,"overdue":"6h"}`)
	logs := [][]broker.ControlMessage{
		{set(10, 0, "a", ""), set(20, 0, "b", ""), set(30, 0, "a", ""), set(40, 7, "c", "ada"), pauses(42, 1, nil, "x", "y"), set(45, 0, "", ""), pauses(47, 2, map[string]uint64{"channel sms": 2, "campaign z": 1}, "y"), turn},
		{set(21, 0, "b", ""), set(31, 0, "a", ""), set(39, 8, "d", "bob"), pauses(41, 1, nil, "x", "y"), pauses(46, 2, nil, "y")},
		{set(12, 0, "a", ""), set(22, 0, "b", ""), set(32, 0, "a", ""), set(44, 7, "c", "ada")},
	}
	live := broker.Live{Revision: 9, Set: "d", By: "eve", Backfill: &broker.Backfill{Set: "e"}}
	var got strings.Builder
	for _, m := range changes(logs, live, broker.Pauses{Revision: 2}) {
		fmt.Fprintln(&got, m.stored/1e9, m.Kind, m.Revision, m.By, m.Partitions, m.Of, m.text())
	}
	const want = `10 set 0  [0 2] 3 set a
20 set 0  [0 1 2] 3 set b
30 set 0  [0 1 2] 3 set a
40 set 7 ada [0 2] 3 set c
39 set 8 bob [0 1] 3 set d by backfill, overdue 6h
41 pauses 1 ada [0 1] 3 paused campaign x, campaign y
45 unreadable 0  [0] 3 a message that cannot be read
46 pauses 2 ada [0 1] 3 resumed campaign x, channel sms
0 set 9 eve [] 3 set d stays: a backfill was asked for or ended
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// brakedDeployment is one in which a brake has tripped in two of four partitions, of
// which one does not answer.
func brakedDeployment() *deployed {
	d := &deployed{of: 4, live: broker.Live{Revision: 3, Set: "s"}, def: &campaign.Definition{Campaigns: []campaign.Campaign{
		{ID: "bill", Offer: campaign.OfferSpec{Channel: "sms", Kind: "service"}},
		{ID: "news", Offer: campaign.OfferSpec{Channel: "sms", Kind: campaign.Advertising}},
		{ID: "rows", Rows: []campaign.Row{{ID: "a"}, {ID: "b"}}, Offer: campaign.OfferSpec{Channel: "push", Kind: campaign.Advertising}},
	}}}
	d.members.Partitions = make([]audit.PartitionOverview, d.of)
	for p := range d.of {
		d.members.Partitions[p] = audit.PartitionOverview{Partition: p, Answers: p != 3, Set: "s", Revision: 3}
	}
	for _, p := range []int{0, 2, 3} {
		d.members.Partitions[p].Braked = []string{"channel sms", "campaign rows"}
	}
	return d
}

// TestListBraked: what brakes have paused is told apart from what operators have, and
// what is pending is the sum of the partitions that say so.
func TestListBraked(t *testing.T) {
	d := brakedDeployment()
	show := func() string {
		l := d.list()
		l.count([]*broker.Pending{{Campaigns: map[string]map[string]int{"news": {"hold": 2, "delay": 1}, "rows/a": {"hold": 4}}}, {Campaigns: map[string]map[string]int{"news": {"hold": 5}}}, nil, nil}, []string{"", "", "why", "why"})
		var b bytes.Buffer
		l.write(&b)
		d.sayRest(&b)
		return b.String()
	}
	const first = `set s is live

campaign  channel  kind         pending  state
bill      sms      service      0        live
news      sms      advertising  8        braked in 2 of 4 partitions: 0 2 with its channel
rows      push     advertising  4        braked in 2 of 4 partitions: 0 2
what is pending in partitions 2-3 is not known: why

channel sms: advertising is braked in 2 of 4 partitions: 0 2
no owner answers for partitions 3
`
	if got := show(); got != first {
		t.Errorf("got\n%swant\n%s", got, first)
	}
	d.pauses = broker.Pauses{Revision: 1, Channels: []string{"sms"}, Campaigns: []string{"old", "rows/a", "rows/b"}, Reasons: map[string]string{"channel sms": "brake of partition 2: 812 sms in 10m", "campaign old": "ada"}}
	has(t, show(), "news      sms      advertising  8        paused with its channel; braked in 2 of 4 partitions: 0 2 with its channel\n",
		"old       -        -            -        paused: ada; not in the live set\n", "rows      push     advertising  4        row a paused; row b paused; braked in 2 of 4 partitions: 0 2\n",
		"channel sms: advertising is paused: brake of partition 2: 812 sms in 10m; braked in 2 of 4 partitions: 0 2\n", "what is paused is not in force yet in partitions 0-2\n")
}

// TestResume: what only a brake has paused can be resumed, and so can what has left the
// set. Where a partition does not answer, a brake may have tripped in it.
func TestResume(t *testing.T) {
	d := brakedDeployment()
	d.pauses = broker.Pauses{Campaigns: []string{"bill", "gone", "rows"}, Reasons: map[string]string{"campaign gone": "ada", "campaign bill": "bob"}, Resumed: map[string]uint64{"channel web": 4}}
	try := func(channel, id string) (*pausing, error) {
		p := &pausing{pauses: d.pauses}
		p.pauses.Campaigns = slices.Clone(p.pauses.Campaigns)
		list := &p.pauses.Campaigns
		if channel != "" {
			list = &p.pauses.Channels
		}
		err := p.resume(d, list, channel, id, func() error { return errors.New("unknown") })
		return p, err
	}
	for _, tt := range []struct{ channel, id, changed, left, wrong string }{
		{"", "gone", "campaign gone", "bill rows", ""},
		{"sms", "", "channel sms", "bill gone rows", ""},
		{"", "rows", "campaign rows", "bill gone", ""},
		{"", "never", "", "", "unknown"},
		{"web", "", "", "", "unknown"},
	} {
		p, err := try(tt.channel, tt.id)
		if tt.wrong != "" {
			if err == nil || err.Error() != tt.wrong {
				t.Errorf("%s%s: %v", tt.channel, tt.id, err)
			}
			continue
		}
		if err != nil || strings.Join(p.changed, " ") != tt.changed || strings.Join(p.pauses.Campaigns, " ") != tt.left {
			t.Errorf("%s%s: %v, %v, %v", tt.channel, tt.id, p.changed, p.pauses.Campaigns, err)
		}
	}
	p := &pausing{pauses: d.pauses}
	if err := p.resume(d, &p.pauses.Campaigns, "", "rows/a", func() error { return nil }); err == nil || !strings.Contains(err.Error(), "as all of rows is") {
		t.Errorf("%v", err)
	}
	p = &pausing{pauses: d.pauses}
	if err := p.resume(d, &p.pauses.Campaigns, "", "news", func() error { return nil }); err != nil || len(p.changed) != 1 {
		t.Errorf("a partition does not answer: %+v, %v", p, err)
	}
	p = &pausing{pauses: broker.Pauses{Revision: 9, Reasons: map[string]string{"campaign bill": "bob", "campaign x": "ada"}}, changed: []string{"campaign bill"}}
	p.resumed()
	if p.pauses.Resumed["campaign bill"] != 9 || len(p.pauses.Reasons) != 1 {
		t.Errorf("%+v", p.pauses)
	}
	p.pauses.Campaigns = []string{"rows"}
	p.pause(&p.pauses.Campaigns, "", "rows/a", "ada")
	if len(p.pauses.Campaigns) != 1 || len(p.said) != 1 || !strings.Contains(p.said[0], "as all of rows is") {
		t.Errorf("%+v", p)
	}
}

// TestForgetResumes: the record keeps a thousand resumes, and those that a log lacks.
func TestForgetResumes(t *testing.T) {
	for carried, want := range map[uint64]int{2000: mostNamed, 3: mostNamed + 47, 0: mostNamed + 50} {
		p := broker.Pauses{Resumed: map[string]uint64{}}
		for i := range uint64(mostNamed + 50) {
			p.Resumed[fmt.Sprint("campaign ", i)] = i + 1
		}
		forget(&p, carried)
		if len(p.Resumed) != want || p.Resumed[fmt.Sprint("campaign ", mostNamed+49)] == 0 {
			t.Errorf("carried %d: %d are left, want %d", carried, len(p.Resumed), want)
		}
	}
}

// TestShort: times and durations as people write them.
func TestShort(t *testing.T) {
	for text, want := range map[string]string{"6h0m0s": "6h", "1h30m0s": "1h30m", "90s": "90s", "10m0s": "10m", "drop": "drop", "": "", "1h0m5s": "1h0m5s"} {
		if got := shortDuration(text); got != want {
			t.Errorf("shortDuration(%q) is %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"2026-04-01T12:00:00.123456789Z": "2026-04-01T12:00:00Z", "2026-04-01T12:00:00+02:00": "2026-04-01T10:00:00Z", "": "", "soon": "soon"} {
		if got := shortTime(text); got != want {
			t.Errorf("shortTime(%q) is %q, want %q", text, got, want)
		}
	}
}

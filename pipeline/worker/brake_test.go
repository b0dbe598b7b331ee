package worker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// tripped are the brakes in the metrics.
func tripped(t *testing.T, reg prometheus.Gatherer) (all []string) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != "offerstream_brake_tripped" {
				continue
			}
			of := fmt.Sprint(m.GetGauge().GetValue())
			for _, l := range m.GetLabel() {
				of += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
			}
			all = append(all, of)
		}
	}
	return all
}

// TestBrake: a partition in which too much goes out pauses the channel for itself at
// once, and then for all; who resumes it resumes it everywhere, and it stays so when
// the partition is folded again. The stored offers are those that the log gives.
func TestBrake(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 2)
	def := views(t, 1)
	def.Brakes = []campaign.Brake{{Channel: "web", Max: 2, Within: time.Hour}} // five of a partition pass
	hash := apply(t, c, def)
	reg, log, dir := prometheus.NewRegistry(), &said{}, t.TempDir()
	w := start(t, ns.ClientURL(), dir, func(o *Options) { o.Metrics, o.Log = reg, log.logger() })
	w.inForce(t, hash)
	sent := 0
	send := func(p, n int) {
		for range n {
			sent++
			publish(t, c, []scripted{{p, view(sent, "ada")}})
		}
		w.applied(t, c)
	}
	offers := func(want int) {
		t.Helper()
		if n := len(stored(t, c)); n != want {
			t.Errorf("%d offers, want %d", n, want)
		}
	}
	status := func(what string, is func(s broker.PartitionStatus) bool) {
		t.Helper()
		await(t, what, func() bool {
			return !slices.ContainsFunc(w.Status(), func(s broker.PartitionStatus) bool { return !is(s) })
		})
	}
	send(1, 3)
	send(0, 8)
	offers(3 + 6)
	status("the pause in all partitions", func(s broker.PartitionStatus) bool { return slices.Equal(s.Channels, []string{"web"}) })
	send(1, 2)
	offers(3 + 6)
	pauses, rev, err := c.Pauses(within(t))
	if want := "brake of partition 0: 6 web in 1h"; err != nil || pauses.Revision != 1 || pauses.Reasons["channel web"] != want || pauses.By != "brake" || !slices.Equal(pauses.Channels, []string{"web"}) {
		t.Errorf("the record is %+v (%v), want the reason %q", pauses, err, want)
	}
	if got := tripped(t, reg); !slices.Equal(got, []string{"1 campaign= channel=web partition=0"}) {
		t.Errorf("the metrics have %q", got)
	}
	if n := strings.Count(log.String(), `level=ERROR msg="A BRAKE HAS TRIPPED`); n != 1 {
		t.Errorf("the log tells of it %d times", n)
	}

	resumed := broker.Pauses{Revision: 2, Resumed: map[string]uint64{"channel web": 2}}
	if err := c.PutPauses(within(t), resumed, rev); err != nil {
		t.Fatal(err)
	}
	status("the resume", func(s broker.PartitionStatus) bool { return s.Pauses == 2 && len(s.Channels)+len(s.Braked) == 0 })
	send(0, 2)
	send(1, 4) // three went out before, which do not count any more
	offers(9 + 6)
	await(t, "the metrics without it", func() bool { return len(tripped(t, reg)) == 0 })

	w.stop(t)
	w = start(t, ns.ClientURL(), t.TempDir(), nil) // it folds the log from its beginning, where the brake trips again
	w.inForce(t, hash)
	send(1, 1)
	offers(9 + 6 + 1)
	if now, _, err := c.Pauses(within(t)); err != nil || now.Revision != 2 {
		t.Errorf("the record is %+v (%v), want the one of the resume", now, err)
	}
	verified(t, c)
}

// TestUnlisted: what is listed, or was resumed since it tripped, is not paused again.
func TestUnlisted(t *testing.T) {
	channel, one := pipeline.Braked{Channel: "sms", Pauses: 4}, pipeline.Braked{Campaign: "c", Pauses: 4}
	for _, tt := range []struct {
		pauses broker.Pauses
		want   []pipeline.Braked
	}{
		{broker.Pauses{}, []pipeline.Braked{channel, one}},
		{broker.Pauses{Channels: []string{"sms"}}, []pipeline.Braked{one}},
		{broker.Pauses{Campaigns: []string{"c"}}, []pipeline.Braked{channel}},
		{broker.Pauses{Channels: []string{"c"}, Campaigns: []string{"sms"}}, []pipeline.Braked{channel, one}},
		{broker.Pauses{Resumed: map[string]uint64{"channel sms": 5, "campaign c": 4}}, []pipeline.Braked{one}},
	} {
		if got := unlisted(tt.pauses, []pipeline.Braked{channel, one}); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %+v are to be listed, want %+v", tt.pauses, got, tt.want)
		}
	}
}

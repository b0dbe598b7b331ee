package explain_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/explain"
)

// load reads a campaign file.
func load(t *testing.T, text string) (*campaign.Definition, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return config.LoadCampaigns(path)
}

// foldLines folds events under a set, as the log of one partition.
func foldLines(t *testing.T, def *campaign.Definition, w *explain.UnfiredWatch, partition int, lines ...string) {
	t.Helper()
	timed := *def
	timed.Clock = campaign.ClockEvent
	set, problems := pipeline.Compile(&timed)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	users := pipeline.Memory{}
	f, err := pipeline.NewFold(pipeline.Cursor{Set: set.Hash()}, func(string) (*pipeline.Set, error) { return set, nil }, users)
	if err != nil {
		t.Fatal(err)
	}
	f.Partition(partition, 8)
	w.Fold(partition, f, users)
	var dec event.Decoder
	for i, l := range lines {
		ev, err := dec.Decode([]byte(l))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.BeginEvent(uint64(i+1), ev); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = f.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// seen is a track event of user ada, in the zone of UTC.
func seen(clock, name, props string) string {
	return fmt.Sprintf(`{"type":"track","userId":"ada","event":%q,"timestamp":"2026-01-01T%sZ","properties":{%s}}`, name, clock, props)
}

// TestUnfired: why campaigns have not fired, in words.
func TestUnfired(t *testing.T) {
	const head = "version: 1\npolicies: {consent: {push: required, sms: none}, quiet_hours: {channels: [sms], from: \"22:00\", to: \"08:00\", then: hold}}\n" +
		"features:\n  views: {on: View, agg: count}\n  stay: {on: View, agg: dwell}\n  hours: {on: Order, agg: histogram, within: 9d}\ncampaigns:\n  c: "
	many := func(n int, clock, name, props string) (lines []string) {
		for i := range n {
			lines = append(lines, strings.Replace(seen(clock, name, props), "{", fmt.Sprintf(`{"messageId":"%s %d",`, name, i), 1))
		}
		return lines
	}
	for _, c := range []struct {
		campaign string
		lines    []string
		want     string // "": it has fired
	}{
		{"{on: View, offer: {channel: web}}", many(1, "10:00:00", "View", ""), ""},
		{"{on: View, offer: {channel: web}}", many(1, "10:00:00", "Order", ""), "nothing has triggered it: no View has come"},
		{"{on: [View, Add], where: event.properties.p == 1, offer: {channel: web}}", many(1, "10:00:00", "View", ""), "nothing has triggered it: no Add and no View has come that its `where` accepts"},
		{"{any: [{on: Add}, {on: page}], offer: {channel: web}}", many(1, "10:00:00", "View", ""), "nothing has triggered it: no Add and no page has come"},
		{"{on: session_end, offer: {channel: web}}", many(1, "10:00:00", "View", ""), "no visit has ended: that takes half an hour without an event"},
		{"{sequence: {steps: [{on: View}, {on: Order}], within: 90m}, offer: {channel: web}}", many(3, "10:00:00", "View", ""), "nobody has done the 2 steps of its sequence within 1h30m"},
		{"{on: View, if: [views >= 4, views >= 3, views < 9], offer: {channel: web}}", many(3, "10:00:00", "View", ""), "3 evaluations, all stopped by condition (the most frequent missing part: views >= 4)"},
		{"{on: View, if: [views >= 4], offer: {channel: web}}", many(1, "10:00:00", "View", ""), "1 evaluation, stopped by condition (the most frequent missing part: views >= 4)"},
		{"{on: View, if: [views < 2], offer: {channel: push}}", many(4, "10:00:00", "View", ""), "4 evaluations: 3 stopped by condition (the most frequent missing part: views < 2), 1 stopped by consent"},
		{"{on: View, holdout: 100%, limits: [{max: 1}], offer: {channel: web}}", many(2, "10:00:00", "View", ""), "2 evaluations: 1 withheld, as the users belong to the holdout, 1 stopped by limit"},
		{"{on: View, choose: '[1, 2].filter(i, views > 9).max_by(i, i)', offer: {channel: web}}", many(2, "10:00:00", "View", ""), "2 evaluations, all stopped because `choose` gave nothing"},
		{"{on: View, offer: {channel: web, data: '{{ event.properties.p }}'}}", many(2, "10:00:00", "View", ""), "2 evaluations, all failed with an error in an expression"},
		{"{on: View, unless: {on: Order, match: p, within: 1h}, offer: {channel: web}}", append(many(2, "10:00:00", "View", `"p":1`), seen("10:05:00", "View", `"p":2`)),
			"waits 1h, unless Order comes: 2 pending, the first is due at 11:00 UTC; 3 evaluations: 1 replaced by a later one"},
		{"{any: [{on: View, unless: {on: [Order, Add], within: 36h}}], offer: {channel: web}}", many(1, "10:00:00", "View", ""), "waits 1d12h, unless Add or Order comes: 1 pending, the first is due at 22:00 on 2 January UTC"},
		{"{on: View, unless: {on: Order, within: 1h}, offer: {channel: web}}", append(many(1, "10:00:00", "View", ""), many(1, "10:05:00", "Order", "")...), "1 evaluation, cancelled by a later event"},
		{"{on: View, if: ['stay >= duration(\"60s\")'], offer: {channel: web}}", many(1, "10:00:00", "View", ""), "waits until the visitor has stayed long enough: 1 pending, the first is due at 10:01 UTC"},
		{"{on: View, at: {best_hour: hours, ahead: 24h}, offer: {channel: web}}",
			append(many(3, "09:00:00", "Order", ""), many(1, "10:00:00", "View", "")...),
			"waits for each user's best hour: 1 pending, the first is due at 09:00 on 2 January UTC"},
		{"{on: View, unless: {on: Order, within: 'duration(\"1m\") * views', at_most: 2h}, offer: {channel: web}}", many(1, "10:00:00", "View", ""),
			"waits as long as `within` says, at most 2h, unless Order comes: 1 pending, the first is due at 10:01 UTC"},
		{"{on: View, budget: {offers: 5}, offer: {channel: web}}", many(1, "10:00:00", "View", ""), "waits for its budget or its pool of codes: 1 pending"},
		{"{on: View, offer: {channel: sms}}", many(1, "23:00:00", "View", ""), "waits for the end of the quiet hours: 1 pending, the first is due at 08:00 on 2 January UTC"},
		{"{for_each: {rows: [{id: a}, {id: b}]}, on: View, if: [views > 1], offer: {channel: web}}", many(1, "10:00:00", "View", ""), "2 evaluations, all stopped by condition (the most frequent missing part: views > 1)"},
	} {
		def, err := load(t, head+c.campaign+"\n")
		if err != nil {
			t.Errorf("%s: %v", c.campaign, err)
			continue
		}
		w := explain.NewUnfiredWatch(def)
		foldLines(t, def, w, 0, c.lines...)
		got := ""
		if all := w.Result(); len(all) > 0 {
			got = all[0].Why
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.campaign, got, c.want)
		}
	}
}

// TestUnfiredPartitions: partitions add up; a second fold of the same partition
// counts instead of the first.
func TestUnfiredPartitions(t *testing.T) {
	def, err := load(t, "version: 1\nfeatures: {n: {on: View, agg: count}}\ncampaigns: {c: {on: View, if: [n > 9], unless: {on: Order, within: 1h}, offer: {channel: web}}, d: {on: View, unless: {on: Order, within: 1h}, offer: {channel: web}}}\n")
	if err != nil {
		t.Fatal(err)
	}
	w := explain.NewUnfiredWatch(def)
	foldLines(t, def, w, 0, seen("10:00:00", "View", ""))
	foldLines(t, def, w, 0, seen("10:00:00", "View", ""), seen("10:00:00", "View", `"p":1`))
	foldLines(t, def, w, 1, seen("09:00:00", "View", ""))
	all := w.Result()
	if len(all) != 2 || all[0].Evaluations != 3 || all[0].Pending != 0 || all[1].Evaluations != 3 || all[1].Pending != 2 || all[1].FirstDue != "2026-01-01T10:00:00Z" {
		t.Errorf("%+v", all)
	}
}

package worker

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// surveyed asks for what is pending in partition 0.
func surveyed(t *testing.T, c *broker.Conn) (s broker.Pending) {
	t.Helper()
	var a broker.Answer
	var err error
	errAsk := c.Ask(within(t), c.Names.QuerySubject(0), []byte(`{"pending":true}`), func(answer []byte) bool {
		err = json.Unmarshal(answer, &a)
		return true
	})
	if err = errors.Join(errAsk, err); err != nil || a.Error != "" {
		t.Fatalf("%v, %s", err, a.Error)
	}
	return *a.Pending
}

// TestPendingSurvey counts what is pending, by campaign with all its rows, and tells
// since when each part of the set is fed, and how far the log reaches back.
func TestPendingSurvey(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	def := waiting(t, campaign.ClockBroker, time.Hour)
	rows := def.Campaigns[0]
	rows.ID, rows.If, rows.Unless = "rows", nil, &campaign.Unless{On: []string{"Stop"}, Within: time.Hour}
	rows.Rows = []campaign.Row{{ID: "a", Values: []byte(`{"id":"a"}`)}, {ID: "b", Values: []byte(`{"id":"b"}`)}}
	first := *def
	def.Campaigns = append(slices.Clone(def.Campaigns), rows)
	w := start(t, ns.ClientURL(), t.TempDir(), nil)
	w.inForce(t, apply(t, c, &first))
	publish(t, c, []scripted{{0, view(1, "ada")}})
	w.applied(t, c)
	hash := apply(t, c, def)
	w.inForce(t, hash)
	for _, user := range []string{"ada", "bea", "cy"} {
		publish(t, c, []scripted{{0, view(2, user)}})
	}
	w.applied(t, c)
	var s broker.Pending
	await(t, "the last checkpoint", func() bool { s = surveyed(t, c); return s.Seq == w.Status()[0].Seq })
	want := map[string]map[string]int{"again": {"absence": 3}, "rows": {"absence": 6}}
	if !reflect.DeepEqual(s.Campaigns, want) || s.Engine != pipeline.Engine || s.First != 1 || s.Begins == 0 || s.LogTime < s.Begins {
		t.Errorf("%+v, want %v", s, want)
	}
	if _, young := s.Fed["campaign rows"]; !young || len(s.Fed) != 1 {
		t.Errorf("fed since %v: only the campaign with rows is young", s.Fed)
	}
	t.Logf("%+v", s)
}

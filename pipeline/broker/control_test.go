package broker

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
)

// controlled appends a control message.
func controlled(t *testing.T, c *Conn, p int, data string) {
	t.Helper()
	last, err := c.LastControl(limited(t), p)
	if err == nil {
		err = c.Control(limited(t), p, last.Seq, []byte(data))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestControls: all control messages that a log still has are read, without reading
// what lies between.
func TestControls(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 2, Prefix: "x"})
	if all, err := c.Controls(limited(t), 0); err != nil || len(all) > 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if last, err := c.LastControl(limited(t), 0); err != nil || last.Seq != 0 {
		t.Errorf("%+v, %v", last, err)
	}
	messages := []string{
		`{"set":"aa","engine":3,"at":"2026-03-01T12:00:00Z"}`,
		`{"set`,
		`{"engine":4,"revision":7,"pauses":3,"set":"bb","by":"ada","at":"2026-03-01T12:00:00Z"}`,
		`{"engine":4,"revision":8,"pauses":3,"set":"cc","switch":{"from":5,"object":"second/1"}}`,
		`{"engine":4,"revision":8,"pauses":4,"paused":["id"],"channels":["sms"],"resumed":{"channel sms":4}}`,
		`{"engine":4,"revision":8,"pauses":5,"paused":[]}`,
	}
	want := []Control{
		{Engine: 3, Set: "aa", At: "2026-03-01T12:00:00Z"},
		{},
		{Engine: 4, Revision: 7, Pauses: 3, Set: "bb", By: "ada", At: "2026-03-01T12:00:00Z"},
		{Engine: 4, Revision: 8, Pauses: 3, Set: "cc", Switch: json.RawMessage(`{"from":5,"object":"second/1"}`)},
		{Engine: 4, Revision: 8, Pauses: 4, Paused: []string{"id"}, Channels: []string{"sms"}, Resumed: map[string]uint64{"channel sms": 4}},
		{Engine: 4, Revision: 8, Pauses: 5, Paused: []string{}},
	}
	for _, data := range messages {
		for range 150 { // more than a walk fetches at once
			if _, err := c.JS.PublishAsync(c.Names.EventsSubject(1, "in"), []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		<-c.JS.PublishAsyncComplete()
		controlled(t, c, 1, data)
	}
	all, err := c.Controls(limited(t), 1)
	if err != nil || len(all) != len(want) {
		t.Fatalf("%+v, %v", all, err)
	}
	for i, m := range all {
		if !reflect.DeepEqual(m.Control, want[i]) || m.Seq != uint64(i+1)*151 || m.Stored == 0 {
			t.Errorf("%s is read as %+v", messages[i], m)
		}
		if i == 1 {
			continue
		}
		b, err := json.Marshal(m.Control)
		var again Control
		if err == nil {
			err = json.Unmarshal(b, &again)
		}
		if err != nil || !reflect.DeepEqual(again, m.Control) {
			t.Errorf("%s becomes %s, %v", messages[i], b, err)
		}
	}
	if last, err := c.LastControl(limited(t), 1); err != nil || !reflect.DeepEqual(last, all[len(all)-1]) {
		t.Errorf("%+v, %v", last, err)
	}
	expire(t, c, 1, all[3].Seq)
	if left, err := c.Controls(limited(t), 1); err != nil || !reflect.DeepEqual(left, all[3:]) {
		t.Errorf("%+v, %v", left, err)
	}
	if err := c.Control(limited(t), 1, all[3].Seq, []byte(messages[0])); err == nil {
		t.Error("a control message was appended after one that is not the last")
	}
}

// TestNextRevision: a record's revision is above that of the record, and above what
// any log has carried out, so that a bucket made anew goes on.
func TestNextRevision(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 3})
	next := func(last uint64) string {
		t.Helper()
		live, err := c.NextRevision(limited(t), last, LiveRevision)
		if err != nil {
			t.Fatal(err)
		}
		pauses, err := c.NextRevision(limited(t), last, PausesRevision)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(live, " ", pauses)
	}
	if got := next(0); got != "1 1" {
		t.Errorf("in a new deployment: %s", got)
	}
	controlled(t, c, 1, `{"engine":4,"revision":7,"pauses":3,"set":"bb"}`)
	controlled(t, c, 2, `{"engine":4,"revision":6,"pauses":5,"paused":[]}`)
	if got := next(0); got != "8 6" {
		t.Errorf("without a record: %s", got)
	}
	if got := next(6); got != "8 7" {
		t.Errorf("after revision 6: %s", got)
	}
	hash := live(t, c, define(campaign.ClockBroker, 1))
	is, _, err := c.Live(limited(t))
	if err != nil || is.Revision != 8 || is.Set != hash {
		t.Errorf("%+v, %v", is, err)
	}
}

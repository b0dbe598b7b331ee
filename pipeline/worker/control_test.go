package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// controls returns the control messages of partition 0's log.
func controls(t *testing.T, c *broker.Conn) []broker.ControlMessage {
	t.Helper()
	all, err := c.Controls(within(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// looking is an owner of partition 0 whose fold stands at a cursor, and which has been
// told of records.
func looking(t *testing.T, c *broker.Conn, cursor pipeline.Cursor, live *broker.Live, paused *broker.Pauses) (*attempt, *said) {
	t.Helper()
	log := &said{}
	w, err := New(Options{Dir: t.TempDir(), Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	fold, err := pipeline.NewFold(cursor, w.sets.Get(within(t), c), pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	w.live.Store(live)
	w.paused.Store(paused)
	return &attempt{p: &partition{w: w, log: w.opt.Log}, conn: c, fold: fold}, log
}

// A staleWire answers with old values of a bucket.
type staleWire struct {
	broker.Wire
	old map[string][]byte // by key; others are as they are
}

func (w staleWire) Get(ctx context.Context, bucket, key string) ([]byte, uint64, error) {
	if value, ok := w.old[key]; ok {
		return value, 1, nil
	}
	return w.Wire.Get(ctx, bucket, key)
}

// lag makes a connection over which the records are read as given.
func lag(t *testing.T, c *broker.Conn, live broker.Live, pauses broker.Pauses) {
	t.Helper()
	w := staleWire{c.Wire, map[string][]byte{}}
	for key, record := range map[string]any{"live": live, "paused": pauses} {
		value, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		w.old[key] = value
	}
	c.Wire = w
}

// TestStaleRecord: an owner to which a server answers with an old value of the bucket
// does not put the set before last in force again. The same for pauses.
func TestStaleRecord(t *testing.T) {
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	var hashes []string
	var records []broker.Live
	for i := range 4 {
		hashes = append(hashes, apply(t, c, views(t, i+1)))
		live, _, err := c.Live(within(t))
		if err != nil || live.Set != hashes[i] || live.Revision != uint64(i+1) {
			t.Fatalf("%+v, %v", live, err)
		}
		records = append(records, live)
	}
	if err := c.PutPauses(within(t), broker.Pauses{Revision: 3, Channels: []string{"web"}}, 0); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		cursor  pipeline.Cursor
		told    broker.Live
		read    *broker.Live // nil: as it is
		paused  broker.Pauses
		carried string // the revisions of what is appended
	}{
		{"the set before last is read", pipeline.Cursor{Set: hashes[2], Revision: 3}, records[3], &records[1], broker.Pauses{}, ""},
		{"the set in force is read", pipeline.Cursor{Set: hashes[2], Revision: 3}, records[3], &records[2], broker.Pauses{}, ""},
		{"nothing is read", pipeline.Cursor{Set: hashes[2], Revision: 3}, records[3], &broker.Live{}, broker.Pauses{}, ""},
		{"a record from before revisions is read", pipeline.Cursor{Set: hashes[2], Revision: 3}, records[3], &broker.Live{Set: hashes[0]}, broker.Pauses{}, ""},
		{"the set before last was told", pipeline.Cursor{Set: hashes[3], Revision: 4}, records[1], nil, broker.Pauses{}, ""},
		{"the set before last was told and is read", pipeline.Cursor{Set: hashes[3], Revision: 4}, records[1], &records[1], broker.Pauses{}, ""},
		{"old pauses are read", pipeline.Cursor{Set: hashes[3], Revision: 4, Pauses: 3}, records[3], &records[3], broker.Pauses{Revision: 4}, ""},
		{"what is live was told late", pipeline.Cursor{Set: hashes[2], Revision: 3}, records[3], nil, broker.Pauses{}, "4 0"},
		{"pauses are new", pipeline.Cursor{Set: hashes[3], Revision: 4}, records[3], nil, broker.Pauses{Revision: 3}, "4 3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			on := c
			if tc.read != nil {
				on = connect(t, ns.ClientURL(), 1)
				lag(t, on, *tc.read, broker.Pauses{Revision: 2})
			}
			before := controls(t, c)
			if len(before) > 0 {
				tc.cursor.Seq = before[len(before)-1].Seq
			}
			a, _ := looking(t, on, tc.cursor, &tc.told, &tc.paused)
			a.control.look(within(t), a)
			var got []string
			for _, m := range controls(t, c)[len(before):] {
				got = append(got, fmt.Sprint(m.Revision, " ", m.Pauses))
			}
			if strings.Join(got, ", ") != tc.carried {
				t.Errorf("appended are %q, want %q", got, tc.carried)
			}
		})
	}
}

// TestStaleControl: a control message with a revision that is not above the last one
// changes nothing in a worker, whoever has appended it.
func TestStaleControl(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	w := start(t, ns.ClientURL(), t.TempDir(), nil)
	first := apply(t, c, views(t, 1))
	w.inForce(t, first)
	second := apply(t, c, views(t, 2))
	w.inForce(t, second)
	before := controls(t, c)
	for _, data := range []string{
		fmt.Sprintf(`{"engine":%d,"revision":1,"set":%q}`, pipeline.Engine, first),
		fmt.Sprintf(`{"engine":%d,"revision":2,"set":%q}`, pipeline.Engine, first),
	} {
		last, err := c.LastControl(within(t), 0)
		if err == nil {
			err = c.Control(within(t), 0, last.Seq, []byte(data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.applied(t, c)
	if s := w.Status()[0]; s.Set != second || s.Revision != 2 {
		t.Errorf("%+v", s)
	}
	third := apply(t, c, views(t, 3))
	w.inForce(t, third)
	if all := controls(t, c)[len(before)+2:]; len(all) != 1 || all[0].Set != third || all[0].Revision != 3 {
		t.Errorf("%+v", all)
	}
}

// TestRecordBeforeRevisions: a record of an older version, which is a hash alone, goes
// live as it did then; where the log has revisions it is left out, which the worker's
// log says.
func TestRecordBeforeRevisions(t *testing.T) {
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	def := views(t, 1)
	def.Engine = pipeline.Engines()[0]
	hash, err := c.PutSet(within(t), def)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := c.JS.KeyValue(within(t), c.Names.CampaignsBucket())
	if err == nil {
		_, err = bucket.PutString(within(t), "live", hash)
	}
	if err != nil {
		t.Fatal(err)
	}
	live, _, err := c.Live(within(t))
	if err != nil || !reflect.DeepEqual(live, broker.Live{Set: hash}) {
		t.Fatalf("%+v, %v", live, err)
	}
	a, log := looking(t, c, pipeline.Cursor{Set: "", Revision: 0}, &live, nil)
	a.control.look(within(t), a)
	all := controls(t, c)
	if len(all) != 1 || all[0].Set != hash || all[0].Revision != 0 || all[0].Engine != def.Engine || log.String() == "" {
		t.Errorf("%+v", all)
	}
	newer := apply(t, c, views(t, 2))
	if live, _, err := c.Live(within(t)); err != nil || live.Revision != 1 || live.Previous == nil || live.Previous.Set != hash {
		t.Errorf("%+v, %v", live, err)
	}
	a, log = looking(t, c, pipeline.Cursor{Seq: all[0].Seq, Set: newer, Revision: 1}, &live, nil)
	if a.control.look(within(t), a); log.String() != "" {
		t.Errorf("told late, it says %s", log)
	}
	if _, err = bucket.PutString(within(t), "live", hash); err != nil {
		t.Fatal(err)
	}
	a.p.w.live.Store(&broker.Live{Set: hash})
	for range 3 {
		a.control.look(within(t), a)
	}
	if strings.Count(log.String(), "apply the campaigns again") != 1 {
		t.Errorf("it says %s", log)
	}
	if n := len(controls(t, c)); n != 1 {
		t.Errorf("%d control messages", n)
	}
}

// TestEveryRecordIsCarried: each record is carried into each log, also one that changes
// nothing there: it asks for a backfill, or ends one. A record whose set is live by
// backfill is not put in force plainly, and does not hold up pauses.
func TestEveryRecordIsCarried(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 2)
	w := start(t, ns.ClientURL(), t.TempDir(), nil)
	one := apply(t, c, views(t, 1))
	w.inForce(t, one)
	two, err := c.PutSet(within(t), views(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	next := func(set, by string, backfill *broker.Backfill) broker.Live {
		t.Helper()
		live, rev, err := c.Live(within(t))
		if err != nil {
			t.Fatal(err)
		}
		live.Set, live.By, live.Backfill = set, by, backfill
		if live.Revision, err = c.NextRevision(within(t), live.Revision, broker.LiveRevision); err == nil {
			err = c.PutLive(within(t), live, rev)
		}
		if err != nil {
			t.Fatal(err)
		}
		return live
	}
	carried := func(live broker.Live) {
		t.Helper()
		await(t, "the record in both logs", func() bool {
			return !slices.ContainsFunc(w.Status(), func(s broker.PartitionStatus) bool { return s.Revision != live.Revision })
		})
	}
	asked := &broker.Backfill{Set: two, Engine: pipeline.Engine, Features: []string{"seen"}}
	carried(next(one, "ada", asked))
	carried(next(one, "bob", nil))
	all := controls(t, c)
	if len(all) != 3 || all[1].Set != one || all[1].By != "ada" || all[2].Set != one || all[2].By != "bob" || all[2].Revision != 3 || all[2].Pauses != 0 || all[2].Engine != pipeline.Engine || all[2].At == "" {
		t.Errorf("%+v", all)
	}
	gone := next(two, "ada", asked)
	if !gone.Go() || gone.Asked() != "" || gone.Revision != 4 {
		t.Errorf("%+v", gone)
	}
	pauses := broker.Pauses{Revision: 1, Campaigns: []string{"b", "a"}, Channels: []string{"web"}, Resumed: map[string]uint64{"channel sms": 1}, Reasons: map[string]string{"channel web": "ada"}, By: "cleo"}
	if err := c.PutPauses(within(t), pauses, 0); err != nil {
		t.Fatal(err)
	}
	await(t, "the pauses in both logs", func() bool {
		return !slices.ContainsFunc(w.Status(), func(s broker.PartitionStatus) bool { return s.Pauses != 1 })
	})
	for _, s := range w.Status() {
		if s.Set != one || s.Revision != 3 || !slices.Equal(s.Paused, []string{"a", "b"}) || !slices.Equal(s.Channels, pauses.Channels) || len(s.Braked) > 0 {
			t.Errorf("%+v", s)
		}
	}
	if err := c.PutPauses(within(t), broker.Pauses{Revision: 2}, 0); err == nil {
		t.Error("over what nobody had looked at")
	}
	_, rev, err := c.Pauses(within(t))
	if err == nil {
		err = c.PutPauses(within(t), broker.Pauses{Revision: 2, By: "dan"}, rev)
	}
	if err != nil {
		t.Fatal(err)
	}
	await(t, "that all is resumed", func() bool {
		return !slices.ContainsFunc(w.Status(), func(s broker.PartitionStatus) bool {
			return s.Pauses != 2 || len(s.Paused) > 0 || len(s.Channels) > 0
		})
	})
	all = controls(t, c)
	if len(all) != 5 {
		t.Fatalf("%+v", all)
	}
	if m := all[3]; m.Set != "" || m.Revision != 3 || m.Pauses != 1 || m.By != "cleo" || m.Engine != pipeline.Engine || !slices.Equal(m.Paused, pauses.Campaigns) || !slices.Equal(m.Channels, pauses.Channels) || !maps.Equal(m.Resumed, pauses.Resumed) {
		t.Errorf("%+v", m)
	}
	if m := all[4]; m.Paused == nil || len(m.Paused) > 0 || m.Pauses != 2 || m.By != "dan" {
		t.Errorf("%+v", m)
	}
	if got := w.reports().Engines; !slices.Equal(got, pipeline.Engines()) || got[len(got)-1] != pipeline.Engine {
		t.Errorf("it runs engines %v", got)
	}
}

// TestOneControlMessage: two owners at once append one control message for each
// set.
func TestOneControlMessage(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	one, two := twins(t)
	a, b := start(t, ns.ClientURL(), one, nil), start(t, ns.ClientURL(), two, nil)
	for i := range 3 {
		hash := apply(t, c, views(t, i+1))
		a.inForce(t, hash)
		b.inForce(t, hash)
	}
	if n := kinds(t, c)[pipeline.Control]; n != 3 {
		t.Errorf("%d control messages, want 3", n)
	}
}

// TestControlThatCannotBe: a control message for an unknown set stops its
// partition, which says what to do. The other partition goes on, and the worker
// ends when it is told to.
func TestControlThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, data, words, do string }{
		{"garbage", `{"set`, "control message 2", "start the worker again"},
		{"no such set", fmt.Sprintf(`{"set":"beef","engine":%d}`, pipeline.Engine), "no such campaign set", "apply it again"},
		{"another engine", `{"set":"beef","engine":99}`, "engine 99", "run a binary that has it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ns := startNATS(t, t.TempDir(), -1)
			c := connect(t, ns.ClientURL(), 2)
			hash := apply(t, c, views(t, 1))
			w := start(t, ns.ClientURL(), t.TempDir(), nil)
			w.inForce(t, hash)
			if _, err := c.JS.Publish(within(t), c.Names.EventsSubject(0, "control"), []byte(tc.data)); err != nil {
				t.Fatal(err)
			}
			w.stopsLoudly(t, tc.words)
			if why := w.Status()[0].Stopped; !strings.Contains(why, tc.do) {
				t.Errorf("%q does not say: %s", why, tc.do)
			}
			publish(t, c, []scripted{{1, view(1, "ada")}})
			await(t, "the other partition's offer", func() bool { return len(stored(t, c)) == 1 })
			w.stop(t)
		})
	}
}

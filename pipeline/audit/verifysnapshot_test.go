package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// archived stores a snapshot of the state of a worker that has ended.
func archived(t *testing.T, c *broker.Conn, dir string) (seq uint64) {
	t.Helper()
	st, err := state.Open(filepath.Join(dir, "partition-0"), state.Options{Identity: state.Identity{Partitions: 1}, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	cursor, err := checkpoint.LoadCursor(st)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := st.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	if err := c.PutSnapshot(within(t), 0, cursor.Seq, checkpoint.Metadata(cursor), &b); err != nil {
		t.Fatal(err)
	}
	return cursor.Seq
}

// TestVerifyFromSnapshot verifies a log whose beginning has expired.
func TestVerifyFromSnapshot(t *testing.T) {
	t.Parallel()
	const n = "Offerstream-N"
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, views(t, 1))
	dir, tmp := t.TempDir(), t.TempDir()
	var at []uint64
	for round := range 3 { // four offers in each round, with a snapshot after the first two rounds
		w := start(t, ns.ClientURL(), dir)
		w.inForce(t, hash)
		for i := range 4 {
			publish(t, c, []scripted{{0, view(10*round+i, []string{"ada", "bea"}[i%2])}})
		}
		w.applied(t, c)
		w.stop(t)
		if round < 2 {
			at = append(at, archived(t, c, dir))
		}
	}
	opt := &VerifyOptions{Dir: tmp, Log: quiet()}
	check := func(name string, from uint64, want Sums) Verdict {
		t.Helper()
		v, err := Verify(within(t), c, opt)
		if err != nil || v.Sums != want || v.Partitions[0].From != from {
			t.Errorf("%s: %+v, %v, want %+v from %d", name, v, err, want, from)
		}
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Errorf("%s: it leaves %v, %v", name, left, err)
		}
		return v
	}
	whole, behind := Sums{Applied: 12, Offers: 12, Stored: 12}, Sums{Applied: 8, Offers: 8, Stored: 8}
	check("the log has all", 0, whole)
	opt.FromSnapshot = true
	check("a snapshot is asked for", at[0], behind)
	opt.FromSnapshot = false

	log, err := c.JS.Stream(within(t), c.Names.EventsStream(0))
	if err != nil {
		t.Fatal(err)
	}
	expire := func(first uint64) {
		t.Helper()
		if err := log.Purge(within(t), jetstream.WithPurgeSequence(first)); err != nil {
			t.Fatal(err)
		}
	}
	expire(at[0] - 1)
	check("the beginning has expired", at[0], behind)
	expire(at[0] + 1)
	check("up to the snapshot", at[0], behind)

	var sound []*nats.Msg
	tamper(t, c, func(all []*nats.Msg) []*nats.Msg { sound = all; return all })
	for _, tc := range []struct {
		name   string
		change func(m []*nats.Msg) []*nats.Msg
		want   Sums
		like   string
	}{
		{"one removed before it", func(m []*nats.Msg) []*nats.Msg { return slices.Delete(m, 1, 2) }, behind, ""},
		{"the first behind it removed", func(m []*nats.Msg) []*nats.Msg { return slices.Delete(m, 4, 5) }, Sums{Applied: 8, Offers: 8, Stored: 7, Missing: 1}, "record 5 of offers.web.0"},
		{"the last removed", func(m []*nats.Msg) []*nats.Msg { return m[:11] }, Sums{Applied: 8, Offers: 8, Stored: 7, Missing: 1}, "record 12 of offers.web.0"},
		{"one altered", func(m []*nats.Msg) []*nats.Msg { m[7] = with(m[7]); m[7].Data = []byte("{}"); return m }, Sums{Applied: 8, Offers: 8, Stored: 8, Different: 1}, "record 8 of offers.web.0"},
		{"one again", func(m []*nats.Msg) []*nats.Msg { return append(m, with(m[10], n, "13")) }, Sums{Applied: 8, Offers: 8, Stored: 9, Duplicate: 1}, "record 13 of offers.web.0"},
		{"trimmed behind it", func(m []*nats.Msg) []*nats.Msg { return m[6:] }, Sums{Applied: 8, Offers: 8, Stored: 6, Trimmed: 2}, ""},
	} {
		tamper(t, c, func([]*nats.Msg) []*nats.Msg { return tc.change(slices.Clone(sound)) })
		v := check(tc.name, at[0], tc.want)
		if tc.like != "" && (len(v.Examples) != 1 || !strings.Contains(v.Examples[0].String(), tc.like)) {
			t.Errorf("%s: %v", tc.name, v.Examples)
		}
	}
	tamper(t, c, func([]*nats.Msg) []*nats.Msg { return sound })

	expire(at[0] + 3)
	check("past the oldest snapshot", at[1], Sums{Applied: 4, Offers: 4, Stored: 4})
	expire(at[1] + 2)
	if _, err := Verify(within(t), c, opt); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("the log begins at message %d", at[1]+2)) {
		t.Errorf("past all of them: %v", err)
	}
}

// TestVerifyFromSnapshotTimers: timers in the snapshot fire after it.
func TestVerifyFromSnapshotTimers(t *testing.T) {
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, waiting(t, campaign.ClockEvent, time.Hour))
	dir := t.TempDir()
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i, user := range []string{"ada", "bea"} {
		w := start(t, ns.ClientURL(), dir)
		w.inForce(t, hash)
		publish(t, c, []scripted{{0, at(began.Add(time.Duration(i)*2*time.Hour).UnixNano(), fmt.Sprint("m", i), user, 10)}})
		w.applied(t, c)
		w.stop(t)
		if i == 0 {
			archived(t, c, dir)
		}
	}
	v, err := Verify(within(t), c, &VerifyOptions{FromSnapshot: true})
	if err != nil || v.Sums != (Sums{Applied: 1, Offers: 1, Stored: 1}) {
		t.Errorf("%+v, %v", v, err)
	}
}

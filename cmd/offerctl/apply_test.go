package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/change"
)

// An ownerStub stands for the worker that owns all partitions: it says what a test
// has it say, and carries records into the logs.
type ownerStub struct {
	conn *broker.Conn
	url  string

	mu      sync.Mutex
	engines []int
	pending []*broker.Pending // by partition; nil: it does not answer
	second  []broker.SecondStatus
	stopped []string // why; "": it has not
	carried []uint64 // the revision of the record
}

func newOwnerStub(t *testing.T, partitions int) *ownerStub {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	ns, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Port: -1, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	conn, err := broker.Connect(t.Context(), broker.Options{URL: ns.ClientURL(), Client: "test", Partitions: partitions, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	s := &ownerStub{conn: conn, url: ns.ClientURL(), engines: pipeline.Engines(), stopped: make([]string, partitions), carried: make([]uint64, partitions), second: make([]broker.SecondStatus, partitions)}
	for range partitions {
		s.pending = append(s.pending, &broker.Pending{Fed: map[string]int64{}})
	}
	listen := func(subject string, answer func() any) {
		stop, err := conn.Wire.Listen(subject, func(q broker.Question) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if a := answer(); a != nil {
				b, err := json.Marshal(a)
				if err != nil {
					t.Error(err)
				}
				q.Answer(b)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
	}
	listen(conn.Names.StatusSubject(), func() any { return s.report() })
	for p := range partitions {
		listen(conn.Names.QuerySubject(p), func() any { return broker.Answer{Pending: s.pending[p]} })
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn.WatchLive(ctx, func(broker.Live) { s.carry(ctx, t) })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func (s *ownerStub) report() broker.Report {
	r := broker.Report{Member: "w", Engines: s.engines, Free: 5e9}
	for p := range s.conn.Partitions {
		st := broker.PartitionStatus{Owned: s.stopped[p] == "", Stopped: s.stopped[p], Revision: s.carried[p]}
		if s.second[p].Set != "" {
			second := s.second[p]
			st.Second = &second
		}
		r.Partitions = append(r.Partitions, broker.PartitionReport{Partition: p, PartitionStatus: st, Bytes: 2e9})
	}
	return r
}

// carry appends the control messages for the record, in partitions that have not
// stopped; a switch only where the second fold has caught up.
func (s *ownerStub) carry(ctx context.Context, t *testing.T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live, _, err := s.conn.Live(ctx)
	for p := 0; err == nil && p < s.conn.Partitions; p++ {
		if live.Revision <= s.carried[p] || s.stopped[p] != "" || live.Go() && !s.second[p].CaughtUp {
			continue
		}
		var last broker.ControlMessage
		if last, err = s.conn.LastControl(ctx, p); err != nil {
			break
		}
		c := broker.Control{Engine: pipeline.Engine, Revision: live.Revision, Set: live.Set, By: live.By, At: live.At}
		if live.Go() {
			c.Switch = []byte(`{}`)
			s.second[p].Switched = true
		}
		var data []byte
		if data, err = json.Marshal(c); err == nil {
			err = s.conn.Control(ctx, p, last.Seq, data)
		}
		s.carried[p] = live.Revision
	}
	if err != nil && ctx.Err() == nil {
		t.Error(err)
	}
}

// set changes what it says.
func (s *ownerStub) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// record is the bucket's record.
func (s *ownerStub) record(t *testing.T) broker.Live {
	t.Helper()
	live, _, err := s.conn.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// apply runs apply with answers, and checks its exit status and that it says all of
// some texts.
func (s *ownerStub) apply(t *testing.T, code int, answers string, args []string, want ...string) (out string) {
	t.Helper()
	var o, e bytes.Buffer
	args = append([]string{"apply", "--nats", s.url}, args...)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if got := run(ctx, args, stdio{strings.NewReader(answers), &o, &e}); got != code {
		t.Errorf("offerctl %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, o.String(), e.String())
	}
	for _, w := range want {
		if !strings.Contains(o.String()+e.String(), w) {
			t.Errorf("offerctl %s does not say %q:\n%s%s", strings.Join(args, " "), w, o.String(), e.String())
		}
	}
	return o.String()
}

const (
	changeHead = "version: 1\npolicies: {consent: none, quiet_hours: none}\n"
	beforeSet  = changeHead + `
features: {views: {on: Product Viewed, agg: count, within: 1h}}
campaigns:
  cart: {on: Product Added, unless: {on: Order Completed, within: 1h}, offer: {channel: web, data: {of: "{{ event.properties.name }}"}}}
  late: {on: Product Viewed, unless: {on: Order Completed, within: 1h}, offer: {channel: web}}
`
	afterSet = changeHead + `
features:
  views: {on: Product Viewed, agg: count, within: 1h}
  bought: {on: Order Completed, agg: count, within: 30d}
campaigns:
  cart: {on: Product Added, unless: {on: Order Completed, within: 1h}, offer: {channel: web, data: {of: "{{ event.properties.title }}"}}}
  late: {on: Product Viewed, if: [bought < 1], unless: {on: Order Completed, within: 2h}, offer: {channel: web}}
`
)

// TestApplyShows: apply counts what it cancels, names what does not answer, refuses
// what would go wrong, and with --dry-run and --json changes nothing. Then the record
// has who applied, and what a rollback needs.
func TestApplyShows(t *testing.T) {
	t.Parallel()
	s := newOwnerStub(t, 3)
	before, after := file(t, "set.yaml", beforeSet), file(t, "set.yaml", afterSet)
	s.apply(t, 0, "", []string{before, "--yes", "--by", "bob"}, "+ campaign cart\n", "in force in all 3 partitions\n")
	first := s.record(t)
	if first.Revision != 1 || first.By != "bob" || first.Set != hashOf(t, before) || first.Previous != nil {
		t.Errorf("the first record: %+v", first)
	}
	now := time.Now().UnixNano()
	s.set(func() {
		for p, n := range []int{3, 40, 500} {
			s.pending[p] = &broker.Pending{LogTime: now, Engine: pipeline.Engine, Campaigns: map[string]map[string]int{"cart": {"unless": 1}, "late": {"unless": n, "quiet": n}}}
		}
	})
	refuses := []string{"~ campaign late: cancels 1,086 pending\n", "    unless.within  1h -> 2h\n", "+ feature bought: starts empty, young until ", "! campaign late: if[0] has `bought < 1`",
		"--backfill, or --force\n", "! campaign cart: what is pending does not hold event.properties.title", "--force\n"}
	s.apply(t, 1, "y\n", []string{after}, append(refuses, "use --force\n")...)
	s.apply(t, 0, "", []string{after, "--dry-run", "--yes", "--force"}, "this was a dry run: nothing changed\n")
	s.apply(t, 0, "", []string{after, "--dry-run"}, append(refuses, "apply would be refused: ")...)
	var told plan
	if err := json.Unmarshal([]byte(s.apply(t, 0, "", []string{after, "--json"})), &told); err != nil || told.Cancelled["late"] != 1086 || !told.Forced || told.Total != 1086 ||
		!slices.Equal(told.Backfill.Features, []string{"bought"}) || !slices.Equal(told.Backfill.Campaigns, []string{"late"}) {
		t.Errorf("--json: %v, %+v", err, told)
	}
	if got := s.record(t); got != first {
		t.Errorf("the record has changed: %+v", got)
	}
	if _, err := s.conn.Set(t.Context(), told.New); err == nil {
		t.Error("the set is stored, though nothing changed")
	}

	// What is not pending lacks nothing. What does not answer is not known.
	s.set(func() {
		s.pending[0].Campaigns["cart"], s.pending[1].Campaigns["cart"], s.pending[2].Campaigns["cart"] = nil, nil, nil
	})
	if out := s.apply(t, 0, "", []string{after, "--dry-run"}); strings.Contains(out, "! campaign cart") {
		t.Errorf("it refuses what is not pending:\n%s", out)
	}
	s.set(func() { s.pending[1] = nil })
	s.apply(t, 0, "", []string{after, "--dry-run"}, "~ campaign late: cancels 1,006 pending\n", "! campaign cart",
		"! partition 1: how many are pending, and how old features are, is not known: its worker is of a version that does not say what is pending\n")
	s.set(func() { s.pending[1] = &broker.Pending{LogTime: now} })

	s.set(func() { s.engines = nil })
	s.apply(t, 1, "", []string{after, "--yes", "--force"}, fmt.Sprintf("the set needs engine %d, which these workers do not run, so their partitions would stop: w: ", pipeline.Engine))
	s.set(func() { s.engines = pipeline.Engines() })

	s.apply(t, 1, "n\n", []string{after, "--force"}, "Make this live? [y/N] nothing changed\n")
	if got := s.record(t); got != first {
		t.Errorf("the record has changed: %+v", got)
	}
	s.apply(t, 0, "y\n", []string{after, "--force", "--by", "ada"}, "set "+told.New+" is live\nin force in all 3 partitions\n")
	got := s.record(t)
	if got.Revision != 2 || got.Set != told.New || got.By != "ada" || got.Backfill != nil || got.Previous == nil || *got.Previous != (broker.Previous{Set: first.Set, At: first.At, Cancelled: 1006}) {
		t.Errorf("the record: %+v, %+v", got, got.Previous)
	}
	if at, err := time.Parse(time.RFC3339, got.At); err != nil || time.Since(at).Abs() > time.Hour {
		t.Errorf("at %q", got.At)
	}

	// Partitions that lag are named, with the reason.
	s.set(func() { s.stopped[2] = "its disk is full" })
	s.apply(t, 1, "", []string{before, "--yes", "--force"}, "in force only in 2 of 3 partitions\n  partition 2: it has stopped on w: its disk is full\n")
	if got := s.record(t); got.Revision != 3 || got.Set != first.Set {
		t.Errorf("the record: %+v", got)
	}
}

// TestApplyAges: a feature that the live set has fed for less than its window is young,
// by the partition in which it is youngest, and comes from the log with a backfill.
func TestApplyAges(t *testing.T) {
	t.Parallel()
	s := newOwnerStub(t, 2)
	s.apply(t, 0, "", []string{file(t, "set.yaml", beforeSet), "--yes"})
	now := time.Now()
	s.set(func() {
		s.pending[0] = &broker.Pending{LogTime: now.UnixNano(), Fed: map[string]int64{"feature views": now.Add(-10 * time.Minute).UnixNano(), "campaign cart": now.Add(-time.Minute).UnixNano()}}
		s.pending[1] = &broker.Pending{LogTime: now.UnixNano(), Fed: map[string]int64{"feature views": now.Add(-3 * time.Hour).UnixNano()}}
	})
	after := file(t, "set.yaml", strings.Replace(beforeSet, "  late: {on: Product Viewed,", "  late: {on: Product Viewed, if: [views == 0],", 1))
	until := now.Add(50*time.Minute + time.Second - 1).UTC().Format(time.RFC3339)
	s.apply(t, 1, "", []string{after, "--yes"}, "  feature views: young until "+until+", because it has been fed only since ", "! campaign late: if[0] has `views == 0`", "--backfill would take from the log: features views; campaigns cart\n")
	s.apply(t, 0, "", []string{after, "--backfill", "--dry-run"}, "  feature views: filled from the log\n", "taken from the log: features views; campaigns cart\n",
		"the log is whole in all partitions: it is folded from its beginning\n", "worker w: the backfill takes about 4.0 GB of its disk, which has 5.0 GB free\n")

	// A backfill of the live set itself goes in force as soon as it has caught up.
	live := file(t, "set.yaml", beforeSet)
	s.apply(t, 1, "", []string{live, "--backfill", "--yes"}, "say what becomes of overdue offers, with --overdue")
	s.set(func() {
		for p := range s.second {
			s.second[p] = broker.SecondStatus{Set: hashOf(t, live), CaughtUp: true}
		}
	})
	s.apply(t, 0, "", []string{live, "--backfill", "--yes", "--overdue", "drop"}, "has begun\nin force in all 2 partitions\n")
	if got := s.record(t); !got.Go() || got.Revision != 2 || got.Backfill.Overdue != "drop" || !slices.Equal(got.Backfill.Features, []string{"views"}) {
		t.Errorf("the record: %+v, %+v", got, got.Backfill)
	}
}

// TestApplyLogged: with a worker, the log tells who applied; a dry run changes nothing;
// and the files are stored as they are written, also if only a comment differs.
func TestApplyLogged(t *testing.T) {
	t.Parallel()
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", partitions: 2, addr: "127.0.0.1:0", writeKey: "KEY", log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "set.yaml"), "# as written\n"+beforeSet)
	if err := os.Mkdir(filepath.Join(dir, "more"), 0o755); err != nil {
		t.Fatal(err)
	}
	more := filepath.Join(dir, "more", "more.yaml")
	put(t, more, fmt.Sprintf(oneCampaign, "x"))
	args := []string{"apply", filepath.Join(dir, "set.yaml"), more, "--nats", n.natsURL()}
	if out := offerctl(t, append(args, "--dry-run", "--yes")...); !strings.Contains(out, "+ campaign one\n") {
		t.Errorf("%s", out)
	}
	ends := func() (all []uint64) {
		for p := range 2 {
			_, end, err := n.conn.Extent(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, end)
		}
		return all
	}
	if live, rev, err := n.conn.Live(t.Context()); err != nil || rev != 0 || live.Set != "" || !slices.Equal(ends(), []uint64{0, 0}) {
		t.Errorf("after a dry run: %+v, %v, %v", live, err, ends())
	}
	offerctl(t, append(args, "--yes", "--by", "ada")...)
	for p := range 2 {
		all, err := n.conn.Controls(t.Context(), p)
		if err != nil || len(all) != 1 || all[0].By != "ada" || all[0].Revision != 1 || all[0].Set == "" {
			t.Errorf("partition %d: %+v, %v", p, all, err)
		}
	}
	live, rev, err := n.conn.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stored := func(comment string) {
		t.Helper()
		got, err := n.conn.Files(t.Context(), live.Set)
		want := []broker.SetFile{{Path: "more/more.yaml", Text: fmt.Sprintf(oneCampaign, "x")}, {Path: "set.yaml", Text: comment + beforeSet}}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("the files: %v, %q", err, got)
		}
	}
	stored("# as written\n")
	was := ends()
	put(t, filepath.Join(dir, "set.yaml"), "# otherwise\n"+beforeSet)
	if out := offerctl(t, args...); !strings.Contains(out, "is live already\nthe files are written differently") {
		t.Errorf("%s", out)
	}
	stored("# otherwise\n")
	if _, now, err := n.conn.Live(t.Context()); err != nil || now != rev || !slices.Equal(ends(), was) {
		t.Errorf("the record was written again, or the log: %v, %v", err, ends())
	}
}

// TestRetiredIn: what the log has taken out of force in the last day is fed on.
func TestRetiredIn(t *testing.T) {
	now := time.Unix(1e9, 0)
	at := func(hours int, engine int, set string) broker.ControlMessage {
		return broker.ControlMessage{Seq: 1, Stored: now.Add(-time.Duration(hours) * time.Hour).UnixNano(), Control: broker.Control{Engine: engine, Set: set}}
	}
	paused := broker.ControlMessage{Control: broker.Control{Engine: 4, Paused: []string{"x"}}}
	for _, c := range []struct {
		live string
		all  []broker.ControlMessage
		want []string
	}{
		{"b", []broker.ControlMessage{at(50, 4, "a"), paused, at(2, 4, "b")}, []string{"a"}},
		{"b", []broker.ControlMessage{at(50, 4, "a"), at(25, 4, "b")}, nil},
		{"c", []broker.ControlMessage{at(50, 4, "a"), at(2, 4, "b")}, nil},
		{"a", []broker.ControlMessage{at(5, 4, "a"), at(4, 4, "b"), at(3, 4, "c"), at(2, 4, "b"), at(1, 4, "a")}, []string{"c", "b"}},
		{"b", nil, nil},
	} {
		if got := retiredIn(c.all, c.live, now); !slices.Equal(got, c.want) && len(got)+len(c.want) > 0 {
			t.Errorf("%+v: %v, want %v", c.all, got, c.want)
		}
	}
}

// TestPlanJSON: the object that --json prints can be read as a change.
func TestPlanJSON(t *testing.T) {
	b, err := json.Marshal(&plan{Change: change.Change{New: "n", Cancelled: map[string]int{"c": 1}}, Total: 1})
	var c change.Change
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || c.New != "n" || c.Cancelled["c"] != 1 {
		t.Errorf("%v, %s", err, b)
	}
}

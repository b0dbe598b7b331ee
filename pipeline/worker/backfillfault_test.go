package worker

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/backfill"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/task"
	"offerstream/pipeline/value"
	"offerstream/state"
)

// TestBackfillKill kills the worker with kill -9 at random moments, from before the
// backfill is asked for until after the go.
func TestBackfillKill(t *testing.T) {
	t.Parallel()
	rng := moments(t)
	s := newShop(t, 2)
	s.users = 300
	dir := t.TempDir()
	w := start(t, s.url, dir, nil)
	w.inForce(t, s.before.Hash())
	w.stop(t)
	const kills = 10
	for k := range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "OFFERSTREAM_TEST_URL="+s.url, "OFFERSTREAM_TEST_DIR="+dir, "OFFERSTREAM_TEST_SMALL=1")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		switch s.visits(5); k {
		case 1:
			s.ask("now")
		case 4:
			s.goes()
		}
		<-time.After(time.Duration(rng.IntN(1500)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
	}
	w = start(t, s.url, dir, nil)
	s.switched(w)
	s.visits(5)
	w.applied(t, s.c)
	w.stop(t)
	s.check(dir)
}

// TestBackfillExpired: the log no longer has what follows the second state in the
// directory, so the second fold begins anew, with a snapshot that is made for it.
func TestBackfillExpired(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	dir, old := t.TempDir(), t.TempDir()
	seldom := func(o *Options) { o.Snapshot = time.Hour }
	w := start(t, s.url, dir, seldom)
	w.inForce(t, s.before.Hash())
	s.visits(10)
	s.ask("now")
	w.applied(t, s.c)
	s.caughtUp(w)
	w.stop(t)
	second := filepath.Join(dir, "partition-0"+secondSuffix)
	if err := os.CopyFS(filepath.Join(old, "second"), os.DirFS(second)); err != nil {
		t.Fatal(err)
	}
	w = start(t, s.url, dir, seldom)
	s.visits(10)
	w.applied(t, s.c)
	w.stop(t)
	s.expire()
	if err := errors.Join(os.RemoveAll(second), os.Rename(filepath.Join(old, "second"), second)); err != nil {
		t.Fatal(err)
	}
	w = start(t, s.url, dir, seldom)
	s.caughtUp(w)
	if from := w.Status()[0].Second.From; from < 10 {
		t.Errorf("it goes on from message %d", from)
	}
	s.goes()
	s.visits(5)
	s.switched(w)
	w.applied(t, s.c)
	w.stop(t)
	s.check(dir)
}

// ofAnotherLog rewrites the cursor of a store, as if it had applied another message
// than the log has, and returns a snapshot of it.
func ofAnotherLog(t *testing.T, dir string, change func(*pipeline.Cursor)) (cursor pipeline.Cursor, snapshot []byte) {
	t.Helper()
	store, err := openState(dir, state.Options{Identity: state.Identity{Partitions: 1}, MemTable: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if cursor, err = checkpoint.LoadCursor(store); err != nil {
		t.Fatal(err)
	}
	change(&cursor)
	b, err := checkpoint.StoredCursor(cursor)
	if err == nil {
		err = store.Commit(store.NewBatch(), b)
	}
	var to bytes.Buffer
	if err == nil {
		_, err = store.Snapshot(&to)
	}
	if err = errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	return cursor, to.Bytes()
}

// TestBackfillOtherLog: snapshots, or a second state, of a log that has lost its end
// since are there, and the owner's own state is older. No switch is made of them.
func TestBackfillOtherLog(t *testing.T) {
	t.Parallel()
	another := func(c *pipeline.Cursor) { c.Stored++ }
	for _, c := range []struct {
		name   string
		second bool // it is a second state, in the directory
		change func(*pipeline.Cursor)
	}{
		{"a snapshot from beyond the log", false, func(c *pipeline.Cursor) { c.Seq += 1000 }},
		{"a snapshot with another message", false, another},
		{"a second state with another message", true, another},
		{"a second state with another acceptance", true, func(c *pipeline.Cursor) { c.Accepted = 7 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 1)
			dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
			slow := func(o *Options) { o.Snapshot, o.Confirm = time.Hour, 5*time.Second }
			w := start(t, s.url, dir, slow)
			w.inForce(t, s.before.Hash())
			s.visits(10)
			w.applied(t, s.c)
			if c.second {
				s.ask("now")
				s.caughtUp(w)
				w.applied(t, s.c)
			}
			w.stop(t)
			live := filepath.Join(dir, "partition-0")
			switch {
			case c.second:
				ofAnotherLog(t, live+secondSuffix, c.change)
			default:
				if err := os.CopyFS(copied, os.DirFS(live)); err != nil {
					t.Fatal(err)
				}
				at, snapshot := ofAnotherLog(t, copied, c.change)
				if err := s.c.PutSnapshot(within(t), 0, at.Seq, checkpoint.Metadata(at), bytes.NewReader(snapshot)); err != nil {
					t.Fatal(err)
				}
				s.read()
				s.cut(uint64(len(s.log[0])) - 1) // so that it begins with a snapshot
				s.ask("now")
			}
			s.goes()
			w = start(t, s.url, dir, slow)
			s.switched(w)
			s.visits(5)
			w.applied(t, s.c)
			w.stop(t)
			s.check(dir)
		})
	}
}

// TestBackfillOtherLogAtEnd: a second state of another log is found out even where it has
// nothing left to fold.
func TestBackfillOtherLogAtEnd(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	dir := t.TempDir()
	w := start(t, s.url, dir, nil)
	w.inForce(t, s.before.Hash())
	s.visits(10)
	s.ask("now")
	s.caughtUp(w)
	w.stop(t)
	second := filepath.Join(dir, "partition-0"+secondSuffix)
	for _, other := range []bool{false, true} {
		at, _ := ofAnotherLog(t, second, func(c *pipeline.Cursor) {
			if other {
				c.Stored++
			}
		})
		store, err := openState(second, state.Options{Identity: state.Identity{Partitions: 1}, MemTable: 64 << 20})
		if err != nil {
			t.Fatal(err)
		}
		of, err := backfill.Open(store, backfill.Options{Conn: s.c, Sets: (&checkpoint.Sets{}).Get(within(t), s.c), CacheBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if err = of.To(within(t), at.Seq); (err != nil) != other || other && !errors.Is(err, backfill.ErrLog) {
			t.Errorf("of another log: %v, and it says %v", other, err)
		}
		of.Close()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBackfillVoidSwitch: a switch with a second state from more than an hour before
// it changes nothing, and the owner makes another one.
func TestBackfillVoidSwitch(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	dir := t.TempDir()
	w := start(t, s.url, dir, nil)
	w.inForce(t, s.before.Hash())
	s.visits(10)
	w.applied(t, s.c)
	s.ask("now")
	s.caughtUp(w)
	last, err := s.c.LastControl(within(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * time.Hour).UnixNano()
	void := fmt.Appendf(nil, `{"engine":%d,"revision":%d,"set":%q,"at":%q,"switch":{"from":0,"object":"none","seq":1,"stored":%d,"log_time":%d,"overdue":"drop"}}`,
		pipeline.Engine, last.Revision+1, s.n.Hash(), value.FormatTime(time.Now().UnixNano()), old, old)
	if err := s.c.Control(within(t), 0, last.Seq, void); err != nil {
		t.Fatal(err)
	}
	s.visits(5)
	w.applied(t, s.c)
	if st := w.Status()[0]; st.Set != s.before.Hash() || st.Revision != last.Revision {
		t.Errorf("after a void switch: %+v", st)
	}
	s.goes()
	s.switched(w)
	s.visits(5)
	w.applied(t, s.c)
	w.stop(t)
	s.check(dir)
}

// A meter is the disk of this machine with a free space that a test sets.
type meter struct {
	machine
	bytes *atomic.Int64
}

func (m meter) free(string) (int64, error) { return m.bytes.Load(), nil }

// TestBackfillNoRoom: a second fold does not begin, or gives up, before the disk is so
// full that the worker has to give up its partitions.
func TestBackfillNoRoom(t *testing.T) {
	t.Parallel()
	for _, begins := range []bool{false, true} {
		t.Run(fmt.Sprint("it begins ", begins), func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 1)
			dir := t.TempDir()
			var free atomic.Int64
			const little = (4 + 1) * (64 << 20) * 5 / 4 // more than the watchdog needs
			if free.Store(little); begins {
				free.Store(1 << 40)
			}
			w := start(t, s.url, dir, func(o *Options) {
				connect := o.Connect
				o.world, o.disk = task.Real{}, meter{bytes: &free}
				o.archive = func(c *broker.Conn) checkpoint.Archive { return checkpoint.Objects{Conn: c, Connect: connect} }
			})
			w.inForce(t, s.before.Hash())
			s.visits(5)
			s.ask("now")
			if begins {
				s.caughtUp(w)
				free.Store(little)
			}
			await(t, "it gives up", func() bool {
				st := w.Status()[0].Second
				return st != nil && strings.Contains(st.Failed, "no room on the disk for a second state")
			})
			await(t, "its directory is gone", func() bool {
				_, err := os.Stat(filepath.Join(dir, "partition-0"+secondSuffix))
				return errors.Is(err, os.ErrNotExist)
			})
			s.visits(5)
			w.applied(t, s.c)
			if st := w.Status()[0]; !st.Owned || w.Ready() != nil {
				t.Errorf("the partition does not go on: %+v, %v", st, w.Ready())
			}
			verified(t, s.c)
		})
	}
}

// TestBackfillUnknownSet: a set that cannot be had stops nothing, and the status says
// what to do.
func TestBackfillUnknownSet(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	w := start(t, s.url, t.TempDir(), nil)
	w.inForce(t, s.before.Hash())
	kv, err := s.c.JS.KeyValue(within(t), s.c.Names.CampaignsBucket())
	if err == nil {
		_, err = kv.Put(within(t), "live", fmt.Appendf(nil, `{"revision":9,"set":%q,"backfill":{"set":"0123456789abcdef0123456789abcdef","engine":4}}`, s.before.Hash()))
	}
	if err != nil {
		t.Fatal(err)
	}
	await(t, "it gives up", func() bool {
		st := w.Status()[0].Second
		return st != nil && strings.Contains(st.Failed, "apply --abort")
	})
	s.visits(5)
	w.applied(t, s.c)
	verified(t, s.c)
}

// TestBackfillHeavyUser: a user who gets 65,536 entries from the second state.
func TestBackfillHeavyUser(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1)
	s.before.Bounds.UserBytes, s.n.Bounds.UserBytes = 8<<20, 8<<20
	s.before.Bounds.Keys, s.n.Bounds.Keys = 256, 256
	s.before.Campaigns[0].If = []string{"seen >= 100000"}
	s.n.Campaigns[0].If, s.n.Campaigns[1].If = s.before.Campaigns[0].If, s.before.Campaigns[0].If
	s.n.Features = append(s.n.Features, campaign.Feature{Name: "heavy", On: []string{"Product Viewed"}, By: "product_id", Agg: "count", Within: 30 * 24 * time.Hour})
	s.n.Campaigns = append(s.n.Campaigns, campaign.Campaign{ID: "heavy", On: []string{"Look"}, If: []string{"heavy.size() >= 256"},
		Offer: campaign.OfferSpec{Channel: "web", Kind: campaign.Service, Data: []byte(`{"n":"{{ heavy['p7'] }}"}`)}})
	s.record(broker.Live{Set: s.put(s.before)})
	dir := t.TempDir()
	w := start(t, s.url, dir, nil)
	w.inForce(t, s.before.Hash())
	for i := range 256 {
		var pack []byte
		for k := range 256 {
			pack = fmt.Appendf(pack, `{"type":"track","event":"Product Viewed","userId":"heavy","messageId":"%d-%d","properties":{"product_id":"p%d"}}`+"\n", i, k, k)
		}
		publish(t, s.c, []scripted{{0, pack}})
	}
	w.applied(t, s.c)
	s.ask("drop")
	s.caughtUp(w)
	s.goes()
	s.switched(w)
	publish(t, s.c, []scripted{{0, []byte(`{"type":"track","event":"Look","userId":"heavy","messageId":"look"}`)}})
	w.applied(t, s.c)
	u, _ := shown(t, s.c, "u:heavy")
	if u.Size.Entries != 65_536 {
		t.Errorf("%d entries", u.Size.Entries)
	}
	w.stop(t)
	if got := stored(t, s.c); !slices.ContainsFunc(slices.Collect(maps.Keys(got)), func(o string) bool { return strings.Contains(o, `"data":{"n":25`) }) {
		t.Errorf("no offer has all that fit: %v", got)
	}
	s.check(dir)
}

// TestOverdueListed: what is overdue of a campaign that a backfill does not list stays
// behind at the switch, and is not told.
func TestOverdueListed(t *testing.T) {
	counts := map[[2]string]int{{"away", "web"}: 2, {"cart", "sms"}: 3}
	live := &broker.Live{Backfill: &broker.Backfill{Campaigns: []string{"away"}}}
	if got := listed(counts, live); !maps.Equal(got, map[string]int{"away web": 2}) {
		t.Errorf("%v", got)
	}
	if got := listed(counts, nil); len(got) > 0 { // the bucket has told nothing since the connection was made
		t.Errorf("%v", got)
	}
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
	"offerstream/pipeline/task"
)

// TestDuty checks the duty of each member about partition 0 in many situations.
func TestDuty(t *testing.T) {
	ids := []string{"a", "b", "c"}
	all := members{}
	for _, id := range ids {
		all[id] = broker.Claim{}
	}
	rank := all.ranked(0)
	first, second, third := rank[0], rank[1], rank[2]
	own, ready, leaving := broker.Claim{Own: []int{0}}, broker.Claim{Ready: []int{0}}, broker.Claim{Leaving: true}
	for _, tc := range []struct {
		name        string
		me          string
		others      members
		standbys    int
		owns, ready bool
		want        duty
	}{
		{"alone", first, members{}, 0, false, false, ownIt},
		{"the first of all", first, members{second: {}, third: {}}, 0, false, false, ownIt},
		{"not the first", second, members{first: {}, third: {}}, 0, false, false, leaveIt},
		{"a standby", second, members{first: own, third: {}}, 1, false, false, followIt},
		{"no standby", third, members{first: own, second: {}}, 1, false, false, leaveIt},
		{"the first follows until it is ready", first, members{second: own}, 0, false, false, followIt},
		{"and waits until the owner has let go", first, members{second: own}, 0, false, true, followIt},
		{"the owner goes on until the first is ready", second, members{first: {}}, 0, true, true, ownIt},
		{"and lets go then", second, members{first: ready}, 0, true, true, leaveIt},
		{"and stays as a standby", second, members{first: ready}, 1, true, true, followIt},
		{"it lets go for no other", third, members{second: ready, first: {}}, 0, true, true, ownIt},
		{"nobody owns it: the first that is ready", second, members{first: {}, third: ready}, 1, false, true, ownIt},
		{"and no other", first, members{second: ready}, 0, false, false, followIt},
		{"nor a later one", third, members{first: {}, second: ready}, 2, false, true, followIt},
		{"nobody is ready: the first of all", first, members{second: {}}, 1, false, false, ownIt},
		{"two own it: the later lets go", second, members{first: own}, 0, true, true, leaveIt},
		{"two own it: the first goes on", first, members{second: own}, 0, true, true, ownIt},
		{"one that leaves counts for nothing", second, members{first: leaving, third: {}}, 0, false, false, ownIt},
		{"one that leaves still owns it", second, members{first: {Own: []int{0}, Leaving: true}}, 0, false, true, followIt},
		{"all others leave", first, members{second: leaving}, 0, true, true, ownIt},
	} {
		m := maps.Clone(tc.others)
		m[tc.me] = broker.Claim{}
		if got := m.duty(tc.me, 0, tc.standbys, tc.owns, tc.ready); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
	// A leaving member goes on until another one is ready.
	m := members{first: leaving, second: {}}
	if got := m.duty(first, 0, 0, true, true); got != ownIt {
		t.Errorf("leaving: %d", got)
	}
	m[second] = ready
	if got := m.duty(first, 0, 0, true, true); got != leaveIt {
		t.Errorf("leaving, and another is ready: %d", got)
	}
}

// TestEndingIsNotReady: a follower that is ending does not claim to be ready. An
// owner that leaves would hand the partition over to it, and nobody would own it
// until the follower has ended.
func TestEndingIsNotReady(t *testing.T) {
	p := &partition{number: 1, cancel: func() {}}
	p.running.Store(true)
	p.muted.Store(true)
	p.status.caughtUp.Store(true)
	g := &group{w: &Worker{partitions: []*partition{nil, p}}}
	if c := g.claims(false); !slices.Equal(c.Ready, []int{1}) {
		t.Errorf("a follower that has caught up claims %+v", c)
	}
	p.end(true)
	if c := g.claims(false); len(c.Ready)+len(c.Follow)+len(c.Own) > 0 {
		t.Errorf("one that is ending claims %+v", c)
	}
}

// littleRoom is a disk with a given free space.
type littleRoom struct {
	machine
	bytes int64
}

func (d littleRoom) free(string) (int64, error) { return d.bytes, nil }

// TestRestoreEndsWithoutRoom: a restore ends at once when the disk gets full.
// Otherwise it would go on writing while owned partitions are handed over.
func TestRestoreEndsWithoutRoom(t *testing.T) {
	of := func(n int, restoring bool) *partition {
		p := &partition{number: n, cancel: func() {}}
		p.running.Store(true)
		p.restoring.Store(restoring)
		return p
	}
	owned, restored := of(0, false), of(1, true)
	w := &Worker{opt: Options{Log: quiet(), memTable: 1}, disk: littleRoom{bytes: 100}, partitions: []*partition{owned, restored}, world: task.Real{}}
	w.met = newMetrics(prometheus.NewRegistry(), w)
	g := &group{w: w, conn: &broker.Conn{Partitions: 2}, wake: task.Real{}.NewSignal()}
	g.look()
	if owned.ending() || restored.ending() {
		t.Error("ended though there is room")
	}
	w.restoring.Store(100) // now 106 are needed
	g.look()
	if owned.ending() || !restored.ending() {
		t.Errorf("the one that owns ends: %v, the one that is restored: %v", owned.ending(), restored.ending())
	}
}

// TestSecondRestoreEndsWithoutRoom: what a second state is restored from may be larger
// than the room that was reserved.
func TestSecondRestoreEndsWithoutRoom(t *testing.T) {
	w := &Worker{opt: Options{memTable: 1}, disk: littleRoom{bytes: 100}, world: task.Real{}}
	room, err := w.reserve(1, 2)
	if err != nil {
		t.Fatal(err)
	}
	s := &second{ctx: t.Context(), p: &partition{w: w}, room: room, pace: pace{w: w}}
	read := func(bytes int64) error {
		_, err := s.paced(bytes)(strings.NewReader("a state")).Read(make([]byte, 1))
		return err
	}
	if err := read(91); err != nil { // beside 9 for the partitions
		t.Errorf("it is not restored: %v", err)
	}
	if err := read(92); err == nil || !strings.Contains(err.Error(), "no room on the disk for a second state") {
		t.Errorf("it is restored: %v", err)
	}
}

// TestRankedMovesLittle: a new member takes its share from the others, and no
// other partition moves; when a member leaves, only its partitions move.
func TestRankedMovesLittle(t *testing.T) {
	m := members{}
	owner := func(p int) string { return m.ranked(p)[0] }
	const partitions = 1024
	for n := range 8 {
		before := map[int]string{}
		if n > 0 {
			for p := range partitions {
				before[p] = owner(p)
			}
		}
		id := fmt.Sprint("member", n)
		m[id] = broker.Claim{}
		share := 0
		for p := range partitions {
			switch now := owner(p); {
			case now == id:
				share++
			case now != before[p]:
				t.Errorf("partition %d went from %s to %s when %s came", p, before[p], now, id)
			}
		}
		if fair := partitions / (n + 1); share < fair/2 || share > fair*2 {
			t.Errorf("%s has %d partitions of %d", id, share, partitions)
		}
	}
}

// owned waits until each partition is owned only by the right worker and followed
// by the right number, and returns the owners.
func owned(t *testing.T, ws []*running, partitions, standbys int) map[int]*running {
	t.Helper()
	await(t, "all workers", func() bool { return !slices.ContainsFunc(ws, func(w *running) bool { return len(w.Status()) == 0 }) })
	all, byID := members{}, map[string]*running{}
	for _, w := range ws {
		all[w.id], byID[w.id] = broker.Claim{}, w
	}
	want := map[int]*running{}
	for p := range partitions {
		want[p] = byID[all.ranked(p)[0]]
	}
	await(t, "one owner each", func() bool {
		follow := 0
		for _, w := range ws {
			for p, s := range w.Status() {
				if s.Owned != (want[p] == w) {
					return false
				}
				if s.Follows {
					follow++
				}
			}
		}
		return follow == standbys*partitions
	})
	return want
}

// TestGroup lets workers come and go while events come: only the partitions that
// must move do, and the offers are those of a backtest.
func TestGroup(t *testing.T) {
	t.Parallel()
	for standbys := range 2 {
		t.Run(fmt.Sprint(standbys, " standbys"), func(t *testing.T) {
			t.Parallel()
			rng := moments(t)
			const partitions = 6
			ns := startNATS(t, t.TempDir(), -1)
			c := connect(t, ns.ClientURL(), partitions)
			s := write(t, 1+uint64(rng.IntN(40)), partitions)
			hash := apply(t, c, s.def)
			begin := func(dir string) *running {
				return start(t, ns.ClientURL(), dir, func(o *Options) { o.Standbys = standbys })
			}
			a := begin(t.TempDir())
			a.inForce(t, hash)
			third := len(s.packs) / 4
			publish(t, c, s.packs[:third])
			dir := t.TempDir()
			b := begin(dir)
			publish(t, c, s.packs[third:2*third])
			owned(t, []*running{a, b}, partitions, standbys)
			d := begin(t.TempDir())
			publish(t, c, s.packs[2*third:3*third])
			before := owned(t, []*running{a, b, d}, partitions, standbys)
			b.stop(t)
			if st := b.Status(); slices.ContainsFunc(st, func(s broker.PartitionStatus) bool { return s.Owned }) {
				t.Errorf("it has left and owns: %+v", st)
			}
			publish(t, c, s.packs[3*third:])
			after := owned(t, []*running{a, d}, partitions, standbys)
			for p, was := range before {
				if now := after[p]; was != b && was != now {
					t.Errorf("partition %d went from %s to %s, though %s left", p, was.id, now.id, b.id)
				}
			}
			left := b.id
			b = begin(dir)
			owned(t, []*running{a, b, d}, partitions, standbys)
			if b.id != left {
				t.Errorf("it is member %s, and was %s", b.id, left)
			}
			await(t, "all applied", func() bool {
				for p := range partitions {
					_, last, err := c.Extent(t.Context(), p)
					if err != nil {
						return false
					}
					for _, w := range []*running{a, b, d} {
						if st := w.Status()[p]; st.Owned && (st.Seq < last || st.Waiting > 0) {
							return false
						}
					}
				}
				return true
			})
			same(t, stored(t, c), s.want)
			verified(t, c)
		})
	}
}

// TestMemberDies kills a member with kill -9: when its lease has expired, others
// take its partitions over, a standby without delay.
func TestMemberDies(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 4)
	hash := apply(t, c, views(t, 1))
	w := start(t, ns.ClientURL(), t.TempDir(), nil)
	w.inForce(t, hash)
	dir := t.TempDir()
	takes := func(id string) bool { // whether it should own some of the partitions
		both := members{w.id: {}, id: {}}
		for p := range 4 {
			if both.ranked(p)[0] == id {
				return true
			}
		}
		return false
	}
	for n := 0; ; n++ {
		if id := fmt.Sprintf("%016x", n); takes(id) {
			if err := os.WriteFile(filepath.Join(dir, "member"), []byte(id), 0o600); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "OFFERSTREAM_TEST_URL="+ns.ClientURL(), "OFFERSTREAM_TEST_DIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	mine := func() (n int) {
		for _, s := range w.Status() {
			if s.Owned {
				n++
			}
		}
		return n
	}
	await(t, "a share for the other", func() bool { return mine() < 4 })
	cmd.Process.Kill()
	cmd.Wait()
	died := time.Now()
	await(t, "all partitions again", func() bool { return mine() == 4 })
	t.Logf("taken over after %v", time.Since(died).Round(time.Millisecond))
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 20 {
		user := fmt.Sprint("user-", rng.IntN(100))
		publish(t, c, []scripted{{i % 4, view(i, user)}})
	}
	w.applied(t, c)
	verified(t, c)
}

// TestSameDirectory: only one worker can use a directory.
func TestSameDirectory(t *testing.T) {
	ns := startNATS(t, t.TempDir(), -1)
	connect(t, ns.ClientURL(), 1)
	dir := t.TempDir()
	w := start(t, ns.ClientURL(), dir, nil)
	w.inForce(t, "")
	other, err := New(Options{Dir: dir, Log: quiet(), Connect: func(ctx context.Context) (*broker.Conn, error) { return nil, errors.New("it connects") }})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(within(t)); err == nil || !strings.Contains(err.Error(), "in use by another worker") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "member")); err != nil || len(b) != 16 {
		t.Errorf("member %q, %v", b, err)
	}
}

// TestLeasesDeleted deletes the leases' bucket while two workers run: they find
// each other again, and the offers are exact.
func TestLeasesDeleted(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 4)
	hash := apply(t, c, views(t, 1))
	var workers []*running
	for range 2 {
		workers = append(workers, start(t, ns.ClientURL(), t.TempDir(), nil))
	}
	shared := func() bool { // each partition has one owner, which has published everything
		for p := range 4 {
			_, last, err := c.Extent(within(t), p)
			if err != nil {
				t.Fatal(err)
			}
			owners := 0
			for _, w := range workers {
				if st := w.Status(); len(st) > p && st[p].Owned {
					owners++
					if st[p].Seq < last || st[p].Waiting > 0 || st[p].Set != hash {
						return false
					}
				}
			}
			if owners != 1 {
				return false
			}
		}
		return workers[0].members() == 2 && workers[1].members() == 2
	}
	await(t, "a group of two", shared)
	n := 0
	load := func() {
		for range 40 {
			user := fmt.Sprint("user", n)
			publish(t, c, []scripted{{event.Partition("u:"+user, 4), view(0, user)}})
			n++
		}
	}
	load()
	if err := c.JS.DeleteKeyValue(within(t), c.Names.GroupBucket()); err != nil {
		t.Fatal(err)
	}
	load()
	leases := func() bool {
		st, err := c.JS.KeyValue(within(t), c.Names.GroupBucket())
		if err != nil {
			return false
		}
		keys, err := st.ListKeys(within(t))
		if err != nil {
			return false
		}
		found := 0
		for range keys.Keys() {
			found++
		}
		return found == 2
	}
	await(t, "both leases again", leases)
	load()
	await(t, "a group of two again", shared)
	verified(t, c)
	if got := len(stored(t, c)); got != n {
		t.Errorf("%d offers of %d events", got, n)
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
)

// A restorable is a deployment whose NATS can be set back to a backup, and the
// README's subscriber to it.
type restorable struct {
	t       *testing.T
	dir     string // of the node
	addr    string // of NATS
	program string // the README's subscriber
	home    string // where that keeps processed.txt
	node    *node
	told    []string // what the subscriber has sent: the users, in order
	warned  string   // what the subscriber's last run has logged
}

func newRestorable(t *testing.T) *restorable {
	r := &restorable{t: t, dir: t.TempDir(), home: t.TempDir(), addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t))), program: readmeSubscriber(t)}
	t.Cleanup(r.down)
	return r
}

// up starts everything, with the state that the disks have.
func (r *restorable) up() {
	r.t.Helper()
	set, err := loadSet("", "../../deploy/campaigns")
	if err != nil {
		r.t.Fatal(err)
	}
	if r.node, err = startNode(r.t.Context(), nodeOptions{dir: r.dir, natsAddr: r.addr, addr: "127.0.0.1:0", writeKey: "KEY", set: set, log: slog.New(slog.DiscardHandler)}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *restorable) down() {
	if r.node == nil {
		return
	}
	if err := r.node.stop(); err != nil {
		r.t.Error(err)
	}
	r.node = nil
}

func (r *restorable) url() string { return "nats://" + r.addr }

// backup returns a copy of NATS's directory, which nothing must use.
func (r *restorable) backup() (dir string) {
	r.t.Helper()
	dir = filepath.Join(r.t.TempDir(), "nats")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(r.dir, "nats"))); err != nil {
		r.t.Fatal(err)
	}
	return dir
}

// restore gives NATS the data of a backup, lets the workers stop because of it, and
// accepts the loss in the partitions that have stopped. It returns what accept says
// about each.
func (r *restorable) restore(backup string, stopped ...int) []audit.Accepted {
	r.t.Helper()
	to := filepath.Join(r.dir, "nats")
	if err := os.RemoveAll(to); err != nil {
		r.t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(backup)); err != nil {
		r.t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		r.t.Fatal(err)
	}
	ns, err := embedded.Start(embedded.Options{Dir: to, Host: host, Port: number, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	defer ns.Shutdown()
	stop := startMember(r.t, r.url(), filepath.Join(r.dir, "worker"))
	statusOf(r.t, r.url(), "the partitions that have lost something stop, and no other", func(s statusJSON) bool {
		var is []int
		for p := range s.Partitions {
			if len(s.Partitions[p].Stops) > 0 {
				is = append(is, p)
			} else if len(s.Partitions[p].Owners) == 0 {
				return false
			}
		}
		return slices.Equal(is, stopped)
	})
	stop()
	var all []audit.Accepted
	for _, p := range stopped {
		var done audit.Accepted
		if err := json.Unmarshal([]byte(offerctl(r.t, "accept", "--partition", fmt.Sprint(p), "--why", "a backup", "--yes", "--json", "--nats", r.url())), &done); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, done)
	}
	return all
}

// shop posts the events of users of a partition, each of whom gets an offer, until
// all are applied. The same name gives the same events.
func (r *restorable) shop(p, users int, name string) {
	r.t.Helper()
	shopIn(r.t, r.node, p, users, name)
	if err := r.node.caughtUp(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// subscribe runs the subscriber until it has acknowledged everything, and kills it.
func (r *restorable) subscribe() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.program, r.url())
	cmd.Dir = r.home
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	var warned bytes.Buffer
	cmd.Stderr = &warned
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	var read sync.WaitGroup
	read.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var o pipeline.Offer
			_, data, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "send "), " ")
			if err := json.Unmarshal([]byte(data), &o); err != nil || !ok {
				r.t.Errorf("the subscriber says %q: %v", lines.Text(), err)
			}
			r.told = append(r.told, o.User)
		}
	})
	awaitDrained(r.t, ctx, r.node.conn)
	cmd.Process.Kill()
	read.Wait()
	cmd.Wait()
	r.warned = warned.String()
}

// subscribed lets the subscriber run and compares the users that it has sent an
// offer, since it began, with those that shop has named: each must be there once.
func (r *restorable) subscribed(names ...string) {
	r.t.Helper()
	r.subscribe()
	count := map[string]int{}
	for _, user := range r.told {
		if count[user]++; count[user] > 1 {
			r.t.Errorf("the subscriber has sent %s an offer %d times", user, count[user])
		}
	}
	got := map[string]int{}
	for user := range count {
		got[strings.TrimRight(user, "0123456789")]++
	}
	want := map[string]int{}
	for _, name := range names {
		name, users, _ := strings.Cut(name, ":")
		want[name], _ = strconv.Atoi(users)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("the subscriber has sent offers to %v, want %v\n%s", got, want, r.warned)
	}
}

// last returns the highest number that the subscriber has on disk, by subject.
func (r *restorable) last() map[string]uint64 {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.home, "processed.txt"))
	if err != nil {
		r.t.Fatal(err)
	}
	last := map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		var subject string
		var n uint64
		fmt.Sscan(line, &subject, &n)
		last[subject] = max(n, last[subject])
	}
	return last
}

// verify checks the offers after the marks, and that none of the newest offers has
// a number that a subscriber which keeps only the last number would drop.
func (r *restorable) verify(before map[string]uint64, newest ...string) {
	r.t.Helper()
	var v audit.Verdict
	if err := json.Unmarshal([]byte(offerctl(r.t, "verify", "--json", "--nats", r.url())), &v); err != nil || v.Wrong() != 0 {
		r.t.Errorf("%+v, %v", v, err)
	}
	seen := 0
	for p := range r.node.conn.Partitions {
		err := r.node.conn.ScanOffers(r.t.Context(), p, func(o broker.Record) error {
			subject := fmt.Sprint(o.Chain, ".", p)
			var offer pipeline.Offer
			if json.Unmarshal(o.Data, &offer) == nil && slices.Contains(newest, strings.TrimRight(offer.User, "0123456789")) {
				seen++
				if o.Pos.N <= before[subject] {
					r.t.Errorf("the offer to %s is number %d of %s, and number %d was given out before", offer.User, o.Pos.N, subject, before[subject])
				}
			}
			return nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	if len(newest) > 0 && seen == 0 {
		r.t.Errorf("no offer of %q is stored", newest)
	}
}

// TestReadmeSubscriberAfterRestore restores NATS from backups of several ages, under
// the README's subscriber, which keeps what it has processed on disk. After each
// acceptance every new offer is delivered once, also on a subject that did not exist
// when the backup was made, and none that was processed before is processed again,
// not even if its events are sent again.
func TestReadmeSubscriberAfterRestore(t *testing.T) {
	t.Parallel()
	const a, b = 3, 5 // two partitions
	r := newRestorable(t)
	r.up()
	r.shop(a, 3, "ada")
	r.subscribed("ada:3")
	r.down()
	old := r.backup()

	r.up()
	r.shop(a, 4, "bea") // numbers 4 to 7 of offers.web.3
	r.shop(b, 2, "cia") // offers.web.5 begins
	r.subscribed("ada:3", "bea:4", "cia:2")
	r.down()
	young := r.backup()

	r.up()
	r.shop(a, 2, "dia")
	r.shop(b, 1, "eva")
	r.subscribed("ada:3", "bea:4", "cia:2", "dia:2", "eva:1")
	if r.warned != "" {
		t.Errorf("the subscriber warns of nothing:\n%s", r.warned)
	}
	r.down()
	before := r.last()

	done := r.restore(old, a, b)
	if d := done[0]; d.Lost != 0 || d.Stored["offers.web"] != (audit.Stored{Offers: 3, First: 1, Last: 3}) || d.Chains["offers.web"] != d.After+1 || d.After <= before["offers.web.3"] {
		t.Errorf("partition %d: %+v", a, d)
	}
	if d := done[1]; d.Lost != 0 || len(d.Stored) != 0 || len(d.Chains) != 0 || d.After <= before["offers.web.5"] {
		t.Errorf("partition %d: %+v", b, d)
	}
	r.up()
	r.shop(a, 4, "bea") // sent again: their offers are known by their ids
	r.shop(b, 2, "cia")
	r.shop(a, 2, "fay")
	r.shop(b, 2, "gwen")
	r.verify(before, "bea", "cia", "fay", "gwen")
	r.subscribed("ada:3", "bea:4", "cia:2", "dia:2", "eva:1", "fay:2", "gwen:2")
	if !strings.Contains(r.warned, "offers.web.3: an operator has accepted that offers after 9 may be lost\n") || strings.Contains(r.warned, "given out again") {
		t.Errorf("the subscriber warns:\n%s", r.warned)
	}
	r.down()
	before = r.last()

	// The younger backup is of the history before the acceptance, which has sent a mark to
	// every partition: all have lost something.
	all := []int{0, 1, 2, 3, 4, 5, 6, 7}
	r.restore(young, all...)
	r.up()
	r.shop(a, 2, "hana")
	r.shop(b, 1, "ida")
	r.verify(before, "hana", "ida")
	r.subscribed("ada:3", "bea:4", "cia:2", "dia:2", "eva:1", "fay:2", "gwen:2", "hana:2", "ida:1")
	r.down()
	before = r.last()

	// Then the older one again, twice.
	for range 2 {
		r.restore(old, all...)
	}
	r.up()
	r.shop(a, 2, "joan")
	r.shop(b, 1, "kim")
	r.verify(before, "joan", "kim")
	r.subscribed("ada:3", "bea:4", "cia:2", "dia:2", "eva:1", "fay:2", "gwen:2", "hana:2", "ida:1", "joan:2", "kim:1")
}

// TestReadmeSubscriberWithoutAccept restores NATS from a backup, and loses the
// workers' directories too, so that nothing stops. The numbers are given out again,
// and the README's subscriber notices: it drops no new offer, and says what to do.
func TestReadmeSubscriberWithoutAccept(t *testing.T) {
	t.Parallel()
	const p = 3
	r := newRestorable(t)
	r.up()
	r.shop(p, 3, "ada")
	r.down()
	old := r.backup()
	r.up()
	r.shop(p, 2, "bea")
	r.subscribed("ada:3", "bea:2")
	r.down()
	if err := os.RemoveAll(filepath.Join(r.dir, "worker")); err != nil {
		t.Fatal(err)
	}
	r.restore(old)
	r.up()
	r.shop(p, 2, "cia")
	r.subscribed("ada:3", "bea:2", "cia:2")
	if want := "offers.web.3: 4 is given out again: NATS has lost offers. Run offerctl accept\n"; !strings.Contains(r.warned, want) {
		t.Errorf("the subscriber does not say %q:\n%s", want, r.warned)
	}
}

// readmeSubscriber builds the README's subscriber.
func readmeSubscriber(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "subscriber")
	if out, err := exec.Command("go", "build", "-o", path, writeFile(t, "main.go", readmeBlock(t, "go", "package main"))).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

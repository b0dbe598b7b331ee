package worker

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

var replicasSeed = flag.Uint64("replicas-seed", 0, "of what happens to the servers of TestReplicas; 0: a new one")

// A replica is one of three NATS servers, each in a separate process.
type replica struct {
	Name           string
	Dir            string
	Client, Routes int // ports
	Others         []int
	cmd            *exec.Cmd
}

// TestReplicaProcess runs a replica if this process was started as one.
func TestReplicaProcess(t *testing.T) {
	var r replica
	if err := json.Unmarshal([]byte(os.Getenv("OFFERSTREAM_TEST_REPLICA")), &r); err != nil {
		t.Skip("not to be run by itself")
	}
	opts := &server.Options{ServerName: r.Name, Host: "127.0.0.1", Port: r.Client, JetStream: true, StoreDir: r.Dir, NoSigs: true, NoLog: true,
		SyncAlways: true, JetStreamMaxStore: 1 << 34, Cluster: server.ClusterOpts{Name: "three", Host: "127.0.0.1", Port: r.Routes}}
	for _, port := range r.Others {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", port)})
	}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	io.Copy(io.Discard, os.Stdin) // runs until the parent process ends
	s.Shutdown()
}

func (r *replica) start(t *testing.T) {
	t.Helper()
	env, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	r.cmd = exec.Command(os.Args[0], "-test.run=^TestReplicaProcess$")
	r.cmd.Env = append(os.Environ(), "OFFERSTREAM_TEST_REPLICA="+string(env))
	r.cmd.Stderr = os.Stderr
	if _, err := r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (r *replica) kill() {
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

// startReplicas starts three servers and returns them with the URL of all.
func startReplicas(t *testing.T) (all []*replica, url string) {
	t.Helper()
	var ports []int
	for range 6 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	var urls []string
	for i := range 3 {
		all = append(all, &replica{Name: fmt.Sprint("nats-", i), Dir: t.TempDir(), Client: ports[i], Routes: ports[3+i], Others: ports[3:]})
		urls = append(urls, fmt.Sprint("nats://127.0.0.1:", ports[i]))
	}
	return all, strings.Join(urls, ",")
}

// TestReplicas kills each of three servers once under load, and wipes the disk of
// some: all acknowledged events are there, and the offers are exact.
func TestReplicas(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts three servers")
	}
	seed := *replicasSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-args -replicas-seed=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	servers, url := startReplicas(t)
	for _, r := range servers {
		r.start(t)
		t.Cleanup(r.kill)
	}
	opt := broker.Options{URL: url, Client: "test", Partitions: 2, Replicas: 3, Reconnect: true, Log: quiet()}
	c, err := broker.Connect(within(t), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hash := apply(t, c, views(t, 1))
	var workers []*running
	for range 2 {
		workers = append(workers, start(t, url, t.TempDir(), func(o *Options) {
			o.Confirm = 20 * time.Second // an election takes a while
			o.Connect = func(ctx context.Context) (*broker.Conn, error) {
				return broker.Connect(ctx, broker.Options{URL: url, Client: "worker", Replicas: 3, Log: quiet()})
			}
		}))
	}

	owned := func(p int, seq uint64) bool {
		for _, w := range workers {
			if st := w.Status(); len(st) > p && st[p].Owned && st[p].Seq >= seq && st[p].Waiting == 0 && st[p].Set == hash {
				return true
			}
		}
		return false
	}
	await(t, "the set is in force", func() bool { return owned(0, 1) && owned(1, 1) })

	var acked atomic.Int64
	var ambiguous int
	end := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() { // one event after the other, each repeated until it is acknowledged
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			default:
			}
			user := fmt.Sprint("user", i)
			for {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				_, err := c.JS.Publish(ctx, c.Names.EventsSubject(event.Partition("u:"+user, 2), "in"), view(0, user), jetstream.WithRetryAttempts(0))
				cancel()
				if err == nil {
					break
				}
				if t.Context().Err() != nil {
					return
				}
				ambiguous++
				<-time.After(10 * time.Millisecond)
			}
			acked.Add(1)
		}
	})
	more := func(n int64) {
		t.Helper()
		from := acked.Load()
		await(t, fmt.Sprint(n, " events more are acknowledged"), func() bool { return acked.Load() >= from+n })
	}
	more(100)
	wiped := 0
	for _, i := range rng.Perm(3) {
		r := servers[i]
		r.kill()
		more(100) // two of three servers are enough
		if rng.IntN(2) == 0 || i == 0 {
			wiped++
			if err := os.RemoveAll(r.Dir); err != nil {
				t.Fatal(err)
			}
		}
		r.start(t)
		more(100)
		await(t, r.Name+" has all again", func() bool { return current(c) })
	}
	close(end)
	load.Wait()

	whole, err := broker.Connect(within(t), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	await(t, "all applied", func() bool {
		for p := range 2 {
			_, last, err := whole.Extent(within(t), p)
			if err != nil {
				return false
			}
			if !owned(p, last) {
				return false
			}
		}
		return true
	})
	var v audit.Verdict
	await(t, "a look at all that is not broken off, as by a leader that changes once more", func() bool {
		v, err = audit.Verify(within(t), whole, nil)
		return err == nil
	})
	if !v.OK() {
		t.Errorf("%+v", v)
	}
	users := map[string]int{}
	for o := range stored(t, whole) {
		var offer pipeline.Offer
		if err := json.Unmarshal([]byte(o), &offer); err != nil {
			t.Fatal(err)
		}
		users[offer.User]++
	}
	for i := range acked.Load() {
		if n := users[fmt.Sprint("user", i)]; n != 1 {
			t.Errorf("%d offers of an acknowledged event of user%d", n, i)
		}
	}
	t.Logf("3 servers killed, %d of them wiped: %d events acknowledged, %d attempts without an answer, %d offers, lost 0, doubled 0; %+v", wiped, acked.Load(), ambiguous, len(users), v)
}

// current reports whether every stream has three replicas that are up to date.
func current(c *broker.Conn) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	streams := c.JS.ListStreams(ctx)
	n := 0
	for info := range streams.Info() {
		if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != 2 {
			return false
		}
		for _, r := range info.Cluster.Replicas {
			if !r.Current || r.Offline {
				return false
			}
		}
		n++
	}
	return streams.Err() == nil && n > 0
}

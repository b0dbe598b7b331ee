//go:build linux

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
)

// TestDiskFull runs a worker on a small disk, which other files fill to the last
// page meanwhile. The worker closes its state before that, logs it, and goes on
// when there is room.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, 96)
	if dir == "" {
		return
	}
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 2)
	hash := apply(t, c, views(t, 1))
	w := start(t, ns.ClientURL(), filepath.Join(dir, "state"), small)
	w.inForce(t, hash)
	second := func(i int) float64 { return float64(i) / 1000 }
	backlog(t, c, 5000, 1000, "before", second)
	w.applied(t, c)

	fill(t, filepath.Join(dir, "others"), 20<<20) // two partitions need 24 MB
	await(t, "the worker gives up what it has", func() bool {
		err := w.Ready()
		return err != nil && strings.Contains(err.Error(), "no room on the disk")
	})
	await(t, "its state is closed", func() bool {
		st := w.Status()
		return !st[0].Owned && !st[1].Owned
	})
	for _, p := range w.all() {
		await(t, "its state is closed", func() bool { return !p.running.Load() })
	}
	fill(t, filepath.Join(dir, "more"), 0)
	backlog(t, c, 5000, 1000, "while", second)

	for _, name := range []string{"others", "more"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "it goes on", func() bool { return w.Ready() == nil && w.Status()[0].Owned && w.Status()[1].Owned })
	w.applied(t, c)
	verified(t, c)
}

// smallDisk runs the test again in a separate process, where it returns a directory
// on a small file system. In this process it returns "" when the other has ended.
func smallDisk(t *testing.T, megabytes int) (dir string) {
	t.Helper()
	if dir = os.Getenv("OFFERSTREAM_TEST_DISK"); dir != "" {
		if err := syscall.Mount("offerstream", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
			t.Skipf("no file system can be mounted here: %v", err)
		}
		return dir
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "OFFERSTREAM_TEST_DISK="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // in a mount namespace that only this process has and that ends with it
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM):
		t.Skip("needs root, for a file system of its own")
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
	t.Logf("%s", out)
	return ""
}

// TestBrokerDiskFull runs NATS on a small disk, which other files fill. All
// acknowledged events are there afterwards, and NATS goes on when there is room
// and it has been restarted.
func TestBrokerDiskFull(t *testing.T) {
	dir := smallDisk(t, 1000)
	if dir == "" {
		return
	}
	ns := startNATS(t, filepath.Join(dir, "nats"), -1)
	url := ns.ClientURL()
	c := connect(t, url, 1)
	hash := apply(t, c, views(t, 1))
	w := start(t, url, t.TempDir(), small)
	w.inForce(t, hash)
	acked, refused := map[string]bool{}, 0
	publish := func(n int) {
		for range n {
			user := fmt.Sprintf("user%d-%d", len(acked), refused)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			_, err := c.JS.Publish(ctx, c.Names.EventsSubject(0, "in"), at(time.Now().UnixNano(), user, user, 10_000), jetstream.WithRetryAttempts(0))
			cancel()
			if err == nil {
				acked[user] = true
			} else if refused++; refused == 1 {
				t.Log(err)
			}
		}
	}
	publish(300)
	fill(t, filepath.Join(dir, "others"), 2<<20)
	for start := time.Now(); refused < 5 && time.Since(start) < 30*time.Second; {
		publish(20)
	}
	if refused < 5 {
		t.Error("a full disk refuses nothing")
	}
	if err := os.Remove(filepath.Join(dir, "others")); err != nil {
		t.Fatal(err)
	}
	c.Close()
	ns.Shutdown() // NATS stores nothing more until it is restarted
	_, port, _ := strings.Cut(strings.TrimPrefix(url, "nats://"), ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	startNATS(t, filepath.Join(dir, "nats"), n)
	c = connect(t, url, 1)
	before := len(acked)
	await(t, "events are acknowledged again", func() bool { publish(1); return len(acked) > before+300 })
	w.applied(t, c)
	verified(t, c)
	got := map[string]bool{}
	for o := range stored(t, c) {
		var offer pipeline.Offer
		if err := json.Unmarshal([]byte(o), &offer); err != nil {
			t.Fatal(err)
		}
		got[offer.User] = true
	}
	for user := range acked {
		if !got[user] {
			t.Errorf("%s was acknowledged, and there is no offer", user)
		}
	}
	t.Logf("%d events acknowledged, %d not", len(acked), refused)
}

// fill fills the disk with a file until only leave bytes are free.
func fill(t *testing.T, name string, leave int64) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 64<<10)
	for {
		free, err := machine{}.free(filepath.Dir(name))
		if err != nil {
			t.Fatal(err)
		}
		if free <= leave {
			return
		}
		if _, err := f.Write(page[:min(int64(len(page)), free-leave)]); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

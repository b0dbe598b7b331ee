//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

// TestServeDiskFull fills the disk of a node with an embedded NATS to the last byte
// and makes room again. Meanwhile /readyz and status say that it is not ready.
// Afterwards it goes on by itself: events are accepted, all that were accepted are
// applied once, and the offers are those of the log.
func TestServeDiskFull(t *testing.T) {
	dir := smallDisk(t, 500) // a worker with one partition needs 400 MB free
	if dir == "" {
		return
	}
	set, err := loadSet("", "../../deploy/campaigns")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ops := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	n, err := startNode(ctx, nodeOptions{dir: dir, natsAddr: "127.0.0.1:0", sync: true, partitions: 1, addr: "127.0.0.1:0", metricsAddr: ops, writeKey: "k", set: set,
		log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	ready := func() (bool, string) {
		resp, err := http.Get("http://" + ops + "/readyz")
		if err != nil {
			return false, err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == http.StatusOK, string(b)
	}
	accepted, tries := 0, 0
	post := func() bool {
		tries++
		body := fmt.Sprintf(`{"type":"track","event":"Product Viewed","userId":"u%d","messageId":"m%d","properties":{"product_id":"b%d","category":"bag","brand":"acme","price":120,"pad":%q}}`, tries%20, tries, tries, strings.Repeat("x", 2000))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.addr+"/v1/track", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("k", "")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false
		}
		accepted++
		return true
	}
	await := func(what string, holds func() bool) {
		t.Helper()
		for ; !holds(); <-time.After(20 * time.Millisecond) {
			if ctx.Err() != nil {
				_, why := ready()
				t.Fatalf("in vain awaited: %s; /readyz: %s", what, why)
			}
		}
	}
	status := func() (exit int) {
		return run(ctx, []string{"status", "--nats", n.natsURL()}, stdio{strings.NewReader(""), io.Discard, io.Discard})
	}
	await("it is ready", func() bool { ok, _ := ready(); return ok && status() == 0 })
	for range 200 {
		if !post() {
			t.Fatal("an event is not accepted")
		}
	}

	fill(t, filepath.Join(dir, "others"), 256<<10)
	await("events are refused", func() bool { return !post() })
	fill(t, filepath.Join(dir, "more"), 0)
	await("NATS stores nothing", func() bool { return n.nats.Err() != nil })
	if ok, why := ready(); ok || !strings.Contains(why, "NATS stores nothing") {
		t.Errorf("/readyz: %v %s", ok, why)
	}
	if exit := status(); exit != 1 {
		t.Errorf("status exits with %d", exit)
	}
	if post() {
		t.Error("an event is accepted")
	}

	for _, name := range []string{"others", "more"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	await("events are accepted again", post)
	await("it is ready again", func() bool { ok, _ := ready(); return ok && status() == 0 })
	for range 200 {
		if !post() {
			t.Fatal("an event is not accepted")
		}
	}
	if err := n.caughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	if applied := n.worker.Status()[0].Applied; applied < uint64(accepted) || applied > uint64(tries) {
		t.Errorf("%d events were accepted and %d sent, %d are applied", accepted, tries, applied)
	}
	tool, err := broker.Connect(ctx, broker.Options{URL: n.natsURL(), Client: "test", Join: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer tool.Close()
	v, err := audit.Verify(ctx, tool, nil)
	if err != nil || !v.OK() || v.Offers == 0 {
		t.Errorf("%+v, %v", v.Sums, err)
	}
	t.Logf("%d events accepted, %d not, %d offers", accepted, tries-accepted, v.Offers)
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
		var st syscall.Statfs_t
		if err := syscall.Statfs(filepath.Dir(name), &st); err != nil {
			t.Fatal(err)
		}
		free := int64(st.Bavail) * int64(st.Bsize)
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

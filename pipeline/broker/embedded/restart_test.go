package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestStoresAgain: a server that could not write, and would refuse everything until
// it is restarted, is restarted in place when it can write again. All that was
// acknowledged is there, and nothing twice, and clients connect again by themselves,
// on the same port and without a socket.
//
// A limit on the size of files stands for a full disk: nobody needs root for it. It
// is the process' own, so the test runs again in a process of its own.
func TestStoresAgain(t *testing.T) {
	if os.Getenv("OFFERSTREAM_TEST_LIMIT") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestStoresAgain$", "-test.v")
		cmd.Env = append(os.Environ(), "OFFERSTREAM_TEST_LIMIT=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	var log lines
	s, err := Start(Options{Dir: t.TempDir(), Port: -1, SyncAlways: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	var clients []nats.JetStreamContext
	for _, opt := range []nats.Option{nats.Name("socket"), nats.InProcessServer(s)} {
		nc, err := nats.Connect(s.ClientURL(), opt, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := nc.JetStream(nats.MaxWait(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, js)
	}
	for _, name := range []string{"A", "B"} {
		if _, err := clients[0].AddStream(&nats.StreamConfig{Name: name, Subjects: []string{name}}); err != nil {
			t.Fatal(err)
		}
	}
	acked, tries := map[string]bool{}, 0
	publish := func() error {
		tries++
		data := fmt.Sprint(tries, bytes.Repeat([]byte("x"), 1000))
		_, err := clients[tries%2].Publish("A", []byte(data), nats.MsgId(fmt.Sprint(tries)))
		if err == nil {
			acked[data] = true
		}
		return err
	}
	await := func(what string, holds func() bool) {
		t.Helper()
		for start := time.Now(); !holds(); <-time.After(10 * time.Millisecond) {
			if time.Since(start) > 2*time.Minute {
				t.Fatalf("in vain awaited: %s\n%s", what, &log)
			}
		}
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := publish(); err != nil {
			t.Fatal(err)
		}
	}
	set(t, 100_000, limit.Max)
	await("publishes are refused", func() bool { return publish() != nil })
	await("the server says so and tries", func() bool {
		publish()
		return strings.Contains(log.String(), "NATS STORES NOTHING") && strings.Contains(log.String(), "NATS has been restarted")
	})
	set(t, limit.Cur, limit.Max)
	for i := range clients { // each by itself, since one may connect again later than the other
		await("it stores again", func() bool { return publish() == nil && tries%2 == i })
	}
	await("the server says so", func() bool { return s.Err() == nil })

	info, err := clients[0].StreamInfo("A")
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := clients[0].GetMsg("A", seq)
		if err != nil {
			t.Fatalf("message %d: %v", seq, err)
		}
		stored[string(m.Data)]++
	}
	for data := range acked {
		if stored[data] != 1 {
			t.Errorf("%.5s was acknowledged and is stored %d times", data, stored[data])
		}
	}
	if _, err := clients[1].StreamInfo("B"); err != nil {
		t.Error(err)
	}
}

func set(t *testing.T, now, most uint64) {
	t.Helper()
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: now, Max: most}); err != nil {
		t.Fatal(err)
	}
}

// lines collects log lines.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestStaysRunning: a server of which one stream cannot be recovered is not
// restarted: that would not help, and the other streams store.
func TestStaysRunning(t *testing.T) {
	s := begin(t, Options{Dir: t.TempDir()})
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.opt.Dir+"/jetstream/$G/streams/X", 0o700); err != nil {
		t.Fatal(err)
	}
	if all := health(s.ns); len(all) != 1 || !strings.Contains(all[0].Error, "could not be recovered") {
		t.Errorf("%+v", all)
	}
	if err := errors.Join(s.look(), s.Err()); err != nil {
		t.Error(err)
	}
}

package worker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"offerstream/pipeline/broker/embedded"
)

// TestChaosServer runs the NATS of TestChaos in a separate process, on a port and
// in a directory that it can be restarted with.
func TestChaosServer(t *testing.T) {
	dir := os.Getenv("OFFERSTREAM_TEST_CHAOS_NATS")
	if dir == "" {
		t.Skip("not to be run by itself")
	}
	port, err := strconv.Atoi(os.Getenv("OFFERSTREAM_TEST_CHAOS_PORT"))
	if err != nil {
		t.Fatal(err)
	}
	ns, err := embedded.Start(embedded.Options{Dir: dir, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, os.Stdin) // runs until the parent process ends
	ns.Shutdown()
}

// build builds the commands and returns their directory.
func build(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"build", "-ldflags=-s -w", "-o", dir}
	for _, n := range names {
		args = append(args, "offerstream/cmd/"+n)
	}
	if out, err := exec.CommandContext(within(t), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// freeAddr returns an address that nothing listens on. Its port is below the
// ephemeral ports. So it is still free when its process is killed and restarted,
// and a client that dials it meanwhile cannot connect to itself.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		nextPort++
		addr := fmt.Sprint("127.0.0.1:", 20000+(os.Getpid()*16+nextPort)%12000)
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

var nextPort int

// A child is a process that is killed, stopped and restarted.
type child struct {
	name string
	args []string
	env  []string
	log  string // file of its output

	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when cmd has ended
	asked bool          // it was asked to end
	again int           // how often it had to be restarted
	wrong []string      // its misbehaviour
}

// newChild makes a process to be started, which is ended after the test. If the
// test fails, the end of the process's log is shown.
func newChild(t *testing.T, name string, env []string, args ...string) *child {
	p := &child{name: name, args: args, env: append(os.Environ(), env...), log: filepath.Join(t.ArtifactDir(), strings.ReplaceAll(name, " ", "-")+".log")}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said at last:\n%s", name, tail(p.log))
		}
	})
	return p
}

// tail returns the end of a file.
func tail(path string) []byte {
	const most = 6000
	b, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-most):]
}

func (p *child) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begin()
}

func (p *child) begin() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(log, "--- %s starts at %s\n", p.name, time.Now().UTC().Format(time.RFC3339Nano))
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended, p.asked = cmd, ended, false
	go func() {
		err := cmd.Wait()
		close(ended)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.asked || p.cmd != cmd { // it was asked to end, or has been restarted since
			return
		}
		p.wrong = append(p.wrong, fmt.Sprintf("%s ended by itself at %s: %v", p.name, time.Now().UTC().Format(time.RFC3339Nano), err))
		if p.again++; p.again <= 5 { // restart it, as a supervisor would
			if err := p.begin(); err != nil {
				p.wrong = append(p.wrong, err.Error())
			}
		}
	}()
	return nil
}

// signal sends a signal; last says that the process should end then.
func (p *child) signal(s syscall.Signal, last bool) (ended chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil, fmt.Errorf("%s does not run", p.name)
	}
	p.asked = p.asked || last
	if err = p.cmd.Process.Signal(s); errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return p.ended, err
}

// kill kills the process with kill -9.
func (p *child) kill() error {
	ended, err := p.signal(syscall.SIGKILL, true)
	if err == nil {
		<-ended
	}
	return err
}

// leave asks the process to end, and waits until it has.
func (p *child) leave() error {
	ended, err := p.signal(syscall.SIGTERM, true)
	if err != nil {
		return err
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		p.signal(syscall.SIGQUIT, true) // it logs its stacks, which show where it hangs
		<-ended
		return fmt.Errorf("%s does not end within half a minute of SIGTERM", p.name)
	}
	if p.cmd.ProcessState.ExitCode() != 0 {
		return fmt.Errorf("%s ended with %v after SIGTERM", p.name, p.cmd.ProcessState)
	}
	return nil
}

// faults returns the process's misbehaviour.
func (p *child) faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrong
}

// A link is a proxy between one process and NATS.
type link struct {
	server   *toxiproxy.ApiServer
	addr, to string
	proxy    *toxiproxy.Proxy
}

func newLink(t *testing.T, server *toxiproxy.ApiServer, to string) *link {
	t.Helper()
	l := &link{server: server, addr: freeAddr(t), to: to}
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.cut() })
	return l
}

func newProxies() *toxiproxy.ApiServer {
	return toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
}

// open makes a proxy without faults. A process that is being started has the sockets
// of this one for a moment, also one that was closed meanwhile.
func (l *link) open() error {
	l.proxy = toxiproxy.NewProxy(l.server, l.addr, l.addr, l.to)
	err := l.proxy.Start()
	for range 20 {
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		<-time.After(50 * time.Millisecond)
		err = l.proxy.Start()
	}
	if err != nil {
		return fmt.Errorf("open the link at %s: %w", l.addr, err)
	}
	return nil
}

// cut ends all connections and accepts no new ones.
func (l *link) cut() error {
	l.proxy.Stop()
	return nil
}

// poison adds a toxic to one direction of the link.
func (l *link) poison(toxic, stream, attributes string) error {
	_, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"attributes":{%s}}`, stream, toxic, stream, attributes)))
	return err
}

// heal removes all faults; data on its way is lost. It makes a new proxy, as a
// proxy with stuck connections may not remove a toxic.
func (l *link) heal() error {
	l.proxy.Stop()
	return l.open()
}

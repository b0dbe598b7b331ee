// Package embedded runs a nats-server with JetStream in this process, for demo,
// serve and tests. In production nats-server is a separate process.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Options configure a Server. Zero values mean the defaults in parentheses.
type Options struct {
	Dir        string // holds the streams, and a lock so that only one process uses it
	Host       string // address to listen on (127.0.0.1)
	Port       int    // 0: only connections within this process; -1: any free port
	SyncAlways bool   // fsync before each acknowledgement
	Log        *slog.Logger
}

// A Server is a running nats-server. A nats-server that could not write, because
// the disk was full, stores nothing more until it is restarted: then a Server
// restarts it in place, and clients connect again.
type Server struct {
	opt  Options
	url  string
	lock *os.File

	mu   sync.Mutex
	ns   *server.Server // nil while it is being restarted
	sick error          // why it stores nothing, nil if it does

	end   context.CancelFunc // ends watch
	ended chan struct{}      // closed when watch has ended
	once  sync.Once
}

// readyFor is the limit for the start, which includes recovering the streams.
const readyFor = 2 * time.Minute

// Start starts a server and returns when it accepts connections.
func Start(o Options) (*Server, error) {
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	ns, err := start(o)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("start NATS in %s: %w", o.Dir, err)
	}
	if addr, ok := ns.Addr().(*net.TCPAddr); ok {
		o.Port = addr.Port // a restarted server listens there again
	}
	ctx, end := context.WithCancel(context.Background())
	s := &Server{opt: o, url: ns.ClientURL(), lock: lock, ns: ns, end: end, ended: make(chan struct{})}
	go s.watch(ctx)
	return s, nil
}

func start(o Options) (*server.Server, error) {
	ns, err := server.NewServer(&server.Options{
		ServerName: "offerstream",
		Host:       o.Host,
		Port:       o.Port,
		DontListen: o.Port == 0,
		NoSigs:     true,
		JetStream:  true,
		StoreDir:   o.Dir,
		SyncAlways: o.SyncAlways,
	})
	if err != nil {
		return nil, err
	}
	log := &logger{log: o.Log}
	ns.SetLoggerV2(log, false, false, false)
	ns.Start()
	if err := log.failure(); err != nil {
		ns.Shutdown()
		return nil, err
	}
	if !ns.ReadyForConnections(readyFor) || !ns.JetStreamEnabled() {
		ns.Shutdown()
		return nil, errors.Join(fmt.Errorf("it does not accept connections after %s", readyFor), log.failure())
	}
	return ns, nil
}

// lockDir makes the directory and takes its lock, which the operating system
// releases when the process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	if dir == "" {
		return nil, errors.New("start NATS: no directory given")
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	// A lock that this process has just released may still be held: a process that it
	// is starting has all of its files until it runs another program.
	for range 100 {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return f, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.Close()
	return nil, fmt.Errorf("start NATS in %s: another process uses this directory: stop it, or use another one (%w)", dir, err)
}

// ClientURL is the URL for clients; it has no meaning with Port 0.
func (s *Server) ClientURL() string { return s.url }

// InProcessConn makes a connection without a socket.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil {
		return nil, errors.New("NATS is being restarted")
	}
	return s.ns.InProcessConn()
}

// Shutdown ends the server and returns when everything is on disk and the
// directory is free.
func (s *Server) Shutdown() {
	s.once.Do(func() {
		s.end()
		<-s.ended
		s.stop()
		s.lock.Close()
	})
}

func (s *Server) stop() {
	s.mu.Lock()
	ns := s.ns
	s.ns = nil
	s.mu.Unlock()
	if ns != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
}

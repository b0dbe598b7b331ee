package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	lookEvery = time.Second
	room      = 16 << 20         // bytes that must be free before it is restarted
	lastWait  = 30 * time.Second // at most, between two restarts
	sayEvery  = 10 * time.Second // between two log lines about a disk without room
	wellFor   = time.Minute      // after which the waits begin anew
)

// Err returns why the server stores nothing now, nil if it does.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sick
}

// watch restarts the server whenever it stores nothing more and the disk has room,
// until ctx is done.
func (s *Server) watch(ctx context.Context) {
	defer close(s.ended)
	wait, restarted := lookEvery, time.Time{}
	for sleep(ctx, lookEvery) {
		err := s.look()
		if err == nil {
			if time.Since(restarted) > wellFor {
				wait = lookEvery
			}
			continue
		}
		s.set(err)
		s.opt.Log.Error("NATS STORES NOTHING: it is restarted when the disk has room", "dir", s.opt.Dir, "error", err)
		for s.cure(ctx) != nil && sleep(ctx, wait) {
			wait = min(2*wait, lastWait)
		}
		if !sleep(ctx, wait) { // so that one that fails again at once is not restarted all the time
			return
		}
		wait, restarted = min(2*wait, lastWait), time.Now()
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Server) set(sick error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sick = sick
}

// look returns why a stream of the server stores nothing until the server is
// restarted.
func (s *Server) look() error {
	s.mu.Lock()
	ns := s.ns
	s.mu.Unlock()
	if !ns.JetStreamEnabled() {
		return errors.New("JetStream has been disabled")
	}
	for _, e := range health(ns) {
		if strings.Contains(e.Error, "write error: ") {
			return errors.New(e.Error)
		}
	}
	return nil
}

// health returns the errors of nats-server's own health check, which is made for
// HTTP.
func health(ns *server.Server) []server.HealthzError {
	req, err := http.NewRequest(http.MethodGet, "/healthz?details=true", nil)
	if err != nil {
		return nil
	}
	var a answer
	ns.HandleHealthz(&a, req)
	var said server.HealthStatus
	if json.Unmarshal(a.body.Bytes(), &said) != nil {
		return nil
	}
	return said.Errors
}

// An answer is a http.ResponseWriter in memory.
type answer struct {
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *answer) WriteHeader(int) {}

func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// cure waits until the disk has room, and restarts the server.
func (s *Server) cure(ctx context.Context) error {
	for said := time.Now(); ; {
		free, err := free(s.opt.Dir)
		if err != nil || free >= room {
			break // if the free space is not known, it can only be tried
		}
		if time.Since(said) >= sayEvery {
			said = time.Now()
			s.opt.Log.Error("NATS STORES NOTHING: free some space, then it goes on by itself", "dir", s.opt.Dir, "free", free, "needed", room)
		}
		if !sleep(ctx, lookEvery) {
			return ctx.Err()
		}
	}
	s.stop()
	ns, err := start(s.opt)
	if err != nil {
		err = fmt.Errorf("restart NATS in %s: %w", s.opt.Dir, err)
		s.set(err)
		s.opt.Log.Error("NATS cannot be restarted: trying again", "error", err)
		return err
	}
	s.mu.Lock()
	s.ns, s.sick = ns, nil
	s.mu.Unlock()
	s.opt.Log.Warn("NATS has been restarted: clients connect again, and it stores messages again", "dir", s.opt.Dir)
	return nil
}

func free(dir string) (bytes int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
